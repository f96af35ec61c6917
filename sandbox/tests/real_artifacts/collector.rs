//! The collector itself: what it may do, and what a worker can do to it.

use crate::fleet::{Fleet, Going};
use crate::job::{bash, python};
use jailfleet::evidence::End;
use jailfleet_harness::require;
use std::path::PathBuf;
use std::time::Duration;

/// Leaves more than a pipe holds.
const LARGE: &str = "open('tmp/large', 'wb').write(b'x' * 99_000)";

/// Orders a run whose artifacts nobody reads, and waits for its collector.
fn stuck(fleet: &mut Fleet) -> (Going, PathBuf) {
    let going = fleet.order(0, &python(LARGE).wanting(&["tmp/large"]));
    fleet.wait_for_end_of(&going);
    let deadline = jailfleet_sandbox::clock::now() + Duration::from_secs(5);
    loop {
        if let Some(found) = fleet.process_of_a_slot() {
            return (going, found);
        }
        assert!(
            jailfleet_sandbox::clock::now() < deadline,
            "no collector came"
        );
        std::thread::yield_now();
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.expect(name).trim()
}

#[test]
fn a_collector_has_the_slots_identity_no_power_and_one_pipe() {
    require!(Root);
    let mut fleet = Fleet::start(1);
    let (going, process) = stuck(&mut fleet);
    // It is stuck in the write that follows its confinement.
    fleet.wait_for_artifacts(&going);
    let status = std::fs::read_to_string(process.join("status")).expect("it is alive");
    for caps in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(&status, caps), "0000000000000000", "{caps}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    // The init's own filter, which every child has, and the collector's.
    let init = format!("/proc/{}/status", field(&status, "PPid:"));
    let init = std::fs::read_to_string(init).expect("it is alive");
    let filters = |status| {
        field(status, "Seccomp_filters:")
            .parse::<u32>()
            .expect("a number")
    };
    assert_eq!(filters(&status), filters(&init) + 1);
    assert_eq!(field(&status, "Groups:"), "");
    let uids: Vec<_> = field(&status, "Uid:").split_whitespace().collect();
    assert!(
        uids.iter().all(|uid| *uid == uids[0] && *uid != "0"),
        "{uids:?}"
    );
    let mut writes = 0;
    for entry in std::fs::read_dir(process.join("fd")).expect("a folder") {
        let link = std::fs::read_link(entry.expect("an entry").path()).expect("a link");
        let link = link.to_string_lossy().into_owned();
        let scratch = link.contains("/codejail-") || link == "/";
        // Seen from another mount namespace, a file is named from the top of its mount.
        let known = link.ends_with("/null") || scratch || link.starts_with("pipe:");
        writes += usize::from(link.starts_with("pipe:"));
        assert!(known || link.contains("landlock"), "{link}");
    }
    assert_eq!(writes, 1, "one pipe, and no other");
    let seen = fleet.finish(going);
    assert_eq!(seen.gathered.artifacts.len(), 1);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_worker_that_closes_the_pipe_has_its_slot_back_at_once() {
    let mut fleet = Fleet::start(1);
    let going = fleet.order(0, &python(LARGE).wanting(&["tmp/large"]));
    let before = jailfleet_sandbox::clock::now();
    let seen = fleet.finish(going.without_reader());
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    assert!(before.elapsed() < Duration::from_secs(5));
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_worker_that_never_reads_holds_one_slot_for_ten_seconds_and_no_other() {
    require!(Root);
    let mut fleet = Fleet::start(2);
    let (going, _) = stuck(&mut fleet);
    let before = jailfleet_sandbox::clock::now();
    let neighbour = fleet.run_in(1, &bash("echo beside"));
    assert_eq!(neighbour.out(), "beside\n");
    assert!(before.elapsed() < Duration::from_secs(5));
    fleet.wait_idle(0);
    let held = before.elapsed();
    assert!(held < Duration::from_secs(15), "{held:?}");
    drop(going);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_warden_whose_worker_dies_in_the_middle_of_it_leaves_nothing() {
    require!(Root);
    let mut fleet = Fleet::start(1);
    let (going, process) = stuck(&mut fleet);
    drop(going);
    let warden = fleet.warden.take().expect("it runs");
    let status = warden.wait().expect("its end");
    assert!(status.success(), "{status}");
    assert!(!process.exists(), "the collector outlived its warden");
    assert!(!fleet.has_processes());
}
