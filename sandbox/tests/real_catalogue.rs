//! The catalogue of attacks (`tests/attacks`), each of them in a real jail on this machine's kernel:
//! it must end as its header says, and leave the slot as it was and the host untouched.
//!
//! `JAILFLEET_ATTACKS_ONLY=033` runs the files whose names begin so.

#[path = "support/catalogue.rs"]
mod catalogue;
#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;
#[path = "support/plain.rs"]
mod plain;
#[path = "real_catalogue/programs.rs"]
mod programs;
#[path = "real_catalogue/trial.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod trial;

use jailfleet_harness::require;
use programs::Programs;
use std::ops::RangeInclusive;
use trial::{Proof, Trial};

/// One test for each letter of the checklist under which there are programs.
const GROUPS: &[(&str, RangeInclusive<u16>)] = &[
    ("attacks_on_cpu_and_time_fail", 1..=14),
    ("attacks_on_memory_fail", 15..=28),
    ("attacks_by_processes_fail", 29..=40),
    ("attacks_on_output_and_its_channels_fail", 41..=54),
    ("attacks_by_files_of_the_scratch_fail", 55..=62),
    ("attacks_by_links_that_the_host_might_follow_fail", 63..=71),
    ("attacks_on_the_hosts_files_fail", 72..=83),
    ("attacks_on_the_kernels_surface_fail", 84..=94),
    ("attacks_by_the_network_fail", 95..=101),
    ("attacks_on_what_other_jobs_left_fail", 102..=108),
];

/// Runs all files of a group, and only then says which of them failed.
fn run(group: &str) {
    let found = GROUPS.iter().find(|(name, _)| *name == group);
    let (_, items) = found.expect("each test is a row of the table");
    let programs = Programs::find();
    let mut trial = Trial::start();
    let mut failures = Vec::new();
    let mut files = programs.of(items).peekable();
    assert!(
        Programs::some_asked_for() || files.peek().is_some(),
        "there is nothing to run"
    );
    for file in files {
        let started = jailfleet_sandbox::clock::now();
        match trial.run(&programs, file) {
            Ok(Proof::NotHere) => {}
            Ok(Proof::Ran) => {
                let took = jailfleet_sandbox::clock::now().duration_since(started);
                eprintln!("{}: as it must be, in {took:.1?}", file.name);
            }
            Err(failure) => failures.push(failure),
        }
    }
    trial.stop();
    assert!(
        failures.is_empty(),
        "{} failed:\n\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn attacks_on_cpu_and_time_fail() {
    run("attacks_on_cpu_and_time_fail");
}

#[test]
fn attacks_on_memory_fail() {
    run("attacks_on_memory_fail");
}

#[test]
fn attacks_by_processes_fail() {
    run("attacks_by_processes_fail");
}

#[test]
fn attacks_on_output_and_its_channels_fail() {
    run("attacks_on_output_and_its_channels_fail");
}

#[test]
fn attacks_by_files_of_the_scratch_fail() {
    run("attacks_by_files_of_the_scratch_fail");
}

#[test]
fn attacks_by_links_that_the_host_might_follow_fail() {
    run("attacks_by_links_that_the_host_might_follow_fail");
}

#[test]
fn attacks_on_the_hosts_files_fail() {
    run("attacks_on_the_hosts_files_fail");
}

#[test]
fn attacks_on_the_kernels_surface_fail() {
    run("attacks_on_the_kernels_surface_fail");
}

#[test]
fn attacks_by_the_network_fail() {
    run("attacks_by_the_network_fail");
}

#[test]
fn attacks_on_what_other_jobs_left_fail() {
    run("attacks_on_what_other_jobs_left_fail");
}

#[test]
fn every_file_belongs_to_exactly_one_group() {
    for file in Programs::find().of(&(1..=catalogue::ITEMS)) {
        let groups = GROUPS.iter().filter(|(_, items)| {
            let first = file.items.first();
            first.is_some_and(|first| items.contains(first))
        });
        assert_eq!(groups.count(), 1, "{}", file.name);
    }
}

#[test]
fn the_attacks_fail_in_a_plain_users_jails_too() {
    require!(Root);
    let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
    plain::as_a_plain_user(&names);
}
