//! A ticket is the duty to settle one delivery, exactly once.

use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use crate::counters::DoorCounters;

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Done with: its result was confirmed, or it asked for none.
    Ack,
    /// Back to the queue, for whoever comes first.
    Requeue,
    /// To the dead queue, as it is.
    DeadLetter,
}

/// Why a ticket could not be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The delivery was a lease of a session that has ended.
    #[error("settle a delivery of an ended session: the broker delivers it again")]
    SessionOver,
    /// The door was closed.
    #[error("settle a delivery through a closed door: the broker delivers it again")]
    DoorClosed,
}

/// A delivery's place in the broker's books: a tag means something in its own session only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// The session, counted from 1.
    pub(crate) epoch: u64,
    /// Index of the channel in its session.
    pub(crate) channel: usize,
    /// The delivery tag on that channel.
    pub(crate) tag: u64,
}

/// One settlement on its way to the task that owns the channel.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) lease: Lease,
    pub(crate) disposition: Disposition,
    /// Answered once the broker was told; absent when the ticket was dropped.
    pub(crate) done: Option<oneshot::Sender<Result<(), SettleError>>>,
}

/// The duty to settle one delivery.
///
/// It is settled by [`Ticket::settle`]. A ticket that is dropped instead is an error of ours: it
/// is counted, logged, and requeued, so that the job is not lost.
#[must_use = "a delivery must be settled: a dropped ticket is counted as an error and requeued"]
#[derive(Debug)]
pub struct Ticket {
    lease: Lease,
    // A place in the owner's channel, taken before the delivery was handed out. So settling never
    // waits for room, and a drop, which cannot wait, never fails to be heard.
    place: Option<mpsc::OwnedPermit<Settlement>>,
    counters: Arc<DoorCounters>,
}

impl Ticket {
    pub(crate) fn new(
        lease: Lease,
        place: mpsc::OwnedPermit<Settlement>,
        counters: Arc<DoorCounters>,
    ) -> Self {
        Self {
            lease,
            place: Some(place),
            counters,
        }
    }

    /// Settles the delivery and returns when the broker was told.
    ///
    /// # Errors
    /// When the session that the delivery belongs to is over, or the door closed: then the broker
    /// delivers the message again, to somebody.
    ///
    /// # Cancel safety
    /// The disposition is on its way once this was polled; dropping the future only misses the
    /// answer.
    pub async fn settle(mut self, disposition: Disposition) -> Result<(), SettleError> {
        let Some(place) = self.place.take() else {
            return Err(SettleError::DoorClosed);
        };
        let (done, answer) = oneshot::channel();
        place.send(Settlement {
            lease: self.lease,
            disposition,
            done: Some(done),
        });
        // The owner drops the sender only when its session breaks while it tells the broker.
        answer.await.unwrap_or(Err(SettleError::SessionOver))
    }

    /// The session that this delivery is a lease of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.lease.epoch
    }

    /// Ends a ticket whose session ended before anybody saw the delivery. No duty is left: the
    /// broker has taken the message back already.
    pub(crate) fn expire(mut self) {
        self.place = None;
        self.counters.stale_deliveries.add_one();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        self.counters.tickets_dropped.add_one();
        tracing::error!(
            epoch = self.lease.epoch,
            tag = self.lease.tag,
            "a delivery was dropped without being settled; it is requeued"
        );
        place.send(Settlement {
            lease: self.lease,
            disposition: Disposition::Requeue,
            done: None,
        });
    }
}
