//! What not even the run itself finds of what it left, since a wall keeps it from being left: where that wall is
//! down, the same search finds it. One that could not would prove nothing by finding nothing.

use crate::fleet::Fleet;
use crate::fleet_without;
use crate::job::python;
use crate::traces::{ALL, Shown, Trace};
use jailfleet::wall::Wall;
use jailfleet_harness::require;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

/// Keys stay with their user until somebody takes them away, and this uid will be leased again.
const REVOKE_KEYS: &str = "
try: libc.syscall(keyctl, 21, -4)
except NameError: pass
";

/// What the run that leaves something and looks for it prints.
fn found_by_itself(fleet: &mut Fleet, trace: &Trace) -> String {
    let code = trace.leave_and_look() + REVOKE_KEYS;
    let seen = fleet.run(&python(&code));
    format!("{}{}", seen.out(), seen.err())
}

#[test]
fn what_a_wall_keeps_from_being_left_is_found_where_that_wall_is_down() {
    require!(Root);
    let mut wrong = Vec::new();
    for wall in [Wall::Rlimits, Wall::Seccomp] {
        let mut fleet = fleet_without(wall, 1, "");
        let is_kept =
            |trace: &&Trace| matches!(trace.shown, Shown::Without(kept_by) if kept_by == wall);
        for trace in ALL.iter().filter(is_kept) {
            let out = found_by_itself(&mut fleet, trace);
            if out != "left\nfound\n" {
                wrong.push(format!("{}, without {wall}: {out}", trace.name));
            }
        }
        fleet.stop();
    }
    let others = |trace: &&Trace| match trace.shown {
        Shown::Without(wall) => wall != Wall::Rlimits && wall != Wall::Seccomp,
        Shown::Itself | Shown::With(_) | Shown::NameOfTheHost => false,
    };
    wrong.extend(ALL.iter().find(others).map(|trace| trace.name.to_owned()));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_search_for_a_host_name_finds_that_of_a_host_which_has_it() {
    require!(Root);
    // A host of our own: namespaces are a thread's, and those of the warden that it starts.
    let inside = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWUTS).expect("we are root");
        sethostname("left").expect("it is ours alone");
        let mut shown = 0;
        let is_shown = |trace: &&Trace| matches!(trace.shown, Shown::NameOfTheHost);
        for trace in ALL.iter().filter(is_shown) {
            let mut fleet = fleet_without(Wall::Utsns, 1, "");
            let seen = fleet.run(&python(&trace.look()));
            assert_eq!(seen.out(), "found\n", "{}", seen.err());
            fleet.stop();
            shown += 1;
        }
        assert_eq!(shown, 1);
    });
    inside.join().expect("no panic inside");
}
