//! The repository tests itself: boundaries between the crates, promises, documents.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder` that is ours, whatever it is; build output and git left out.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match name {
            "target" | ".git" => {}
            _ if path.is_symlink() => {}
            _ if path.is_dir() => found.extend(files_below(&path)),
            _ => found.push(path),
        }
    }
    found
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = files_below(&root().join(folder));
    files.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    assert!(!files.is_empty(), "{folder} has Rust files");
    files
}

/// Names of all packages that `package` is built from, tests and build scripts left out.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo is the one that knows the tree"
)]
fn dependencies(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .current_dir(root())
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
        ])
        .arg(format!("--package={package}"))
        .output()
        .expect("cargo can be started");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo tree --package={package}: {words}"
    );
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn assert_without(package: &str, forbidden: &[&str]) {
    let tree = dependencies(package);
    assert!(tree.contains(package), "the tree of {package} was read");
    for name in forbidden {
        assert!(!tree.contains(*name), "{package} must not depend on {name}");
    }
}

#[test]
fn the_warden_carries_no_json_no_amqp_and_no_async_runtime() {
    assert_without(
        "jailfleet-sandbox",
        &[
            "tokio",
            "lapin",
            "serde_json",
            "hyper",
            "prometheus",
            "jailfleet-queue",
        ],
    );
}

#[test]
fn the_words_perform_no_io() {
    let forbidden = [
        "tokio",
        "lapin",
        "nix",
        "libc",
        "rustix",
        "prometheus",
        "tracing",
    ];
    assert_without("jailfleet", &forbidden);
}

#[test]
fn the_doors_do_not_know_the_sandbox() {
    assert_without(
        "jailfleet-queue",
        &["jailfleet-sandbox", "nix", "prometheus"],
    );
}

#[test]
fn what_both_programs_share_knows_neither_doors_nor_walls() {
    let forbidden = [
        "jailfleet-queue",
        "jailfleet-sandbox",
        "tokio",
        "lapin",
        "nix",
    ];
    assert_without("jailfleet-program", &forbidden);
    // A library reads no wall clock and decides on no log: only programs have these.
    for library in ["jailfleet", "jailfleet-queue", "jailfleet-sandbox"] {
        assert_without(library, &["jailfleet-program", "tracing-subscriber"]);
    }
}

#[test]
fn the_producer_knows_neither_sandbox_nor_worker() {
    assert_without(
        "jailfleet-producer",
        &["jailfleet-sandbox", "jailfleet-worker", "nix"],
    );
}

#[test]
fn nothing_that_is_built_for_users_depends_on_what_is_for_tests() {
    for member in members() {
        let manifest = read(Path::new(&member).join("Cargo.toml"));
        let name = manifest
            .lines()
            .find_map(|line| line.strip_prefix("name = "));
        let package = name.expect("a name").trim_matches('"');
        match package {
            "xtask" => {}
            "jailfleet-harness" => assert_without(package, &["xtask"]),
            _ => assert_without(package, &["xtask", "jailfleet-harness"]),
        }
    }
}

/// The folders of all packages of the workspace.
fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, list) = manifest.split_once("members = [").expect("a workspace");
    let (list, _) = list.split_once(']').expect("a list");
    let members: Vec<String> = list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(members.len() > 5, "{members:?}");
    members
}

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

/// Words that only something with an effect on the world, or a look at it, can write.
const EFFECTS: [&str; 7] = [
    "std::fs",
    "TcpStream",
    "std::process::Command",
    "SystemTime::now",
    "Instant::now",
    "std::env::var",
    "std::thread",
];

#[test]
fn the_words_ask_the_world_for_nothing() {
    for file in rust_files("src") {
        let text = read(&file);
        let code = || {
            text.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
        };
        for effect in EFFECTS {
            let said = code().find(|line| line.contains(effect));
            assert_eq!(said, None, "{} says {effect}", file.display());
        }
    }
}

#[test]
fn only_the_sandbox_may_be_unsafe() {
    for file in [
        "src/lib.rs",
        "queue/src/lib.rs",
        "program/src/lib.rs",
        "harness/src/lib.rs",
        "worker/src/lib.rs",
        "producer/src/lib.rs",
    ] {
        assert!(
            read(file).contains("#![forbid(unsafe_code)]"),
            "{file} forbids unsafe code"
        );
    }
    for file in [
        "worker/src/main.rs",
        "producer/src/main.rs",
        "xtask/src/main.rs",
        "guest/src/main.rs",
        "guest/src/lib.rs",
    ] {
        assert!(
            read(file).contains("#![forbid(unsafe_code)]"),
            "{file} forbids unsafe code"
        );
    }
    for folder in [
        "src", "queue", "program", "worker", "producer", "xtask", "harness", "guest",
    ] {
        for path in rust_files(folder) {
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            let hit = text.lines().find(|line| has_unsafe_code(line));
            assert!(hit.is_none(), "{} says {hit:?}", path.display());
        }
    }
}

#[test]
fn within_the_sandbox_only_the_system_calls_are_unsafe() {
    for path in rust_files("sandbox/src") {
        let relative = path
            .strip_prefix(root().join("sandbox/src"))
            .expect("it lies below");
        let is_sys = relative.to_string_lossy().starts_with("sys");
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let hit = text.lines().find(|line| has_unsafe_code(line));
        assert!(is_sys || hit.is_none(), "{} says {hit:?}", path.display());
    }
}

/// Whether a line of Rust opens something unsafe. Words in comments do not count.
fn has_unsafe_code(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
        .iter()
        .any(|mark| code.contains(mark))
}

#[test]
fn the_search_for_unsafe_code_finds_it_and_passes_comments_over() {
    assert!(has_unsafe_code("    let x = unsafe { f() };"));
    assert!(has_unsafe_code("pub unsafe fn f() {}"));
    assert!(!has_unsafe_code("// unsafe { f() }"));
    assert!(!has_unsafe_code("#![forbid(unsafe_code)]"));
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
