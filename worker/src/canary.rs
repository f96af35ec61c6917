//! Canaries: escape attempts that run through the same path as a job, to prove again and again that the
//! walls hold.
//!
//! One flies in every slot before the slot takes its first job: at the start, after each rebuilding, and
//! after one that said nothing of use. Then one flies every few minutes, in the slot that was proven
//! longest ago. A canary that says that it got out is believed, and the worker takes no more jobs. One
//! that says nothing of use may be the host's trouble: its slot takes no job, it is repeated, and then
//! that slot alone is replaced. Results carry the time of their slot's last good canary.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jailfleet::settings::WorkerSettings;
use jailfleet_program::Clock;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::events::CanaryFlew;
use crate::labelled::Labelled;
use crate::metrics::Metrics;
use crate::programs::Offer;
use crate::slots::{Build, Lease, Proof, SlotError, Slots};
use crate::supervisor::Event;

mod flight;
mod misses;

use flight::{Flight, Kind, kinds};
use misses::{Misses, Next, Tries};

/// How long the start of a worker waits for its canaries. A slot of which none has come back by then
/// stays out until one does.
const PROVING: Duration = Duration::from_secs(60);
/// How long a slot in doubt waits for the next canary.
const AGAIN: Duration = Duration::from_secs(1);

/// What a canary told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sang {
    /// Every attempt failed.
    Held,
    /// This attempt succeeded.
    Escaped(String),
    /// Nothing of use, with the reason.
    Silent(String),
}

impl Sang {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Escaped(_) => "escaped",
            Self::Silent(_) => "silent",
        }
    }

    /// All the words.
    pub const WORDS: [&'static str; 3] = ["held", "escaped", "silent"];
}

/// Why a worker's walls could not be proven at its start.
#[derive(Debug, Error)]
pub enum CanaryError {
    /// A canary got out.
    #[error(
        "prove the walls: a canary {0}; keep jobs away from this host until somebody knows why"
    )]
    Escaped(String),
    /// No slot gave an answer.
    #[error("prove the walls: no canary came back in time; the log says what became of them")]
    Unproven,
    /// The warden went away meanwhile.
    #[error(transparent)]
    Slot(#[from] SlotError),
}

/// The canaries of one worker.
#[derive(Debug)]
pub struct Canaries {
    settings: Arc<WorkerSettings>,
    slots: Slots,
    count: u16,
    metrics: Arc<Metrics>,
    clock: Clock,
    kinds: Vec<Kind>,
    misses: Misses,
    flown: usize,
    proving: Duration,
}

impl Canaries {
    /// Those that fly in these slots, by the runtimes that are offered.
    #[must_use]
    pub fn new(
        settings: Arc<WorkerSettings>,
        offer: &Offer,
        (slots, count): (Slots, u16),
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let kinds = kinds(&settings, offer);
        if kinds.is_empty() {
            tracing::warn!(
                "no runtime is a python or a shell: no canary can fly, the walls go unproven"
            );
        }
        Self {
            settings,
            slots,
            count,
            metrics,
            clock,
            kinds,
            misses: Misses::of(count),
            flown: 0,
            proving: PROVING,
        }
    }

    /// Whether there are any.
    #[must_use]
    pub const fn can_fly(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// Proves every slot that gives an answer in time, before the first job is taken. The others stay
    /// out until a canary comes back from them.
    ///
    /// # Errors
    /// [`CanaryError`] when one got out, or none came back: then no job may be taken.
    pub async fn prove_all(&mut self) -> Result<(), CanaryError> {
        if !self.can_fly() {
            self.slots.waive_proofs();
            return Ok(());
        }
        let proving = self.proving;
        match timeout(proving, self.prove_each()).await {
            Ok(proven) => proven?,
            Err(_elapsed) => tracing::warn!(
                after_s = proving.as_secs(),
                "canaries are still under way; the start does not wait for them any longer"
            ),
        }
        let counts = *self.slots.counts().borrow();
        if self.slots.gone() {
            return Err(SlotError::WardenGone.into());
        }
        if counts.proven == 0 {
            return Err(CanaryError::Unproven);
        }
        if counts.proven < self.count {
            tracing::warn!(
                proven = counts.proven,
                slots = self.count,
                "some slots are not proven; each takes no job until a canary comes back from it"
            );
        }
        Ok(())
    }

    /// Lets canaries fly until every slot is proven, or was tried often enough.
    async fn prove_each(&mut self) -> Result<(), CanaryError> {
        let mut counts = self.slots.counts();
        let mut tries = Tries::default();
        let mut tried_enough: HashMap<u16, Lease> = HashMap::new();
        let mut flights = Flights::default();
        // A slot that is free again before its canary was heard: what the canary says comes first.
        let mut early: Option<Lease> = None;
        loop {
            let left = usize::from(counts.borrow_and_update().unproven);
            if flights.is_empty() && left <= tried_enough.len() {
                return Ok(());
            }
            tokio::select! {
                // Its word first: the slot of a canary that came back needs no second one.
                biased;
                Some((build, sang)) = flights.next() => {
                    early = None;
                    if let Next::Stop(way) = self.book(build, sang).await {
                        return Err(CanaryError::Escaped(way));
                    }
                }
                lease = self.slots.lease_unproven(), if early.is_none() => {
                    let lease = lease?;
                    let build = lease.build();
                    if flights.speak_of(build) {
                        early = Some(lease);
                        continue;
                    }
                    if tries.one_more(build) {
                        // Where another building stood here that was tried enough, it is gone.
                        tried_enough.remove(&build.slot);
                        flights.send(self.flight(), lease);
                    } else {
                        tried_enough.insert(build.slot, lease);
                    }
                }
                changed = counts.changed() => if changed.is_err() {
                    return Err(SlotError::WardenGone.into());
                },
            }
        }
    }

    /// Lets one fly again and again, until told to stop; tells `events` when one got out.
    pub async fn watch(mut self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        let mut every = interval(self.every());
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // All were proven just now.
        every.reset();
        // A slot that takes no job is not kept waiting, but for the breath after a canary in vain. One
        // breath over all turns of the loop: begun anew with each, a shorter interval would never let it
        // end.
        let mut breath = pin!(sleep(Duration::ZERO));
        loop {
            let unproven = async {
                breath.as_mut().await;
                self.slots.lease_unproven().await
            };
            let lease = tokio::select! {
                () = stop.cancelled() => return,
                lease = unproven => lease,
                // A slot with a job in it comes next time: jobs do not wait for canaries.
                _ = every.tick() => match self.slots.try_lease_oldest() {
                    Some(lease) => Ok(lease),
                    None => continue,
                },
            };
            let Ok(lease) = lease else {
                // The warden is gone, which others tell; there is nothing left to prove.
                return stop.cancelled().await;
            };
            let build = lease.build();
            let sang = self.flight().fly(lease).await;
            match self.book(build, sang).await {
                Next::Trust => {}
                Next::Again | Next::TakeOut => breath.set(sleep(AGAIN)),
                Next::Stop(way) => {
                    let slot = build.slot;
                    tracing::error!(
                        way,
                        slot,
                        "a canary got out of its jail: no more jobs are taken"
                    );
                    if events.send(Event::Escaped).await.is_err() {
                        tracing::debug!("the worker's loop had ended");
                    }
                    return;
                }
            }
        }
    }

    /// Each slot once in the interval.
    fn every(&self) -> Duration {
        let interval = Duration::from_secs(u64::from(self.settings.worker.canary_interval_s));
        interval / u32::from(self.count).max(1)
    }

    /// The next canary; the kinds take turns.
    fn flight(&mut self) -> Flight {
        let kind = self.flown.checked_rem(self.kinds.len()).unwrap_or(0);
        self.flown = self.flown.wrapping_add(1);
        Flight {
            settings: Arc::clone(&self.settings),
            kind: self.kinds.get(kind).copied(),
        }
    }

    async fn book(&mut self, build: Build, sang: Sang) -> Next {
        let (slot, now) = (build.slot, self.clock.epoch_ms());
        CanaryFlew {
            slot,
            sang: &sang,
            now,
        }
        .emit(&self.metrics);
        let next = self.misses.note(build, &sang);
        match &next {
            Next::Trust => {
                let (at, epoch) = (self.clock.now(), now);
                self.slots.prove(build, Proof { at, epoch });
            }
            // What was proven before was proven of walls that answered.
            Next::Again | Next::TakeOut | Next::Stop(_) => self.slots.doubt(build),
        }
        if next == Next::TakeOut {
            tracing::warn!(slot, "no canary comes back from this slot: it is replaced");
            if let Err(error) = self.slots.replace(build).await {
                tracing::warn!(slot, %error, "the slot could not be replaced");
            }
        }
        next
    }
}

/// Canaries on their way, each with the building of a slot that it speaks of.
#[derive(Debug, Default)]
struct Flights(Labelled<Build, Sang>);

impl Flights {
    fn is_empty(&self) -> bool {
        self.0.labels().next().is_none()
    }

    fn speak_of(&self, build: Build) -> bool {
        self.0.labels().any(|other| *other == build)
    }

    fn send(&mut self, flight: Flight, lease: Lease) {
        let build = lease.build();
        self.0.spawn(build, flight.fly(lease));
    }

    /// The next that came back, or broke off, which says as little as one that is silent.
    async fn next(&mut self) -> Option<(Build, Sang)> {
        let (build, sang) = self.0.next().await?;
        let sang = sang.unwrap_or_else(|error| Sang::Silent(format!("it broke off: {error}")));
        Some((build, sang))
    }
}

#[cfg(test)]
mod tests;
