//! Tests of the books.

use super::*;
use proptest::prelude::*;

const GRACE: Duration = Duration::from_secs(60);

fn job_id(number: usize) -> JobId {
    JobId::parse(&format!("job-{number}")).expect("a valid id")
}

struct Batch {
    ledger: Ledger,
    secrets: Vec<CorrelationId>,
}

impl Batch {
    fn of(jobs: usize) -> Self {
        let mut ledger = Ledger::new(GRACE);
        let secrets: Vec<_> = (0..jobs).map(|_| CorrelationId::random()).collect();
        for (number, secret) in secrets.iter().enumerate() {
            assert_eq!(ledger.expect(job_id(number), *secret), number);
        }
        Self { ledger, secrets }
    }

    fn arrives(&mut self, job: usize, outcome: Outcome, digest: &str, at_s: u64) -> Reception {
        let id = job_id(job);
        let claim = Claim {
            correlation: Some(self.secrets[job]),
            job_id: Some(&id),
            outcome,
            digest,
        };
        self.ledger.receive(&claim, Duration::from_secs(at_s))
    }
}

#[test]
fn a_result_without_our_correlation_id_is_a_strangers_even_with_the_right_job_id() {
    let mut batch = Batch::of(1);
    let id = job_id(0);
    for correlation in [None, Some(CorrelationId::random())] {
        let claim = Claim {
            correlation,
            job_id: Some(&id),
            outcome: Outcome::Exited,
            digest: "a",
        };
        assert_eq!(
            batch.ledger.receive(&claim, Duration::ZERO),
            Reception::Stranger
        );
    }
    assert_eq!(batch.ledger.stored(), 0);
}

#[test]
fn a_correlation_id_answers_for_its_own_job_only() {
    let mut batch = Batch::of(2);
    let other = job_id(1);
    let claim = Claim {
        correlation: Some(batch.secrets[0]),
        job_id: Some(&other),
        outcome: Outcome::Exited,
        digest: "a",
    };
    assert_eq!(
        batch.ledger.receive(&claim, Duration::ZERO),
        Reception::Stranger
    );
}

#[test]
fn an_equal_result_is_dropped_and_a_different_one_is_a_conflict() {
    let mut batch = Batch::of(1);
    assert_eq!(
        batch.arrives(0, Outcome::Exited, "a", 0),
        Reception::Accepted { job: 0 }
    );
    assert_eq!(
        batch.arrives(0, Outcome::Exited, "a", 1),
        Reception::Duplicate { job: 0 }
    );
    assert_eq!(
        batch.arrives(0, Outcome::Exited, "b", 2),
        Reception::Conflict { job: 0 }
    );
    assert_eq!(batch.ledger.stored(), 1);
}

#[test]
fn a_real_result_replaces_a_lost_worker_within_the_grace() {
    let mut batch = Batch::of(1);
    assert_eq!(
        batch.arrives(0, Outcome::WorkerLost, "l", 0),
        Reception::Held { job: 0 }
    );
    assert!(batch.ledger.expire(Duration::from_secs(59), 10).is_empty());
    assert_eq!(
        batch.arrives(0, Outcome::Exited, "a", 59),
        Reception::Replaces { job: 0 }
    );
    assert!(batch.ledger.expire(Duration::from_secs(600), 10).is_empty());
    assert_eq!(
        batch.arrives(0, Outcome::WorkerLost, "l", 60),
        Reception::Duplicate { job: 0 }
    );
    assert_eq!((batch.ledger.stored(), batch.ledger.held()), (1, 0));
}

#[test]
fn a_lost_worker_becomes_the_result_when_the_grace_is_over() {
    let mut batch = Batch::of(1);
    batch.arrives(0, Outcome::WorkerLost, "l", 0);
    assert_eq!(batch.ledger.expire(Duration::from_secs(60), 10), vec![0]);
    assert!(batch.ledger.is_stored(0));
    // The line is written: what comes now differs from it, and nobody hides that.
    assert_eq!(
        batch.arrives(0, Outcome::Exited, "a", 61),
        Reception::Conflict { job: 0 }
    );
}

#[test]
fn only_so_many_lost_workers_are_held_at_one_time() {
    let mut batch = Batch::of(5);
    for job in 0..5 {
        batch.arrives(job, Outcome::WorkerLost, "l", 0);
    }
    assert_eq!(batch.ledger.expire(Duration::ZERO, 2), vec![0, 1, 2]);
    assert_eq!((batch.ledger.stored(), batch.ledger.held()), (3, 2));
}

proptest! {
    /// Whatever comes in whatever order: each job is stored at most once, a job with a real
    /// result in time never ends as lost, and the counts agree with what was told.
    #[test]
    fn every_job_is_stored_at_most_once(
        steps in prop::collection::vec((0..4_usize, 0..3_u8, 0..90_u64), 0..60),
    ) {
        let mut batch = Batch::of(4);
        let mut stores = [0_usize; 4];
        let mut now = 0;
        for (job, what, pause) in steps {
            now += pause;
            for expired in batch.ledger.expire(Duration::from_secs(now), 3) {
                stores[expired] += 1;
            }
            let (outcome, digest) = match what {
                0 => (Outcome::WorkerLost, "lost"),
                1 => (Outcome::Exited, "one"),
                _ => (Outcome::Exited, "two"),
            };
            let before = stores[job];
            match batch.arrives(job, outcome, digest, now) {
                Reception::Accepted { job } | Reception::Replaces { job } => stores[job] += 1,
                Reception::Held { .. } => prop_assert_eq!(before, 0),
                Reception::Duplicate { .. } => prop_assert!(before == 1 || what == 0),
                Reception::Conflict { .. } => {
                    prop_assert_eq!(before, 1);
                    prop_assert_ne!(what, 0);
                }
                Reception::Stranger => prop_assert!(false, "our own secret is no stranger's"),
            }
        }
        prop_assert!(stores.iter().all(|times| *times <= 1));
        prop_assert_eq!(stores.iter().sum::<usize>(), batch.ledger.stored());
    }
}
