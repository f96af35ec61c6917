//! The pages for operators say what the program does: docs/metrics.md and docs/operations.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jailfleet::job::Name;
use jailfleet::settings::ReplyMode;
use jailfleet_queue::topology::{Names, Party, Rights};
use jailfleet_worker::cli::Exit;
use jailfleet_worker::metrics::Metrics;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the tables of a page whose first cell is between backquotes.
fn rows(page: &str) -> Vec<Vec<String>> {
    page.lines()
        .filter(|line| line.starts_with("| `"))
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

fn exported() -> BTreeMap<String, Shown> {
    let metrics = Metrics::new().expect("they are well formed");
    let text = String::from_utf8(metrics.render().expect("they render")).expect("text");
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

#[test]
fn the_page_of_metrics_names_each_with_type_labels_meaning_and_what_to_do() {
    let exported = exported();
    let page = read("docs/metrics.md");
    let mut documented = BTreeSet::new();
    for row in rows(&page) {
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
                Some(values) => assert_eq!(values, shown.labels[&label], "{name}, {label}"),
                None => assert_eq!(label, "version", "{name}: an open label"),
            }
        }
    }
    let exported: BTreeSet<String> = exported.into_keys().collect();
    assert_eq!(documented, exported);
}

#[test]
fn the_page_for_operators_names_every_exit_code() {
    let page = read("docs/operations.md");
    for exit in Exit::ALL {
        let row = format!("\n| {} | ", exit.code());
        assert!(page.contains(&row), "{exit:?}");
    }
}

#[test]
fn the_page_for_operators_names_every_reason_of_not_being_ready() {
    let page = read("docs/operations.md");
    let source = read("worker/src/supervisor.rs");
    let (_, unready) = source.split_once("pub fn unready").expect("it is there");
    let (unready, _) = unready.split_once("\n    }\n").expect("it ends");
    let reasons: Vec<&str> = unready
        .split("Some(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(reasons.len() >= 7, "{reasons:?}");
    for reason in reasons.into_iter().chain(["starting"]) {
        assert!(page.contains(&format!("\n| `{reason}` | ")), "{reason}");
    }
}

#[test]
fn the_page_on_the_broker_has_the_rights_that_the_program_prints() {
    let page = read("docs/broker.md");
    let (_, rest) = page
        .split_once("<!-- generated: rights -->\n")
        .expect("the page has the generated part");
    let (part, _) = rest
        .split_once("<!-- end of generated -->")
        .expect("it ends");
    let (names, pool) = (Names::new("jailfleet"), Name::parse("default"));
    let pools = [pool.expect("a name")];
    let mut printed = String::new();
    for party in Party::ALL {
        let rights = Rights::of(party, &names, &pools, ReplyMode::Exchange);
        for command in rights.commands("/", party.user()) {
            printed.push_str(&format!("    {command}\n"));
        }
    }
    assert_eq!(part, printed);
}
