//! `cargo xtask broker`: the tests that depend on the broker, on RabbitMQ 4.0.
//!
//! The host brings one release, Debian trixie's tree in the cache another. 3.13 is in no archive that
//! tests could take it from.

use crate::account::TestAccount;
use crate::needs::{self, Install, Need};
use crate::tiers::{every_test, tests};
use crate::unchecked::{must_all_be_checked, unchecked};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use jailfleet_harness::{Broker, Release};
use std::fmt;

/// Everything that talks to a broker and whose meaning may differ with its release.
const TESTS: [&str; 17] = [
    "real_alike",
    "real_amqp",
    "real_api",
    "real_broker",
    "real_bulk",
    "real_cancel",
    "real_chaos",
    "real_drain",
    "real_full",
    "real_kept",
    "real_node",
    "real_reaper",
    "real_tenants",
    "real_tls",
    "real_topology",
    "real_twins",
    "real_versions",
];
/// What talks to a broker and is not run again, and why.
const NOT_AGAIN: [(&str, &str); 8] = [
    (
        "real_artifacts",
        "larger results; what the broker does with one is in real_broker and real_full",
    ),
    (
        "real_canary",
        "a job among others; what the broker does with one is in real_amqp",
    ),
    (
        "real_compare",
        "jobs and results of an interactive lane, as in real_broker and real_kept",
    ),
    (
        "real_faults",
        "minutes of it: JAILFLEET_TEST_RABBITMQ=4.0 cargo xtask faults",
    ),
    (
        "real_progress",
        "what a terminal shows of jobs and results as in real_bulk",
    ),
    (
        "real_secrets",
        "what a program's log and command line show; how one logs in is in real_tls",
    ),
    (
        "real_separation",
        "what a worker's identity can do on its host, where no broker is",
    ),
    (
        "real_serve",
        "HTTP in front of jobs and results, as in real_broker and real_kept",
    ),
];

/// What stays unchecked without it.
const PROMISES: [&str; 3] = [
    "that a job which kills its workers is given up on RabbitMQ 4.0 too",
    "that dead letters, cancels and drains mean the same on RabbitMQ 4.0",
    "that nothing in the topology differs on RabbitMQ 4.0",
];

/// In the chain of an error: there is no second RabbitMQ, and nothing was tried with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoRelease;

impl fmt::Display for NoRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("get RabbitMQ 4.0")
    }
}

/// Runs them all.
pub(crate) fn run(workspace: &Workspace, install: Install) -> Result<()> {
    let mut account = TestAccount::default();
    on_the_other(workspace, install, &mut account)?;
    for line in account.closing_lines() {
        println!("{line}");
    }
    for (name, reason) in NOT_AGAIN {
        println!("Not run on it: {name} ({reason})");
    }
    Ok(())
}

/// Within a tier: where there can be no second RabbitMQ, says in `words` what nobody has checked.
pub(crate) fn tier(
    workspace: &Workspace,
    install: Install,
    account: &mut TestAccount,
    words: &mut Option<String>,
) -> Result<()> {
    let Err(error) = on_the_other(workspace, install, account) else {
        return Ok(());
    };
    if must_all_be_checked() || error.downcast_ref::<NoRelease>().is_none() {
        return Err(error);
    }
    let text = unchecked(
        "since there was no RabbitMQ 4.0 to check it with",
        &PROMISES,
        &format!("{error:#}"),
    );
    println!("{text}");
    *words = Some(text);
    Ok(())
}

fn on_the_other(workspace: &Workspace, install: Install, account: &mut TestAccount) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    provide(install).context(NoRelease)?;
    println!("Starting a RabbitMQ node of release 4.0 (10 to 20 s) ...");
    let broker = Broker::own_of(Release::Four)?;
    let version = broker.ctl(&["eval", "rabbit_misc:version()."])?;
    println!("It is RabbitMQ {}", version.trim());
    ensure!(
        version.contains("4.0."),
        "have RabbitMQ 4.0: it is {version}"
    );
    let mut arguments = [
        "--package=jailfleet-harness",
        "--package=jailfleet-queue",
        "--package=jailfleet-worker",
        "--package=jailfleet-producer",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(TESTS.iter().map(|name| format!("--test={name}")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // It also says of which release nodes are that a test starts for itself.
    let mut environment = broker.environment();
    environment.push(every_test());
    if install == Install::Refused {
        environment.push(("JAILFLEET_NO_INSTALL", "1".to_owned()));
    }
    account.once_more(", on RabbitMQ 4.0");
    let went = tests(workspace, &arguments, environment, account);
    account.once_more("");
    went?;
    let left = broker.queues()?;
    ensure!(left.is_empty(), "leave no queue behind: {left:?}");
    Ok(())
}

/// What unpacks it, and the tree itself.
fn provide(install: Install) -> Result<()> {
    needs::provide(&[Need::Debootstrap], install)?;
    Release::Four.provide()
}

#[cfg(test)]
mod tests {
    use super::{NOT_AGAIN, TESTS};
    use std::path::{Path, PathBuf};

    fn entries(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    }

    /// A test file, or one of the folder of the same name, starts a broker or asks for one.
    fn talks_to_a_broker(file: &Path) -> bool {
        let parts = entries(&file.with_extension(""));
        [file.to_owned()].iter().chain(&parts).any(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.contains("require!(") && text.contains("Broker")
        })
    }

    #[test]
    fn every_test_with_a_broker_runs_on_the_other_release_or_says_why_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        for file in ["harness", "queue", "producer", "worker"]
            .iter()
            .flat_map(|member| entries(&root.join(member).join("tests")))
        {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            if name.starts_with("real_") && file.is_file() && talks_to_a_broker(&file) {
                found.push(name.into_owned());
            }
        }
        found.sort_unstable();
        found.dedup();
        let excused = NOT_AGAIN.iter().map(|(name, _)| *name);
        let mut named: Vec<&str> = TESTS.into_iter().chain(excused).collect();
        named.sort_unstable();
        assert_eq!(named, found);
    }
}
