//! The door inside one process: the same interface and the same behaviour, and no broker.
//!
//! It is bounded, hands a requeued job out again with its count raised, keeps dead letters, and
//! keeps a result whose requester is gone. What it does not do is outlive the process.

mod store;

use jailfleet::cancel::Cancel;
use jailfleet::job::Name;
use jailfleet::wire::encode_cancel;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amqp::ConsumePlan;
use crate::cancels::{CancelIntake, CancelNews};
use crate::counters::DoorCounters;
use crate::doors::{DoorState, Doors, Link, Sessions};
use crate::envelope::{Delivery, Envelope, JobMessage, ResultMessage, Source};
use crate::intake::{Epoch, Intake};
use crate::outbox::{DeadLetter, Outbox, Reply};
use store::Store;

/// The most bytes that wait in an outbox.
const OUTBOX_BYTES: usize = 64 << 20;
/// The most results that wait for the producer, and the most that are kept for people.
const RESULTS: usize = 1024;
/// The tenant of an embedded door.
const TENANT: &str = "embedded";

/// The name of the only reply queue of an embedded door.
pub const EMBEDDED_REPLY: &str = "embedded";

/// The other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("submit a job: the worker's side of the embedded door is closed")]
pub struct DoorGone;

/// The producer's end.
#[derive(Debug)]
pub struct EmbeddedProducer {
    sender: EmbeddedSender,
    results: mpsc::Receiver<ResultMessage>,
    kept: Arc<Kept>,
}

/// Hands jobs in; cheap to clone.
#[derive(Debug, Clone)]
pub struct EmbeddedSender {
    jobs: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    cancels: mpsc::Sender<CancelNews>,
}

/// A job inside the door, from its coming in to its settlement.
#[derive(Debug)]
struct Waiting {
    body: bytes::Bytes,
    envelope: Envelope,
    pool: Name,
    source: Source,
    lane: jailfleet::job::Lane,
    /// Its share of the capacity, given back when it is settled for good. One that was moved has
    /// none of its own: a full door can still move what is in it.
    _room: Option<OwnedSemaphorePermit>,
}

impl EmbeddedSender {
    /// Hands a job in; waits while the door's capacity is used up.
    ///
    /// # Errors
    /// When the worker's side is closed.
    pub async fn submit(&self, job: JobMessage) -> Result<(), DoorGone> {
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
            return Err(DoorGone);
        };
        let envelope = Envelope {
            message_id: Some(job.message_id),
            correlation_id: job.correlation_id,
            reply_to: job.reply_to,
            kind: Some(jailfleet::wire::JOB_TYPE.to_owned()),
            published_ms: job.published_ms,
            traceparent: job.traceparent,
            redelivered: false,
            delivery_count: 0,
            acquired: 0,
            faults: 0,
            handed_on: 0,
            dead_lettered: false,
        };
        let waiting = Waiting {
            body: job.body,
            envelope,
            pool: job.pool,
            source: Source::of(job.lane),
            lane: job.lane,
            _room: Some(room),
        };
        self.jobs.send(waiting).await.map_err(|_gone| DoorGone)
    }

    /// Cancels what was handed in before, by the same rules as over a broker: waiting jobs are
    /// answered without a run, running ones are killed.
    ///
    /// # Errors
    /// When the worker's side is closed.
    pub async fn cancel(&self, cancel: &Cancel) -> Result<(), DoorGone> {
        let news = CancelNews::asked(&encode_cancel(cancel));
        self.cancels.send(news).await.map_err(|_gone| DoorGone)
    }
}

impl EmbeddedProducer {
    /// As [`EmbeddedSender::submit`].
    ///
    /// # Errors
    /// When the worker's side is closed.
    pub async fn submit(&self, job: JobMessage) -> Result<(), DoorGone> {
        self.sender.submit(job).await
    }

    /// A sending half for other tasks.
    #[must_use]
    pub fn sender(&self) -> EmbeddedSender {
        self.sender.clone()
    }

    /// The next result, in the order of their publishing. `None` once the worker's side is closed
    /// and nothing is left.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next_result(&mut self) -> Option<ResultMessage> {
        self.results.recv().await
    }

    /// What the door keeps for people: dead letters and lost results. Outlives the producer.
    #[must_use]
    pub fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.kept)
    }
}

/// What the door keeps for people, the newest 1,024 of each.
#[derive(Debug, Default)]
pub struct Kept {
    dead: Mutex<std::collections::VecDeque<DeadLetter>>,
    lost: Mutex<std::collections::VecDeque<Reply>>,
}

impl Kept {
    /// The dead letters, the oldest first.
    #[must_use]
    pub fn dead(&self) -> Vec<DeadLetter> {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.iter().cloned().collect()
    }

    /// The results that nobody was there for, the oldest first.
    #[must_use]
    pub fn lost(&self) -> Vec<Reply> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.iter().cloned().collect()
    }

    fn keep<T>(place: &Mutex<std::collections::VecDeque<T>>, one: T) {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.len() >= RESULTS {
            place.pop_front();
        }
        place.push_back(one);
    }

    fn keep_dead(&self, letter: DeadLetter) {
        Self::keep(&self.dead, letter);
    }

    fn keep_lost(&self, reply: Reply) {
        Self::keep(&self.lost, reply);
    }
}

/// Makes a door with room for `capacity` jobs that wait or run. Must be called within a tokio
/// runtime. A lane hands out as many jobs as it has slots, and one more that waits.
#[must_use]
pub fn pair(capacity: usize, plan: &ConsumePlan) -> (Doors, EmbeddedProducer) {
    let counters = Arc::new(DoorCounters::default());
    let room = Arc::new(Semaphore::new(capacity.clamp(1, Semaphore::MAX_PERMITS)));
    let (jobs, coming) = mpsc::channel(capacity.clamp(1, RESULTS));
    let (results_in, results) = mpsc::channel(RESULTS);
    let (orders, outgoing) = mpsc::channel(RESULTS);
    let (stop, stops) = mpsc::channel(1);
    let kept = Arc::new(Kept::default());
    let epoch = Epoch::default();
    epoch.advance();

    let (lines, ends) = lines(capacity, plan);
    let (cancels, cancels_in) = CancelIntake::in_one_process();
    let closing = CancellationToken::new();
    let state = watch::Sender::new(DoorState {
        consume: Link::Up,
        publish: Link::Up,
        ..DoorState::default()
    });
    let seen = state.subscribe();
    let store = Store::new(
        TENANT,
        lines,
        results_in,
        Arc::clone(&kept),
        Arc::clone(&counters),
    );
    let tasks = TaskTracker::new();
    tasks.spawn(store.run(store::Inputs {
        coming,
        outgoing,
        stops,
        closing: closing.clone(),
        room: Arc::clone(&room),
        state,
    }));
    let doors = Doors {
        intake: Intake::new(ends, stop, epoch, Arc::clone(&counters)),
        outbox: Outbox::new(orders, OUTBOX_BYTES),
        dead: None,
        cancels: Some(cancels_in),
        state: seen,
        counters,
        sessions: Sessions::without_broker(tasks, closing),
    };
    let sender = EmbeddedSender {
        jobs,
        room,
        cancels,
    };
    (
        doors,
        EmbeddedProducer {
            sender,
            results,
            kept,
        },
    )
}

/// Both ends of every source's line.
fn lines(
    capacity: usize,
    plan: &ConsumePlan,
) -> (Vec<store::Line>, Vec<(Source, mpsc::Receiver<Delivery>)>) {
    let reading = [
        (Source::Interactive, plan.slots.interactive),
        (Source::Bulk, plan.slots.bulk),
        (Source::Suspect, 1),
    ];
    let mut lines = Vec::new();
    let mut ends = Vec::new();
    for (source, slots) in reading {
        let prefetch = slots.saturating_add(1).min(capacity.max(1));
        let (out, end) = mpsc::channel(prefetch);
        lines.push(store::Line {
            source,
            prefetch,
            out,
        });
        ends.push((source, end));
    }
    (lines, ends)
}

#[cfg(test)]
mod tests;
