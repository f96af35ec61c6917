//! What xtask does on a machine that lacks something: `--no-install` and `doctor`, as built.

use jailfleet_harness::require;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Hides node, in a mount namespace that ends with the command that follows.
const WITHOUT_NODE: &str = "\
    if [ -e /usr/bin/node ]; then mount --bind /dev/null /usr/bin/node; fi
    exec \"$@\"";

/// Stands where apt-get does, and leaves a trace if it is ever asked for anything.
const INSTALLER: &str = "#!/bin/sh\necho \"$@\" >> \"$ASKED\"\nexit 1\n";

/// A machine on which node is missing, and the package too, and an installer that only takes notes.
struct Bare {
    folder: tempfile::TempDir,
}

impl Bare {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let bare = Self { folder };
        let installer = bare.at("bin/apt-get");
        for folder in ["bin", "dpkg", "target"] {
            std::fs::create_dir(bare.at(folder)).expect("room for a folder");
        }
        std::fs::write(&installer, INSTALLER).expect("writable");
        let runnable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&installer, runnable).expect("ours");
        bare
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs xtask on it, as root.
    fn xtask(&self, arguments: &[&str]) -> Output {
        let path = std::env::var("PATH").expect("a path of text");
        let mut xtask = command("unshare");
        xtask
            .args(["--mount", "sh", "-ec", WITHOUT_NODE, "sh"])
            .arg(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            .env(
                "PATH",
                format!("{}:{path}:/usr/bin:/bin", self.at("bin").display()),
            )
            // dpkg-query looks here for what is installed, and finds nothing.
            .env("DPKG_ADMINDIR", self.at("dpkg"))
            .env("CARGO_TARGET_DIR", self.at("target"))
            .env("ASKED", self.at("asked"));
        xtask.output().expect("unshare starts")
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "these tests run the built program"
)]
fn command(program: impl AsRef<Path>) -> Command {
    Command::new(program.as_ref())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("xtask writes UTF-8")
}

/// The rows of the doctor's table: what is looked for, and whether it is here.
fn rows(page: &str) -> Vec<(&str, &str)> {
    let cells = |line| -> Option<(&str, &str)> {
        let (what, rest) = str::trim_start(line).split_once("  ")?;
        Some((what, rest.split_whitespace().next()?))
    };
    let rows = page.lines().filter_map(cells);
    rows.filter(|(_, here)| ["yes", "no", "MISSING"].contains(here))
        .collect()
}

#[test]
fn what_is_missing_is_named_with_its_reason_and_installed_by_nobody() {
    require!(Root);
    let bare = Bare::new();
    for task in [
        &["demo", "--no-install"][..],
        &["demo", "--amqp", "--no-install"],
        &["test", "--no-install"],
    ] {
        let output = bare.xtask(task);
        let (said, failed) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{task:?}: {said}{failed}");
        // The machine may lack more than node, and nothing has been installed for this test.
        let mut lines = said.lines();
        assert!(
            lines.any(|line| line == "nodejs is missing: the node jobs run /usr/bin/node"),
            "{task:?}: {said}"
        );
        let missing: Option<Vec<&str>> = said
            .lines()
            .map(|line| Some(line.split_once(" is missing: ")?.0))
            .collect();
        let missing = missing.unwrap_or_else(|| panic!("{task:?}: {said}"));
        let by_hand = format!(
            "xtask: failed to go on with what is here; install it by hand: apt-get install {}\n",
            missing.join(" ")
        );
        assert_eq!(failed, by_hand, "{task:?}");
        assert!(!bare.at("asked").exists(), "{task:?} asked the installer");
        let built = std::fs::read_dir(bare.at("target")).expect("a folder");
        assert_eq!(built.count(), 0, "{task:?} began to build");
    }
}

#[test]
fn the_doctor_says_what_is_missing_and_why_it_is_wanted_and_fails() {
    require!(Root);
    let bare = Bare::new();
    let output = bare.xtask(&["doctor"]);
    let (said, failed) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{failed}");
    let row = said.lines().find(|line| line.contains("nodejs"));
    let row = row.expect("a row about node");
    assert!(
        row.contains("MISSING") && row.contains("the node jobs run /usr/bin/node"),
        "{row}"
    );
    assert!(
        failed.contains("`cargo xtask test` installs it"),
        "{failed}"
    );
    assert!(!bare.at("asked").exists(), "the doctor asked the installer");
}

#[test]
fn the_doctor_has_a_row_for_all_that_a_machine_may_lack() {
    let output = command(env!("CARGO_BIN_EXE_xtask"))
        .arg("doctor")
        .output()
        .expect("xtask starts");
    let said = text(&output.stdout);
    let rows = rows(said);
    let names: Vec<&str> = rows.iter().map(|(what, _)| *what).collect();
    assert_eq!(
        names,
        [
            "python3",
            "nodejs",
            "gcc, libc6-dev",
            "procps",
            "rabbitmq-server",
            "python3-pip",
            "python3-venv",
            "prometheus",
            "cargo-nextest",
            "cargo-deny",
            "g++",
            "debootstrap",
            "root",
        ],
        "{said}"
    );
    // What a machine only may have is "no"; without what the tests need the doctor is not content.
    let missing = rows.iter().any(|(_, here)| *here == "MISSING");
    assert_eq!(output.status.success(), !missing, "{said}");
    assert!(said.contains("jailfleet-worker doctor"), "{said}");
}
