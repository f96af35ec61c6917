//! What a warden says to its operator, who reads its standard error.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;

#[path = "support/script.rs"]
mod script;

use fleet::Fleet;
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use jailfleet_sandbox::protocol::{Build, Order, Report, Residue};
use job::bash;
use nix::unistd::{dup, dup2_stderr};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A warden whose words go into a file; ours go where they went before.
fn overheard(words: &Path, start: impl FnOnce() -> Fleet) -> Fleet {
    let before: OwnedFd = dup(std::io::stderr()).expect("a copy");
    dup2_stderr(File::create(words).expect("a file")).expect("redirected");
    let fleet = start();
    dup2_stderr(before).expect("and back");
    fleet
}

#[test]
fn a_jail_that_cannot_be_built_is_told_once_with_its_cause() {
    require!(Root);
    let folder = tempfile::tempdir().expect("a folder");
    let (words, bind) = (folder.path().join("words"), folder.path().join("bind"));
    std::fs::create_dir(&bind).expect("a folder to show");
    let config = format!(
        "[warden]\nsystem_binds = [{{ source = \"/usr\" }}, {{ source = \"/bin\" }}, {{ source = \"/lib\" }}, \
         {{ source = \"/lib64\", optional = true }}, {{ source = \"{}\", target = \"/opt/shown\" }}]\n",
        bind.display()
    );
    let fleet = overheard(&words, || Fleet::configured(1, &config));
    std::fs::remove_dir(&bind).expect("nothing is in it");
    let build = Build::first(0);
    fleet.send(&Order::Replace { build }, &[]);
    for (residue, build) in [(Residue::Canary, build), (Residue::Build, build.next())] {
        match fleet.report() {
            Some(report @ Report::Quarantined { .. }) => {
                assert_eq!(report, Report::Quarantined { build, residue });
            }
            other => panic!("not {other:?}"),
        }
    }
    let said = std::fs::read_to_string(&words).expect("its words");
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("could not be built"))
        .collect();
    let [line] = told.as_slice() else {
        panic!("told {} times: {said}", told.len());
    };
    assert!(line.contains("No such file or directory"), "{line}");
    fleet.stop();
}

/// In a mount namespace where pkill is there and cannot be executed.
const NO_PKILL: &str = "exec unshare --mount -- sh -c '
    mount --bind /dev/null /usr/bin/pkill
    exec \"$@\"' sh \"$@\"";

#[test]
fn a_host_without_pkill_lacks_the_wall_uid_and_its_slots_are_swept_and_proved_all_the_same() {
    require!(Root);
    let folder = tempfile::tempdir().expect("a folder");
    let words = folder.path().join("words");
    let without = script::script(folder.path(), NO_PKILL);
    let mut fleet = overheard(&words, || {
        Fleet::behind(&without, tempfile::tempdir().expect("a folder"), 1, "")
    });
    assert!(!fleet.walls.holds(Wall::Uid), "a part of it is missing");
    // A run that had to be stopped is swept before anybody looks.
    for _ in 0..3 {
        let going = fleet.order(
            0,
            &bash("trap '' TERM; echo up; while true; do sleep 60; done"),
        );
        fleet.wait_for_output(&going);
        fleet.cancel(going);
        assert!(!fleet.has_processes(), "a process of a slot's uid is left");
    }
    fleet.is_unharmed();
    fleet.stop();
    let said = std::fs::read_to_string(&words).expect("its words");
    let told = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    // Once at the start with the way out, and once of the slot.
    assert_eq!(told("pkill cannot be executed"), 2, "{said}");
    assert_eq!(told("apt-get install procps"), 1, "{said}");
}
