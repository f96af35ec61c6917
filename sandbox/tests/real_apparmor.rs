//! Jails under a kernel that enforces AppArmor, with the profiles of this repository loaded. The guests
//! of `cargo xtask vm test` have both.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;
#[path = "support/witness.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod witness;

use fleet::Fleet;
use jailfleet::evidence::{Acted, End};
use jailfleet::settings::{SourceText, env_pairs, worker_settings};
use jailfleet::units::Millis;
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use jailfleet_sandbox::apparmor::{Profile, Way, is_entered};
use jailfleet_sandbox::probe::{State, WallReport, probe};
use job::{Job, bash, python};
use nix::sys::prctl::set_no_new_privs;

const LABEL: &str = "print(open('/proc/self/attr/current').read().strip())";

/// What a program printed that came to its end.
fn printed(fleet: &mut Fleet, job: &Job<'_>) -> String {
    let seen = fleet.run(job);
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    seen.out()
}

#[test]
fn each_program_runs_in_the_profile_of_its_runtime() {
    require!(AppArmor, Root);
    let mut fleet = Fleet::start(1);
    assert!(fleet.walls.holds(Wall::Apparmor));
    assert_eq!(fleet.walls.apparmor(), Some(Way::Change));
    assert_eq!(
        printed(&mut fleet, &python(LABEL)),
        "jailfleet-python (enforce)\n"
    );
    let label = "read -r label < /proc/self/attr/current; echo \"$label\"";
    assert_eq!(
        printed(&mut fleet, &bash(label)),
        "jailfleet-bash (enforce)\n"
    );
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn the_warden_is_in_its_own_profile_and_no_program_leaves_its_own() {
    require!(AppArmor, Root);
    let mut fleet = Fleet::start(1);
    let warden = fleet.warden().pid();
    let label = std::fs::read_to_string(format!("/proc/{warden}/attr/apparmor/current"));
    assert_eq!(label.expect("a label"), "jailfleet-warden (enforce)\n");
    let out = printed(
        &mut fleet,
        &python(
            "
import os
for file in ('current', 'exec', 'apparmor/current', 'apparmor/exec'):
    for word in ('changeprofile unconfined', 'changeprofile jailfleet-warden', 'exec unconfined',
            'changehat 1^x', 'stack unconfined', 'permprofile jailfleet-native'):
        try:
            with open(f'/proc/self/attr/{file}', 'w') as attr: attr.write(word)
            print('took', file, word)
        except OSError: pass
print(open('/proc/self/attr/current').read().strip(), flush=True)
os.execv('/bin/cat', ['cat', '/proc/self/attr/current'])
",
        ),
    );
    assert_eq!(
        out,
        "jailfleet-python (enforce)\njailfleet-python (enforce)\n"
    );
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn files_that_all_jails_share_cannot_be_locked_and_their_own_can() {
    require!(AppArmor, Root);
    let mut fleet = Fleet::start(1);
    let out = printed(
        &mut fleet,
        &python(
            "
import fcntl
shared = open('/usr/bin/python3.11', 'rb')
for attempt in (lambda: fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB),
        lambda: fcntl.flock(shared, fcntl.LOCK_SH | fcntl.LOCK_NB),
        lambda: fcntl.lockf(shared, fcntl.LOCK_SH | fcntl.LOCK_NB)):
    try: attempt(); print('locked')
    except PermissionError: pass
own = open('tmp/own', 'w')
fcntl.flock(own, fcntl.LOCK_EX)
print('own')
",
        ),
    );
    assert_eq!(out, "own\n");
    fleet.stop();
}

#[test]
fn a_profile_that_is_not_loaded_is_a_missing_wall_and_is_not_entered() {
    require!(AppArmor, Root);
    let config = "[runtimes.python]\napparmor = \"jailfleet-nobody-loaded-this\"\n";
    let mut fleet = Fleet::configured(1, config);
    assert!(!fleet.walls.holds(Wall::Apparmor));
    // It runs, for those who ask for no more than best effort, in the label of the warden.
    let out = printed(&mut fleet, &python("print('ran')"));
    assert_eq!(out, "ran\n");
    fleet.stop();
}

/// What `doctor` finds of AppArmor under this configuration.
fn examined(config: &str) -> WallReport {
    let state = tempfile::tempdir().expect("a folder");
    let flags = [(
        "warden.state_dir".to_owned(),
        state.path().display().to_string(),
    )];
    let source = SourceText {
        name: "worker.toml",
        text: config,
    };
    let settings = worker_settings(Some(source), &env_pairs(std::env::vars_os()), &flags);
    let reports = probe(&settings.expect("the defaults and this config are good"));
    let mut reports = reports.into_iter();
    let found = reports.find(|report| report.wall == Wall::Apparmor);
    found.expect("every wall has a report")
}

#[test]
fn the_examination_asks_for_the_profile_of_each_process_that_has_one() {
    require!(AppArmor, Root);
    let report = examined("");
    assert_eq!(report.state, State::Held, "{report:?}");
    for process in ["worker", "warden", "runtimes.bash"] {
        let name = "jailfleet-nobody-loaded-this";
        let report = examined(&format!("[{process}]\napparmor = \"{name}\"\n"));
        assert_eq!(report.state, State::Missing, "{process}: {report:?}");
        assert!(report.evidence.contains(name), "{process}: {report:?}");
        let fix = report.fix.expect("a remedy");
        assert!(fix.contains("install-profiles"), "{process}: {fix}");
    }
}

#[test]
fn limits_and_sweeps_end_programs_in_their_profiles() {
    require!(AppArmor, Root);
    let mut fleet = Fleet::start(1);
    let stubborn = python(
        "
import os, signal, time
for number in range(1, 65):
    if number not in (9, 19, 32, 33): signal.signal(number, signal.SIG_IGN)
for _ in range(4): os.fork()
os.setsid() if os.getpid() != os.getpgid(0) else None
while True: time.sleep(1)
",
    );
    let stubborn = stubborn.limits(|limits| {
        limits.wall_ms = Millis::new(500).expect("a limit");
    });
    let seen = fleet.run(&stubborn);
    assert_eq!(seen.evidence.acted, Some(Acted::Wall), "{}", seen.err());
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_killed_warden_takes_jails_in_their_profiles_with_it() {
    require!(AppArmor, Root);
    let mut fleet = Fleet::start(1);
    let going = fleet.order(
        0,
        &python("import time\nprint('up', flush=True)\ntime.sleep(600)"),
    );
    fleet.wait_started(going.run);
    fleet.kill_warden();
    fleet.wait_until_no_process_is_left();
}

#[test]
fn after_no_new_privs_a_profile_comes_on_top_of_the_containers() {
    require!(AppArmor, Root);
    enter_the_containers_profile();
    set_no_new_privs().expect("it can be set");
    jails_are_confined_by_both();
}

#[test]
fn without_no_new_privs_a_profile_comes_on_top_of_the_containers_too() {
    require!(AppArmor, Root);
    enter_the_containers_profile();
    jails_are_confined_by_both();
}

/// This thread stands for what a container's runtime does before it starts us.
fn enter_the_containers_profile() {
    let outer = Profile::find("jailfleet-container").expect("it is loaded");
    outer.enter().expect("it can be entered");
}

fn jails_are_confined_by_both() {
    let mut fleet = Fleet::start(1);
    assert!(fleet.walls.holds(Wall::Apparmor));
    assert_eq!(fleet.walls.apparmor(), Some(Way::Stack));
    let held: Vec<String> = fleet.walls.held().iter().map(ToString::to_string).collect();
    assert!(held.contains(&"apparmor:&".to_owned()), "{held:?}");
    let out = printed(&mut fleet, &python(LABEL));
    assert_eq!(out, "jailfleet-container//&jailfleet-python (enforce)\n");
    let own = "
import os, signal, time
child = os.fork()
if child == 0: time.sleep(600)
os.kill(child, signal.SIGKILL)
print(os.WTERMSIG(os.waitpid(child, 0)[1]))
";
    assert_eq!(printed(&mut fleet, &python(own)), "9\n");
    assert!(is_entered("jailfleet-container"), "the test is still there");
    fleet.is_unharmed();
    fleet.stop();
}
