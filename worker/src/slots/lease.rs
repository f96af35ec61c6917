//! The right to one slot, and a run in it, from the side of the attempt that asked for it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jailfleet::evidence::{Acted, Evidence};
use jailfleet::job::EpochMs;
use jailfleet::limits::Limits;
use jailfleet_program::Moment;
use jailfleet_sandbox::protocol::{Build, JailPlan, Order, Refusal, RunDescriptors};
use tokio::sync::oneshot;

use super::rooms::Share;
use super::table::{Proof, Taken};
use super::waiting::Waiting;
use super::{Ended, Shared, SlotError};
use crate::tenancy::TenantIndex;

/// Where a job runs, as its result tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The slot's number.
    pub slot: u16,
    /// When a canary last came back from the slot as it stood when the job got it.
    pub proven: Option<EpochMs>,
}

/// The right to run one job in one slot. Dropped unused, the slot is idle again.
#[derive(Debug)]
pub struct Lease {
    build: Build,
    proven: Option<Proof>,
    since: Moment,
    shared: Arc<Shared>,
    used: bool,
    job: Option<ForJob>,
}

/// Whose job a slot was leased for, and the lane's room for it.
#[derive(Debug)]
pub(super) struct ForJob {
    pub(super) tenant: TenantIndex,
    pub(super) _share: Share,
}

impl Lease {
    /// Takes note that the slot is ours from now on; canaries have it without a job.
    pub(super) fn of(taken: Taken, shared: Arc<Shared>, job: Option<ForJob>) -> Self {
        shared
            .metrics
            .slot_leased(job.as_ref().map(|job| job.tenant));
        let Taken { build, proven } = taken;
        Self {
            build,
            proven,
            since: shared.clock.now(),
            shared,
            used: false,
            job,
        }
    }

    /// The slot, and when it was proven.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            slot: self.build.slot,
            proven: self.proven.map(|proof| proof.epoch),
        }
    }

    /// Which building of the slot it is.
    #[must_use]
    pub const fn build(&self) -> Build {
        self.build
    }

    /// Sends the run's order with its descriptors. Ours are closed once they are on their way.
    ///
    /// # Errors
    /// When the warden cannot be reached, or the slot was taken out of use since it was leased.
    pub async fn start(
        &mut self,
        runtime: u16,
        limits: Limits,
        descriptors: RunDescriptors,
    ) -> Result<Running<'_>, SlotError> {
        let run = self.shared.next_run.fetch_add(1, Ordering::Relaxed);
        let (ended, receiver) = oneshot::channel();
        let waiting = Waiting {
            run,
            leased: self.since,
            start: None,
            ended,
        };
        {
            let mut table = self.shared.table();
            if !table.start(self.build, waiting) {
                return Err(if table.is_gone() {
                    SlotError::WardenGone
                } else {
                    Refusal::OtherBuilding.into()
                });
            }
        }
        self.used = true;
        let plan = JailPlan {
            run,
            build: self.build,
            runtime,
            limits,
            extras: descriptors.extras(),
        };
        let descriptors: Vec<OwnedFd> = descriptors.into_iter().collect();
        self.shared.send(&Order::Run(plan), &descriptors).await?;
        Ok(Running {
            lease: self,
            run,
            ended: receiver,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let tenant = self.job.as_ref().map(|job| job.tenant);
        let busy = self.shared.clock.now().saturating_sub(self.since);
        self.shared.metrics.slot_returned(tenant, busy);
        if self.used {
            return; // The warden says when the slot is idle again.
        }
        let whose = self.shared.table().give_back(self.build);
        if let Some(whose) = whose {
            self.shared.permits(whose).add_permits(1);
        }
    }
}

/// A run that was started.
#[derive(Debug)]
pub struct Running<'a> {
    lease: &'a Lease,
    run: u64,
    ended: oneshot::Receiver<Result<Ended, Refusal>>,
}

impl Running<'_> {
    /// Waits for the end of the run.
    ///
    /// # Errors
    /// When it never began.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn ended(&mut self) -> Result<Ended, SlotError> {
        match (&mut self.ended).await {
            Ok(ended) => Ok(ended?),
            // The table was dropped with the sender in it: the worker is ending.
            Err(_closed) => Ok(Ended {
                leased: self.lease.since,
                start: None,
                at: self.lease.shared.clock.now(),
                evidence: Evidence::LOST,
            }),
        }
    }

    /// Says that the warden does not answer: the worker then ends, and with it every jail.
    pub fn warden_is_stuck(&self) {
        self.lease.shared.stuck.cancel();
    }

    /// Asks for the end of the run; it still has to be waited for.
    ///
    /// # Errors
    /// When the warden cannot be reached.
    pub async fn kill(&self, why: Acted) -> Result<(), SlotError> {
        let order = Order::Kill {
            slot: self.lease.build.slot,
            run: self.run,
            why,
        };
        self.lease.shared.send(&order, &[]).await
    }
}
