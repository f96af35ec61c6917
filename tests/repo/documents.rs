//! What the documents promise, name and link, and how files introduce themselves.

use std::path::PathBuf;

use super::{files_below, read, root, rust_files};

#[test]
fn the_readme_names_every_folder() {
    let readme = read("README.md");
    let entries = std::fs::read_dir(root()).expect("the root can be listed");
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("plain");
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            let row = format!("| [`{name}/");
            assert!(readme.contains(&row), "{row} ... | is not in README.md");
        }
    }
}

/// The rows of the README's table of promises, as cells.
fn promises() -> Vec<Vec<String>> {
    let readme = read("README.md");
    let section = readme
        .split("\n## Promises")
        .nth(1)
        .expect("the README has promises");
    let section = section
        .split("\n## ")
        .next()
        .expect("the first part is always there");
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .filter(|cells: &Vec<String>| {
            cells
                .first()
                .is_some_and(|first| first.chars().all(|letter| letter.is_ascii_digit()))
        })
        .collect()
}

#[test]
fn the_tests_that_are_left_out_at_first_exist_and_hold_no_promise_of_the_readme() {
    let config = read(".config/nextest.toml");
    let filter = config
        .split("'''")
        .nth(1)
        .expect("a filter over several lines");
    let left_out: Vec<&str> = filter
        .split("test(")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap_or(rest))
        .collect();
    assert!(!left_out.is_empty(), "{filter}");
    let files = ["worker", "queue", "producer", "sandbox", "harness"];
    let files = files.iter().flat_map(|folder| rust_files(folder));
    let text: String = files
        .map(|path| std::fs::read_to_string(path).expect("the file can be read"))
        .collect();
    let readme = read("README.md");
    for test in left_out {
        assert!(text.contains(&format!("fn {test}()")), "{test} is no test");
        assert!(!readme.contains(test), "the README names {test}");
    }
}

#[test]
fn every_promise_of_the_readme_names_tests_that_exist_and_a_tier() {
    let mut tests = String::new();
    let everywhere = [
        "src", "queue", "sandbox", "program", "worker", "producer", "xtask", "harness", "guest",
        "tests",
    ];
    for path in everywhere.iter().flat_map(|folder| rust_files(folder)) {
        tests.push_str(&std::fs::read_to_string(&path).expect("the file can be read"));
    }
    let promises = promises();
    assert_eq!(
        promises.len(),
        10,
        "the README's table has one row for each promise"
    );
    for (row, number) in promises.iter().zip(1..) {
        assert_eq!(
            row.first().map(String::as_str),
            Some(number.to_string().as_str())
        );
        let words = row.join(" | ");
        // Words between backquotes that look like the name of a test.
        let named: Vec<&str> = words
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| word.contains('_') && !word.contains(['/', '.', ' ', ':', '-']))
            .collect();
        let open = words.to_lowercase().contains("not yet");
        assert!(
            open || !named.is_empty(),
            "promise {number} names a test, or says `not yet`"
        );
        for name in named {
            assert!(
                tests.contains(&format!("fn {name}(")),
                "promise {number} names {name}, which is no test"
            );
        }
        let tier = ["check", "test", "all"].iter().any(|tier| {
            row.iter().any(|cell| {
                cell.split([' ', ','])
                    .any(|word| word.trim_matches('*') == *tier)
            })
        });
        assert!(
            open || tier,
            "promise {number} says in which tier it is held"
        );
    }
}

/// The tasks that a text names, as `cargo xtask TASK`.
fn tasks(text: &str) -> Vec<&str> {
    let after = text.split("cargo xtask ").skip(1);
    let name = |rest: &&str| {
        let end = rest.find(|letter: char| !(letter.is_ascii_lowercase() || letter == '-'));
        end.unwrap_or(rest.len())
    };
    after
        .filter_map(|rest| rest.get(..name(&rest)))
        .filter(|task| !task.is_empty())
        .collect()
}

#[test]
fn every_task_that_a_document_names_exists_and_the_promises_name_those_that_break_things() {
    let program = read("xtask/src/main.rs");
    let mut documents = vec![
        read("README.md"),
        read("CONTRIBUTING.md"),
        read("SECURITY.md"),
    ];
    let pages = files_below(&root().join("docs"));
    documents.extend(pages.iter().map(read));
    for task in documents.iter().flat_map(|text| tasks(text)) {
        let words = task.split('-').map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + rest
        });
        let variant = words.collect::<String>();
        let arms = [" ", " {", " =>", "("].map(|end| format!("Task::{variant}{end}"));
        assert!(
            arms.iter().any(|arm| program.contains(arm)),
            "cargo xtask {task} is named, and is no task"
        );
    }
    let promises = promises().concat().join(" ");
    let named = tasks(&promises);
    for task in ["faults", "turmoil", "poison", "scale", "quorum"] {
        assert!(named.contains(&task), "no promise names cargo xtask {task}");
    }
}

#[test]
fn each_decision_has_a_number_of_its_own_in_its_name_and_its_title() {
    let mut numbers = Vec::new();
    for page in files_below(&root().join("docs/decisions")) {
        let name = page.file_name().expect("a name").to_string_lossy();
        let number: usize = name[..4].parse().expect("a number in front");
        let text = read(&page);
        assert!(text.starts_with(&format!("# {number}. ")), "{name}");
        numbers.push(number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let mut documents = files_below(&root().join("docs"));
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ] {
        documents.push(root().join(name));
    }
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
    {
        let text = std::fs::read_to_string(document)
            .unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let folder = document.parent().expect("a file lies in a folder");
            assert!(
                folder.join(target).exists(),
                "{} links to {link}",
                document.display()
            );
        }
    }
}

#[test]
fn the_changelog_keeps_its_shape() {
    let changelog = read("CHANGELOG.md");
    let headings: Vec<&str> = changelog
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    let first = headings.first().expect("the changelog has an entry");
    assert!(
        first.contains("Unreleased"),
        "the first entry is what is not released yet: {first}"
    );
    for line in changelog.lines().filter(|line| line.starts_with("### ")) {
        let known = [
            "Added",
            "Changed",
            "Deprecated",
            "Removed",
            "Fixed",
            "Security",
        ];
        assert!(
            known.contains(&line.trim_start_matches("### ")),
            "unknown heading {line}"
        );
    }
}

#[test]
fn no_path_of_a_developers_machine_is_left_in_the_repository() {
    // Put together here, so that this file does not find itself.
    let mut marks = vec![["/root", "/.py"].concat(), ["/root", "/.cargo"].concat()];
    // Where this copy lies; a path of one part, like /src, stands in other words too.
    if root().components().count() > 2 {
        marks.push(format!("{}/", root().display()));
    }
    for path in files_below(root()) {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let hit = text
            .lines()
            .find(|line| marks.iter().any(|mark| line.contains(mark.as_str())));
        assert!(hit.is_none(), "{} says {hit:?}", path.display());
    }
}

#[test]
fn every_rust_file_opens_with_a_sentence_about_itself() {
    for folder in [
        "src", "queue", "sandbox", "program", "worker", "producer", "xtask", "harness", "guest",
        "tests",
    ] {
        for path in rust_files(folder) {
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            assert!(
                text.starts_with("//! "),
                "{} opens with `//!`",
                path.display()
            );
        }
    }
}

#[test]
fn every_example_says_what_it_is_about_and_what_it_must_end_as() {
    let examples: Vec<PathBuf> = files_below(&root().join("examples"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    assert!(
        examples.len() >= 60,
        "there are {} examples",
        examples.len()
    );
    for path in examples {
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let card: serde_json::Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let about = card
            .get("about")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        assert!(
            about.ends_with('.'),
            "{} is about something",
            path.display()
        );
        assert!(
            card.pointer("/expect/outcome").is_some(),
            "{} expects an outcome",
            path.display()
        );
        if let Some(file) = card.get("code_file").and_then(serde_json::Value::as_str) {
            assert!(
                path.with_file_name(file).exists(),
                "{} has its code",
                path.display()
            );
        }
    }
}
