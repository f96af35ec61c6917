//! Boundaries between the crates: what each may be built from, and what it may do.

use std::collections::BTreeSet;
use std::path::Path;

use super::{read, root, rust_files};

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
