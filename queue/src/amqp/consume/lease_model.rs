//! A small model of leases: holders that settle or drop their tickets when they like, sessions that end, a
//! door that may close, and a broker that knows tags and nothing else. Shuttle chooses the order of it all.
//!
//! Tags begin anew in each session, as a broker's do: an ack that is said in a later session than its own
//! would take away somebody else's message.

use super::*;
use crate::connection::Role;
use crate::counters::DoorCounters;
use crate::doors::DoorState;
use shuttle::future::{self, yield_now};
use shuttle::rand::{Rng, thread_rng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::watch;

const SCHEDULES: usize = 3_000;
const HOLDERS: usize = 3;
const MESSAGES: u32 = 5;
const SESSIONS: u64 = 4;
/// More than the messages that can be out, in one session and the one before.
const PLACES: usize = 16;

/// The broker, and what its messages' holders meant.
#[derive(Default)]
struct Broker {
    waiting: VecDeque<u32>,
    /// By their tags in this session.
    out: BTreeMap<u64, u32>,
    last_tag: u64,
    acked: BTreeSet<u32>,
    /// Those for which somebody has asked for an ack.
    meant: BTreeSet<u32>,
}

impl Broker {
    fn deliver(&mut self) -> Option<(u64, u32)> {
        let message = self.waiting.pop_front()?;
        self.last_tag += 1;
        self.out.insert(self.last_tag, message);
        Some((self.last_tag, message))
    }

    fn hear(&mut self, frame: Frame) {
        let (tags, acks): (Vec<u64>, bool) = match frame {
            Frame::AckThrough(last) => {
                (self.out.range(..=last).map(|(tag, _)| *tag).collect(), true)
            }
            Frame::Ack(tag) => (vec![tag], true),
            Frame::Requeue(tag) | Frame::DeadLetter(tag) => (vec![tag], false),
        };
        for tag in tags {
            let message = self.out.remove(&tag);
            let message = message.unwrap_or_else(|| panic!("{frame:?}: it is not out"));
            if acks {
                assert!(
                    self.meant.contains(&message),
                    "nobody asked to ack {message}"
                );
                assert!(self.acked.insert(message), "{message} is acked twice");
            } else {
                self.waiting.push_back(message);
            }
        }
    }

    fn takes_back(&mut self) {
        self.last_tag = 0;
        let out = std::mem::take(&mut self.out);
        self.waiting.extend(out.into_values());
    }

    fn is_done(&self) -> bool {
        self.acked.len() == MESSAGES as usize
    }
}

type Shared = Arc<Mutex<Broker>>;

fn lock(broker: &Shared) -> MutexGuard<'_, Broker> {
    broker.lock().expect("nobody panics with it and goes on")
}

/// The owner's books in one session: what `Session` does between a settlement and the wire.
async fn session(
    number: u64,
    steps: Option<u32>,
    desk: &mut Desk,
    places: &Places,
    holders: &[mpsc::Sender<(u32, Ticket)>],
    broker: &Shared,
) {
    let mut ledger = Ledger::default();
    let mut left = steps;
    while left != Some(0) && !lock(broker).is_done() {
        left = left.map(|left| left - 1);
        let holder = holders.get(thread_rng().gen_range(0..HOLDERS));
        let room = holder.expect("one of them").try_reserve();
        // As the role does: nothing is handed out that could not be settled.
        if let (Ok(room), Some(place)) = (room, places.try_reserve()) {
            let delivered = lock(broker).deliver();
            if let Some((tag, message)) = delivered {
                ledger.handed_out(tag);
                let lease = Lease {
                    epoch: number,
                    channel: 0,
                    tag,
                };
                let counters = Arc::clone(&desk.board.counters);
                room.send((message, Ticket::new(lease, place, counters)));
            }
        }
        let (mut batch, mut told) = (Vec::new(), Vec::new());
        while let Some(settlement) = desk.settlements.try_recv() {
            batch.push(settlement);
        }
        for settlement in desk.of_session(&mut batch, number) {
            if let Some(frame) = ledger.settle(settlement.lease.tag, settlement.disposition) {
                lock(broker).hear(frame);
            }
            told.extend(settlement.done);
        }
        for frame in ledger.flush() {
            lock(broker).hear(frame);
        }
        for done in told {
            answer(done, Ok(()));
        }
        yield_now().await;
    }
}

/// Settles or drops what comes, sooner or later.
async fn holder(mut inbox: mpsc::Receiver<(u32, Ticket)>, broker: Shared) {
    while let Some((message, ticket)) = inbox.recv().await {
        for _ in 0..thread_rng().gen_range(0..4) {
            yield_now().await;
        }
        match thread_rng().gen_range(0..6) {
            0 => drop(ticket),
            1 => {
                // Whatever it answers: it is back, or the session ended and it is back.
                let _settled: Result<(), SettleError> = ticket.settle(Disposition::Requeue).await;
            }
            _ => {
                lock(&broker).meant.insert(message);
                if ticket.settle(Disposition::Ack).await.is_ok() {
                    let heard = lock(&broker).acked.contains(&message);
                    assert!(heard, "{message} is not acked, and its holder was told so");
                }
            }
        }
    }
}

async fn story() {
    let (places, settlements) = crate::ticket::places(PLACES);
    let (_asks, orders) = mpsc::channel(1);
    let board = Board {
        role: Role::Consume,
        state: watch::Sender::new(DoorState::default()),
        counters: Arc::new(DoorCounters::default()),
    };
    let mut desk = Desk {
        settlements,
        orders,
        closing: CancellationToken::new(),
        stopped: false,
        board,
    };
    let broker = Shared::default();
    lock(&broker).waiting.extend(0..MESSAGES);
    let (mut inboxes, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..HOLDERS {
        let (inbox, deliveries) = mpsc::channel(2);
        inboxes.push(inbox);
        tasks.push(future::spawn(holder(deliveries, Arc::clone(&broker))));
    }
    let epoch = Epoch::default();
    let closes = thread_rng().gen_range(0..4) == 0;
    for number in 1..=SESSIONS {
        let number_now = epoch.advance();
        let steps = (number < SESSIONS || closes).then(|| thread_rng().gen_range(1..12));
        session(number_now, steps, &mut desk, &places, &inboxes, &broker).await;
        epoch.advance();
        lock(&broker).takes_back();
    }
    // As the role does when its door closes.
    desk.settlements.close();
    while let Some(settlement) = desk.settlements.try_recv() {
        desk.stale(settlement);
    }
    drop((desk, places, inboxes));
    for task in tasks {
        task.await.expect("no holder waits for ever, or panics");
    }
    assert!(closes || lock(&broker).is_done());
}

#[test]
fn each_tag_is_settled_once_in_its_own_session_whatever_the_order_of_things() {
    shuttle::check_random(|| future::block_on(story()), SCHEDULES);
}
