//! Batches, and who is suspected when a session breaks.

use super::*;
use crate::envelope::{Envelope, Origin};
use crate::outbox::{Move, Outbox, OutboxError, Reply};
use crate::topology::{Names, Topology};
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

#[test]
fn a_result_waits_for_a_right_as_long_as_that_takes_and_anything_else_is_given_up_alone() {
    let (done, _answer) = oneshot::channel();
    let room = Arc::new(Semaphore::new(2));
    let order = |parcel, done| {
        let room = Arc::clone(&room).try_acquire_owned().expect("room");
        Item::new(Order { parcel, done, room })
    };
    let mut backlog = VecDeque::from([order(Parcel::Result(result("waits")), done)]);
    for _ in 0..10 * TRIES {
        assert!(broken(&mut backlog, 1, Blame::ARight).is_none());
    }
    assert!(broken(&mut backlog, 1, Blame::AMessage).is_some());

    let (done, _answer) = oneshot::channel();
    backlog.push_back(order(Parcel::Suspect(job("goes back")), done));
    for _ in 0..TRIES {
        assert!(broken(&mut backlog, 1, Blame::ARight).is_none());
    }
    assert!(broken(&mut backlog, 1, Blame::ARight).is_some());
}

#[test]
fn a_queue_of_which_is_asked_whether_it_has_a_leader_is_one_where_the_message_goes() {
    let pools = [Name::parse("default").expect("a name")];
    let post = Post {
        names: Names::new("jailfleet"),
        prefix: "jailfleet".to_owned(),
        reply_mode: ReplyMode::Exchange,
    };
    let topology = Topology::new(&post.names, &pools);
    let mut suspect = job("suspect");
    suspect.origin.suspect = true;
    let (delay_ms, job) = (1, job("job"));
    let parcels = [
        Parcel::Retry {
            job: job.clone(),
            delay_ms,
        },
        Parcel::Newer {
            job: job.clone(),
            delay_ms,
        },
        Parcel::Suspect(job.clone()),
        Parcel::Back(job),
        Parcel::Back(suspect),
        Parcel::Result(result("result")),
    ];
    for parcel in parcels {
        let to = post.lost(&parcel, "queue_full");
        let to = to.unwrap_or_else(|| post.address(&parcel, false));
        let queue = post.own_queue(&parcel).expect("one of ours");
        let mut bindings = topology.bindings.iter();
        assert!(
            bindings.any(|it| it.exchange == to.exchange && it.queue == queue),
            "{} does not lead to {queue}",
            to.exchange
        );
    }
}

/// What may happen to a publisher.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody sends something, and stays until it has an answer.
    Sends(Kind),
    /// One of them stops to wait; the number picks which.
    Leaves(usize),
    /// A batch is on the wire, and this becomes of it, unless the broker closes the channel over it.
    Round(Wire),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// The broker closes the channel over it, each time.
    Poison,
}

#[derive(Debug, Clone, Copy)]
enum Wire {
    Confirms,
    /// The connection breaks: the broker may have all of it, or nothing.
    Breaks,
    /// The same, and one of them stops to wait before the next session.
    BreaksAndOneLeaves,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Sends(Kind::Good)),
        1 => Just(Step::Sends(Kind::Poison)),
        1 => (0..64_usize).prop_map(Step::Leaves),
        4 => Just(Step::Round(Wire::Confirms)),
        2 => Just(Step::Round(Wire::Breaks)),
        1 => Just(Step::Round(Wire::BreaksAndOneLeaves)),
    ]
}

/// One message, as who sent it and the broker know it.
struct Known {
    kind: Kind,
    /// How often it was on the wire, and how often the broker closed the channel over it alone.
    sent: u32,
    closed_alone: u32,
    fate: Option<Answered>,
    /// Gone once he who sent it does not wait any more.
    waits: Option<oneshot::Receiver<Result<crate::outbox::Published, OutboxError>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Confirmed,
    GivenUp,
}

struct Story {
    post: Post,
    room: Arc<Semaphore>,
    backlog: VecDeque<Item>,
    known: Vec<Known>,
    last_confirmed: Option<usize>,
}

fn place_of(item: &Item) -> usize {
    let Parcel::Suspect(job) = &item.order.parcel else {
        unreachable!("nothing else is sent");
    };
    let place = job.envelope.published_ms.expect("each has its place");
    usize::try_from(place).expect("it fits")
}

impl Story {
    fn new() -> Self {
        Self {
            post: Post {
                names: Names::new("jailfleet"),
                prefix: "jailfleet".to_owned(),
                reply_mode: ReplyMode::Exchange,
            },
            room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            backlog: VecDeque::new(),
            known: Vec::new(),
            last_confirmed: None,
        }
    }

    fn perform(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Sends(kind) => self.sends(kind),
            Step::Leaves(any) => self.leaves(any),
            Step::Round(wire) => self.round(wire)?,
        }
        Ok(())
    }

    fn sends(&mut self, kind: Kind) {
        let place = self.known.len();
        let mut parcel = job(&place.to_string());
        parcel.envelope.published_ms = u64::try_from(place).ok();
        let (done, answer) = oneshot::channel();
        let room = Arc::clone(&self.room).try_acquire_owned();
        self.backlog.push_back(Item::new(Order {
            parcel: Parcel::Suspect(parcel),
            done,
            room: room.expect("there is room"),
        }));
        self.known.push(Known {
            kind,
            sent: 0,
            closed_alone: 0,
            fate: None,
            waits: Some(answer),
        });
    }

    fn leaves(&mut self, any: usize) {
        if let Some(place) = any.checked_rem(self.known.len()) {
            self.known[place].waits = None;
        }
    }

    fn round(&mut self, wire: Wire) -> Result<(), TestCaseError> {
        let round = Round::next(&mut self.backlog, &self.post);
        let places: Vec<usize> = round.items.iter().map(|(item, _)| place_of(item)).collect();
        let count = round.put_back(&mut self.backlog).len();
        prop_assert_eq!(count, places.len());
        for (item, place) in self.backlog.iter().zip(&places) {
            let known = &mut self.known[*place];
            prop_assert_eq!(place_of(item), *place, "another message than was addressed");
            prop_assert_eq!(
                item.again,
                known.sent > 0,
                "whether it may be there already"
            );
            prop_assert!(known.waits.is_some(), "sent what nobody waits for");
            known.sent += 1;
        }
        let poisoned = places
            .iter()
            .any(|place| self.known[*place].kind == Kind::Poison);
        match wire {
            _ if poisoned => self.closes_over(&places)?,
            Wire::Confirms => self.confirms(&places)?,
            Wire::Breaks => self.breaks(count)?,
            Wire::BreaksAndOneLeaves => {
                self.breaks(count)?;
                self.leaves(places.first().copied().unwrap_or(0));
            }
        }
        Ok(())
    }

    fn confirms(&mut self, places: &[usize]) -> Result<(), TestCaseError> {
        for place in places {
            self.backlog.pop_front();
            let before = self.known[*place].fate.replace(Answered::Confirmed);
            prop_assert_eq!(before, None, "answered a second time");
            prop_assert!(
                self.last_confirmed < Some(*place),
                "one came before who waited longer"
            );
            self.last_confirmed = Some(*place);
        }
        Ok(())
    }

    fn breaks(&mut self, count: usize) -> Result<(), TestCaseError> {
        let given_up = broken(&mut self.backlog, count, Blame::NoMessage);
        prop_assert!(
            given_up.is_none(),
            "gave up a message that the broker never closed over"
        );
        Ok(())
    }

    fn closes_over(&mut self, places: &[usize]) -> Result<(), TestCaseError> {
        if let [alone] = places {
            self.known[*alone].closed_alone += 1;
        }
        if let Some(item) = broken(&mut self.backlog, places.len(), Blame::AMessage) {
            let known = &mut self.known[place_of(&item)];
            prop_assert_eq!(known.kind, Kind::Poison, "gave up a good message");
            prop_assert!(
                known.closed_alone >= TRIES,
                "gave up after {} tries",
                known.closed_alone
            );
            prop_assert_eq!(known.fate.replace(Answered::GivenUp), None);
        }
        Ok(())
    }

    /// The wire is well again: everything that somebody waits for has its answer soon.
    fn comes_to_rest(mut self) -> Result<(), TestCaseError> {
        let poisons = self
            .known
            .iter()
            .filter(|one| one.kind == Kind::Poison)
            .count();
        let tries = usize::try_from(TRIES).expect("it fits") + 1;
        for _ in 0..=self.known.len() + poisons * tries {
            self.perform(Step::Round(Wire::Confirms))?;
        }
        prop_assert!(
            self.backlog.is_empty(),
            "{} wait for ever",
            self.backlog.len()
        );
        for (place, known) in self.known.iter().enumerate() {
            let right = match known.kind {
                Kind::Good => Answered::Confirmed,
                Kind::Poison => Answered::GivenUp,
            };
            let unasked = known.waits.is_none() && known.fate.is_none();
            prop_assert!(
                unasked || known.fate == Some(right),
                "{}: {:?}",
                place,
                known.fate
            );
            prop_assert!(
                known.closed_alone <= TRIES + 1,
                "it may close the channel for ever"
            );
        }
        Ok(())
    }
}

proptest! {
    /// Whatever breaks: each message that is waited for is confirmed or given up once, in its order; none but
    /// one that the broker closes the channel over, again and alone, is given up; and what may be there already
    /// says so.
    #[test]
    fn a_message_that_closes_the_channel_is_given_up_and_no_other_is_lost(
        steps in vec(step(), 0..100),
    ) {
        let mut story = Story::new();
        for step in steps {
            story.perform(step)?;
        }
        story.comes_to_rest()?;
    }
}
