//! What becomes of a dead letter, whatever is written on it.

use jailfleet::job::{Lane, Name};
use jailfleet::outcome::{ErrorCode, Outcome};
use jailfleet::rejection::RejectionCode;
use jailfleet_queue::Death;
use jailfleet_queue::dead::{Cause, DeathRecord, Found};
use jailfleet_queue::topology::Names;
use proptest::prelude::*;

use super::fate::{Fate, Reading, Waits, fate, has_failed};
use crate::metrics::Reaped;

/// A letter as the broker writes it when a queue gives it up, with whatever its producer wrote
/// below that.
fn given_up(key: &str, queue: &str, reason: &str, forged: Vec<DeathRecord>) -> Death {
    let mut records = vec![record(queue, reason)];
    records.extend(forged);
    Death {
        found: Found::Dead,
        key: key.to_owned(),
        records,
        reason: Some("bad_id: made up by the producer".to_owned()),
        pool: None,
        lane: None,
        handed_on: 0,
    }
}

fn record(queue: &str, reason: &str) -> DeathRecord {
    DeathRecord {
        queue: queue.to_owned(),
        reason: reason.to_owned(),
        key: Some("default.bulk".to_owned()),
    }
}

fn answer(death: &Death) -> (Outcome, ErrorCode) {
    let autopsy = death.autopsy(&Names::new("jailfleet"));
    match fate(&autopsy.cause, 0, Waits::Somebody) {
        Fate::Answer(word) => (word.outcome, word.detail.code),
        other @ (Fate::SendAgain | Fate::SendBack(..) | Fate::Park(_)) => {
            panic!("{other:?} for {death:?}")
        }
    }
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("jailfleet.jobs.default.bulk".to_owned()),
        Just("jailfleet.retry.default.bulk".to_owned()),
        Just("jailfleet.suspect.default".to_owned()),
        Just("jailfleet.retry.unrouted".to_owned()),
        Just("expired".to_owned()),
        Just("rejected".to_owned()),
        Just("delivery_limit".to_owned()),
        Just("jobs.default.bulk".to_owned()),
        Just("suspect.default".to_owned()),
        Just("bad.default.bulk".to_owned()),
        Just("newer".to_owned()),
        Just("unrouted".to_owned()),
        ".{0,40}",
    ]
}

prop_compose! {
    fn records()(list in prop::collection::vec((words(), words(), prop::option::of(words())), 0..5))
        -> Vec<DeathRecord>
    {
        let record = |(queue, reason, key)| DeathRecord { queue, reason, key };
        list.into_iter().map(record).collect()
    }
}

prop_compose! {
    fn deaths()(
        unrouted in any::<bool>(), key in words(), records in records(),
        reason in prop::option::of(words()), bulk in any::<bool>(), handed_on in 0_u32..3,
    ) -> Death {
        Death {
            found: if unrouted { Found::Unrouted } else { Found::Dead },
            key,
            records,
            reason,
            pool: Name::parse("default").ok(),
            lane: bulk.then_some(Lane::Bulk),
            handed_on,
        }
    }
}

proptest! {
    #[test]
    fn every_letter_has_a_fate_and_nobody_is_told_who_may_not_be(
        death in deaths(), failures in any::<u64>(),
    ) {
        let autopsy = death.autopsy(&Names::new("jailfleet"));
        let alone = fate(&autopsy.cause, failures, Waits::Nobody);
        prop_assert!(!matches!(alone, Fate::Answer(..)));
        let told = fate(&autopsy.cause, failures, Waits::Somebody);
        if autopsy.cause == Cause::Stray {
            // It only goes on: whatever failed, nobody has looked at its body.
            prop_assert_eq!(&told, &Fate::SendAgain);
            prop_assert_eq!(&alone, &told);
        } else if let Cause::HandedOn(pool, lane) = &autopsy.cause {
            // Only what workers wrote says so, and nobody is told before a worker gives it up.
            prop_assert!(death.found == Found::Dead && death.key == "newer" && death.handed_on > 0);
            prop_assert_eq!(&told, &Fate::SendBack(pool.clone(), *lane));
            prop_assert_eq!(&alone, &told);
        } else if has_failed(&autopsy.cause, failures) {
            let Fate::Answer(word) = &told else { panic!("{told:?}") };
            prop_assert_eq!(word.reading, Reading::Envelope);
            prop_assert_eq!(word.outcome, Outcome::WorkerLost);
            prop_assert_eq!(word.end(), Reaped::Unread);
            prop_assert_eq!(alone, Fate::Park(Reaped::Unread));
        } else {
            prop_assert!(matches!(told, Fate::Answer(..)));
        }
        // A word about the program is never among them.
        if let Fate::Answer(word) = told {
            let counted = word.outcome.as_str();
            prop_assert!(["worker_lost", "expired", "rejected", "engine_fault"].contains(&counted));
        }
    }

    #[test]
    fn what_a_producer_writes_below_the_brokers_word_changes_nothing(forged in records()) {
        let suspect = given_up(
            "suspect.default", "jailfleet.suspect.default", "delivery_limit", forged.clone(),
        );
        prop_assert_eq!(answer(&suspect), (Outcome::WorkerLost, ErrorCode::TooManyDeliveries));
        let late = given_up("jobs.default.bulk", "jailfleet.jobs.default.bulk", "expired", forged);
        prop_assert_eq!(answer(&late), (Outcome::Expired, ErrorCode::DeadlinePassed));
    }

    #[test]
    fn a_lane_key_that_is_told_is_one_that_leads_to_a_lane(death in deaths()) {
        if let Some(key) = death.autopsy(&Names::new("jailfleet")).lane_key {
            let (pool, lane) = key.rsplit_once('.').expect("two parts");
            prop_assert!(Name::parse(pool).is_ok() && Lane::parse(lane).is_ok());
        }
    }
}

#[test]
fn the_count_that_a_letter_brings_along_is_no_failure_of_the_reaper() {
    let reading = |reason, queue: &str, key, failures| {
        let death = given_up(key, queue, reason, Vec::new());
        let autopsy = death.autopsy(&Names::new("jailfleet"));
        match fate(&autopsy.cause, failures, Waits::Somebody) {
            Fate::Answer(word) => word.reading,
            other @ (Fate::SendAgain | Fate::SendBack(..) | Fate::Park(_)) => panic!("{other:?}"),
        }
    };
    let (suspect, lane) = ("jailfleet.suspect.default", "jailfleet.jobs.default.bulk");
    let given_up = |failures| reading("delivery_limit", suspect, "suspect.default", failures);
    assert_eq!(given_up(3), Reading::Whole);
    assert_eq!(given_up(4), Reading::Envelope);
    let late = |failures| reading("expired", lane, "jobs.default.bulk", failures);
    assert_eq!(late(2), Reading::Whole);
    assert_eq!(late(3), Reading::Envelope);
}

#[test]
fn the_wait_before_a_retry_is_no_reason_to_call_a_job_expired() {
    let mut death = given_up(
        "jobs.default.bulk",
        "jailfleet.retry.default.bulk",
        "expired",
        Vec::new(),
    );
    death
        .records
        .push(record("jailfleet.jobs.default.bulk", "delivery_limit"));
    assert_eq!(answer(&death).0, Outcome::WorkerLost);
}

#[test]
fn a_worker_is_believed_under_its_own_key_only() {
    let mut death = given_up("bad.default.bulk", "x", "expired", Vec::new());
    assert_eq!(
        answer(&death),
        (Outcome::Rejected, ErrorCode::Rejected(RejectionCode::BadId))
    );
    death.reason = Some("publish a message that the broker refuses: too large".to_owned());
    assert_eq!(answer(&death).0, Outcome::EngineFault);
    death.key = "jobs.default.bulk".to_owned();
    death.reason = Some("bad_id: made up".to_owned());
    assert_eq!(answer(&death), (Outcome::WorkerLost, ErrorCode::WorkerLost));
}

#[test]
fn a_job_without_a_queue_is_tried_once_more_and_then_rejected() {
    let mut death = given_up("gpu.bulk", "x", "y", Vec::new());
    death.found = Found::Unrouted;
    let autopsy = death.autopsy(&Names::new("jailfleet"));
    assert_eq!(autopsy.lane_key.as_deref(), Some("gpu.bulk"));
    assert_eq!(fate(&autopsy.cause, 0, Waits::Nobody), Fate::SendAgain);
    death.records = vec![record("jailfleet.retry.unrouted", "expired")];
    assert_eq!(answer(&death), (Outcome::Rejected, ErrorCode::Unrouted));
    // Nobody took it out for a week: the broker moved it.
    death.found = Found::Dead;
    death.key = "unrouted".to_owned();
    assert_eq!(answer(&death), (Outcome::Rejected, ErrorCode::Unrouted));
    death.key = "newer".to_owned();
    let minor = ErrorCode::Rejected(RejectionCode::UnsupportedMinor);
    assert_eq!(answer(&death), (Outcome::Rejected, minor));
    // One that was counted is looked at again, until a worker answers it.
    death.handed_on = 150;
    death.pool = Name::parse("gpu").ok();
    let autopsy = death.autopsy(&Names::new("jailfleet"));
    let back = Fate::SendBack(Name::parse("gpu").expect("a name"), Lane::Bulk);
    for failures in [0, 3, u64::MAX] {
        assert_eq!(fate(&autopsy.cause, failures, Waits::Somebody), back);
        assert!(!has_failed(&autopsy.cause, failures));
    }
}
