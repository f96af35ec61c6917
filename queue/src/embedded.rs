//! The door inside one process: the same interface and the same behaviour, and no broker.

use jailfleet::job::Name;
use std::sync::Arc;

use crate::amqp::ConsumePlan;
use crate::doors::Doors;
use crate::envelope::{JobMessage, ResultMessage};

/// The producer's end.
#[derive(Debug)]
pub struct EmbeddedProducer {}

/// The other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("submit a job: the worker's side of the embedded door is closed")]
pub struct DoorGone;

/// Hands jobs in; cheap to clone.
#[derive(Debug, Clone)]
pub struct EmbeddedSender {}

impl EmbeddedSender {
    /// Hands a job in; waits while the door's capacity is used up.
    ///
    /// # Errors
    /// When the worker's side is closed.
    pub async fn submit(&self, job: JobMessage) -> Result<(), DoorGone> {
        todo!("{job:?}")
    }
}

impl EmbeddedProducer {
    /// As [`EmbeddedSender::submit`].
    ///
    /// # Errors
    /// When the worker's side is closed.
    pub async fn submit(&self, job: JobMessage) -> Result<(), DoorGone> {
        todo!("{job:?}")
    }

    /// A sending half for other tasks.
    #[must_use]
    pub fn sender(&self) -> EmbeddedSender {
        todo!()
    }

    /// The next result, in the order of their publishing. `None` once the worker's side is closed
    /// and nothing is left.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next_result(&mut self) -> Option<ResultMessage> {
        todo!()
    }

    /// What the door keeps for people: dead letters and lost results. Outlives the producer.
    #[must_use]
    pub fn kept(&self) -> Arc<Kept> {
        todo!()
    }
}

/// What the door keeps for people.
#[derive(Debug, Default)]
pub struct Kept {}

/// The name of the only reply queue of an embedded door.
pub const EMBEDDED_REPLY: &str = "embedded";

/// Makes a door with room for `capacity` waiting jobs. Must be called within a tokio runtime.
#[must_use]
pub fn pair(capacity: usize, plan: &ConsumePlan) -> (Doors, EmbeddedProducer) {
    todo!("{capacity} {plan:?} {:?}", None::<Name>)
}
