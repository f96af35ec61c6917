//! Whether a page on metrics says what a program exports.

use std::collections::{BTreeMap, BTreeSet};

/// The rows of the tables of a page whose first cell names a metric.
fn rows(page: &str) -> Vec<Vec<String>> {
    page.lines()
        .filter(|line| line.starts_with("| `jailfleet_"))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What the program exports of one metric.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    kind: String,
    help: String,
    /// The values of each label.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The labels of a series, `le` of a histogram left out.
fn labels(series: &str) -> Vec<(String, String)> {
    let Some((_, list)) = series.split_once('{') else {
        return Vec::new();
    };
    list.trim_end_matches('}')
        .split(',')
        .filter_map(|label| label.split_once('='))
        .filter(|(name, _)| *name != "le")
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

fn exported(text: &str) -> BTreeMap<String, Shown> {
    let mut shown: BTreeMap<String, Shown> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                (*help).clone_into(&mut shown.entry((*name).to_owned()).or_default().help);
            }
            ["#", "TYPE", name, kind] => {
                (*kind).clone_into(&mut shown.entry((*name).to_owned()).or_default().kind);
            }
            _ => {
                let (series, _) = line.rsplit_once(' ').expect("a series and its number");
                let name = series.split('{').next().unwrap_or_default();
                let parts = ["_bucket", "_sum", "_count"];
                let family = parts.iter().find_map(|part| name.strip_suffix(part));
                let name = family
                    .filter(|name| shown.contains_key(*name))
                    .unwrap_or(name);
                let entry = shown.get_mut(name).expect("a type comes before its series");
                for (label, value) in labels(series) {
                    entry.labels.entry(label).or_default().insert(value);
                }
            }
        }
    }
    // What the library exports of the process is its own; the page says so in a sentence.
    shown.retain(|name, _| !name.starts_with("process_"));
    shown
}

/// A cell of labels: "`lane`: `a`, `b`; `outcome`: `c`", "`version`: the running one", or "–".
fn documented_labels(cell: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
    let quoted = |text: &str| -> BTreeSet<String> {
        let words = text.split('`').skip(1).step_by(2);
        words.map(ToOwned::to_owned).collect()
    };
    cell.split(';')
        .filter_map(|label| label.split_once(':'))
        .map(|(name, values)| {
            let values = values.contains('`').then(|| quoted(values));
            (name.trim().trim_matches('`').to_owned(), values)
        })
        .collect()
}

/// Sees that a page names each metric of a program, with its type, labels, meaning and what to do,
/// and no other. `exported` is what the program shows at `/metrics`.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn assert_page_names_metrics(page: &str, exported: &str) {
    let exported = self::exported(exported);
    let mut documented = BTreeSet::new();
    for row in rows(page) {
        let [name, kind, labels, unit, meaning, what_to_do] = row.as_slice() else {
            panic!("six cells: {row:?}");
        };
        let name = name.trim_matches('`');
        let shown = exported
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not exported"));
        assert!(documented.insert(name.to_owned()), "{name} stands twice");
        assert_eq!((kind, meaning), (&shown.kind, &shown.help), "{name}");
        assert!(!unit.is_empty() && !what_to_do.is_empty(), "{name}");
        let labels = documented_labels(labels);
        assert!(
            labels.keys().eq(shown.labels.keys()),
            "{name}: {labels:?} where {:?} are exported",
            shown.labels
        );
        for (label, values) in labels {
            // Only the version is open: it is the program's own, and there is one.
            match values {
                Some(values) => {
                    assert_eq!(Some(&values), shown.labels.get(&label), "{name}, {label}");
                }
                None => assert_eq!(label, "version", "{name}: an open label"),
            }
        }
    }
    let exported: BTreeSet<String> = exported.into_keys().collect();
    assert_eq!(documented, exported);
}
