//! Who waits for the end of a run, and how he is told.

use jailfleet::evidence::Evidence;
use jailfleet_program::Moment;
use jailfleet_sandbox::protocol::Refusal;
use tokio::sync::oneshot;

use super::{Ended, Start};

/// The attempt that waits for a run's end.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) run: u64,
    pub(super) leased: Moment,
    pub(super) start: Option<Start>,
    pub(super) ended: oneshot::Sender<Result<Ended, Refusal>>,
}

impl Waiting {
    /// Wakes the attempt.
    pub(super) fn end(self, evidence: Evidence, at: Moment) {
        let Self {
            run,
            leased,
            start,
            ended,
        } = self;
        let told = Ended {
            leased,
            start,
            at,
            evidence,
        };
        if ended.send(Ok(told)).is_err() {
            tracing::debug!(run, "nobody waited for the end of a run");
        }
    }

    /// Wakes the attempt: its run never began.
    fn refuse(self, refusal: Refusal) {
        if self.ended.send(Err(refusal)).is_err() {
            tracing::debug!(run = self.run, "nobody waited for a run that was refused");
        }
    }

    /// Wakes the attempt when its slot was taken out of use. The warden tells the end of a run that it began
    /// before it tells that: one of which nothing was heard had yet to come to it, and will not run.
    pub(super) fn lose(self, at: Moment) {
        match self.start {
            Some(_) => self.end(Evidence::LOST, at),
            None => self.refuse(Refusal::OtherBuilding),
        }
    }
}
