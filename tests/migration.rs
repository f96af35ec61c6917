//! The guide for those who come from codejail: whatever it says to be tested is.

use std::path::Path;

/// The guide.
const GUIDE: &str = include_str!("../docs/from-codejail.md");
/// Where tests are; files of others' making, such as build output, are in none of them.
const FOLDERS: [&str; 10] = [
    "src", "queue", "sandbox", "program", "worker", "producer", "clients", "xtask", "harness",
    "tests",
];
/// The weaknesses of codejail that were found.
const WEAKNESSES: usize = 29;

/// The rows of all tables whose last column is headed `test`, as cells.
fn tested_rows(page: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut tested = false;
    let mut in_table = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        if !in_table {
            tested = cells.last().is_some_and(|head| head == "test");
        } else if tested && !cells.iter().all(|cell| cell.starts_with("---")) {
            rows.push(cells);
        }
        in_table = true;
    }
    rows
}

/// The names in the last cell.
fn tests_of(row: &[String]) -> Vec<&str> {
    let cell = row.last().map(String::as_str).unwrap_or_default();
    cell.split('`').skip(1).step_by(2).collect()
}

fn missing<'a>(rows: &'a [Vec<String>], sources: &str) -> Vec<&'a str> {
    let there = |name: &&str| {
        let written = |word: &str| sources.contains(&format!("{word} {name}("));
        written("fn") || written("def")
    };
    let named = rows.iter().flat_map(|row| tests_of(row));
    named.filter(|name| !there(name)).collect()
}

/// The text of all files in Rust and Python below `folder`, if it is there.
fn sources_below(folder: &Path) -> String {
    let mut text = String::new();
    if !folder.exists() {
        return text;
    }
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            text.push_str(&sources_below(&path));
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "py")
        {
            text.push_str(&std::fs::read_to_string(&path).expect("the file can be read"));
        }
    }
    text
}

#[test]
fn every_test_that_the_guide_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = FOLDERS
        .iter()
        .map(|folder| sources_below(&root.join(folder)));
    let sources: String = folders.collect();
    let rows = tested_rows(GUIDE);
    let named: usize = rows.iter().map(|row| tests_of(row).len()).sum();
    assert!(
        named > 60,
        "{named} tests were found in {} rows",
        rows.len()
    );
    assert_eq!(missing(&rows, &sources), [""; 0]);
}

#[test]
fn every_weakness_has_its_row_and_a_test_that_shows_it_gone() {
    let rows = tested_rows(GUIDE);
    let numbered = |row: &&Vec<String>| row.first().is_some_and(|cell| is_number(cell));
    let weaknesses: Vec<&Vec<String>> = rows.iter().filter(numbered).collect();
    let numbers: Vec<&str> = weaknesses.iter().map(|row| row[0].as_str()).collect();
    let all: Vec<String> = (1..=WEAKNESSES)
        .map(|number| format!("W{number}"))
        .collect();
    assert_eq!(numbers, all);
    for row in weaknesses {
        assert!(!tests_of(row).is_empty(), "{} names no test", row[0]);
    }
}

fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('W').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn a_name_without_a_test_is_found_and_a_table_without_tests_passed_over() {
    let page = "| a | test |\n|---|---|\n| x_y_z | `there`, `gone` |\n| z | |\n\n\
                | a | why |\n|---|---|\n| x | `nothing` |\n";
    let rows = tested_rows(page);
    assert_eq!(rows.len(), 2);
    assert_eq!(missing(&rows, "def there():"), ["gone"]);
}
