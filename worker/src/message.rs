//! A job's message as it came, and who asked for it.

use bytes::Bytes;
use jailfleet::job::EpochMs;
use jailfleet::reply::ReplyTo;
use jailfleet::retry::History;
use jailfleet_program::Moment;
use jailfleet_queue::{Envelope, Move, Origin};

/// A delivery without its ticket.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) body: Bytes,
    pub(crate) envelope: Envelope,
    pub(crate) origin: Origin,
    pub(crate) history: History,
    pub(crate) received: Moment,
    pub(crate) received_at: EpochMs,
}

impl Message {
    /// What moves to another queue of ours.
    pub(crate) fn to_move(&self) -> Move {
        Move {
            body: self.body.clone(),
            envelope: self.envelope.clone(),
            origin: self.origin.clone(),
        }
    }

    /// The id that its sender gave it, which nobody has looked at yet.
    pub(crate) fn id(&self) -> Option<&str> {
        self.envelope.message_id.as_deref()
    }
}

/// Who wants to know.
#[derive(Debug)]
pub(crate) struct Requester {
    pub(crate) reply_to: Option<ReplyTo>,
}
