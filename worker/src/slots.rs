//! Leases of the warden's slots: the worker's side of the socket between the two.
//!
//! An attempt waits for its tenant's turn, leases an idle slot, starts its run in it and waits for the end; one task reads the
//! warden's reports and routes each to the attempt that waits for it. A slot is idle again only
//! when the warden says that it proved it clean, and a job's only once a canary came back from it as it
//! stands. When the socket closes, every waiting attempt gets
//! [`Evidence::LOST`], and no slot is leased any more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jailfleet::evidence::{Evidence, StageTimes};
use jailfleet::job::Lane;
use jailfleet::wall::HeldWall;
use jailfleet_program::{Clock, Moment};
use jailfleet_sandbox::client;
use jailfleet_sandbox::protocol::{Order, Refusal, Report};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::events::SlotChanged;
use crate::metrics::{Metrics, Step};
use crate::supervisor::{Event, SlotCounts};
use crate::tenancy::TenantIndex;

mod rooms;
mod lease;
mod waiting;
mod table;

pub use jailfleet_sandbox::protocol::Build;
use lease::ForJob;
pub use lease::{Lease, Place, Running};
pub use rooms::Rooms;
pub use table::Proof;
use table::{Booked, For, Table, Taken};

/// How long one datagram may wait for room in the socket: the warden's loop never blocks, so that a
/// full socket means that it is stuck.
const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// Why a slot could not be had or used.
#[derive(Debug, Error)]
pub enum SlotError {
    /// The warden's socket is closed.
    #[error("reach the warden: it is gone")]
    WardenGone,
    /// The socket took no datagram for too long.
    #[error("reach the warden: it reads nothing")]
    WardenStuck,
    /// The kernel refused the datagram.
    #[error("send an order to the warden")]
    Send(#[source] io::Error),
    /// What came is no report.
    #[error("read a report of the warden")]
    Receive(#[source] io::Error),
    /// The run did not begin, and is to be ordered anew. It says nothing about the program.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The warden's first word is not what it should be.
    #[error("greet the warden: {0}")]
    Handshake(&'static str),
}

/// What the warden said when it was ready.
#[derive(Debug, Clone)]
pub struct Ready {
    /// How many slots it made.
    pub slots: u16,
    /// The walls that hold in each of them.
    pub held: Vec<HeldWall>,
}

/// The start of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// When we heard that it was executed.
    pub at: Moment,
    /// What the jail's set-up took.
    pub stages: StageTimes,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// When its slot was leased.
    pub leased: Moment,
    /// The program's start, if it came to that.
    pub start: Option<Start>,
    /// When we heard of the end.
    pub at: Moment,
    /// What was observed.
    pub evidence: Evidence,
}

/// The slots of one warden. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Slots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    table: Mutex<Table>,
    /// One permit for each idle slot that jobs may have.
    idle: Semaphore,
    /// One permit for each idle slot that only a canary may have.
    unproven: Semaphore,
    counts: watch::Sender<SlotCounts>,
    rooms: Rooms,
    next_run: AtomicU64,
    /// Cancelled by whoever finds that the warden does not answer any more.
    stuck: CancellationToken,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Slots {
    /// Greets the warden and waits until its slots stand.
    ///
    /// # Errors
    /// When the warden goes away, says something else, or read another config than we did.
    pub async fn greet(
        socket: OwnedFd,
        digest: [u8; 32],
        rooms: Rooms,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Ready), SlotError> {
        #[expect(
            deprecated,
            reason = "the successor is unsafe, for types that may close their descriptor early; an \
                      OwnedFd never does"
        )]
        let socket = AsyncFd::new(socket).map_err(SlotError::Send)?;
        let (table, idle, unproven) = (Mutex::default(), Semaphore::new(0), Semaphore::new(0));
        let counts = watch::Sender::new(SlotCounts::default());
        let next_run = AtomicU64::new(1);
        let stuck = CancellationToken::new();
        let shared = Shared {
            socket,
            table,
            idle,
            unproven,
            counts,
            rooms,
            next_run,
            stuck,
            clock,
            metrics,
        };
        let shared = Arc::new(shared);
        shared.send(&Order::Hello { digest }, &[]).await?;
        let report = shared.receive().await?.ok_or(SlotError::WardenGone)?;
        let Report::Ready {
            slot_count,
            walls,
            config_digest,
        } = report
        else {
            return Err(SlotError::Handshake(
                "its first word was not that it is ready",
            ));
        };
        if config_digest != digest {
            return Err(SlotError::Handshake(
                "it read another configuration than the worker; both read the same file and \
                 environment, so one of them changed during the start: start again",
            ));
        }
        *shared.table() = Table::of_unproven(slot_count);
        shared.unproven.add_permits(usize::from(slot_count));
        shared.count();
        Ok((
            Self { shared },
            Ready {
                slots: slot_count,
                held: walls.held(),
            },
        ))
    }

    /// Routes the warden's reports until its socket closes; then tells the supervisor.
    pub async fn route(&self, events: mpsc::Sender<Event>) {
        loop {
            let received = tokio::select! {
                received = self.shared.receive() => received,
                () = self.shared.stuck.cancelled() => Err(SlotError::WardenStuck),
            };
            let report = match received {
                Ok(Some(report)) => report,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the warden cannot be relied on any more");
                    break;
                }
            };
            self.shared.take(report);
        }
        self.abandon();
        if events.send(Event::WardenGone).await.is_err() {
            tracing::debug!("the warden went away after the worker's loop had ended");
        }
    }

    /// Gives everything up: whoever waits for a run or a slot hears that the warden is gone.
    pub fn abandon(&self) {
        self.shared.lose_everything();
    }

    /// Waits for its tenant's turn in the lane, and then for an idle slot whose walls are proven.
    ///
    /// # Errors
    /// When the warden is gone.
    ///
    /// # Cancel safety
    /// Dropping the future leases nothing.
    pub async fn lease(&self, tenant: TenantIndex, lane: Lane) -> Result<Lease, SlotError> {
        let shared = &self.shared;
        let Some(share) = shared.rooms.of(lane).enter(tenant).await else {
            return Err(SlotError::WardenGone);
        };
        let taken = shared.taken(&shared.idle, Table::lease).await?;
        let job = ForJob {
            tenant,
            _share: share,
        };
        Ok(Lease::of(taken, Arc::clone(shared), Some(job)))
    }

    /// Waits for an idle slot that no job may have before a canary came back from it.
    ///
    /// # Errors
    /// When the warden is gone.
    ///
    /// # Cancel safety
    /// Dropping the future leases nothing.
    pub async fn lease_unproven(&self) -> Result<Lease, SlotError> {
        let shared = &self.shared;
        let taken = shared.taken(&shared.unproven, Table::lease_unproven);
        Ok(Lease::of(taken.await?, Arc::clone(shared), None))
    }

    /// The slot whose proof is the oldest of those that are idle now.
    #[must_use]
    pub fn try_lease_oldest(&self) -> Option<Lease> {
        let permit = self.shared.idle.try_acquire().ok()?;
        let taken = self.shared.table().lease_oldest()?;
        permit.forget();
        Some(Lease::of(taken, Arc::clone(&self.shared), None))
    }

    /// A canary came back from this building of a slot: jobs may have it.
    pub fn prove(&self, build: Build, proof: Proof) {
        self.shared.prove(build, Some(proof));
    }

    /// A canary of this building of a slot said nothing of use: no job may have it until one does.
    pub fn doubt(&self, build: Build) {
        self.shared.prove(build, None);
    }

    /// Lets jobs have slots without a proof, where there is no canary to bring one.
    pub fn waive_proofs(&self) {
        let waited = self.shared.table().waive_proofs();
        self.shared.unproven.forget_permits(waited);
        self.shared.idle.add_permits(waited);
        self.shared.count();
    }

    /// How many slots jobs may have, as it changes.
    #[must_use]
    pub fn counts(&self) -> watch::Receiver<SlotCounts> {
        self.shared.counts.subscribe()
    }

    /// Has a building of a slot replaced whose walls are in doubt.
    ///
    /// # Errors
    /// When the warden cannot be reached.
    pub async fn replace(&self, build: Build) -> Result<(), SlotError> {
        self.shared.send(&Order::Replace { build }, &[]).await
    }

    /// Whether the warden is gone or stuck.
    #[must_use]
    pub fn gone(&self) -> bool {
        self.shared.stuck.is_cancelled() || self.shared.table().is_gone()
    }

    /// Asks the warden to kill everything and end.
    ///
    /// # Errors
    /// When it cannot be reached; then it is gone already.
    pub async fn stop(&self) -> Result<(), SlotError> {
        self.shared.send(&Order::Stop, &[]).await
    }
}

impl Shared {
    /// Waits for a permit, and takes the slot behind it.
    async fn taken(
        &self,
        permits: &Semaphore,
        take: impl Fn(&mut Table) -> Option<Taken>,
    ) -> Result<Taken, SlotError> {
        loop {
            let Ok(permit) = permits.acquire().await else {
                return Err(SlotError::WardenGone);
            };
            permit.forget();
            // The slot behind the permit may have been quarantined, or lost its proof, in between.
            if let Some(taken) = take(&mut self.table()) {
                return Ok(taken);
            }
        }
    }

    const fn permits(&self, whose: For) -> &Semaphore {
        match whose {
            For::Jobs => &self.idle,
            For::Canaries => &self.unproven,
        }
    }

    fn prove(&self, build: Build, proof: Option<Proof>) {
        let moved = self.table().prove(build, proof);
        if let Some((before, now)) = moved {
            // Where the permit was taken already, whoever took it finds no slot behind it.
            self.permits(before).forget_permits(1);
            self.permits(now).add_permits(1);
        }
        self.count();
    }

    /// Says how many slots there are of each kind, if that has changed.
    fn count(&self) {
        // Asked under the lock of the channel, so that no older count overtakes a newer one.
        self.counts.send_if_modified(|counts| {
            let now = self.table().counts();
            let changed = *counts != now;
            *counts = now;
            self.metrics.slots(now);
            changed
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; and if it did, the table would still be whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, order: &Order, descriptors: &[OwnedFd]) -> Result<(), SlotError> {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let sending = self.socket.async_io(Interest::WRITABLE, |socket| {
            client::send(socket.as_fd(), order, &descriptors)
        });
        match timeout(SEND_DEADLINE, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(SlotError::WardenGone)
            }
            Ok(Err(error)) => Err(SlotError::Send(error)),
            Err(_elapsed) => {
                self.stuck.cancel();
                Err(SlotError::WardenStuck)
            }
        }
    }

    async fn receive(&self) -> Result<Option<Report>, SlotError> {
        let receiving = self
            .socket
            .async_io(Interest::READABLE, |socket| client::receive(socket.as_fd()));
        match receiving.await {
            Ok(report) => Ok(report),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(SlotError::Receive(error)),
        }
    }

    /// Books one report.
    fn take(&self, report: Report) {
        let booked = self.table().book(report, self.clock.now());
        match booked {
            Booked::Nothing => {}
            Booked::Surprise(what) => {
                tracing::warn!(what, "the warden reported something that cannot be");
            }
            Booked::Ended { waiting, evidence } => waiting.end(evidence, self.clock.now()),
            Booked::Idle { swept, whose } => {
                self.metrics.step(Step::Sweep, swept);
                self.permits(whose).add_permits(1);
            }
            Booked::Rebuilt { slot, whose } => {
                self.permits(whose).add_permits(1);
                SlotChanged::Rebuilt { slot }.emit(&self.metrics);
                self.count();
            }
            Booked::Quarantined {
                slot,
                residue,
                lost,
                idle_before,
            } => {
                if let Some(whose) = idle_before {
                    // Where the permit was taken already, whoever took it finds no slot behind it.
                    self.permits(whose).forget_permits(1);
                }
                if let Some(waiting) = lost {
                    waiting.lose(self.clock.now());
                }
                SlotChanged::Quarantined {
                    slot,
                    residue: &residue,
                }
                .emit(&self.metrics);
                self.count();
            }
        }
    }

    fn lose_everything(&self) {
        for waiting in self.table().lose_everything() {
            waiting.end(Evidence::LOST, self.clock.now());
        }
        self.idle.close();
        self.unproven.close();
        self.rooms.close();
        self.count();
    }
}
