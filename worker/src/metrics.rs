//! Every metric of the worker, on crate `prometheus`; nothing else names that crate.
//!
//! Handles are made once, one a label set, so that a scrape sees zeroes from the start and no job
//! pays for a look-up by text. No label ever comes from a message.

use std::sync::Arc;
use std::time::Duration;

use jailfleet::artifact::{LeftOut, LeftOutReason};
use jailfleet::clocks::Skew;
use jailfleet::evidence::{StageTimes, UnknownCalls};
use jailfleet::job::{Lane, Name};
use jailfleet::outcome::Outcome;
use jailfleet::rejection::RejectionCode;
use jailfleet::wall::{HeldWall, Wall};
use jailfleet_queue::DoorCounters;
use jailfleet_queue::topology::{Drift, Kept};
use prometheus::{Counter, Encoder, Gauge, Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use crate::canary::Sang;
use crate::supervisor::{DoorLink, Role, SlotCounts};
use crate::tenancy::TenantIndex;

mod words;
mod tenants;
mod doors;
mod clocks;
mod made;

use clocks::ClockSkew;
use tenants::TenantMetrics;
pub use words::{Adopted, Drifted, Heard, Met, PublishEnd, Reaped, SetAside, Step};

/// What went wrong inside the metrics crate: only a mistake in this file can cause it.
pub type MetricsError = prometheus::Error;

/// One handle a label value. A linear look is faster than a hash for so few.
#[derive(Debug)]
struct PerKey<K, M>(Vec<(K, M)>);

impl<K: Copy + PartialEq, M> PerKey<K, M> {
    fn new(keys: &[K], make: impl Fn(K) -> M) -> Self {
        Self(keys.iter().map(|key| (*key, make(*key))).collect())
    }

    fn with(&self, key: K, act: impl FnOnce(&M)) {
        if let Some((_, metric)) = self.0.iter().find(|(candidate, _)| *candidate == key) {
            act(metric);
        }
    }
}

/// The handles of one lane.
#[derive(Debug)]
struct LaneMetrics {
    received: IntCounter,
    redelivered: IntCounter,
    in_progress: IntGauge,
    finished: PerKey<Outcome, IntCounter>,
    queue_wait: Histogram,
    setup: Histogram,
    run: Histogram,
    total: Histogram,
    last_delivery: Gauge,
}

/// Every metric of the worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    lanes: PerKey<Lane, LaneMetrics>,
    ends: EndMetrics,
    runs: RunMetrics,
    slots: SlotMetrics,
    draining: IntGauge,
    walls: PerKey<Wall, IntGauge>,
    tenants: TenantMetrics,
    cancels: CancelMetrics,
    clock_skew: ClockSkew,
}

/// How deliveries and results ended.
#[derive(Debug)]
struct EndMetrics {
    rejected: PerKey<RejectionCode, IntCounter>,
    set_aside: PerKey<SetAside, IntCounter>,
    published: PerKey<PublishEnd, IntCounter>,
    settle_failures: IntCounter,
    adopted: PerKey<Adopted, IntCounter>,
    confirm: Histogram,
    reaped: PerKey<Reaped, IntCounter>,
}

/// What runs used, and how large messages were.
#[derive(Debug)]
struct RunMetrics {
    steps: PerKey<Step, Counter>,
    unknown_calls: PerKey<Option<u32>, IntCounter>,
    cpu: Histogram,
    peak_memory: Histogram,
    payload: Histogram,
    result: Histogram,
    artifacts: IntCounter,
    left_out: PerKey<LeftOutReason, IntCounter>,
}

/// What the slots are up to.
#[derive(Debug)]
struct SlotMetrics {
    all: IntGauge,
    busy: IntGauge,
    quarantined: IntGauge,
    unproven: IntGauge,
    quarantines: IntCounter,
    busy_seconds: Counter,
    canaries: PerKey<&'static str, IntCounter>,
    last_good_canary: Gauge,
    escaped: IntGauge,
}

/// What was cancelled, and what is remembered of it.
#[derive(Debug)]
struct CancelMetrics {
    heard: PerKey<Heard, IntCounter>,
    jobs: PerKey<Met, IntCounter>,
    forgotten: IntCounter,
}

impl Metrics {
    /// Makes and registers them all, for a worker whose settings name no tenants.
    ///
    /// # Errors
    /// When two of them have one name: a mistake in these files.
    pub fn new() -> Result<Self, MetricsError> {
        Self::of(&[])
    }

    /// The same for a worker that serves tenants of these names: what is a tenant's has his name as its
    /// label `tenant`.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn of(tenants: &[Name]) -> Result<Self, MetricsError> {
        made::all(tenants)
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The recording side: one method a fact.
impl Metrics {
    /// A delivery came.
    pub fn job_received(&self, lane: Lane, redelivered: bool, bytes: usize, epoch_seconds: f64) {
        self.runs.payload.observe(as_f64(bytes));
        self.lanes.with(lane, |lane| {
            if redelivered {
                lane.redelivered.inc()
            } else {
                lane.received.inc()
            }
            lane.in_progress.inc();
            lane.last_delivery.set(epoch_seconds);
        });
    }

    /// A delivery was settled, `total` after it came.
    pub fn job_settled(&self, lane: Lane, total: Duration) {
        self.lanes.with(lane, |lane| {
            lane.in_progress.dec();
            lane.total.observe(total.as_secs_f64());
        });
    }

    /// A job waited in its queue.
    pub fn queue_wait(&self, lane: Lane, wait: Duration) {
        self.lanes
            .with(lane, |lane| lane.queue_wait.observe(wait.as_secs_f64()));
    }

    /// A job told how far its producer's clock is from ours.
    pub fn clock_skew(&self, skew: Skew) {
        self.clock_skew.saw(skew);
    }

    /// A job came to an outcome.
    pub fn job_finished(&self, lane: Lane, outcome: Outcome) {
        self.lanes
            .with(lane, |lane| lane.finished.with(outcome, IntCounter::inc));
    }

    /// A program ran.
    pub fn job_ran(&self, lane: Lane, ran: &Ran) {
        self.lanes.with(lane, |lane| {
            lane.setup.observe(ran.setup.as_secs_f64());
            lane.run.observe(ran.run.as_secs_f64());
        });
        self.step(Step::Wait, ran.wait);
        self.step(Step::Order, ran.order);
        for (stage, took) in ran.stages.iter() {
            self.step(Step::Jail(stage), took);
        }
        self.step(Step::Run, ran.run);
        self.step(Step::Report, ran.report);
        for number in ran.unknown_calls.iter() {
            self.runs.unknown_calls.with(told(number), IntCounter::inc);
        }
        self.runs.cpu.observe(ran.cpu.as_secs_f64());
        if let Some(bytes) = ran.peak_memory_bytes {
            self.runs.peak_memory.observe(bytes_f64(bytes));
        }
    }

    /// A step of a job took so long.
    pub fn step(&self, step: Step, took: Duration) {
        self.runs
            .steps
            .with(step, |total| total.inc_by(took.as_secs_f64()));
    }

    /// A job was refused.
    pub fn job_rejected(&self, code: RejectionCode) {
        self.ends.rejected.with(code, IntCounter::inc);
    }

    /// A run left files that were wanted, and others that are not delivered.
    pub fn artifacts(&self, delivered: usize, left_out: &[LeftOut]) {
        let delivered = u64::try_from(delivered).unwrap_or(u64::MAX);
        self.runs.artifacts.inc_by(delivered);
        for one in left_out {
            self.runs.left_out.with(one.reason, IntCounter::inc);
        }
    }

    /// A delivery ended without a published result.
    pub fn job_set_aside(&self, reason: SetAside) {
        self.ends.set_aside.with(reason, IntCounter::inc);
    }

    /// The reaper is done with a dead letter.
    pub fn letter_reaped(&self, end: Reaped) {
        self.ends.reaped.with(end, IntCounter::inc);
    }

    /// So many messages wait in a queue that keeps them for people; `None` while nobody can see.
    pub fn kept(&self, tenant: TenantIndex, queue: Kept, messages: Option<u32>) {
        // A number from before would look as if all were well.
        let shown = messages.map_or(f64::NAN, f64::from);
        self.tenants.with(tenant, |tenant| {
            tenant.kept.with(queue, |gauge| gauge.set(shown));
        });
    }

    /// A cancel was heard; so many ids and batches are remembered now.
    pub fn cancel_heard(&self, tenant: TenantIndex, heard: Heard, remembered: usize) {
        self.cancels.heard.with(heard, IntCounter::inc);
        let remembered = i64::try_from(remembered).unwrap_or(i64::MAX);
        self.tenants
            .with(tenant, |tenant| tenant.cancels_remembered.set(remembered));
    }

    /// So many older cancels were forgotten for want of room.
    pub fn cancels_forgotten(&self, forgotten: usize) {
        self.cancels
            .forgotten
            .inc_by(u64::try_from(forgotten).unwrap_or(u64::MAX));
    }

    /// The broker brought a message again that was not carried through again.
    pub fn job_adopted(&self, adopted: Adopted) {
        self.ends.adopted.with(adopted, IntCounter::inc);
    }

    /// A job was answered with the word that it was cancelled.
    pub fn job_cancelled(&self, met: Met) {
        self.cancels.jobs.with(met, IntCounter::inc);
    }

    /// How the broker differs from what it should be; `None` while nobody has compared.
    pub fn drift(&self, tenant: TenantIndex, drift: Option<Drift>) {
        for (kind, count) in [
            (Drifted::Differs, drift.map(|drift| drift.differs)),
            (Drifted::Missing, drift.map(|drift| drift.missing)),
            (Drifted::Unseen, drift.map(|drift| drift.unseen)),
        ] {
            let shown = count.map_or(f64::NAN, f64::from);
            self.tenants.with(tenant, |tenant| {
                tenant.drift.with(kind, |gauge| gauge.set(shown));
            });
        }
    }

    /// A delivery could not be settled.
    pub fn settle_failed(&self) {
        self.ends.settle_failures.inc();
    }

    /// A result was published, or not.
    pub fn result_published(&self, end: PublishEnd, bytes: usize, took: Duration) {
        self.ends.published.with(end, IntCounter::inc);
        self.step(Step::Answer, took);
        self.runs.result.observe(as_f64(bytes));
        self.ends.confirm.observe(took.as_secs_f64());
    }

    /// The warden made its slots, and these walls hold.
    pub fn warden_ready(&self, slots: u16, held: &[HeldWall]) {
        self.slots.all.set(i64::from(slots));
        for wall in held {
            self.walls.with(wall.wall, |gauge| gauge.set(1));
        }
    }

    /// A canary came back, or did not.
    pub fn canary(&self, sang: &Sang, epoch_seconds: f64) {
        self.slots.canaries.with(sang.as_str(), IntCounter::inc);
        match sang {
            Sang::Held => self.slots.last_good_canary.set(epoch_seconds),
            Sang::Escaped(_) => self.slots.escaped.set(1),
            Sang::Silent(_) => {}
        }
    }

    /// A slot was leased, for a job of this tenant or for a canary.
    pub fn slot_leased(&self, tenant: Option<TenantIndex>) {
        self.slots.busy.inc();
        if let Some(tenant) = tenant {
            self.tenants.with(tenant, |tenant| tenant.started.inc());
        }
    }

    /// A lease of a slot ended.
    pub fn slot_returned(&self, tenant: Option<TenantIndex>, busy: Duration) {
        let seconds = busy.as_secs_f64();
        self.slots.busy.dec();
        self.slots.busy_seconds.inc_by(seconds);
        if let Some(tenant) = tenant {
            self.tenants
                .with(tenant, |tenant| tenant.slot_seconds.inc_by(seconds));
        }
    }

    /// A slot could not be proven clean.
    pub fn slot_quarantined(&self) {
        self.slots.quarantines.inc();
    }

    /// How many slots there are of each kind now.
    pub fn slots(&self, counts: SlotCounts) {
        self.slots.quarantined.set(i64::from(counts.quarantined));
        self.slots.unproven.set(i64::from(counts.unproven));
    }

    /// The worker began to stop.
    pub fn draining(&self) {
        self.draining.set(1);
    }

    /// A connection changed.
    pub fn door(&self, tenant: TenantIndex, role: Role, link: DoorLink) {
        let connected = link != DoorLink::Down;
        let blocked = link == DoorLink::Blocked;
        self.tenants.with(tenant, |tenant| {
            tenant
                .connected
                .with(role, |gauge| gauge.set(i64::from(connected)));
            match role {
                Role::Publish => tenant.blocked.set(i64::from(blocked)),
                Role::Consume | Role::Reap | Role::Control => {}
            }
        });
    }

    /// From now on each scrape shows what this tenant's doors count.
    pub fn watch_doors(&self, tenant: TenantIndex, counters: Arc<DoorCounters>) {
        if !self.tenants.events.watch(tenant, counters) {
            tracing::warn!("the metrics were given a second pair of doors; they show the first");
        }
    }
}

/// What one run used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ran {
    /// From receipt to the lease of a slot.
    pub wait: Duration,
    /// From the lease to the program's start, without the jail's own stages.
    pub order: Duration,
    /// The jail's stages.
    pub stages: StageTimes,
    /// From receipt to the program's start: all of the above.
    pub setup: Duration,
    /// From the program's start to its end.
    pub run: Duration,
    /// From the program's end until we knew of it.
    pub report: Duration,
    /// Calls that the filter did not know.
    pub unknown_calls: UnknownCalls,
    /// CPU time of the whole tree.
    pub cpu: Duration,
    /// Highest memory use, where the host can tell.
    pub peak_memory_bytes: Option<u64>,
}

/// Programs choose the numbers: only those that the kernels of the next years may bring are told.
fn told(number: u32) -> Option<u32> {
    CALLS_TO_COME.contains(&number).then_some(number)
}

/// What comes after the last call that the policy names.
const CALLS_TO_COME: std::ops::RangeInclusive<u32> = 470..=493;

#[expect(
    clippy::cast_precision_loss,
    reason = "a histogram needs no exact bytes"
)]
fn as_f64(bytes: usize) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a histogram needs no exact bytes"
)]
fn bytes_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests;
