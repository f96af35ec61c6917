//! The tiers: what is checked in two minutes, in 20 minutes, and before a release.

use crate::account::{NoteFiles, TestAccount};
use crate::build::{HALTING_POINTS, WALL_REMOVAL};
use crate::leftovers::{Owners, Traces};
use crate::needs::{self, Install, Need};
use crate::programs::{beside_cargo, cargo, run, run_heard, status};
use crate::proofs::Passed;
use crate::steps::{Steps, both};
use crate::unchecked::must_all_be_checked;
use crate::workspace::Workspace;
use crate::{
    Machine, bench, build, containers, demo, deny, footprint, fresh, fuzz, humaneval, kubernetes,
    many, poison, prometheus, python, quorum, releases, scale, schema, schemathesis, soak, tools,
    turmoil, vm,
};
use anyhow::{Context, Result, bail, ensure};
use jailfleet_harness::Broker;

/// For each fuzz target, in `test --all`.
const FUZZ_SECONDS: u64 = 60;
/// How long a hostile worker talks to wardens, in `test --all`.
const HOSTILE_SECONDS: u64 = 300;

/// How many questions schemathesis has for each operation of the gateway, in `test`.
pub(crate) const FUZZER_EXAMPLES: usize = 50;

/// The variable by which nextest takes its profile `all`: its default one leaves out what takes longest.
pub(crate) fn every_test() -> (&'static str, String) {
    ("NEXTEST_PROFILE", "all".to_owned())
}

/// What is said at the end of a run without [`every_test`].
const SOME_LEFT_OUT: &str = "NOT RUN: the tests that take longest, which .config/nextest.toml lists; `cargo xtask test \
     --all` runs them";

/// How much `test` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What the README promises of `cargo xtask test`.
    Usual,
    /// Everything.
    All,
}

impl Extent {
    fn in_guests(self) -> vm::tier::Share {
        match self {
            Self::Usual => vm::tier::Share::Usual,
            Self::All => vm::tier::Share::All,
        }
    }

    fn python(self) -> python::Trial {
        match self {
            Self::Usual => python::Trial {
                calls: python::CALLS,
                pythons: python::Pythons::System,
            },
            Self::All => python::Trial {
                calls: 5 * python::CALLS,
                pythons: python::Pythons::All,
            },
        }
    }

    fn fuzzer_examples(self) -> usize {
        match self {
            Self::Usual => FUZZER_EXAMPLES,
            Self::All => 10 * FUZZER_EXAMPLES,
        }
    }

    fn jobs_in_turmoil(self) -> usize {
        match self {
            Self::Usual => 2_000,
            Self::All => 20_000,
        }
    }

    fn jobs_queued(self) -> usize {
        match self {
            Self::Usual => footprint::QUEUED,
            Self::All => 1_000_000,
        }
    }

    /// The variables that say how much of the fault loop's matrix is gone through, and how many random stories
    /// each property is held against: a few hundred thousand steps of each state machine.
    fn variables(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Usual => Vec::new(),
            Self::All => vec![
                ("JAILFLEET_FAULTS", "all".to_owned()),
                ("PROPTEST_CASES", "2048".to_owned()),
                every_test(),
            ],
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
    steps.perform("lints of the tests that take walls down", || {
        let clippy = ["clippy", "--all-targets", "--quiet"];
        let mut clippy = cargo(&clippy);
        clippy.args(WALL_REMOVAL).args(["--", "-D", "warnings"]);
        run("cargo clippy", &mut clippy)
    });
    steps.perform("lints of the worker that tests can halt", || {
        let mut clippy = cargo(&["clippy", "--bins", "--quiet"]);
        clippy.args(HALTING_POINTS).args(["--", "-D", "warnings"]);
        run("cargo clippy", &mut clippy)
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
    let mut account = TestAccount::default();
    steps.perform("rules of the repository and pure tests", || {
        let arguments = pure_tests(workspace)?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tests(workspace, &arguments, Vec::new(), &mut account)
    });
    for line in account.closing_lines() {
        steps.remember(format!("pure tests: {line}"));
    }
    match tools::DENY.find(workspace) {
        Some(program) => steps.perform("licences and sources", || deny::check(workspace, program)),
        None => not_checked(steps, deny::NOT_CHECKED),
    }
}

/// Says it where it happens, and again where people look.
fn not_checked(steps: &mut Steps, line: &str) {
    eprintln!("{line}");
    steps.remember(line.to_owned());
}

/// Cargo's arguments for every test that needs neither kernel nor broker: unit tests, and the test
/// files that do not call themselves real. The others are not even linked.
fn pure_tests(workspace: &Workspace) -> Result<Vec<String>> {
    let mut arguments = ["--workspace", "--lib", "--bins"]
        .map(str::to_owned)
        .to_vec();
    for member in workspace.members()? {
        let Ok(entries) = std::fs::read_dir(member.join("tests")) else {
            continue; // Not every crate has some.
        };
        for entry in entries {
            let path = entry.context("list the tests")?.path();
            let is_rust = path.extension().is_some_and(|end| end == "rs")
                // One that has a folder to itself.
                || path.join("main.rs").is_file();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| is_rust && !name.starts_with("real_")) {
                arguments.push(format!("--test={name}"));
            }
        }
    }
    Ok(arguments)
}

/// The real kernel, a real broker, end to end.
pub(crate) fn test(
    workspace: &Workspace,
    install: Install,
    extent: Extent,
    steps: &mut Steps,
) -> Result<()> {
    needs::provide(&Need::ALL, install)?;
    provide_runner(workspace, install)?;
    let owners = Owners::find(workspace.root())?;
    let before = Traces::now(&owners)?;
    // Tests start the built programs, as a user would.
    steps.perform("build", || build::release(workspace));
    let mut account = TestAccount::default();
    steps.perform("tests of all crates", || {
        all_tests(workspace, install, extent, &mut account)
    });
    let mut no_release = None;
    if extent == Extent::All {
        steps.perform("tests of the broker, on RabbitMQ 4.0", || {
            releases::tier(workspace, install, &mut account, &mut no_release)
        });
    }
    steps.perform("each wall taken down once", || {
        let target = build::without_walls(workspace);
        let arguments = [&WALL_REMOVAL[..], &["--test=real_walls", &target]].concat();
        tests(workspace, &arguments, Vec::new(), &mut account)
    });
    let mut guests = vm::tier::Learned::default();
    steps.perform("tests in a guest with AppArmor and cgroup v2", || {
        vm::tier::run(workspace, install, extent.in_guests(), &mut guests)
    });
    whole_fleets(workspace, install, extent, steps);
    let mut not_there = [None, None];
    if extent == Extent::All {
        not_there = before_a_release(workspace, install, steps);
    }
    steps.perform("nothing is left", || {
        Traces::now(&owners)?.nothing_since(&before)
    });
    account.add_guests(guests.tally, guests.passed, guests.skips);
    account.add_notes(guests.notes);
    let proven = account.proven();
    steps.perform("each wall is proven somewhere", || {
        every_wall(&proven, must_all_be_checked())
    });
    if !proven.is_empty() {
        let walls = proven.table();
        steps.remember(format!("Walls, and where a test proved them:\n{walls}"));
    }
    for line in account.closing_lines() {
        steps.remember(line);
    }
    if extent == Extent::Usual && tools::NEXTEST.find(workspace).is_some() {
        steps.remember(SOME_LEFT_OUT.to_owned());
    }
    for words in [guests.unchecked, no_release]
        .into_iter()
        .chain(not_there)
        .flatten()
    {
        steps.remember(words);
    }
    Ok(())
}

/// An error for a wall that no test proved, where all must be checked; loud words elsewhere.
fn every_wall(proven: &Passed, must: bool) -> Result<()> {
    let names: Vec<&str> = proven.unproven().iter().map(|wall| wall.as_str()).collect();
    let names = names.join(", ");
    ensure!(
        names.is_empty() || !must,
        "see each wall proven by a test that ran: {names} by none"
    );
    match names.as_str() {
        "" => println!("Each wall was proven by a test, here or in a guest"),
        names => println!("NOT CHECKED: walls that no test proved in this run: {names}"),
    }
    Ok(())
}

/// Brokers, workers and producers together, as users start them.
fn whole_fleets(workspace: &Workspace, install: Install, extent: Extent, steps: &mut Steps) {
    steps.perform("demo", || demo::run(workspace, install));
    steps.perform("demo --amqp", || demo::over_amqp(workspace, install));
    steps.perform("demo --humaneval", || humaneval::demo(workspace, install));
    steps.perform("a worker stops in the middle", || {
        many::run(workspace, install, 10_000)
    });
    let jobs = extent.jobs_in_turmoil();
    steps.perform("everything dies at random", || {
        turmoil::run(workspace, install, jobs, None)
    });
    let queued = extent.jobs_queued();
    steps.perform("footprint", || footprint::run(workspace, install, queued));
    steps.perform("Prometheus scrapes a worker", || {
        prometheus::run(workspace, install)
    });
    let mut unseen = None;
    steps.perform("the Python client", || {
        python::check(workspace, install, extent.python(), &mut unseen)
    });
    if let Some(line) = unseen {
        steps.remember(line);
    }
    let examples = extent.fuzzer_examples();
    steps.perform("schemathesis asks the gateway", || {
        schemathesis::run(workspace, install, examples)
    });
}

/// What only `test --all` runs; answers with what could not be checked.
fn before_a_release(
    workspace: &Workspace,
    install: Install,
    steps: &mut Steps,
) -> [Option<String>; 2] {
    let mut no_docker = None;
    steps.perform("workers in containers", || {
        containers::tier(workspace, install, &mut no_docker)
    });
    steps.perform("manifests for Kubernetes", || {
        kubernetes::check(workspace, install)
    });
    steps.perform(
        "a broker of three nodes loses a producer's, its leader, and two",
        || quorum::run(workspace, install, 2_000),
    );
    steps.perform("a job that kills its workers", || {
        poison::run(workspace, install, 1_000, 1)
    });
    steps.perform("four jobs at one time that kill their workers", || {
        poison::run(workspace, install, 1_000, 4)
    });
    steps.perform("workers come and go", || {
        scale::run(workspace, install, 10_000)
    });
    let mut no_machine = None;
    steps.perform("the demo on a fresh machine", || {
        fresh::tier(workspace, install, &mut no_machine)
    });
    steps.perform("soak", || soak::run(workspace, install, 100_000));
    steps.perform("bench", || bench::bench(workspace, install, 1));
    steps.perform("lints of the fuzz targets", || fuzz::check(workspace));
    steps.perform("fuzz", || fuzz::run_all(workspace, install, FUZZ_SECONDS));
    steps.perform("licences and sources", || {
        deny::check(workspace, tools::DENY.provide(workspace, install)?)
    });
    [no_docker, no_machine]
}

/// What is on this machine now; an error when it is anything.
pub(crate) fn leftovers(workspace: &Workspace) -> Result<()> {
    Traces::now(&Owners::find(workspace.root())?)?.nothing_since(&Traces::default())
}

/// Lets something die at the steps of a job's story, and looks for what that leaves on the machine.
pub(crate) fn faults(workspace: &Workspace, machine: Machine, extent: Extent) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], machine.install())?;
    let owners = Owners::find(workspace.root())?;
    let before = Traces::now(&owners)?;
    let arguments = ["--package=jailfleet-worker", "--test=real_faults"];
    let mut account = TestAccount::default();
    let went = tests(workspace, &arguments, extent.variables(), &mut account);
    let left = Traces::now(&owners).and_then(|now| now.nothing_since(&before));
    both(went, left)
}

/// All tests of all crates, on a broker that they share and in which nothing may be left.
fn all_tests(
    workspace: &Workspace,
    install: Install,
    extent: Extent,
    account: &mut TestAccount,
) -> Result<()> {
    println!("Starting the RabbitMQ node that the tests share (10 to 20 s) ...");
    let broker = Broker::own()?;
    let mut environment = broker.environment();
    if install == Install::Refused {
        environment.push(("JAILFLEET_NO_INSTALL", "1".to_owned()));
    }
    environment.extend(extent.variables());
    if extent == Extent::All {
        environment.push(("JAILFLEET_HOSTILE_SECONDS", HOSTILE_SECONDS.to_string()));
    }
    tests(workspace, &["--workspace"], environment, account)?;
    let left = broker.queues()?;
    ensure!(left.is_empty(), "leave no queue behind: {left:?}");
    Ok(())
}

/// The program that runs the tests, where it can be had; without it cargo runs them, and what it does not
/// see is said at the end.
fn provide_runner(workspace: &Workspace, install: Install) -> Result<()> {
    if install == Install::Refused {
        return Ok(());
    }
    match tools::NEXTEST.provide(workspace, install) {
        Err(error) if must_all_be_checked() => Err(error),
        Err(error) => {
            println!("Going on without it: failed to {error:#}");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Runs tests with nextest, or with cargo where it is not there.
pub(crate) fn tests(
    workspace: &Workspace,
    arguments: &[&str],
    environment: Vec<(&'static str, String)>,
    account: &mut TestAccount,
) -> Result<()> {
    let noted = NoteFiles::fresh(&workspace.folder("tests")?)?;
    let nextest = tools::NEXTEST.find(workspace);
    let mut runner = nextest.as_ref().map_or_else(cargo, beside_cargo);
    runner
        .current_dir(workspace.root())
        .envs(environment)
        .envs(noted.variables());
    let status = if nextest.is_some() {
        runner
            .args(["nextest", "run", "--no-fail-fast"])
            .args(arguments);
        run_heard("cargo nextest", &mut runner, |line| account.note(line))?
    } else {
        account.uncounted();
        // One at a time: without nextest the tests that own the machine do not know of each other.
        runner
            .args(["test", "--no-fail-fast"])
            .args(arguments)
            .env("RUST_TEST_THREADS", "1");
        status("cargo test", &mut runner)?
    };
    noted.give_to(account)?;
    if !status.success() {
        bail!("see all tests pass: {account} ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Extent, every_wall};
    use crate::proofs::Passed;

    #[test]
    fn a_wall_that_no_test_proved_fails_the_run_where_all_must_be_checked() {
        let nothing = Passed::default();
        every_wall(&nothing, false).expect("loud words");
        let error = every_wall(&nothing, true).expect_err("walls without a proof");
        assert!(error.to_string().contains("seccomp"), "{error}");
    }

    #[test]
    fn the_usual_tier_has_the_short_forms_and_all_the_whole_matrix_and_ten_times_the_rest() {
        let (usual, all) = (Extent::Usual, Extent::All);
        assert!(usual.variables().is_empty());
        assert_eq!(all.jobs_in_turmoil(), 10 * usual.jobs_in_turmoil());
        assert_eq!(all.jobs_queued(), 10 * usual.jobs_queued());
        // The test that goes through the matrix must know the variable by the same name and word.
        let matrix = include_str!("../../worker/tests/real_faults.rs");
        let variables = all.variables();
        let faults = variables
            .iter()
            .find(|(name, _)| *name == "JAILFLEET_FAULTS");
        let (name, word) = faults.expect("the whole matrix");
        assert!(matrix.contains(&format!("\"{name}\"")), "{name}");
        assert!(matrix.contains(&format!("Ok(\"{word}\")")), "{word}");
    }
}
