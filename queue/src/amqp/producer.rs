//! A producer's door: jobs out, results in.

use jailfleet::job::Name;
use jailfleet::settings::AmqpSection;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

use crate::amqp::OpenError;
use crate::counters::DoorCounters;
use crate::doors::DoorState;
use crate::envelope::{JobMessage, ResultDelivery};
use crate::outbox::OutboxError;

/// What a producer reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePlan {
    /// Last part of the reply queue's name, `<prefix>.reply.<reply>`: a client's or batch's id.
    pub reply: String,
    /// The pools that it publishes to.
    pub pools: Vec<Name>,
    /// How many results may be handed over and not yet settled.
    pub prefetch: u16,
}

/// A producer's connection: supervised, like a worker's.
#[derive(Debug)]
pub struct ProducerDoor {}

/// What became of the reply queue when a producer closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyQueue {
    /// It was empty, and is gone.
    Deleted,
    /// It holds results still, or the broker could not be asked: it stays for the next time.
    Kept,
}

/// The sending half: cheap to clone, so that many publishes can be under way.
#[derive(Debug, Clone)]
pub struct JobSender {}

impl JobSender {
    /// Publishes a job and returns once the broker confirmed that it is in its queue. Keep many of
    /// these futures going: they share batches.
    ///
    /// # Errors
    /// [`OutboxError::Full`] when the queue is full, and else as `Outbox::publish`.
    pub async fn publish(&self, job: JobMessage) -> Result<(), OutboxError> {
        todo!("{job:?}")
    }
}

impl ProducerDoor {
    /// Opens the door; it connects, and connects again, by itself.
    ///
    /// # Errors
    /// When the URI cannot be read or the threads cannot be started; never for an absent broker.
    pub fn open(amqp: &AmqpSection, plan: &ProducePlan) -> Result<Self, OpenError> {
        todo!("{amqp:?} {plan:?}")
    }

    /// Waits until the reply queue exists and both connections are up.
    ///
    /// # Errors
    /// The last trouble, when `within` passes first.
    pub async fn ready(&self, within: Duration) -> Result<(), String> {
        todo!("{within:?}")
    }

    /// The name of the reply queue, for `JobMessage::reply_to`.
    #[must_use]
    pub fn reply_queue(&self) -> &str {
        todo!()
    }

    /// The sending half.
    #[must_use]
    pub fn sender(&self) -> JobSender {
        todo!()
    }

    /// The next result; settle its ticket once it is stored. `None` once the door is closed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next_result(&mut self) -> Option<ResultDelivery> {
        todo!()
    }

    /// How the connections are.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DoorState> {
        todo!()
    }

    /// What the door counts.
    #[must_use]
    pub fn counters(&self) -> Arc<DoorCounters> {
        todo!()
    }

    /// Closes within about `within`: publishes what waits, and deletes the reply queue if it is
    /// empty.
    pub async fn close(self, within: Duration) -> ReplyQueue {
        todo!("{within:?}")
    }
}
