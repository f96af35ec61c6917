//! The reference of all keys as Markdown, from the table of keys and the embedded defaults.

use super::layers::pile;
use super::reader::Reader;
use super::schema::{Group, PRODUCER, Schema, WORKER};
use super::{PRODUCER_DEFAULTS, WORKER_DEFAULTS};
use std::fmt::Write as _;

/// The generated part of `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::new();
    let worker = Reader::new(&WORKER, pile(&WORKER, WORKER_DEFAULTS, None, &[], &[]));
    let producer = Reader::new(
        &PRODUCER,
        pile(&PRODUCER, PRODUCER_DEFAULTS, None, &[], &[]),
    );
    page.push_str("\n### The worker and its warden\n");
    for group in WORKER.groups {
        section(&mut page, group, &worker);
    }
    page.push_str("\n### The producer\n\n`[amqp]` and `[log]` have the keys above.\n");
    for group in PRODUCER.groups.iter().filter(|group| {
        [["producer"], ["serve"], ["api"]]
            .iter()
            .any(|own| group.path == own)
    }) {
        section(&mut page, group, &producer);
    }
    page.push('\n');
    page
}

fn section(page: &mut String, group: &Group, defaults: &Reader) {
    let path = group.path.join(".");
    write!(page, "\n#### `[{}]`\n\n", path.replace('*', "NAME")).expect(INTO_MEMORY);
    if let Some(same) = same_keys(&path) {
        writeln!(page, "{same}").expect(INTO_MEMORY);
        return;
    }
    page.push_str("| key | default | may be | meaning |\n|---|---|---|---|\n");
    for spec in group.keys {
        let default = defaults.shown(&format!("{path}.{}", spec.name));
        let default = default.map(|text| format!("`{text}`")).unwrap_or_default();
        let expected = spec.kind.expected();
        writeln!(
            page,
            "| `{}` | {default} | {expected} | {} |",
            spec.name, spec.meaning
        )
        .expect(INTO_MEMORY);
    }
}

const INTO_MEMORY: &str = "writing to a String cannot fail";

/// What to say instead of repeating a table.
fn same_keys(path: &str) -> Option<&'static str> {
    match path {
        "runtime_defaults.ceiling" => {
            Some("The keys of `[runtime_defaults.limits]`: the most that a job may ask for.")
        }
        "runtimes.*" => Some("The keys of `[runtime_defaults]`, for one runtime."),
        "runtimes.*.limits" => Some("The keys of `[runtime_defaults.limits]`, for one runtime."),
        "runtimes.*.ceiling" => Some("The keys of `[runtime_defaults.limits]`, for one runtime."),
        "profiles.*" => {
            Some("The keys of `[runtime_defaults.limits]`: what a job gets that asks for NAME.")
        }
        _ => None,
    }
}

/// Every key of the worker's configuration, dotted; `*` stands for a name of the operator's.
#[must_use]
pub fn worker_key_names() -> Vec<String> {
    key_names(&WORKER)
}

/// Every key of the producer's configuration, dotted.
#[must_use]
pub fn producer_key_names() -> Vec<String> {
    key_names(&PRODUCER)
}

fn key_names(schema: &Schema) -> Vec<String> {
    let of_group = |group: &Group| {
        let path = group.path.join(".");
        group
            .keys
            .iter()
            .map(move |spec| format!("{path}.{}", spec.name))
            .collect::<Vec<_>>()
    };
    schema.groups.iter().flat_map(of_group).collect()
}
