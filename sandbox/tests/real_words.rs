//! What a warden says to its operator, who reads its standard error.

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod fleet;
#[path = "support/job.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod job;

#[path = "support/script.rs"]
mod script;
#[path = "support/witness.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod witness;

use fleet::Fleet;
use jailfleet::evidence::Acted;
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use jailfleet_sandbox::protocol::{Build, Order, Report, Residue};
use job::bash;
use nix::unistd::{dup, dup2_stderr};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

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

/// A process of ours that has a slot's uid: a stranger to the slot's init, which can neither end it nor wait
/// for it.
#[expect(
    clippy::disallowed_methods,
    reason = "the test needs a process that is no jail's"
)]
fn stranger_of(uid: u32) -> Child {
    let mut sleeper = Command::new("/bin/sleep");
    sleeper.arg("600").uid(uid).gid(uid);
    sleeper.spawn().expect("it starts")
}

#[test]
fn what_is_left_of_a_slots_uid_takes_the_slot_out_by_name_until_it_has_gone() {
    require!(Root);
    let folder = tempfile::tempdir().expect("a folder");
    let words = folder.path().join("words");
    let config = "[warden]\nsweep_timeout_ms = 300\n";
    let mut fleet = overheard(&words, || Fleet::configured(1, config));
    let going = fleet.order(0, &bash("echo $UID; exec sleep 600"));
    let run = going.run;
    let uid = fleet.first_line(&going);
    // What the sweep kills stays a zombie of that uid for as long as we do not wait for it.
    let mut left = stranger_of(uid.parse().expect("a uid"));
    let (slot, why) = (0, Acted::Cancel);
    fleet.send(&Order::Kill { slot, run, why }, &[]);
    let build = Build::first(0);
    let residue = Residue::Processes;
    let quarantined = Report::Quarantined { build, residue };
    let is_of_the_run =
        |told: &Report| matches!(told, Report::Started { .. } | Report::Ended { .. });
    let mut reports = std::iter::from_fn(|| fleet.report());
    let told = reports.find(|told| !is_of_the_run(told));
    assert_eq!(told, Some(quarantined), "and never idle");
    assert!(fleet.has_processes(), "it is still there");
    // Nothing is built for a uid of which something is left, however long that takes.
    fleet.says_nothing_for(Duration::from_millis(500));
    assert_eq!(left.wait().expect("its end").signal(), Some(9), "swept");
    let build = build.next();
    assert_eq!(fleet.report(), Some(Report::Idle { build }));
    fleet.builds[0] = build;
    let other = fleet.run(&bash("echo $UID"));
    assert_ne!(
        other.out().trim(),
        uid,
        "the next uid is another one's turn"
    );
    drop(going);
    fleet.stop();
    let said = std::fs::read_to_string(&words).expect("its words");
    let told = said.lines().filter(|line| line.contains("quarantined"));
    let told: Vec<&str> = told.collect();
    assert_eq!(told, ["jailfleet-warden: slot 0: quarantined: processes"]);
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
