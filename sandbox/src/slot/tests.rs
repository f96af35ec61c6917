//! Proofs, and what they are good for.

use super::*;
use crate::clock;
use crate::sweep::{self, NotClean};

/// A slot after this run, without anything that stands in it.
fn dirty(build: Build, run: u64) -> Slot<Dirty> {
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").expect("it is there"));
    let jail = Jail {
        pid: 0,
        pidfd: null(),
        link: null(),
        lease: None,
        cgroup: None,
        sweeper: None,
        sweep_trouble: None,
    };
    let state = Dirty {
        run,
        deadline: clock::now(),
        to_collect: false,
        cleaned: true,
        sweep_first: false,
    };
    Slot { build, jail, state }
}

#[test]
fn a_proof_makes_no_slot_idle_but_the_one_it_was_made_for_after_the_run_it_was_made_for() {
    let build = Build::first(3);
    let proof = || CleanProof::unlooked(build, 7);
    for (other, run) in [(Build::first(4), 7), (build.next(), 7), (build, 8)] {
        let refused = dirty(other, run).proved(proof()).expect_err("another's");
        assert_eq!((refused.build, refused.state.run), (other, run));
    }
    let idle = dirty(build, 7).proved(proof()).expect("its own");
    assert_eq!(idle.build, build);
}

#[test]
fn nothing_is_proved_by_a_look_before_the_scratch_is_new_or_without_a_uid_of_its_own() {
    let mut slot = dirty(Build::first(0), 1);
    assert_eq!(sweep::prove(&slot).err(), Some(NotClean::Unleased));
    slot.state.cleaned = false;
    assert_eq!(sweep::prove(&slot).err(), Some(NotClean::Scratch));
}
