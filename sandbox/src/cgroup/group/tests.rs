//! Groups of both versions as folders of plain files: what is read and what is written. That the
//! kernel acts on it is seen by the tests with real jails.

use super::{Controller, Counters, Duration, Group, Version, above_leaf, enable};
use crate::cgroup::own::Own;
use crate::init::Service;
use std::path::Path;
use std::{fs, io};
use tempfile::TempDir;

const ALL: &[Controller] = &[Controller::Memory, Controller::Pids, Controller::CpuTime];

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).expect("a file")
}

fn version_two() -> TempDir {
    folder_with(&[
        ("memory.max", "max\n"),
        ("memory.swap.max", "max\n"),
        (
            "memory.events",
            "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n",
        ),
        ("memory.peak", ""),
        ("pids.max", "max\n"),
        (
            "cpu.stat",
            "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 0\n",
        ),
        (
            "cpu.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=9000\n\
             full avg10=0.00 avg60=0.00 avg300=0.00 total=700\n",
        ),
    ])
}

fn version_one() -> TempDir {
    folder_with(&[
        ("memory.limit_in_bytes", ""),
        ("memory.memsw.limit_in_bytes", ""),
        (
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        ),
        ("memory.max_usage_in_bytes", "4096\n"),
        ("memory.memsw.max_usage_in_bytes", "8192\n"),
        ("pids.max", "max\n"),
        ("cpuacct.usage", "2500000\n"),
    ])
}

/// Such a folder as a group of every controller, for many runs.
fn open(version: Version, folder: &TempDir) -> io::Result<Group> {
    Group::open(version, ALL, folder.path().to_owned(), Service::ManyRuns)
}

fn counted(group: &Group) -> Counters {
    let mut counters = Counters::default();
    group.count(&mut counters);
    counters
}

#[test]
fn version_two_counts_kills_time_and_pressure() {
    let folder = version_two();
    let group = open(Version::Two, &folder).expect("a group");
    let expected = Counters {
        cpu: Some(Duration::from_micros(1500)),
        oom_kills: 2,
        memory_refusals: Some(2),
        pressure_full: Some(Duration::from_micros(700)),
    };
    assert_eq!(counted(&group), expected);
}

#[test]
fn version_two_is_limited_without_swap() {
    let folder = version_two();
    let group = open(Version::Two, &folder).expect("a group");
    group.limit(1 << 20, 5).expect("plain files take anything");
    assert!(text(folder.path(), "memory.max").starts_with("1048576"));
    assert!(text(folder.path(), "memory.swap.max").starts_with('0'));
    assert!(text(folder.path(), "pids.max").starts_with('5'));
}

#[test]
fn version_one_limits_memory_and_swap_together_and_counts_in_nanoseconds() {
    let folder = version_one();
    let group = open(Version::One, &folder).expect("a group");
    group.limit(1 << 20, 5).expect("plain files take anything");
    assert_eq!(text(folder.path(), "memory.limit_in_bytes"), "1048576");
    assert_eq!(
        text(folder.path(), "memory.memsw.limit_in_bytes"),
        "1048576"
    );
    let expected = Counters {
        cpu: Some(Duration::from_micros(2500)),
        oom_kills: 3,
        memory_refusals: None,
        pressure_full: None,
    };
    assert_eq!(counted(&group), expected);
}

#[test]
fn a_host_that_does_not_count_swap_is_limited_all_the_same() {
    let folder = version_one();
    fs::remove_file(folder.path().join("memory.memsw.limit_in_bytes")).expect("it was there");
    let group = open(Version::One, &folder).expect("a group");
    group.limit(1 << 20, 5).expect("plain files take anything");
    assert_eq!(text(folder.path(), "memory.limit_in_bytes"), "1048576");
    assert_eq!(group.peak_memory(), Some(4096));
}

#[test]
fn a_limit_on_swap_that_cannot_be_set_is_not_left_out() {
    let folder = version_one();
    let path = folder.path().join("memory.memsw.limit_in_bytes");
    fs::remove_file(&path).expect("it was there");
    fs::create_dir(&path).expect("a folder cannot be written, whoever tries");
    open(Version::One, &folder).expect_err("memory would not be limited");
}

#[test]
fn the_peak_is_that_of_what_is_limited_swap_included_where_that_is() {
    let folder = version_one();
    let group = open(Version::One, &folder).expect("a group");
    // A program that has its pages put out to swap meets the limit of both, and never that of memory.
    assert_eq!(group.peak_memory(), Some(8192));
    group.forget_peaks().expect("plain files take anything");
    assert!(text(folder.path(), "memory.memsw.max_usage_in_bytes").starts_with('0'));
}

#[test]
fn a_group_without_a_controller_that_it_should_have_is_refused() {
    let folder = version_two();
    fs::remove_file(folder.path().join("pids.max")).expect("it was there");
    open(Version::Two, &folder).expect_err("no limit on tasks");
}

#[test]
fn processes_of_others_are_never_moved_out_of_their_group() {
    let above = folder_with(&[("cgroup.procs", "")]);
    let parent = above.path().join("session.scope");
    fs::create_dir(&parent).expect("a folder");
    // No file cgroup.subtree_control: the first attempt is refused, as by a group with processes.
    // Above the highest pid that Linux gives, so that it is nobody's, not even our parent's.
    let others = format!("{}\n4194305\n", std::process::id());
    fs::write(parent.join("cgroup.procs"), others).expect("a file");
    let base = parent.join("jailfleet");
    let refused = enable(&parent, &base, &base.join("w-1"), ALL).expect_err("one is not ours");
    assert!(refused.to_string().contains("of others"), "{refused}");
    assert!(!parent.join("jailfleet.main").exists());
}

#[test]
fn groups_that_turn_out_to_be_of_no_use_are_not_left_behind() {
    // Our own group alone, so that the processes may be moved; no file lets controllers be enabled.
    let parent = folder_with(&[("cgroup.procs", "")]);
    let base = parent.path().join("jailfleet-test-1");
    let own = Own::take(&base).expect("a group");
    enable(parent.path(), &base, own.folder(), ALL).expect_err("nothing can be enabled");
    own.remove();
    assert!(!base.exists());

    let own = Own::take(&base).expect("a group");
    let others = base.join("w-2-0");
    fs::create_dir_all(&others).expect("another warden's");
    own.remove();
    assert!(others.exists());
}

#[test]
fn the_peak_of_tasks_is_told_only_where_a_group_serves_one_run() {
    let folder = version_two();
    fs::write(folder.path().join("pids.peak"), "5\n").expect("a file");
    let peak = |service| {
        let path = folder.path().to_owned();
        let group = Group::open(Version::Two, ALL, path, service).expect("a group");
        group.peak_tasks()
    };
    assert_eq!(peak(Service::OneRun), Some(5));
    // The kernel cannot forget it: it may be that of a run before.
    assert_eq!(peak(Service::ManyRuns), None);
}

#[test]
fn a_warden_started_in_an_earlier_wardens_leaf_makes_its_groups_beside_that_leaf() {
    let above = |own: &str| above_leaf(own.into(), "jailfleet");
    assert_eq!(above("/unit/jailfleet.main"), Path::new("/unit"));
    assert_eq!(above("/unit"), Path::new("/unit"));
    assert_eq!(above("/unit/other.main"), Path::new("/unit/other.main"));
    assert_eq!(above("/"), Path::new("/"));
}
