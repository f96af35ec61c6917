//! The ways to take a wall down and to halt a job are for tests alone: nothing that is shipped is built with
//! them.

use std::path::{Path, PathBuf};

/// The feature that switches it on.
const FEATURE: &str = "wall-removal";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below these places that contain `text`, as the repository names them.
fn files_with(text: &str, places: &[&str]) -> Vec<String> {
    let mut open: Vec<PathBuf> = places.iter().map(|place| root().join(place)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder of ours");
            open.extend(entries.map(|entry| entry.expect("it can be read").path()));
        } else if std::fs::read_to_string(&path).is_ok_and(|content| content.contains(text)) {
            let name = path.strip_prefix(root()).expect("it is below the root");
            found.push(name.display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn a_warden_that_is_shipped_cannot_be_told_to_leave_a_wall_out() {
    // All that could build, ship or start a warden.
    let places = [
        "Cargo.toml",
        "src",
        "queue",
        "sandbox/Cargo.toml",
        "sandbox/src",
        "worker",
        "producer",
        "program",
        "harness",
        "xtask",
        "deploy",
        "docker-compose.yml",
    ];
    assert_eq!(
        files_with(FEATURE, &places),
        [
            "sandbox/Cargo.toml",
            "sandbox/src/lib.rs",
            "sandbox/src/without.rs",
            "xtask/src/build.rs"
        ]
    );
    // Nobody but the tests' own warden calls what takes it down.
    assert_eq!(
        files_with("take_down(", &["sandbox", "worker", "xtask", "harness"]),
        ["sandbox/src/without.rs", "sandbox/tests/real_walls.rs",]
    );
    assert_eq!(
        files_with("take_down", &["sandbox/tests/without"]),
        ["sandbox/tests/without/warden.rs"]
    );
}

#[test]
fn the_feature_is_off_unless_somebody_asks_for_it_by_name() {
    let manifest = std::fs::read_to_string(root().join("sandbox/Cargo.toml"));
    let manifest = manifest.expect("the sandbox has a manifest");
    assert!(!manifest.contains("default ="), "{manifest}");
    let needs_it = format!("required-features = [\"{FEATURE}\"]");
    assert_eq!(manifest.matches(&needs_it).count(), 2, "{manifest}");
    let module = std::fs::read_to_string(root().join("sandbox/src/without.rs"));
    let module = module.expect("the module is there");
    let constant = "#[must_use]\npub(crate) const fn stands(_wall: Wall) -> bool {\n    true\n}\n";
    let without_it = format!("#[cfg(not(feature = \"{FEATURE}\"))]\n{constant}");
    assert!(module.contains(&without_it), "{module}");
}

#[test]
fn a_worker_that_is_shipped_cannot_be_told_to_halt_a_job() {
    let feature = "halting-points";
    let places = [
        "Cargo.toml",
        "src",
        "queue",
        "sandbox",
        "worker",
        "producer",
        "program",
        "harness",
        "xtask",
        "deploy",
        "docker-compose.yml",
    ];
    let named = [
        "worker/Cargo.toml",
        "worker/src/halt.rs",
        "worker/tests/real_faults/pair.rs",
        "xtask/src/build.rs",
    ];
    assert_eq!(files_with(feature, &places), named);
    let read = |name| std::fs::read_to_string(root().join(name)).expect("the file is there");
    let manifest = read("worker/Cargo.toml");
    assert!(!manifest.contains("default ="), "{manifest}");
    let needs_it = format!("required-features = [\"{feature}\"]");
    assert_eq!(manifest.matches(&needs_it).count(), 1, "{manifest}");
    // Without the feature a point is no more than a value, and no release build has it.
    let module = read("worker/src/halt.rs");
    let nothing = "pub(crate) fn at(_point: Point, _job: &Envelope) -> std::future::Ready<()> {\n    \
                   std::future::ready(())\n}\n";
    let without = format!("#[cfg(not(feature = \"{feature}\"))]\n{nothing}");
    assert!(module.contains(&without), "{module}");
    let refused =
        format!("#[cfg(all(feature = \"{feature}\", not(debug_assertions)))]\ncompile_error!");
    assert!(module.contains(&refused), "{module}");
}
