//! The pages for those who come from codejail: whatever they say to be tested is, and no difference is without
//! a reason.

use std::path::Path;

/// The guide.
const GUIDE: &str = include_str!("../docs/from-codejail.md");
/// What differs at the HTTP interface.
const GATEWAY: &str = include_str!("../docs/gateway.md");
/// Where tests are; files of others' making, such as build output, are in none of them.
const FOLDERS: [&str; 10] = [
    "src", "queue", "sandbox", "program", "worker", "producer", "clients", "xtask", "harness",
    "tests",
];
/// The weaknesses of codejail that were found.
const WEAKNESSES: usize = 29;
/// What its users complain of.
const COMPLAINTS: usize = 40;
/// Tables that say what is different there and here.
const TABLES_OF_DIFFERENCES: usize = 4;

/// A table: its heads, and its rows as cells.
struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn is_tested(&self) -> bool {
        self.heads.last().is_some_and(|head| head == "test")
    }

    /// Where its reasons stand, if it has any.
    fn why(&self) -> Option<usize> {
        let mut heads = self.heads.iter();
        heads.position(|head| head.starts_with("why"))
    }

    /// Whether it tells what is different between a thing there and ours.
    fn tells_differences(&self) -> bool {
        self.heads.get(1).is_some_and(|head| head == "here") && self.why().is_some()
    }
}

fn tables(page: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut in_table = false;
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        match tables.last_mut() {
            Some(table) if in_table => {
                if !cells.iter().all(|cell| cell.starts_with("---")) {
                    table.rows.push(cells);
                }
            }
            Some(_) | None => tables.push(Table {
                heads: cells,
                rows: Vec::new(),
            }),
        }
        in_table = true;
    }
    tables
}

/// The rows of all tables whose last column is headed `test`.
fn tested_rows(page: &str) -> Vec<Vec<String>> {
    let tested = tables(page).into_iter().filter(Table::is_tested);
    tested.flat_map(|table| table.rows).collect()
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
    for (page, least) in [(GUIDE, 200), (GATEWAY, 14)] {
        let rows = tested_rows(page);
        let named: usize = rows.iter().map(|row| tests_of(row).len()).sum();
        assert!(
            named >= least,
            "{named} tests were found in {} rows",
            rows.len()
        );
        assert_eq!(missing(&rows, &sources), [""; 0]);
    }
}

#[test]
fn every_weakness_and_every_complaint_has_its_row_and_a_test_that_shows_it_gone() {
    for (letter, count) in [('W', WEAKNESSES), ('C', COMPLAINTS)] {
        let rows = tested_rows(GUIDE);
        let numbered = |row: &&Vec<String>| row.first().is_some_and(|cell| is_number(cell, letter));
        let found: Vec<&Vec<String>> = rows.iter().filter(numbered).collect();
        let numbers: Vec<&str> = found.iter().map(|row| row[0].as_str()).collect();
        let all: Vec<String> = (1..=count)
            .map(|number| format!("{letter}{number}"))
            .collect();
        assert_eq!(numbers, all);
    }
}

#[test]
fn every_row_of_these_pages_has_what_its_table_promises_and_every_difference_a_reason() {
    let mut of_differences = 0;
    for table in [GUIDE, GATEWAY].into_iter().flat_map(tables) {
        of_differences += usize::from(table.tells_differences());
        let why = table.why();
        assert!(
            why.is_none() || table.is_tested(),
            "a table with reasons names tests: {:?}",
            table.heads
        );
        for row in &table.rows {
            assert_eq!(row.len(), table.heads.len(), "{row:?}");
            let unsaid = why.is_some_and(|at| row[at].is_empty());
            assert!(!unsaid, "no reason: {row:?}");
            let untested = table.is_tested() && tests_of(row).is_empty();
            assert!(!untested, "no test: {row:?}");
        }
    }
    assert_eq!(of_differences, TABLES_OF_DIFFERENCES);
}

fn is_number(cell: &str, letter: char) -> bool {
    let digits = cell.strip_prefix(letter).unwrap_or_default();
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
