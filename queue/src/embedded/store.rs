//! The task behind an embedded door: it plays the broker.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Kept, Waiting};
use crate::clock;
use crate::counters::DoorCounters;
use crate::doors::{DoorState, Link};
use crate::envelope::{Delivery, Envelope, Origin, ResultMessage, Source};
use crate::intake::IntakeOrder;
use crate::outbox::{
    DEAD_HEAD_BYTES, DeadLetter, Move, Order, OutboxError, Parcel, Published, Reply,
};
use crate::ticket::{Disposition, Lease, Places, SettleError, Settlement, Settlements, Ticket};

/// What comes to the store from outside.
pub(super) struct Inputs {
    pub(super) coming: mpsc::Receiver<Waiting>,
    pub(super) outgoing: mpsc::Receiver<Order>,
    pub(super) stops: mpsc::Receiver<IntakeOrder>,
    pub(super) closing: CancellationToken,
    pub(super) room: Arc<Semaphore>,
    pub(super) state: watch::Sender<DoorState>,
}

/// One source's way out.
pub(super) struct Line {
    pub(super) source: Source,
    pub(super) prefetch: usize,
    pub(super) out: mpsc::Sender<Delivery>,
}

/// A result whose producer has no room for it yet.
struct Undelivered {
    reply: Reply,
    done: oneshot::Sender<Result<Published, OutboxError>>,
    _room: OwnedSemaphorePermit,
}

/// The queues, and what is out of them.
pub(super) struct Store {
    tenant: Arc<str>,
    lines: Vec<Line>,
    waiting: HashMap<Source, VecDeque<Waiting>>,
    out: HashMap<u64, Waiting>,
    /// Jobs put aside, with the moment of their return.
    aside: Vec<(Instant, Waiting)>,
    /// Results that the producer has no room for yet; each holds up its own sender only.
    undelivered: VecDeque<Undelivered>,
    next_tag: u64,
    places: Places,
    settlements: Option<Settlements>,
    results: mpsc::Sender<ResultMessage>,
    kept: Arc<Kept>,
    counters: Arc<DoorCounters>,
    stopped: bool,
}

impl Store {
    pub(super) fn new(
        tenant: &str,
        lines: Vec<Line>,
        results: mpsc::Sender<ResultMessage>,
        kept: Arc<Kept>,
        counters: Arc<DoorCounters>,
    ) -> Self {
        let most: usize = lines.iter().map(|line| line.prefetch).sum();
        let (places, settlements) = crate::ticket::places(most);
        Self {
            tenant: tenant.into(),
            lines,
            waiting: HashMap::new(),
            out: HashMap::new(),
            aside: Vec::new(),
            undelivered: VecDeque::new(),
            next_tag: 1,
            places,
            settlements: Some(settlements),
            results,
            kept,
            counters,
            stopped: false,
        }
    }

    pub(super) async fn run(mut self, mut inputs: Inputs) {
        let Some(mut settlements) = self.settlements.take() else {
            return;
        };
        loop {
            self.hand_out();
            let returns = self.aside.iter().map(|(at, _)| *at).min();
            tokio::select! {
                biased;
                Some(settlement) = settlements.recv() => self.settle(settlement),
                slot = self.results.clone().reserve_owned(), if !self.undelivered.is_empty() => {
                    self.deliver(slot.ok());
                }
                Some(order) = inputs.outgoing.recv() => self.publish(order),
                Some(IntakeOrder::Stop(done)) = inputs.stops.recv() => {
                    self.stopped = true;
                    crate::amqp::answer(done, ());
                }
                Some(waiting) = inputs.coming.recv() => self.enqueue(waiting),
                () = wait_until(returns) => self.bring_back(),
                () = inputs.closing.cancelled() => break,
            }
        }
        // Nobody may wait for a door that is closed.
        inputs.room.close();
        inputs.coming.close();
        inputs.outgoing.close();
        while let Ok(order) = inputs.outgoing.try_recv() {
            self.publish(order);
        }
        while !self.undelivered.is_empty() {
            let slot = self.results.clone().try_reserve_owned().ok();
            self.deliver(slot);
        }
        settlements.close();
        while let Some(settlement) = settlements.try_recv() {
            self.settle(settlement);
        }
        inputs.state.send_modify(|state| {
            state.consume = Link::Closed;
            state.publish = Link::Closed;
        });
    }

    fn enqueue(&mut self, waiting: Waiting) {
        self.waiting
            .entry(waiting.source)
            .or_default()
            .push_back(waiting);
    }

    /// Hands out what the lines have room for.
    fn hand_out(&mut self) {
        if self.stopped {
            return;
        }
        for line in &self.lines {
            let Some(queue) = self.waiting.get_mut(&line.source) else {
                continue;
            };
            while !queue.is_empty() {
                // Out, and not merely in the line: the prefetch counts until the settlement.
                let out = self
                    .out
                    .values()
                    .filter(|it| it.source == line.source)
                    .count();
                if out >= line.prefetch {
                    break;
                }
                let Ok(slot) = line.out.try_reserve() else {
                    break;
                };
                let Some(place) = self.places.try_reserve() else {
                    break;
                };
                let Some(waiting) = queue.pop_front() else {
                    break;
                };
                let lease = Lease {
                    epoch: 1,
                    channel: 0,
                    tag: self.next_tag,
                };
                self.next_tag += 1;
                slot.send(Delivery {
                    body: waiting.body.clone(),
                    envelope: waiting.envelope.clone(),
                    origin: Origin {
                        tenant: Arc::clone(&self.tenant),
                        pool: waiting.pool.clone(),
                        lane: waiting.lane,
                        suspect: waiting.source == Source::Suspect,
                    },
                    ticket: Ticket::new(lease, place, Arc::clone(&self.counters)),
                });
                self.out.insert(lease.tag, waiting);
            }
        }
    }

    fn settle(&mut self, settlement: Settlement) {
        let Some(mut waiting) = self.out.remove(&settlement.lease.tag) else {
            if let Some(done) = settlement.done {
                crate::amqp::answer(done, Err(SettleError::SessionOver));
            }
            return;
        };
        match settlement.disposition {
            Disposition::Ack => self.counters.acked.add_one(),
            Disposition::Requeue => {
                self.counters.requeued.add_one();
                waiting.envelope.redelivered = true;
                waiting.envelope.delivery_count += 1;
                // To the front: a broker puts it back where it was.
                self.waiting
                    .entry(waiting.source)
                    .or_default()
                    .push_front(waiting);
            }
            Disposition::DeadLetter => {
                self.counters.dead_lettered.add_one();
                self.keep_whole(waiting);
            }
        }
        if let Some(done) = settlement.done {
            crate::amqp::answer(done, Ok(()));
        }
    }

    fn keep_whole(&self, waiting: Waiting) {
        let origin = Origin {
            tenant: Arc::clone(&self.tenant),
            pool: waiting.pool,
            lane: waiting.lane,
            suspect: waiting.source == Source::Suspect,
        };
        let mut body_head = waiting.body;
        body_head.truncate(DEAD_HEAD_BYTES);
        let reason = "rejected".to_owned();
        self.kept.keep_dead(DeadLetter {
            reason,
            body_head,
            origin,
            envelope: waiting.envelope,
        });
    }

    fn publish(&mut self, order: Order) {
        let word = match order.parcel {
            Parcel::Result(reply) => {
                self.undelivered.push_back(Undelivered {
                    reply,
                    done: order.done,
                    _room: order.room,
                });
                return;
            }
            Parcel::Dead(letter) => {
                self.kept.keep_dead(letter);
                Ok(Published::Delivered)
            }
            Parcel::Retry { job, delay_ms } => {
                let at = clock::now() + Duration::from_millis(delay_ms);
                let source = Source::of(job.origin.lane);
                let mut aside = moved(job, source);
                // As one that waited in a broker's queue for it.
                aside.envelope.dead_lettered = true;
                self.aside.push((at, aside));
                Ok(Published::Delivered)
            }
            Parcel::Suspect(job) => {
                self.enqueue(moved(job, Source::Suspect));
                Ok(Published::Delivered)
            }
            Parcel::Back(job) => {
                let source = if job.origin.suspect {
                    Source::Suspect
                } else {
                    Source::of(job.origin.lane)
                };
                let delivery_count = job.envelope.delivery_count;
                let mut back = moved(job, source);
                back.envelope.delivery_count = delivery_count;
                self.enqueue(back);
                Ok(Published::Delivered)
            }
            // There is no upgraded worker inside one process to wait for, nobody reaps, and no
            // gateway asks.
            Parcel::Newer { .. }
            | Parcel::Job(_)
            | Parcel::Park(_)
            | Parcel::Stray(_)
            | Parcel::Note(_) => Err(OutboxError::Homeless {
                destination: "the embedded door".to_owned(),
            }),
        };
        crate::amqp::answer(order.done, word);
    }

    /// Gives the oldest result to the producer, or keeps it if there is nobody (no `slot`).
    fn deliver(&mut self, slot: Option<mpsc::OwnedPermit<ResultMessage>>) {
        let Some(Undelivered { reply, done, _room }) = self.undelivered.pop_front() else {
            return;
        };
        let known = reply.reply_to.as_str() == super::EMBEDDED_REPLY;
        let Some(slot) = slot.filter(|_| known) else {
            self.counters.results_lost.add_one();
            self.kept.keep_lost(reply);
            crate::amqp::answer(done, Ok(Published::Lost));
            return;
        };
        self.counters.published.add_one();
        slot.send(ResultMessage {
            body: reply.result.body.into(),
            message_id: Some(reply.result.message_id),
            correlation_id: reply.correlation_id,
            kind: Some(jailfleet::wire::RESULT_TYPE.to_owned()),
            digest: Some(reply.result.digest),
            redelivered: false,
        });
        crate::amqp::answer(done, Ok(Published::Delivered));
    }

    fn bring_back(&mut self) {
        let now = clock::now();
        let mut still = Vec::new();
        for (at, waiting) in std::mem::take(&mut self.aside) {
            if at <= now {
                self.enqueue(waiting);
            } else {
                still.push((at, waiting));
            }
        }
        self.aside = still;
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A job that goes to another queue: for that one it is new.
fn moved(job: Move, source: Source) -> Waiting {
    let envelope = Envelope {
        redelivered: false,
        delivery_count: 0,
        acquired: 0,
        ..job.envelope
    };
    let (pool, lane) = (job.origin.pool, job.origin.lane);
    Waiting {
        body: job.body,
        envelope,
        pool,
        source,
        lane,
        _room: None,
    }
}
