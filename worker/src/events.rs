//! What happens to jobs and slots, one struct a kind: its log line and its metric in one place, so
//! that neither can be forgotten.
//!
//! No program text, output, environment or secret is ever a field here.

use std::fmt::Display;
use std::time::Duration;

use jailfleet::clocks::{self, Waited};
use jailfleet::job::{EpochMs, JobId, Lane, Name};
use jailfleet::outcome::{ErrorCode, Outcome};
use jailfleet::result::JobResult;
use jailfleet::wall::{HeldWall, WallSet};
use jailfleet_queue::Delivery;

use crate::canary::Sang;
use crate::clocks::waited;
use crate::metrics::{Adopted, Heard, Met, Metrics, PublishEnd, Ran, Reaped, SetAside};
use crate::tenancy::TenantIndex;

/// A delivery came in.
pub(crate) struct JobReceived<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) now: EpochMs,
    /// Whether it may have waited in its queue, as far as this worker's hands tell.
    pub(crate) waited: Waited,
}

impl JobReceived<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        let Delivery {
            body,
            envelope,
            origin,
            ..
        } = self.delivery;
        let seconds = epoch_seconds(self.now);
        metrics.job_received(origin.lane, envelope.redelivered, body.len(), seconds);
        if let Some(published) = envelope.published_ms.map(EpochMs) {
            metrics.queue_wait(origin.lane, clocks::queued(published, self.now));
            let waited = waited(envelope, origin, self.waited);
            if let Some(skew) = clocks::skew(published, self.now, waited) {
                metrics.clock_skew(skew);
            }
        }
        tracing::debug!(
            message_id = envelope.message_id.as_deref(),
            lane = origin.lane.as_str(),
            bytes = body.len(),
            redelivered = envelope.redelivered,
            delivery_count = envelope.delivery_count,
            "job received"
        );
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a timestamp gauge is a float by format"
)]
fn epoch_seconds(now: EpochMs) -> f64 {
    now.0 as f64 / 1000.0
}

/// A program ran, whatever came of it.
pub(crate) struct ProgramRan {
    pub(crate) lane: Lane,
    pub(crate) ran: Ran,
}

impl ProgramRan {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.job_ran(self.lane, &self.ran);
    }
}

/// A job came to an outcome.
pub(crate) struct JobFinished<'a> {
    pub(crate) result: &'a JobResult,
    pub(crate) lane: Lane,
}

impl JobFinished<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        let result = self.result;
        metrics.job_finished(self.lane, result.outcome);
        let code = result.error.as_ref().map(|error| error.code);
        if let (Outcome::Rejected, Some(ErrorCode::Rejected(code))) = (result.outcome, code) {
            metrics.job_rejected(code);
        }
        metrics.artifacts(result.artifacts.len(), &result.artifacts_left_out);
        let fault = result.outcome == Outcome::EngineFault;
        let reason = result.error.as_ref().map(|error| error.message.as_str());
        let (job_id, slug) = (
            result.job_id.as_ref().map(JobId::as_str),
            result.slug.as_deref(),
        );
        let (outcome, code) = (result.outcome.as_str(), code.map(ErrorCode::as_str));
        let (slot, attempt) = (result.worker.slot, result.worker.attempt);
        if fault {
            tracing::error!(
                job_id,
                slug,
                outcome,
                code,
                slot,
                attempt,
                reason,
                "a job was answered with a fault of ours"
            );
        } else {
            tracing::debug!(
                job_id,
                slug,
                lane = self.lane.as_str(),
                outcome,
                code,
                exit_code = result.exit_code,
                signal = result.signal,
                slot,
                attempt,
                "job finished"
            );
        }
    }
}

/// The broker brought a message again that is under way here, or was; or another one of its id.
pub(crate) struct JobAdopted<'a> {
    pub(crate) job_id: Option<&'a str>,
    pub(crate) adopted: Adopted,
}

impl JobAdopted<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.job_adopted(self.adopted);
        let (job_id, twin) = (self.job_id, self.adopted.as_str());
        match self.adopted {
            Adopted::Running | Adopted::Finished => {
                tracing::debug!(job_id, twin, "a job came again and is not run again");
            }
            Adopted::Stranger => tracing::info!(
                job_id,
                twin,
                "a job has the id of another one; it is a job of its own"
            ),
        }
    }
}

/// A cancel came. One line each at most at debug: whoever may cancel may send any number of them.
pub(crate) struct CancelHeard<'a> {
    pub(crate) tenant: TenantIndex,
    pub(crate) heard: Heard,
    pub(crate) why: Option<&'a str>,
    pub(crate) remembered: usize,
}

impl CancelHeard<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.cancel_heard(self.tenant, self.heard, self.remembered);
        let (result, why) = (self.heard.as_str(), self.why);
        tracing::debug!(result, why, remembered = self.remembered, "a cancel came");
    }
}

/// A cancel hit a job that is here.
pub(crate) struct JobCancelled<'a> {
    pub(crate) job_id: &'a JobId,
    pub(crate) met: Met,
}

impl JobCancelled<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.job_cancelled(self.met);
        let job_id = self.job_id.as_str();
        match self.met {
            Met::Waiting => tracing::debug!(job_id, "a cancelled job is not run"),
            Met::Running => tracing::debug!(job_id, "the run of a cancelled job was ended"),
        }
    }
}

/// A result was given to the broker, or could not be.
pub(crate) struct ResultPublished<'a> {
    pub(crate) job_id: Option<&'a JobId>,
    pub(crate) end: PublishEnd,
    pub(crate) bytes: usize,
    pub(crate) took: Duration,
}

impl ResultPublished<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.result_published(self.end, self.bytes, self.took);
        let job_id = self.job_id.map(JobId::as_str);
        match self.end {
            PublishEnd::Confirmed => {
                tracing::debug!(job_id, bytes = self.bytes, "result confirmed")
            }
            PublishEnd::Lost => tracing::warn!(
                job_id,
                bytes = self.bytes,
                "the reply queue is gone; the result is kept in the queue of lost results"
            ),
            PublishEnd::Failed => tracing::warn!(
                job_id,
                bytes = self.bytes,
                "the result was not confirmed; the job is handed back"
            ),
        }
    }
}

/// A delivery ended without a published result.
pub(crate) struct JobSetAside<'a> {
    pub(crate) job_id: Option<&'a str>,
    pub(crate) reason: SetAside,
    pub(crate) why: &'a dyn Display,
    pub(crate) heard: Told,
}

/// Whether a log has had this of this job before: one that waits for an upgrade goes around all day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    New,
    Again,
}

impl JobSetAside<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.job_set_aside(self.reason);
        let (job_id, why) = (self.job_id, self.why);
        if self.heard == Told::Again {
            tracing::debug!(job_id, reason = self.reason.as_str(), %why, "a job was set aside again");
            return;
        }
        match self.reason {
            SetAside::Dead => tracing::warn!(job_id, %why, "a message nobody can be told about \
                was put into the dead queue"),
            SetAside::Newer => tracing::warn!(job_id, %why, "a job of a newer minor version waits \
                for an upgraded worker"),
            SetAside::Suspect => tracing::warn!(job_id, %why, "a job that was there when workers \
                died was moved to the suspects"),
            SetAside::HandedBack => tracing::info!(job_id, %why, "a job was handed back"),
            SetAside::Retried => tracing::warn!(job_id, %why, "a job is tried again after a fault \
                of ours"),
            SetAside::NoReply => {
                tracing::info!(job_id, %why, "a job that asks for no result ended")
            }
        }
    }
}

/// The reaper is done with a dead letter, or could not be.
pub(crate) struct LetterReaped<'a> {
    pub(crate) job_id: Option<&'a str>,
    pub(crate) end: Reaped,
    pub(crate) why: &'a str,
}

impl LetterReaped<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.letter_reaped(self.end);
        let (job_id, why, end) = (self.job_id, self.why, self.end.as_str());
        match self.end {
            Reaped::Answered(_) => tracing::warn!(
                job_id,
                why,
                end,
                "a dead job was answered, and is parked for people"
            ),
            Reaped::Unanswered => tracing::warn!(
                job_id,
                why,
                "a dead job that nobody waits for, or that names a queue it may not name, is parked"
            ),
            Reaped::Unread => tracing::error!(
                job_id,
                why,
                "the reaper failed on a dead letter again and again; its requester is told that it is \
                    lost, and it is parked unread"
            ),
            Reaped::SentAgain => tracing::warn!(
                job_id,
                why,
                "a job that no queue takes is tried once more in a minute"
            ),
            Reaped::SentBack => tracing::debug!(
                job_id,
                why,
                "a job of a newer minor version is sent to its lane again"
            ),
            Reaped::HandedBack => tracing::warn!(job_id, why, "a dead letter was handed back"),
        }
    }
}

/// A delivery could not be settled: the broker brings it again.
pub(crate) struct SettleFailed<'a> {
    pub(crate) job_id: Option<&'a str>,
    pub(crate) error: &'a dyn Display,
}

impl SettleFailed<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.settle_failed();
        tracing::warn!(job_id = self.job_id, error = %self.error,
            "a delivery could not be settled; the broker delivers it again");
    }
}

/// The warden's slots stand.
pub(crate) struct WardenReady<'a> {
    pub(crate) slots: u16,
    pub(crate) held: &'a [HeldWall],
    pub(crate) set: WallSet,
}

impl WardenReady<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.warden_ready(self.slots, self.held);
        let walls = self
            .held
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        tracing::info!(
            slots = self.slots,
            set = self.set.as_str(),
            walls,
            "the walls stand"
        );
        if self.set == WallSet::Laptop {
            tracing::warn!("wall set laptop: best effort, not for strangers' code");
        }
    }
}

/// A canary came back, or did not.
pub(crate) struct CanaryFlew<'a> {
    pub(crate) slot: u16,
    pub(crate) sang: &'a Sang,
    pub(crate) now: EpochMs,
}

impl CanaryFlew<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.canary(self.sang, epoch_seconds(self.now));
        let slot = self.slot;
        match self.sang {
            Sang::Held => tracing::debug!(slot, "a canary made every attempt in vain"),
            Sang::Escaped(way) => tracing::error!(slot, way, "a canary got out of its jail"),
            Sang::Silent(why) => tracing::warn!(slot, why, "a canary did not come back"),
        }
    }
}

/// A slot could not be proven clean, or was rebuilt after that.
pub(crate) enum SlotChanged<'a> {
    Quarantined {
        slot: u16,
        residue: &'a dyn std::fmt::Debug,
    },
    Rebuilt {
        slot: u16,
    },
}

impl SlotChanged<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        match self {
            Self::Quarantined { slot, residue } => {
                metrics.slot_quarantined();
                tracing::error!(
                    slot,
                    ?residue,
                    "a slot could not be proven clean; it is rebuilt"
                );
            }
            Self::Rebuilt { slot } => {
                tracing::info!(slot, "a quarantined slot was rebuilt");
            }
        }
    }
}

/// The worker begins to stop.
pub(crate) struct DrainBegan<'a> {
    pub(crate) why: &'a str,
    pub(crate) running: usize,
}

impl DrainBegan<'_> {
    pub(crate) fn emit(&self, metrics: &Metrics) {
        metrics.draining();
        tracing::info!(
            why = self.why,
            running = self.running,
            "draining: no more jobs are taken"
        );
    }
}

/// The worker takes jobs now.
pub(crate) struct Consuming<'a> {
    pub(crate) pool: &'a Name,
}

impl Consuming<'_> {
    pub(crate) fn emit(&self) {
        tracing::info!(pool = self.pool.as_str(), "taking jobs");
    }
}
