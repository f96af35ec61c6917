//! A ticket is the duty to settle one delivery, exactly once.

use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

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

/// The owner's end: what is settled comes out here.
#[derive(Debug)]
pub(crate) struct Settlements {
    // The order matters: what is in there is dropped, and so answered, before the word that nobody listens.
    arrived: mpsc::Receiver<Settlement>,
    _listening: DropGuard,
}

/// The places for settlements, of which each delivery needs one before it is handed out.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    sender: mpsc::Sender<Settlement>,
    gone: CancellationToken,
}

/// One place for a settlement.
#[derive(Debug)]
pub(crate) struct Place {
    permit: mpsc::OwnedPermit<Settlement>,
    gone: CancellationToken,
}

/// Places for at most so many deliveries that are out at one time.
pub(crate) fn places(most: usize) -> (Places, Settlements) {
    let (sender, arrived) = mpsc::channel(most.max(1));
    let gone = CancellationToken::new();
    let settlements = Settlements {
        arrived,
        _listening: gone.clone().drop_guard(),
    };
    (Places { sender, gone }, settlements)
}

impl Places {
    /// Waits for a place; none when the owner has closed.
    pub(crate) async fn reserve(&self) -> Option<Place> {
        let permit = self.sender.clone().reserve_owned().await.ok()?;
        Some(self.place(permit))
    }

    /// A place, where one is free.
    pub(crate) fn try_reserve(&self) -> Option<Place> {
        let permit = self.sender.clone().try_reserve_owned().ok()?;
        Some(self.place(permit))
    }

    fn place(&self, permit: mpsc::OwnedPermit<Settlement>) -> Place {
        Place {
            permit,
            gone: self.gone.clone(),
        }
    }
}

impl Settlements {
    /// The next one.
    pub(crate) async fn recv(&mut self) -> Option<Settlement> {
        self.arrived.recv().await
    }

    /// Some at once, up to `most`.
    pub(crate) async fn recv_many(&mut self, batch: &mut Vec<Settlement>, most: usize) -> usize {
        self.arrived.recv_many(batch, most).await
    }

    /// One that is there already.
    pub(crate) fn try_recv(&mut self) -> Option<Settlement> {
        self.arrived.try_recv().ok()
    }

    /// Gives out no more places.
    pub(crate) fn close(&mut self) {
        self.arrived.close();
    }
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
    place: Option<Place>,
    counters: Arc<DoorCounters>,
}

impl Ticket {
    pub(crate) fn new(lease: Lease, place: Place, counters: Arc<DoorCounters>) -> Self {
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
        let Some(Place { permit, gone }) = self.place.take() else {
            return Err(SettleError::DoorClosed);
        };
        let (done, answer) = oneshot::channel();
        permit.send(Settlement {
            lease: self.lease,
            disposition,
            done: Some(done),
        });
        tokio::select! {
            biased;
            // The owner drops the sender only when its session breaks while it tells the broker.
            answer = answer => answer.unwrap_or(Err(SettleError::SessionOver)),
            // What is sent when nobody listens any more stays in the channel for as long as any other ticket
            // has a place there, and its sender with it.
            () = gone.cancelled() => Err(SettleError::DoorClosed),
        }
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
        place.permit.send(Settlement {
            lease: self.lease,
            disposition: Disposition::Requeue,
            done: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Disposition, Lease, SettleError, Ticket, places};
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_ticket_is_answered_after_the_end_of_its_door_also_while_another_one_is_held() {
        let (places, settlements) = places(2);
        let ticket = |tag| {
            let lease = Lease {
                epoch: 1,
                channel: 0,
                tag,
            };
            let place = places.try_reserve().expect("a place");
            Ticket::new(lease, place, Arc::default())
        };
        let (held, late) = (ticket(1), ticket(2));
        drop(settlements);
        let answer = late.settle(Disposition::Ack);
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        assert_eq!(answer, Ok(Err(SettleError::DoorClosed)));
        let answer = held.settle(Disposition::Requeue).await;
        assert_eq!(answer, Err(SettleError::DoorClosed));
    }
}
