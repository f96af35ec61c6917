//! What travels: deliveries with their envelope and origin, jobs on their way in, results on
//! their way back.

use bytes::Bytes;
use jailfleet::job::{Lane, Name};
use std::sync::Arc;

use crate::ticket::Ticket;

/// A job's body as it came from a queue, with everything known about it and the duty to settle it.
#[derive(Debug)]
pub struct Delivery {
    /// The message's body, not yet parsed.
    pub body: Bytes,
    /// The properties and headers that we read; nothing else of the message is kept.
    pub envelope: Envelope,
    /// Which queue it came from.
    pub origin: Origin,
    /// The duty to settle it.
    pub ticket: Ticket,
}

/// The properties and headers of a delivery that mean something to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// AMQP `message_id`.
    pub message_id: Option<String>,
    /// AMQP `correlation_id`, echoed with the result.
    pub correlation_id: Option<String>,
    /// AMQP `reply_to`, not yet vetted.
    pub reply_to: Option<String>,
    /// AMQP `type`.
    pub kind: Option<String>,
    /// Header `jailfleet-published-ms`: the producer's clock, milliseconds since the epoch.
    pub published_ms: Option<u64>,
    /// Header `traceparent`.
    pub traceparent: Option<String>,
    /// Whether the broker handed this message out before.
    pub redelivered: bool,
    /// How often a delivery of it failed: by the broker's word, where it is `redelivered`, so that a
    /// producer cannot make it up; and by ours, where a worker that stopped sent it anew.
    pub delivery_count: u64,
    /// How often its queue handed it out, by the broker's word (`x-acquired-count`, from RabbitMQ 4.3 on); 0
    /// where it does not say.
    pub acquired: u64,
    /// How many attempts ended in a fault of ours. Believed only of messages that came through
    /// `jailfleet.internal`, where producers cannot write; otherwise 0.
    pub faults: u32,
    /// How often it was put aside for a worker of its newer minor version; believed as `faults` is.
    pub handed_on: u32,
    /// Whether another queue gave it up before (header `x-death`): it was put aside, and came back. Anybody
    /// may write that; it says no more than that the job may have waited.
    pub dead_lettered: bool,
}

/// Where a delivery came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The tenant: the vhost's name.
    pub tenant: Arc<str>,
    /// The pool.
    pub pool: Name,
    /// The lane. A suspect keeps the lane that it was moved out of.
    pub lane: Lane,
    /// Whether it came from the suspects' queue, where it runs alone.
    pub suspect: bool,
}

/// A queue that an intake reads, in the order in which `Intake::next` prefers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The pool's interactive lane.
    Interactive,
    /// The pool's bulk lane.
    Bulk,
    /// Jobs that were there when a worker died; one at a time.
    Suspect,
}

impl Source {
    /// Every source, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Bulk, Self::Suspect];

    /// The source's name in logs and label sets.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
            Self::Suspect => "suspect",
        }
    }

    /// The source that a lane's jobs come from.
    #[must_use]
    pub const fn of(lane: Lane) -> Self {
        match lane {
            Lane::Interactive => Self::Interactive,
            Lane::Bulk => Self::Bulk,
        }
    }
}

/// A job on its way into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobMessage {
    /// The encoded job.
    pub body: Bytes,
    /// The job's id.
    pub message_id: String,
    /// 128 unguessable bits of the producer, which its result must carry.
    pub correlation_id: Option<String>,
    /// The queue that waits for the result; `None` asks for no result.
    pub reply_to: Option<String>,
    /// The pool.
    pub pool: Name,
    /// The lane.
    pub lane: Lane,
    /// The moment of publishing, milliseconds since the epoch.
    pub published_ms: Option<u64>,
    /// The trace that this job belongs to.
    pub traceparent: Option<String>,
}

/// A result as its requester receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultMessage {
    /// The encoded result.
    pub body: Bytes,
    /// `<job id>.<attempt>`.
    pub message_id: Option<String>,
    /// Echo of the job's.
    pub correlation_id: Option<String>,
    /// AMQP `type`.
    pub kind: Option<String>,
    /// Header `jailfleet-result-digest`, hexadecimal.
    pub digest: Option<String>,
    /// Whether the broker handed it out before.
    pub redelivered: bool,
}

/// A result with the duty to say that it was taken.
#[derive(Debug)]
pub struct ResultDelivery {
    /// The result.
    pub message: ResultMessage,
    /// Settle it with `Ack` once the result is stored: before that, a crash must bring it again.
    pub ticket: Ticket,
}
