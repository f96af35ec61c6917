//! The pages say what the program does: the gateway's metrics, and every command line that they give.

use std::path::Path;

use jailfleet_harness::metrics_page::assert_page_names_metrics;
use jailfleet_producer::cli::Cli;
use jailfleet_producer::serve::Metrics;

#[test]
fn the_page_on_the_gateway_names_each_metric_with_type_labels_meaning_and_what_to_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md");
    let page = std::fs::read_to_string(path).expect("the page exists");
    let metrics = Metrics::new().expect("they are well formed");
    let exported = String::from_utf8(metrics.render().expect("they render")).expect("text");
    assert_page_names_metrics(&page, &exported);
}

const PROGRAM: &str = "jailfleet-producer";
/// Pages with command lines for people.
const PAGES: [&str; 6] = [
    "README.md",
    "docs/operations.md",
    "docs/producer.md",
    "docs/broker.md",
    "docs/gateway.md",
    "docs/from-codejail.md",
];

/// The command lines of a page: those in its examples, and those between backquotes.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in page.lines() {
        if let Some(example) = line.strip_prefix("    ") {
            // Up to what the shell, or the reader, takes for itself.
            let Some((_, command)) = example.split_once(&format!("{PROGRAM} ")) else {
                continue;
            };
            let ends = [" # ", ";", " 2>", " < ", " \\"];
            let end = ends.iter().filter_map(|end| command.find(end)).min();
            let command = command.get(..end.unwrap_or(command.len()));
            found.extend(command.map(str::to_owned));
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            for span in spans {
                let ours = ["dead ", "lost "].iter().any(|verb| span.starts_with(verb));
                let command = span.strip_prefix(&format!("{PROGRAM} "));
                found.extend(command.or(ours.then_some(span)).map(str::to_owned));
            }
        }
    }
    found
}

/// The ways to read a line of a synopsis: each side of ` | --`, with and without what is in brackets.
fn readings(command: &str) -> Vec<Vec<String>> {
    let (first, other) = match command.split_once(" | --") {
        Some((first, other)) => (first, Some(other)),
        None => (command, None),
    };
    let words = |text: &str| {
        let words = text.split_whitespace();
        let plain = words.map(|word| word.trim_end_matches("...").trim_matches(['[', ']']));
        plain.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut all = vec![words(first)];
    if let Some((plain, _)) = first.split_once(" [") {
        all.push(words(plain));
    }
    if let Some(other) = other {
        let verb = words(first).into_iter().take(2);
        all.push(
            verb.chain([format!("--{other}").trim().to_owned()])
                .collect(),
        );
    }
    all
}

/// Whether these words only name the program or a subcommand.
fn is_name(command: &str) -> bool {
    let mut all = Cli::command_line();
    for word in command.split_whitespace() {
        match all.find_subcommand(word) {
            Some(inner) => all = inner.clone(),
            None => return false,
        }
    }
    true
}

#[test]
fn every_command_line_of_the_pages_is_one() {
    let mut seen = 0;
    for page in PAGES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let text = std::fs::read_to_string(path).expect("the page exists");
        for command in commands(&text) {
            // The name alone is no line to be typed.
            if is_name(&command) {
                continue;
            }
            for reading in readings(&command) {
                let line = std::iter::once(PROGRAM.to_owned()).chain(reading);
                if let Err(error) = Cli::read(line) {
                    panic!("{page}: {PROGRAM} {command}: {error}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen} lines were found");
}
