//! The doors of jailfleet: how jobs come in, how results go out, and how both survive a broker
//! that goes away.
//!
//! A worker sees three things: an [`Intake`] that yields deliveries, the [`Ticket`] of each, which
//! must be settled exactly once, and an [`Outbox`] whose `publish` returns only after the message
//! is safe. Two doors offer them with the same behaviour: [`amqp`] in front of RabbitMQ, and
//! [`embedded`] inside one process. Nothing here knows what a job does.

#![forbid(unsafe_code)]

pub mod envelope;
pub mod intake;
pub mod ticket;
pub mod outbox;
pub mod dead;
pub mod doors;
pub mod counters;
pub mod topology;
pub mod amqp;
pub mod embedded;
mod backoff;
mod clock;
mod connection;

pub use counters::DoorCounters;
pub use dead::{DeadDelivery, DeadIntake, Death, Depths, Sight};
pub use doors::{DoorState, Doors, Link, Nudge, Sessions};
pub use envelope::{Delivery, Envelope, JobMessage, Origin, ResultDelivery, ResultMessage, Source};
pub use intake::Intake;
pub use outbox::{DeadLetter, Move, Outbox, OutboxError, Parked, Published, Reply, Stray};
pub use ticket::{Disposition, SettleError, Ticket};
