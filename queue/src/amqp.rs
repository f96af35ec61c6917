//! The door in front of RabbitMQ.

pub mod producer;

use jailfleet::job::Name;
use jailfleet::settings::{AmqpSection, LaneShares};

use crate::doors::Doors;

/// What a worker reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumePlan {
    /// The pool.
    pub pool: Name,
    /// How many slots each lane has; a lane without one is not read.
    pub slots: LaneShares,
}

/// Why a door could not be opened at all. An absent broker is no reason: connecting goes on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URI cannot be read.
    #[error("read the broker's URI {uri}: {reason}")]
    BadUri {
        /// The URI without its password.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The threads for AMQP could not be started.
    #[error("start the threads that serve AMQP")]
    Runtime(#[source] std::io::Error),
}

/// Opens the door: from now on its sessions connect, and connect again, until it is closed.
///
/// # Errors
/// When the URI cannot be read or the threads cannot be started; never for an absent broker.
pub fn open(amqp: &AmqpSection, plan: &ConsumePlan) -> Result<Doors, OpenError> {
    todo!("{amqp:?} {plan:?}")
}
