//! Two wardens on one host, as when an old worker drains beside a new one: neither takes anything from
//! the other, whatever it sees of it.

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

use fleet::{Fleet, Going};
use jailfleet::evidence::{Acted, End};
use jailfleet_harness::require;
use job::{bash, python};
use std::rc::Rc;

/// The warden has a pid namespace of its own, as a container has that shares the host's control groups:
/// its number there is 1, which says nothing to anybody outside.
const APART: &str = "exec unshare --pid --fork -- \"$@\"";

/// A run that stays until it is told to end.
fn stays(fleet: &mut Fleet) -> Going {
    let going = fleet.order(
        0,
        &python("import signal\nprint('up', flush=True)\nsignal.pause()"),
    );
    fleet.wait_for_output(&going);
    going
}

/// It was still there, and ended for our reason alone.
fn stayed(fleet: &mut Fleet, going: Going) {
    let seen = fleet.cancel(going);
    let (acted, end) = (seen.evidence.acted, seen.evidence.end);
    assert_eq!((acted, end), (Some(Acted::Cancel), End::Signaled(9)));
    assert_eq!(seen.out(), "up\n");
    assert_eq!(fleet.run(&bash("echo as before")).out(), "as before\n");
    assert_eq!(fleet.quarantined, 0, "a slot had to be replaced");
}

#[test]
fn a_warden_that_starts_and_ends_beside_another_leaves_that_ones_jails_and_groups_alone() {
    require!(Root);
    let folder = tempfile::tempdir().expect("a folder");
    let apart = script::script(folder.path(), APART);
    let state = Rc::new(tempfile::tempdir().expect("a folder"));
    for first in ["apart", "plain"] {
        let mut old = match first {
            "apart" => Fleet::behind(&apart, Rc::clone(&state), 1, ""),
            _ => Fleet::start_in(Rc::clone(&state), 1, ""),
        };
        let going = stays(&mut old);
        for second in ["apart", "plain", "killed"] {
            let mut new = match second {
                "apart" => Fleet::behind(&apart, Rc::clone(&state), 1, ""),
                _ => Fleet::start_in(Rc::clone(&state), 1, ""),
            };
            assert_eq!(new.walls, old.walls, "{first}, {second}");
            assert_eq!(new.run(&bash("echo new")).out(), "new\n");
            match second {
                "killed" => new.kill_warden(),
                _ => new.wait_for_end(),
            }
        }
        stayed(&mut old, going);
        old.wait_for_end();
    }
    // Whatever the killed ones left goes with the next.
    let last = Fleet::start_in(state, 1, "");
    last.stop();
}

#[test]
fn an_old_warden_that_ends_takes_nothing_from_the_new_one_beside_it() {
    require!(Root);
    let state = Rc::new(tempfile::tempdir().expect("a folder"));
    let mut old = Fleet::start_in(Rc::clone(&state), 1, "");
    let draining = stays(&mut old);
    let mut new = Fleet::start_in(state, 1, "");
    let going = stays(&mut new);
    stayed(&mut old, draining);
    old.wait_for_end();
    stayed(&mut new, going);
    new.stop();
}
