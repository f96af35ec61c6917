//! The outbox: whatever leaves returns to its sender only when the broker has it safe.

use bytes::Bytes;
use jailfleet::reply::ReplyTo;
use jailfleet::wire::EncodedResult;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::envelope::{Envelope, Origin};

/// The most of a bad message that is kept in the dead queue.
pub const DEAD_HEAD_BYTES: usize = 4096;

/// A result for its requester.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The queue that waits for it, vetted.
    pub reply_to: ReplyTo,
    /// Echo of the job's.
    pub correlation_id: Option<String>,
    /// Echo of the job's.
    pub traceparent: Option<String>,
    /// The encoded result with its id and digest.
    pub result: EncodedResult,
}

/// Where a published message ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// At its destination. In reply mode `exchange` the broker itself may have put a result whose
    /// queue is gone into the lost queue: it does not say.
    Delivered,
    /// Its reply queue is gone or full; it is kept in the lost queue, and that was confirmed.
    Lost,
}

/// A message that cannot be a job and has nobody to be answered to.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// A word of the closed list of rejection codes, with its message.
    pub reason: String,
    /// The start of the body, cut to [`DEAD_HEAD_BYTES`] here if it is longer.
    pub body_head: Bytes,
    /// The queue that it came from.
    pub origin: Origin,
    /// Its envelope.
    pub envelope: Envelope,
}

/// A job that moves to another queue of ours, unchanged.
#[derive(Debug, Clone)]
pub struct Move {
    /// The job's body.
    pub body: Bytes,
    /// Its envelope, with `faults` as they are to be believed from now on.
    pub envelope: Envelope,
    /// Where it came from.
    pub origin: Origin,
}

/// A dead letter on its way to where people may look at it.
#[derive(Debug, Clone)]
pub struct Parked {
    /// Its body, as it was found.
    pub body: Bytes,
    /// Its envelope.
    pub envelope: Envelope,
    /// The queue that gave it up.
    pub queue: String,
    /// The routing key that would bring the job to its lane again, where that is known.
    pub lane_key: Option<String>,
    /// Why it is dead.
    pub reason: String,
    /// What its requester was told, where there was one.
    pub answered: Option<&'static str>,
    /// Whether only the head of the body was kept.
    pub kept: KeptBody,
    /// When it was parked, milliseconds since the epoch.
    pub parked_ms: u64,
}

/// How much of a dead letter's body is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptBody {
    /// All of it.
    Whole,
    /// Its first bytes: enough to look at, too little to run.
    Head,
}

/// A job that no pool queue took.
#[derive(Debug, Clone)]
pub struct Stray {
    /// Its body.
    pub body: Bytes,
    /// Its envelope.
    pub envelope: Envelope,
    /// The routing key that its producer chose.
    pub key: String,
}

/// What a gateway writes into a logbook.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    /// The logbook's exchange.
    pub(crate) exchange: String,
    /// Tells it from its neighbours.
    pub(crate) id: String,
    /// What it says.
    pub(crate) body: Bytes,
}

/// Why a message is not safe with the broker. Its delivery must not be acked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// The door was closed first.
    #[error("publish through a closed door: the job will be delivered again")]
    Closed,
    /// The broker closes the channel over this message, each time.
    #[error("publish a message that the broker refuses: {reason}")]
    Refused {
        /// What the broker said.
        reason: String,
    },
    /// The broker's user lacks the right to publish it there: no fault of the message.
    #[error("publish a message: the broker's user lacks a right: {reason}")]
    Forbidden {
        /// What the broker said.
        reason: String,
    },
    /// No queue took it, not even the one that keeps what is lost.
    #[error("publish to {destination}: no queue takes it; is the topology complete?")]
    Homeless {
        /// Exchange and routing key.
        destination: String,
    },
    /// The destination is full and refuses more.
    #[error("publish to {destination}: the queue is full; try again later")]
    Full {
        /// Exchange and routing key.
        destination: String,
    },
    /// The message is larger than everything that may wait here together.
    #[error("publish {bytes} bytes: more than the outbox holds")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// What to publish.
#[derive(Debug, Clone)]
pub(crate) enum Parcel {
    Result(Reply),
    Dead(DeadLetter),
    Retry { job: Move, delay_ms: u64 },
    Newer { job: Move, delay_ms: u64 },
    Suspect(Move),
    Back(Move),
    Park(Parked),
    Stray(Stray),
    Job(crate::envelope::JobMessage),
    Note(Note),
}

impl Parcel {
    /// Whether it is what a requester waits for.
    pub(crate) const fn is_result(&self) -> bool {
        matches!(self, Self::Result(_))
    }

    /// The bytes that it keeps in memory while it waits.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Result(reply) => reply.result.body.len(),
            Self::Dead(letter) => letter.body_head.len(),
            Self::Retry { job, .. }
            | Self::Newer { job, .. }
            | Self::Suspect(job)
            | Self::Back(job) => job.body.len(),
            Self::Park(letter) => letter.body.len(),
            Self::Stray(job) => job.body.len(),
            Self::Job(job) => job.body.len(),
            Self::Note(note) => note.body.len(),
        }
    }
}

/// A parcel with the sender who waits for it.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) parcel: Parcel,
    pub(crate) done: oneshot::Sender<Result<Published, OutboxError>>,
    /// Its share of the outbox's bytes. It goes with the parcel, since the sender may give up first.
    pub(crate) room: OwnedSemaphorePermit,
}

/// The way out. Cheap to clone; all clones share one owner task and its limits.
#[derive(Debug, Clone)]
pub struct Outbox {
    orders: mpsc::Sender<Order>,
    bytes: Arc<Semaphore>,
    limit_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(orders: mpsc::Sender<Order>, limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(Semaphore::MAX_PERMITS);
        Self {
            orders,
            bytes: Arc::new(Semaphore::new(limit_bytes)),
            limit_bytes,
        }
    }

    /// Publishes a result and returns once the broker has confirmed it, at its reply queue or in
    /// the lost queue. Only then may the job be acked. While the broker is away, this waits.
    ///
    /// # Errors
    /// When the door closed first, or the broker refuses this very message.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future may leave the result published or not.
    pub async fn publish(&self, reply: Reply) -> Result<Published, OutboxError> {
        self.send(Parcel::Result(reply)).await
    }

    /// Keeps the head of a message that cannot be a job in the dead queue.
    ///
    /// # Errors
    /// As [`Outbox::publish`].
    pub async fn dead(&self, mut letter: DeadLetter) -> Result<(), OutboxError> {
        letter.body_head.truncate(DEAD_HEAD_BYTES);
        self.send(Parcel::Dead(letter)).await.map(drop)
    }

    /// Puts a job aside for about `delay_ms` and then back into its lane, with its faults counted.
    ///
    /// # Errors
    /// As [`Outbox::publish`].
    pub async fn retry(&self, job: Move, delay_ms: u64) -> Result<(), OutboxError> {
        self.send(Parcel::Retry { job, delay_ms }).await.map(drop)
    }

    /// Puts a job of a newer minor version aside for about `delay_ms`; a reaper then sends it back
    /// to its lane, where an upgraded worker may take it.
    ///
    /// # Errors
    /// As [`Outbox::publish`].
    pub async fn newer(&self, job: Move, delay_ms: u64) -> Result<(), OutboxError> {
        self.send(Parcel::Newer { job, delay_ms }).await.map(drop)
    }

    /// Moves a job that was there when a worker died to the queue where it runs alone.
    ///
    /// # Errors
    /// As [`Outbox::publish`].
    pub async fn suspect(&self, job: Move) -> Result<(), OutboxError> {
        self.send(Parcel::Suspect(job)).await.map(drop)
    }

    /// Sends a job to the queue that it came from, with the deliveries that its envelope counts, so that
    /// its return is not one more.
    ///
    /// # Errors
    /// As [`Outbox::publish`].
    pub async fn give_back(&self, job: Move) -> Result<(), OutboxError> {
        self.send(Parcel::Back(job)).await.map(drop)
    }

    /// Puts a dead letter where people may look at it.
    ///
    /// # Errors
    /// As [`Outbox::publish`].
    pub async fn park(&self, letter: Parked) -> Result<(), OutboxError> {
        self.send(Parcel::Park(letter)).await.map(drop)
    }

    /// Puts a job that no pool queue took aside for a minute, and then sends it once more.
    ///
    /// # Errors
    /// As [`Outbox::publish`].
    pub async fn send_again(&self, stray: Stray) -> Result<(), OutboxError> {
        self.send(Parcel::Stray(stray)).await.map(drop)
    }

    pub(crate) async fn send(&self, parcel: Parcel) -> Result<Published, OutboxError> {
        let bytes = parcel.weight();
        let permits = u32::try_from(bytes)
            .ok()
            .filter(|_| bytes <= self.limit_bytes);
        let Some(permits) = permits else {
            return Err(OutboxError::TooLarge { bytes });
        };
        let room = Arc::clone(&self.bytes).acquire_many_owned(permits).await;
        let Ok(room) = room else {
            return Err(OutboxError::Closed);
        };
        let (done, answer) = oneshot::channel();
        let order = Order { parcel, done, room };
        if self.orders.send(order).await.is_err() {
            return Err(OutboxError::Closed);
        }
        answer.await.unwrap_or(Err(OutboxError::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn parcel(bytes: usize) -> Parcel {
        Parcel::Stray(Stray {
            body: Bytes::from(vec![0; bytes]),
            envelope: Envelope::default(),
            key: String::new(),
        })
    }

    #[test]
    fn a_sender_that_gives_up_leaves_no_room_before_its_parcel_is_gone() {
        let (orders, mut waiting) = mpsc::channel(8);
        let outbox = Outbox::new(orders, 10);
        assert_eq!(outbox.send(parcel(6)).now_or_never(), None);
        let first = waiting.try_recv().expect("the first is on its way");
        assert_eq!(outbox.send(parcel(6)).now_or_never(), None);
        waiting
            .try_recv()
            .expect_err("both are more than there is room for");
        drop(first);
        assert_eq!(outbox.send(parcel(6)).now_or_never(), None);
        waiting.try_recv().expect("there is room again");
    }
}
