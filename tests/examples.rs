//! The examples show every kind of program, each in more than one runtime.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A card of `examples/<group>/<name>.json`.
struct Example {
    path: PathBuf,
    card: Value,
}

impl Example {
    fn text(&self, pointer: &str) -> &str {
        let found = self.card.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default()
    }

    fn has(&self, pointer: &str) -> bool {
        self.card.pointer(pointer).is_some()
    }

    /// Whether it may end so; a card names one outcome or several.
    fn may_end(&self, outcomes: &[&str]) -> bool {
        let expected = self.card.pointer("/expect/outcome");
        match expected {
            Some(Value::Array(several)) => several
                .iter()
                .all(|one| one.as_str().is_some_and(|one| outcomes.contains(&one))),
            Some(Value::String(one)) => outcomes.contains(&one.as_str()),
            _ => false,
        }
    }

    /// The exit code that it must end with.
    fn code(&self) -> Option<i64> {
        self.card
            .pointer("/expect/exit_code")
            .and_then(Value::as_i64)
    }
}

/// A kind of program, and what an example of it must at least say.
struct Kind {
    name: &'static str,
    shown_by: fn(&Example) -> bool,
}

/// What people send, by mistake or on purpose: each must be shown in two runtimes or more.
const KINDS: [Kind; 12] = [
    Kind {
        name: "ordinary",
        shown_by: |example| example.code() == Some(0),
    },
    Kind {
        name: "stdin and files",
        // The one without any is about what a program reads then.
        shown_by: |example| {
            let brings = ["/job/stdin", "/job/files", "/stdin_times"];
            brings.iter().any(|part| example.has(part)) || example.path.ends_with("no_stdin.json")
        },
    },
    Kind {
        name: "artifacts",
        shown_by: |example| example.has("/job/artifacts") && example.has("/expect/artifacts"),
    },
    Kind {
        name: "exception",
        shown_by: |example| example.code() == Some(1) && example.has("/expect/stderr_contains"),
    },
    Kind {
        name: "exit or signal",
        shown_by: |example| {
            let signaled = example.may_end(&["signaled"]) && example.has("/expect/signal");
            signaled || example.code().is_some_and(|code| code != 0)
        },
    },
    Kind {
        name: "endless loop",
        shown_by: |example| example.may_end(&["cpu_limit"]),
    },
    Kind {
        name: "sleeper",
        shown_by: |example| example.may_end(&["wall_limit"]),
    },
    Kind {
        name: "memory hog",
        // With a limit on its address space a program may be told, and go on.
        shown_by: |example| {
            example.may_end(&["memory_limit"]) || example.has("/job/limits/address_space_bytes")
        },
    },
    Kind {
        name: "output flood",
        shown_by: |example| example.may_end(&["output_limit"]) && example.has("/expect/truncated"),
    },
    Kind {
        name: "fork bomb",
        shown_by: |example| example.has("/job/limits/processes"),
    },
    Kind {
        name: "file filler",
        shown_by: |example| {
            let limits = ["file_bytes", "disk_bytes", "disk_files"];
            limits
                .iter()
                .any(|limit| example.has(&format!("/job/limits/{limit}")))
        },
    },
    Kind {
        name: "bad UTF-8",
        shown_by: |example| example.has("/expect/stdout/base64"),
    },
];

/// What else there is: it may be about one runtime only.
const OTHERS: [&str; 4] = ["globals", "leftover", "wall", "refused"];

fn examples() -> Vec<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder can be listed");
        let path = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").path();
        entries.map(path).collect()
    };
    let groups = list(&folder).into_iter().filter(|path| path.is_dir());
    let cards = groups.flat_map(|group| list(&group));
    let cards = cards.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a card can be read");
        let card = serde_json::from_str(&text);
        let card = card.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Example { path, card }
    };
    cards.map(read).collect()
}

#[test]
fn each_kind_of_program_is_shown_in_two_runtimes_or_more() {
    let mut runtimes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let examples = examples();
    for example in &examples {
        let runtime = example.text("/job/runtime").to_owned();
        let shown = runtimes.entry(example.text("/kind")).or_default();
        shown.insert(runtime);
    }
    for kind in KINDS {
        let shown = runtimes.get(kind.name).map_or(0, BTreeSet::len);
        assert!(
            shown >= 2,
            "the kind {} is shown in {shown} runtimes",
            kind.name
        );
    }
}

#[test]
fn each_example_says_its_kind_and_is_of_it() {
    for example in examples() {
        let name = example.text("/kind");
        let path = example.path.display();
        match KINDS.iter().find(|kind| kind.name == name) {
            Some(kind) => assert!((kind.shown_by)(&example), "{path} is no {name}"),
            None => assert!(
                OTHERS.contains(&name),
                "{path} is of a kind nobody knows: {name:?}"
            ),
        }
    }
}
