//! Which jobs tell how far their producer's clock is from ours.
//!
//! A job that was published in the future tells it by itself. One that was published long ago may have waited
//! in its queue, or have a clock that is behind: only a job that cannot have waited tells which.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jailfleet::clocks::Waited;
use jailfleet_program::Moment;
use jailfleet_queue::{Envelope, Origin};

/// How long nothing must have been in hand. Whatever waited in a queue would have been handed out to us
/// within this time.
const IDLE: Duration = Duration::from_secs(1);

/// Whether a job may have waited in its queue, where our hands tell `by_hands`. One that was moved, or that
/// somebody had before us, has waited there.
pub(crate) fn waited(envelope: &Envelope, origin: &Origin, by_hands: Waited) -> Waited {
    let moved =
        origin.suspect || envelope.faults > 0 || envelope.handed_on > 0 || envelope.dead_lettered;
    // A worker that stopped sends a job anew with the deliveries so far, as if it had never left.
    let had = envelope.redelivered || envelope.delivery_count > 0;
    if moved || had {
        Waited::Perhaps
    } else {
        by_hands
    }
}

/// What this worker has in hand.
#[derive(Debug, Default)]
pub(crate) struct Hands(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    jobs: usize,
    empty_since: Option<Moment>,
    /// The session that brought the last job.
    session: Option<u64>,
}

impl Held {
    fn take(&mut self, session: u64, now: Moment) -> Waited {
        // The first job of a session may have waited for the session.
        let same = self.session.replace(session) == Some(session);
        let idle = self.jobs == 0
            && self
                .empty_since
                .is_some_and(|since| now.saturating_sub(since) >= IDLE);
        self.jobs += 1;
        if same && idle {
            Waited::No
        } else {
            Waited::Perhaps
        }
    }

    fn put_down(&mut self, now: Moment) {
        self.jobs = self.jobs.saturating_sub(1);
        self.empty_since = (self.jobs == 0).then_some(now);
    }

    fn touch(&mut self, now: Moment) {
        if self.jobs == 0 {
            self.empty_since = Some(now);
        }
    }
}

impl Hands {
    /// A job came, by that session.
    pub(crate) fn take(&self, session: u64, now: Moment) -> Waited {
        self.held(|held| held.take(session, now))
    }

    /// A job was settled. One that never is stops the measuring and nothing else.
    pub(crate) fn put_down(&self, now: Moment) {
        self.held(|held| held.put_down(now));
    }

    /// Jobs are taken again, or no more: what comes next may have waited for that.
    pub(crate) fn touch(&self, now: Moment) {
        self.held(|held| held.touch(now));
    }

    fn held<T>(&self, act: impl FnOnce(&mut Held) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::job::{Lane, Name};

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn only_a_job_that_comes_to_idle_hands_cannot_have_waited() {
        let hands = Hands::default();
        // The first job of a session, however long nothing came before it.
        assert_eq!(hands.take(1, at(60_000)), Waited::Perhaps);
        // One that came while another was in hand may have waited for it.
        assert_eq!(hands.take(1, at(61_000)), Waited::Perhaps);
        hands.put_down(at(61_100));
        hands.put_down(at(62_000));
        // Right after the last one was settled, the next may have been in the queue already.
        assert_eq!(hands.take(1, at(62_500)), Waited::Perhaps);
        hands.put_down(at(63_000));
        assert_eq!(hands.take(1, at(64_000)), Waited::No);
        hands.put_down(at(64_010));
        // A new session begins anew.
        assert_eq!(hands.take(2, at(70_000)), Waited::Perhaps);
        hands.put_down(at(70_010));
        assert_eq!(hands.take(2, at(80_000)), Waited::No);
    }

    #[test]
    fn a_job_that_waited_until_jobs_were_taken_again_tells_nothing() {
        let hands = Hands::default();
        assert_eq!(hands.take(1, at(0)), Waited::Perhaps);
        // A job in hand is no idle hand, whatever is wished.
        hands.touch(at(10));
        hands.put_down(at(100));
        // An alarm of the broker: none is taken until it is over.
        hands.touch(at(2_000));
        hands.touch(at(60_000));
        assert_eq!(hands.take(1, at(60_010)), Waited::Perhaps);
        hands.put_down(at(60_020));
        assert_eq!(hands.take(1, at(62_000)), Waited::No);
    }

    #[test]
    fn a_job_that_was_elsewhere_before_may_have_waited_there() {
        let origin = |suspect| Origin {
            tenant: "".into(),
            pool: Name::parse("default").expect("a name"),
            lane: Lane::Bulk,
            suspect,
        };
        let new = Envelope::default();
        let of = |envelope: &Envelope, suspect| waited(envelope, &origin(suspect), Waited::No);
        assert_eq!(of(&new, false), Waited::No);
        assert_eq!(of(&new, true), Waited::Perhaps);
        let perhaps = waited(&new, &origin(false), Waited::Perhaps);
        assert_eq!(perhaps, Waited::Perhaps);
        type Change = fn(&mut Envelope);
        let changed: [(&str, Change); 5] = [
            ("tried before", |job| job.faults = 1),
            ("put aside for an upgrade", |job| job.handed_on = 1),
            ("brought again", |job| job.redelivered = true),
            ("sent anew by a worker", |job| job.delivery_count = 1),
            ("sent again by the reaper", |job| job.dead_lettered = true),
        ];
        for (what, change) in changed {
            let mut envelope = new.clone();
            change(&mut envelope);
            assert_eq!(of(&envelope, false), Waited::Perhaps, "{what}");
        }
    }
}
