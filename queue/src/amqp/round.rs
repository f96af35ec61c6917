//! What waits to be published, and how much of it goes between two barriers. Pure.

use std::collections::{HashSet, VecDeque};

use super::address::{Addressed, Mark, Post};
use crate::outbox::{Order, Parcel};

/// The most messages between two barriers.
pub(super) const BATCH: usize = 64;
/// The most bytes between two barriers, unless a single message is larger.
const BATCH_BYTES: usize = 4 << 20;

/// An order that is not done yet.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) order: Order,
    /// On the wire at least once, in a session that ended before its confirm.
    pub(super) again: bool,
    /// How often the broker closed the channel while it was under way.
    pub(super) suspicion: u32,
}

impl Item {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            again: false,
            suspicion: 0,
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match &self.order.parcel {
            Parcel::Result(reply) => &reply.result.body,
            Parcel::Dead(letter) => &letter.body_head,
            Parcel::Retry { job, .. }
            | Parcel::Newer { job, .. }
            | Parcel::Suspect(job)
            | Parcel::Back(job) => &job.body,
            Parcel::Park(letter) => &letter.body,
            Parcel::Stray(job) => &job.body,
            Parcel::Job(job) => &job.body,
            Parcel::Note(note) => &note.body,
        }
    }

    /// Whether it is still to be published. Whoever stops to wait for it does not ack what it answers or
    /// moves: that delivery comes again, and what he sent would be one message too many.
    pub(super) fn is_wanted(&self) -> bool {
        !self.order.done.is_closed()
    }
}

/// A batch under construction.
#[derive(Default)]
pub(super) struct Round {
    pub(super) items: Vec<(Item, Addressed)>,
    marks: HashSet<Mark>,
}

impl Round {
    /// Takes the next batch out of the backlog, in order. It is empty where nothing is wanted.
    pub(super) fn next(backlog: &mut VecDeque<Item>, post: &Post) -> Self {
        let mut round = Self::default();
        let mut bytes = 0_usize;
        while let Some(item) = backlog.front() {
            if !item.is_wanted() {
                backlog.pop_front();
                continue;
            }
            let alone = item.suspicion > 0;
            let addressed = post.address(&item.order.parcel, item.again);
            let mark = addressed.mark();
            bytes = bytes.saturating_add(item.order.parcel.weight());
            let full = round.items.len() >= BATCH || bytes > BATCH_BYTES || alone;
            if !round.items.is_empty() && (full || round.marks.contains(&mark)) {
                break;
            }
            let Some(item) = backlog.pop_front() else {
                break;
            };
            round.marks.insert(mark);
            round.items.push((item, addressed));
            if alone {
                break;
            }
        }
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Envelope, Origin};
    use crate::outbox::{Move, Outbox, OutboxError, Reply};
    use crate::topology::Names;
    use jailfleet::job::{Lane, Name};
    use jailfleet::settings::ReplyMode;
    use jailfleet::wire::EncodedResult;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::{Semaphore, mpsc, oneshot};
    use tokio::time::timeout;

    fn job(id: &str) -> Move {
        Move {
            body: id.to_owned().into(),
            envelope: Envelope {
                message_id: Some(id.to_owned()),
                ..Envelope::default()
            },
            origin: Origin {
                tenant: "".into(),
                pool: Name::parse("default").expect("a name"),
                lane: Lane::Bulk,
                suspect: false,
            },
        }
    }

    fn result(id: &str) -> Reply {
        Reply {
            reply_to: jailfleet::reply::vet("mine", "jailfleet").expect("a name"),
            correlation_id: None,
            traceparent: None,
            result: EncodedResult {
                message_id: id.to_owned(),
                body: id.into(),
                digest: String::new(),
            },
        }
    }

    /// Sends something, and waits for its confirm no longer than until it is on its way.
    async fn left_alone<T>(sending: impl Future<Output = Result<T, OutboxError>>) {
        let waited = timeout(Duration::from_millis(20), sending).await;
        assert!(waited.is_err(), "nobody answers");
    }

    #[tokio::test]
    async fn nothing_is_sent_whose_delivery_went_back_meanwhile() {
        let post = Post {
            names: Names::new("jailfleet"),
            prefix: "jailfleet".to_owned(),
            reply_mode: ReplyMode::Exchange,
        };
        let (orders, mut inbox) = mpsc::channel(8);
        let outbox = Outbox::new(orders, 1 << 20);
        left_alone(outbox.give_back(job("given back"))).await;
        left_alone(outbox.suspect(job("suspect"))).await;
        left_alone(outbox.retry(job("retried"), 1)).await;
        left_alone(outbox.newer(job("newer"), 1)).await;
        left_alone(outbox.publish(result("result"))).await;
        left_alone(outbox.publish(result("under way"))).await;
        let mut waited_for = Box::pin(outbox.publish(result("waited for")));
        left_alone(async { waited_for.as_mut().await }).await;

        let mut backlog = VecDeque::new();
        while let Ok(order) = inbox.try_recv() {
            let mut item = Item::new(order);
            // A session ended before its confirm: it may be there, or not.
            item.again = item.body() == b"under way";
            backlog.push_back(item);
        }
        assert_eq!(backlog.len(), 7);
        let round = Round::next(&mut backlog, &post);
        let sent: Vec<&[u8]> = round.items.iter().map(|(item, _)| item.body()).collect();
        assert_eq!(sent, [b"waited for"]);
        assert!(backlog.is_empty());
        drop(waited_for);
    }

    /// One message of a random backlog.
    #[derive(Debug, Clone, Copy)]
    struct Sent {
        /// One of a few ids, so that some are equal.
        id: u8,
        kib: usize,
        suspicion: u32,
        waited_for: bool,
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let kib = prop_oneof![8 => 0..4_usize, 1 => 2000..6000_usize];
        let suspicion = prop_oneof![6 => Just(0_u32), 1 => 1..4_u32];
        (0..90_u8, kib, suspicion, prop::bool::weighted(0.8)).prop_map(
            |(id, kib, suspicion, waited_for)| Sent {
                id,
                kib,
                suspicion,
                waited_for,
            },
        )
    }

    proptest! {
        #[test]
        fn batches_take_everything_that_is_wanted_in_order_and_nothing_that_could_be_confused(
            messages in vec(sent(), 0..200),
        ) {
            let post = Post {
                names: Names::new("jailfleet"),
                prefix: "jailfleet".to_owned(),
                reply_mode: ReplyMode::Exchange,
            };
            let room = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
            let (mut backlog, mut senders, mut wanted) = (VecDeque::new(), Vec::new(), Vec::new());
            for (place, message) in messages.iter().enumerate() {
                let mut parcel = job(&message.id.to_string());
                parcel.body = vec![0; message.kib << 10].into();
                parcel.envelope.published_ms = u64::try_from(place).ok();
                let (done, answer) = oneshot::channel();
                let room = Arc::clone(&room).try_acquire_owned().expect("there is room");
                let mut item = Item::new(Order { parcel: Parcel::Suspect(parcel), done, room });
                item.suspicion = message.suspicion;
                backlog.push_back(item);
                if message.waited_for {
                    senders.push(answer);
                    wanted.push(place);
                }
            }
            let mut sent = Vec::new();
            loop {
                let before = backlog.len();
                let round = Round::next(&mut backlog, &post);
                if round.items.is_empty() {
                    prop_assert!(backlog.is_empty());
                    break;
                }
                prop_assert!(backlog.len() < before && round.items.len() <= BATCH);
                let marks: HashSet<Mark> = round.items.iter().map(|(_, to)| to.mark()).collect();
                prop_assert_eq!(marks.len(), round.items.len(), "told apart by what they are");
                let bytes: usize = round.items.iter().map(|(item, _)| item.body().len()).sum();
                prop_assert!(bytes <= BATCH_BYTES || round.items.len() == 1);
                let suspected = round.items.iter().any(|(item, _)| item.suspicion > 0);
                prop_assert!(!suspected || round.items.len() == 1, "it goes alone");
                for (item, _) in round.items {
                    let Parcel::Suspect(job) = item.order.parcel else { continue };
                    sent.extend(job.envelope.published_ms.and_then(|ms| usize::try_from(ms).ok()));
                }
            }
            prop_assert_eq!(sent, wanted);
        }
    }
}
