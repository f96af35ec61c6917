//! The catalogue of attacks is complete: every item of its checklist has a program, or says what
//! holds it instead.

#[path = "../sandbox/tests/support/catalogue.rs"]
#[expect(dead_code, reason = "only who runs the programs needs all of it")]
mod catalogue;

use catalogue::{AttackFile, ITEMS, item, parse, read_all};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files() -> Vec<AttackFile> {
    read_all(&root().join("tests/attacks"))
}

/// A row of the table of items without a program.
struct Elsewhere {
    item: u16,
    reason: String,
    tests: Vec<String>,
}

fn elsewhere() -> Vec<Elsewhere> {
    let page = root().join("tests/attacks/README.md");
    let page = std::fs::read_to_string(page).expect("the catalogue has a page");
    let (_, table) = page
        .split_once("\n## Items without a program here")
        .expect("the page has the table");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let item = item(cells.first()?).ok()?;
        let tests = cells.get(3)?.split('`').skip(1).step_by(2);
        Some(Elsewhere {
            item,
            reason: (*cells.get(2)?).to_owned(),
            tests: tests.map(str::to_owned).collect(),
        })
    });
    rows.collect()
}

#[test]
fn every_item_of_the_checklist_has_a_program_or_a_reason_and_never_both() {
    let files = files();
    let rows = elsewhere();
    for item in 1..=ITEMS {
        let programs = files.iter().any(|file| file.items.contains(&item));
        let reasons = rows.iter().filter(|row| row.item == item).count();
        assert_eq!(usize::from(programs) + reasons, 1, "item {item}");
    }
}

/// Every Rust file of the repository that may hold tests, as one text.
fn all_code() -> String {
    let mut code = String::new();
    let folders = [
        "src", "queue", "sandbox", "worker", "producer", "xtask", "tests",
    ];
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of ours") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                code += &std::fs::read_to_string(path).expect("the file can be read");
            }
        }
    }
    code
}

#[test]
fn every_item_without_a_program_names_a_test_that_exists_or_says_why_not() {
    let code = all_code();
    for row in elsewhere() {
        let excused = ["not built: ", "not promised: ", "no test: "];
        let excused = excused.iter().any(|word| row.reason.starts_with(word));
        assert!(excused || !row.tests.is_empty(), "item {}", row.item);
        for test in row.tests {
            let named = code.contains(&format!("fn {test}("));
            assert!(named, "item {} names {test}, which is no test", row.item);
        }
    }
}

#[test]
fn a_header_with_a_mistake_is_refused_by_its_name() {
    let good = "# items: 1\n# about: It ends.\n# expect: exited 0\n# stdout: a\\n\\x00b\n";
    let file = parse("001_it_ends.py", good).expect("a good header");
    assert_eq!(file.stdout.as_deref(), Some(&b"a\n\0b"[..]));
    for (name, from, to) in [
        ("002_it_ends.py", "", ""),
        ("001_it_ends.rb", "", ""),
        ("001_it_ends.py", "items: 1", "items: 1 131"),
        ("001_it_ends.py", "items: 1", "items: "),
        ("001_it_ends.py", "It ends.", "It ends"),
        ("001_it_ends.py", "# about: It ends.\n", ""),
        ("001_it_ends.py", "exited 0", "exited"),
        ("001_it_ends.py", "exited 0", "exited twice"),
        ("001_it_ends.py", "exited 0", "well"),
        ("001_it_ends.py", "\\x00", "\\xz0"),
        ("001_it_ends.py", "\\x00", "\\y"),
        ("001_it_ends.py", "stdout: a\\n\\x00b", "output: a"),
        ("001_it_ends.py", "stdout: a\\n\\x00b", "expect: a"),
        ("001_it_ends.py", "stdout: a\\n\\x00b", "walls: moat"),
        (
            "001_it_ends.py",
            "stdout: a\\n\\x00b",
            "limits: cpu_ms=much",
        ),
        ("001_it_ends.py", "stdout: a\\n\\x00b", "limits: patience=1"),
        ("001_it_ends.py", "stdout: a\\n\\x00b", "known_hole:"),
        (
            "001_it_ends.py",
            "stdout: a\\n\\x00b",
            "known_hole: (mars) far away",
        ),
    ] {
        let text = good.replace(from, to);
        assert!(parse(name, &text).is_err(), "{name}: {text}");
    }
}
