//! Plain calls, in orders that went wrong or could.

use super::*;
use crate::slots::Ended;
use jailfleet::evidence::StageTimes;
use tokio::sync::oneshot;

mod stories;

const NOW: Moment = Duration::from_secs(1);

type Receiver = oneshot::Receiver<Result<Ended, Refusal>>;

fn waiting(run: u64) -> (Waiting, Receiver) {
    let (ended, receiver) = oneshot::channel();
    (
        Waiting {
            run,
            leased: NOW,
            start: None,
            ended,
        },
        receiver,
    )
}

fn proof(seconds: u64) -> Proof {
    Proof {
        at: Duration::from_secs(seconds),
        epoch: EpochMs(seconds),
    }
}

/// Slots in which a canary flew as soon as they were built.
fn proven(slots: u16) -> Table {
    let mut table = Table::of_unproven(slots);
    for slot in (0..slots).rev() {
        let moved = table.prove(Build::first(slot), Some(proof(1)));
        assert_eq!(moved, Some((For::Canaries, For::Jobs)));
    }
    table
}

fn leased(table: &mut Table) -> Option<u16> {
    table.lease().map(|taken| taken.build.slot)
}

/// What stands in this slot is taken out of use.
fn quarantine(table: &mut Table, build: Build) -> Booked {
    let residue = Residue::InitLost;
    table.book(Report::Quarantined { build, residue }, NOW)
}

const FIRST: Build = Build::first(0);

fn idle(build: Build) -> Report {
    Report::Idle { build }
}

fn running(run: u64) -> (Table, Receiver) {
    let mut table = proven(1);
    let taken = table.lease().expect("it is idle");
    let (waiting, receiver) = waiting(run);
    assert!(table.start(taken.build, waiting));
    (table, receiver)
}

#[test]
fn a_run_is_routed_to_whoever_waits_for_it_and_its_slot_waits_for_the_sweep() {
    let (mut table, mut receiver) = running(7);
    let stages = StageTimes::default();
    let report = Report::Started {
        slot: 0,
        run: 7,
        stages,
    };
    assert!(matches!(table.book(report, NOW), Booked::Nothing));
    let report = Report::Ended {
        slot: 0,
        run: 7,
        evidence: Evidence::LOST,
    };
    let Booked::Ended { waiting, evidence } = table.book(report, NOW) else {
        panic!("the end of a run that somebody waits for");
    };
    waiting.end(evidence, NOW);
    let told = receiver.try_recv().expect("it was told");
    let ended = told.expect("it began");
    assert_eq!(ended.start, Some(Start { at: NOW, stages }));
    assert_eq!(table.lease(), None, "not clean yet");
    let later = NOW + Duration::from_millis(3);
    let Booked::Idle { swept, whose } = table.book(idle(FIRST), later) else {
        panic!("an idle slot");
    };
    assert_eq!((swept, whose), (Duration::from_millis(3), For::Jobs));
    assert_eq!(leased(&mut table), Some(0));
}

#[test]
fn the_report_of_another_run_wakes_nobody() {
    let (mut table, mut receiver) = running(7);
    let report = Report::Ended {
        slot: 0,
        run: 6,
        evidence: Evidence::LOST,
    };
    assert!(matches!(table.book(report, NOW), Booked::Surprise(_)));
    let report = Report::Ended {
        slot: 9,
        run: 7,
        evidence: Evidence::LOST,
    };
    assert!(matches!(table.book(report, NOW), Booked::Surprise(_)));
    assert!(receiver.try_recv().is_err());
}

#[test]
fn a_canary_flies_in_the_idle_slot_whose_proof_is_the_oldest() {
    let mut table = Table::of_unproven(3);
    for (slot, seconds) in [(0, 9), (1, 5), (2, 7)] {
        table.prove(Build::first(slot), Some(proof(seconds)));
    }
    let turns: Vec<_> = std::iter::from_fn(|| table.lease_oldest())
        .map(|taken| taken.build.slot)
        .collect();
    assert_eq!(turns, [1, 2, 0]);
}

#[test]
fn no_job_gets_a_slot_before_a_canary_came_back_from_it() {
    let mut table = Table::of_unproven(2);
    assert_eq!(table.lease(), None);
    let taken = table.lease_unproven().expect("it waits for a canary");
    assert_eq!((taken.build.slot, taken.proven), (0, None));
    assert_eq!(table.give_back(taken.build), Some(For::Canaries));
    table.prove(taken.build, Some(proof(3)));
    let job = table.lease().expect("it is proven");
    assert_eq!((job.build.slot, job.proven), (0, Some(proof(3))));
    assert_eq!(table.lease(), None);
    let counts = table.counts();
    assert_eq!((counts.proven, counts.unproven), (1, 1));
}

#[test]
fn a_rebuilt_slot_waits_for_a_canary_of_its_own() {
    let mut table = proven(1);
    let before = table.lease_oldest().expect("it is idle").build;
    assert!(matches!(
        quarantine(&mut table, FIRST),
        Booked::Quarantined {
            idle_before: None,
            ..
        }
    ));
    let booked = table.book(idle(FIRST.next()), NOW);
    assert!(matches!(
        booked,
        Booked::Rebuilt {
            whose: For::Canaries,
            ..
        }
    ));
    assert_eq!(table.lease(), None, "its proof went with its walls");
    // The canary of the walls before comes back late: it says nothing of these.
    assert_eq!(table.prove(before, Some(proof(2))), None);
    assert_eq!(table.lease(), None);
    let now = table.lease_unproven().expect("it waits for one").build;
    assert_eq!((now.slot, now.number), (0, before.number + 1));
    assert_eq!(table.give_back(now), Some(For::Canaries));
    let moved = table.prove(now, Some(proof(3)));
    assert_eq!(moved, Some((For::Canaries, For::Jobs)));
    assert_eq!(leased(&mut table), Some(0));
}

#[test]
fn a_canary_that_says_nothing_takes_its_slot_from_the_jobs() {
    let mut table = proven(2);
    let taken = table.lease_oldest().expect("they are idle");
    assert_eq!(table.give_back(taken.build), Some(For::Jobs));
    assert_eq!(
        table.prove(taken.build, None),
        Some((For::Jobs, For::Canaries))
    );
    let other = leased(&mut table).expect("the other is proven");
    assert_ne!(other, taken.build.slot);
    assert_eq!(table.lease(), None);
}

/// A proven slot in which a canary flew that nobody booked yet.
fn flown() -> (Table, Build) {
    let mut table = proven(1);
    let taken = table.lease_oldest().expect("it is idle");
    assert!(table.start(taken.build, waiting(7).0));
    assert_eq!(table.lease(), None, "it is in use");
    let report = Report::Ended {
        slot: 0,
        run: 7,
        evidence: Evidence::LOST,
    };
    let ended = table.book(report, NOW);
    assert!(matches!(ended, Booked::Ended { .. }));
    (table, taken.build)
}

#[test]
fn no_job_gets_a_slot_between_its_canary_and_what_the_canary_told() {
    let (mut table, build) = flown();
    let booked = table.book(idle(FIRST), NOW);
    let whose = For::Canaries;
    assert!(matches!(booked, Booked::Idle { whose: of, .. } if of == whose));
    assert_eq!(
        table.lease(),
        None,
        "nobody knows yet whether its walls hold"
    );
    let counts = table.counts();
    assert_eq!((counts.proven, counts.unproven), (1, 0), "its proof stands");
    let moved = table.prove(build, Some(proof(2)));
    assert_eq!(
        moved,
        Some((For::Canaries, For::Jobs)),
        "who waits is woken"
    );
    let job = table.lease().expect("its walls held");
    assert_eq!(job.proven, Some(proof(2)));
}

#[test]
fn no_job_gets_a_slot_whose_canary_failed_whenever_it_is_swept() {
    let (mut table, build) = flown();
    assert!(matches!(table.book(idle(FIRST), NOW), Booked::Idle { .. }));
    assert_eq!(table.lease(), None);
    let moved = table.prove(build, None);
    assert_eq!(moved, Some((For::Canaries, For::Canaries)));
    assert_eq!(table.lease(), None);
    assert_eq!(table.counts().unproven, 1);

    let (mut table, build) = flown();
    assert_eq!(table.prove(build, None), None, "it is not idle yet");
    assert!(matches!(table.book(idle(FIRST), NOW), Booked::Idle { .. }));
    assert_eq!(table.lease(), None);
}

#[test]
fn a_slot_whose_canary_held_before_it_was_swept_is_the_jobs() {
    let (mut table, build) = flown();
    assert_eq!(table.prove(build, Some(proof(2))), None);
    let booked = table.book(idle(FIRST), NOW);
    let whose = For::Jobs;
    assert!(matches!(booked, Booked::Idle { whose: of, .. } if of == whose));
    assert_eq!(leased(&mut table), Some(0));
}

#[test]
fn a_slot_whose_canary_was_lost_gets_another_and_no_job_before_it() {
    let (mut table, build) = flown();
    assert!(matches!(table.book(idle(FIRST), NOW), Booked::Idle { .. }));
    // Nobody booked what the canary told, and nobody will.
    let again = table.lease_unproven().expect("another canary may have it");
    assert_eq!((again.build, again.proven), (build, None));
    assert_eq!(table.give_back(again.build), Some(For::Canaries));
    assert_eq!(table.lease(), None, "one that never flew mends nothing");
    let again = table.lease_unproven().expect("it still waits").build;
    assert_eq!(table.give_back(again), Some(For::Canaries));
    let moved = table.prove(again, Some(proof(2)));
    assert_eq!(moved, Some((For::Canaries, For::Jobs)));
    assert_eq!(leased(&mut table), Some(0));
}

#[test]
fn where_no_canary_can_fly_jobs_get_slots_without_a_proof() {
    let mut table = Table::of_unproven(2);
    assert_eq!(table.waive_proofs(), 2);
    let taken = table.lease().expect("an idle slot");
    assert_eq!((taken.build.slot, taken.proven), (0, None));
    assert_eq!(table.give_back(taken.build), Some(For::Jobs));
    assert_eq!(table.counts().proven, 2);
}

#[test]
fn a_slot_in_use_cannot_be_declared_idle() {
    let (mut table, _receiver) = running(7);
    assert!(matches!(table.book(idle(FIRST), NOW), Booked::Surprise(_)));
    assert_eq!(table.lease(), None);
}

#[test]
fn an_unused_lease_goes_back_and_a_quarantined_one_does_not() {
    let mut table = proven(1);
    let taken = table.lease().expect("it is idle");
    assert_eq!(table.give_back(taken.build), Some(For::Jobs));
    let taken = table.lease().expect("it is idle again");
    assert!(matches!(
        quarantine(&mut table, FIRST),
        Booked::Quarantined {
            idle_before: None,
            lost: None,
            ..
        }
    ));
    assert_eq!(table.give_back(taken.build), None);
    assert!(
        !table.start(taken.build, waiting(1).0),
        "its lease is worth nothing now"
    );
}

#[test]
fn a_lease_of_the_slot_as_it_was_starts_nothing_in_the_slot_as_it_is() {
    let mut table = proven(1);
    let old = table.lease().expect("it is idle");
    let booked = quarantine(&mut table, FIRST);
    assert!(matches!(booked, Booked::Quarantined { .. }));
    let booked = table.book(idle(FIRST.next()), NOW);
    assert!(matches!(booked, Booked::Rebuilt { .. }));
    let canary = table.lease_unproven().expect("it waits for one");
    assert!(!table.start(old.build, waiting(1).0));
    assert_eq!(table.give_back(old.build), None);
    assert!(table.start(canary.build, waiting(2).0));
}

#[test]
fn an_idle_slot_that_breaks_is_not_leased() {
    let mut table = proven(2);
    assert!(matches!(
        quarantine(&mut table, FIRST),
        Booked::Quarantined {
            idle_before: Some(For::Jobs),
            ..
        }
    ));
    assert_eq!(leased(&mut table), Some(1));
    assert_eq!(table.lease(), None);
    assert_eq!(table.counts().quarantined, 1);
}

#[test]
fn when_the_warden_goes_everybody_who_waits_is_told() {
    let (mut table, _receiver) = running(7);
    assert_eq!(table.lose_everything().len(), 1);
    assert!(table.is_gone());
    assert_eq!(table.lease(), None);
}

#[test]
fn a_run_that_crossed_the_word_of_its_slots_end_is_told_that_it_never_began() {
    let (mut table, mut receiver) = running(7);
    let Booked::Quarantined {
        lost: Some(waiting),
        ..
    } = quarantine(&mut table, FIRST)
    else {
        panic!("somebody waited for a run in it");
    };
    waiting.lose(NOW);
    let told = receiver.try_recv().expect("it was told");
    assert_eq!(told.err(), Some(Refusal::OtherBuilding));
    // The warden's own word comes later, when the slot stands again and may be in use.
    let booked = table.book(idle(FIRST.next()), NOW);
    assert!(matches!(booked, Booked::Rebuilt { .. }));
    let refused = Report::Refused {
        slot: 0,
        run: 7,
        refusal: Refusal::OtherBuilding,
    };
    assert!(matches!(table.book(refused, NOW), Booked::Nothing));
    assert_eq!(table.counts().unproven, 1, "and takes nothing from it");
}

#[test]
fn a_run_that_had_begun_when_its_slot_was_lost_is_lost_and_not_refused() {
    let (mut table, mut receiver) = running(7);
    let stages = StageTimes::default();
    let started = Report::Started {
        slot: 0,
        run: 7,
        stages,
    };
    assert!(matches!(table.book(started, NOW), Booked::Nothing));
    let Booked::Quarantined {
        lost: Some(waiting),
        ..
    } = quarantine(&mut table, FIRST)
    else {
        panic!("somebody waited for a run in it");
    };
    waiting.lose(NOW);
    let ended = receiver.try_recv().expect("it was told").expect("it began");
    assert_eq!(ended.evidence, Evidence::LOST);
}

#[test]
fn a_refusal_that_no_quarantine_went_before_is_none_that_can_be() {
    let (mut table, mut receiver) = running(7);
    let refused = |run| Report::Refused {
        slot: 0,
        run,
        refusal: Refusal::OtherBuilding,
    };
    assert!(matches!(table.book(refused(6), NOW), Booked::Nothing));
    assert!(matches!(table.book(refused(7), NOW), Booked::Surprise(_)));
    assert!(receiver.try_recv().is_err(), "whoever waits goes on");
    assert_eq!(table.counts().quarantined, 0);
    let Booked::Quarantined {
        lost: Some(waiting),
        ..
    } = quarantine(&mut table, FIRST)
    else {
        panic!("somebody waits for the run");
    };
    assert_eq!(waiting.run, 7);
    assert_eq!(table.counts().quarantined, 1);
    assert_eq!(table.lease(), None, "and its proof is gone");
}

#[test]
fn a_slot_that_could_not_be_rebuilt_stands_as_the_warden_says_when_it_stands() {
    let mut table = proven(1);
    for build in [FIRST, FIRST.next()] {
        let residue = Residue::Build;
        let booked = table.book(Report::Quarantined { build, residue }, NOW);
        let again = build != FIRST;
        assert_eq!(matches!(booked, Booked::Nothing), again);
    }
    let stands = FIRST.next().next();
    let booked = table.book(idle(stands), NOW);
    assert!(matches!(booked, Booked::Rebuilt { .. }));
    let canary = table.lease_unproven().expect("it waits for one");
    assert_eq!(canary.build, stands);
}
