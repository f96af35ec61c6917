//! The tiers: what is checked in two minutes, in a quarter of an hour, and before a release.

use crate::leftovers::{SlotUids, Traces};
use crate::needs::{self, Install, Need};
use crate::programs::{cargo, is_there, run, run_heard, status};
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{bench, build, demo, footprint, humaneval, many, schema, vm};
use anyhow::{Context, Result, bail, ensure};
use jailfleet_harness::Broker;
use std::fmt;

/// How much `test` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What the README promises of `cargo xtask test`.
    Usual,
    /// Everything.
    All,
}

/// How many tests passed and failed, as nextest's last line says.
#[derive(Debug, Default, PartialEq, Eq)]
struct TestAccount {
    passed: u64,
    failed: u64,
}

impl TestAccount {
    fn note(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("tests run: ") else {
            return;
        };
        let before = |word: &str| {
            let mut parts = counts.split([',', ' ']).filter(|part| !part.is_empty());
            let mut last = parts.next()?;
            parts.find_map(|part| {
                let found = (part == word).then_some(last);
                last = part;
                found
            })
        };
        let count = |word| before(word).and_then(|text| text.parse().ok()).unwrap_or(0);
        // A test that leaves a process behind, or does not end, has failed as well.
        self.failed = count("failed") + count("timed") + count("exec");
        self.passed = count("passed");
    }
}

impl fmt::Display for TestAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Extent {
    fn in_guests(self) -> vm::tier::Share {
        match self {
            Self::Usual => vm::tier::Share::Usual,
            Self::All => vm::tier::Share::All,
        }
    }
}

/// Format, lints, documents, dependency rules and pure tests.
pub(crate) fn check(workspace: &Workspace, steps: &mut Steps) {
    let cargo = |arguments: &[&str]| {
        let mut cargo = cargo();
        cargo.current_dir(workspace.root()).args(arguments);
        cargo
    };
    steps.perform("format", || {
        run("cargo fmt", &mut cargo(&["fmt", "--all", "--check"]))
    });
    steps.perform("lints", || {
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ];
        run("cargo clippy", &mut cargo(&clippy))
    });
    // The sandbox is built without what the whole workspace happens to switch on.
    steps.perform("lints of the words without the wire", || {
        let clippy = [
            "clippy",
            "--package=jailfleet",
            "--no-default-features",
            "--quiet",
        ];
        run(
            "cargo clippy",
            cargo(&clippy).args(["--", "-D", "warnings"]),
        )
    });
    steps.perform("documents", || {
        let doc = [
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--quiet",
        ];
        run("cargo doc", cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.perform("schemas", || schema::check(workspace));
    steps.perform("rules of the repository and pure tests", || {
        let arguments = [
            "--package=jailfleet",
            "--package=jailfleet-guest",
            "--package=xtask",
        ];
        tests(
            workspace,
            &arguments,
            Vec::new(),
            &mut TestAccount::default(),
        )
    });
    if is_there("cargo-deny") && workspace.root().join("deny.toml").exists() {
        steps.perform("licences and sources", || {
            run(
                "cargo deny",
                &mut cargo(&["deny", "check", "bans", "licenses", "sources"]),
            )
        });
    } else {
        eprintln!(
            "NOT CHECKED: licences and sources of the dependencies; `cargo install cargo-deny --locked` brings what checks them"
        );
    }
}

/// The real kernel, a real broker, end to end.
pub(crate) fn test(
    workspace: &Workspace,
    install: Install,
    extent: Extent,
    steps: &mut Steps,
) -> Result<()> {
    needs::provide(&Need::ALL, install)?;
    let uids = slot_uids(workspace)?;
    let before = Traces::now(uids)?;
    // Tests start the built programs, as a user would.
    steps.perform("build", || build::release(workspace));
    let mut account = TestAccount::default();
    steps.perform("tests of all crates", || {
        all_tests(workspace, install, &mut account)
    });
    let mut guests = vm::tier::Learned::default();
    steps.perform("tests in a guest with AppArmor and cgroup v2", || {
        vm::tier::run(workspace, install, extent.in_guests(), &mut guests)
    });
    steps.perform("demo", || demo::run(workspace, install));
    steps.perform("demo --amqp", || demo::over_amqp(workspace, install));
    steps.perform("demo --humaneval", || humaneval::demo(workspace, install));
    steps.perform("a worker stops in the middle", || {
        many::run(workspace, install, 10_000)
    });
    if extent == Extent::All {
        steps.perform("footprint", || footprint::run(workspace, install));
        steps.perform("bench", || bench::bench(workspace, install, 1));
    }
    steps.perform("nothing is left", || {
        Traces::now(uids)?.nothing_since(&before)
    });
    account.passed += guests.tally.passed;
    account.failed += guests.tally.failed;
    // Without nextest there is nothing to count, and cargo's own lines stand above.
    if account != TestAccount::default() {
        steps.remember(account.to_string());
    }
    if guests.tally.skipped > 0 {
        steps.remember(format!("{} skipped in guests", guests.tally.skipped));
    }
    if let Some(words) = guests.unchecked {
        steps.remember(words);
    }
    Ok(())
}

/// What is on this machine now; an error when it is anything.
pub(crate) fn leftovers(workspace: &Workspace) -> Result<()> {
    Traces::now(slot_uids(workspace)?)?.nothing_since(&Traces::default())
}

/// All tests of all crates, on a broker that they share and in which nothing may be left.
fn all_tests(workspace: &Workspace, install: Install, account: &mut TestAccount) -> Result<()> {
    println!("Starting the RabbitMQ node that the tests share (10 to 20 s) ...");
    let broker = Broker::own()?;
    let mut environment = broker.environment();
    if install == Install::Refused {
        environment.push(("JAILFLEET_NO_INSTALL", "1".to_owned()));
    }
    tests(workspace, &["--workspace"], environment, account)?;
    let left = broker.queues()?;
    ensure!(left.is_empty(), "leave no queue behind: {left:?}");
    Ok(())
}

/// Runs tests with nextest, or with cargo where it is not there.
fn tests(
    workspace: &Workspace,
    arguments: &[&str],
    environment: Vec<(&'static str, String)>,
    account: &mut TestAccount,
) -> Result<()> {
    let mut cargo = cargo();
    cargo.current_dir(workspace.root()).envs(environment);
    let status = if is_there("cargo-nextest") {
        cargo
            .args(["nextest", "run", "--no-fail-fast"])
            .args(arguments);
        run_heard("cargo nextest", &mut cargo, |line| account.note(line))?
    } else {
        println!("cargo-nextest is not here (cargo install cargo-nextest --locked): cargo test");
        // One at a time: without nextest the tests that own the machine do not know of each other.
        cargo
            .args(["test", "--no-fail-fast"])
            .args(arguments)
            .env("RUST_TEST_THREADS", "1");
        status("cargo test", &mut cargo)?
    };
    if !status.success() {
        bail!("see all tests pass: {account} ({status})");
    }
    Ok(())
}

/// The range that the embedded configuration leases slot uids from.
fn slot_uids(workspace: &Workspace) -> Result<SlotUids> {
    let path = workspace.root().join("config/worker.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let config: toml::Table = toml::from_str(&text).context("read the embedded configuration")?;
    let number = |key: &str| {
        config
            .get("warden")
            .and_then(|warden| warden.get(key))
            .and_then(toml::Value::as_integer)
            .and_then(|number| u32::try_from(number).ok())
            .with_context(|| format!("find warden.{key} in {}", path.display()))
    };
    Ok(SlotUids {
        first: number("uid_base")?,
        count: number("uid_count")?,
    })
}

#[cfg(test)]
mod tests {
    use super::TestAccount;

    fn noted(line: &str) -> TestAccount {
        let mut account = TestAccount::default();
        account.note(line);
        account
    }

    #[test]
    fn the_last_line_of_nextest_is_understood() {
        let line = "     Summary [   3.756s] 14 tests run: 13 passed (2 slow), 1 failed, 0 skipped";
        assert_eq!(
            noted(line),
            TestAccount {
                passed: 13,
                failed: 1
            }
        );
        let line =
            "     Summary [   3.756s] 9 tests run: 6 passed, 2 failed, 1 timed out, 4 skipped";
        assert_eq!(
            noted(line),
            TestAccount {
                passed: 6,
                failed: 3
            }
        );
        assert_eq!(
            noted("        PASS [   0.005s] tests of all"),
            TestAccount::default()
        );
    }
}
