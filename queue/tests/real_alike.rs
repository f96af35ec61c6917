//! One story through both doors: what a worker and a producer see must be the same, word for word.

#[expect(dead_code, reason = "the other tests use more of it")]
mod support;

use bytes::Bytes;
use futures_util::StreamExt;
use jailfleet::job::Lane;
use jailfleet::settings::ReplyMode;
use jailfleet_harness::{Broker, require};
use jailfleet_queue::amqp::producer::ProducerDoor;
use jailfleet_queue::embedded::{self, EMBEDDED_REPLY, EmbeddedProducer};
use jailfleet_queue::{
    DeadLetter, Delivery, Disposition, Doors, JobMessage, Move, ResultMessage, Source, amqp,
};
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use support::{Client, LONG, ack, as_move, job, plan, produce_plan, reply, section, up};
use tokio::time::timeout;

/// The producer's side of a door.
enum Side {
    Embedded(EmbeddedProducer),
    Broker(Box<ProducerDoor>, Box<Client>),
}

impl Side {
    fn reply_to(&self) -> String {
        match self {
            Self::Embedded(_) => EMBEDDED_REPLY.to_owned(),
            Self::Broker(door, _) => door.reply_queue().to_owned(),
        }
    }

    async fn submit(&self, id: &str, lane: Lane) {
        let job = JobMessage {
            lane,
            traceparent: Some("00-trace".to_owned()),
            ..job(id, Some(&self.reply_to()))
        };
        match self {
            Self::Embedded(door) => door.submit(job).await.expect("taken"),
            Self::Broker(door, _) => door.sender().publish(job).await.expect("confirmed"),
        }
    }

    async fn result(&mut self) -> ResultMessage {
        let result = match self {
            Self::Embedded(door) => timeout(LONG, door.next_result()).await.expect("in time"),
            Self::Broker(door, _) => {
                let next = timeout(LONG, door.next_result()).await.expect("in time");
                let delivery = next.expect("the door is open");
                ack(delivery.ticket).await;
                Some(delivery.message)
            }
        };
        result.expect("the door is open")
    }

    /// The bodies of the letters that are kept for people, which a delivery brought there itself or a
    /// worker did.
    async fn dead(&self, count: usize) -> Vec<Bytes> {
        match self {
            Self::Embedded(door) => {
                let dead = door.kept().dead();
                assert_eq!(dead.len(), count);
                dead.into_iter().map(|letter| letter.body_head).collect()
            }
            Self::Broker(_, client) => letters(client, count).await,
        }
    }

    async fn lost(&self) -> Vec<Bytes> {
        match self {
            Self::Embedded(door) => {
                let lost = door.kept().lost().into_iter();
                lost.map(|reply| reply.result.body.into()).collect()
            }
            Self::Broker(_, client) => {
                let lost = client.drain("jailfleet.results.lost").await.into_iter();
                lost.map(|message| message.data.into()).collect()
            }
        }
    }
}

async fn next(doors: &mut Doors, among: &[Source]) -> Delivery {
    let next = timeout(LONG, doors.intake.next_among(among)).await;
    next.expect("in time").expect("the door is open")
}

/// What a worker sees of a delivery.
fn seen(delivery: &Delivery) -> String {
    let Delivery {
        body,
        envelope,
        origin,
        ..
    } = delivery;
    // The reply queue and the tenant are those of the door.
    let mut envelope = envelope.clone();
    envelope.reply_to = envelope.reply_to.map(|_| "HERE".to_owned());
    let (pool, lane, suspect) = (&origin.pool, origin.lane, origin.suspect);
    format!("{body:?} {envelope:?} {pool:?} {lane:?} {suspect}")
}

/// The bodies of so many dead letters. Their queue has one consumer at a time, and is never peeked at.
async fn letters(client: &Client, count: usize) -> Vec<Bytes> {
    let channel = &client.channel;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume("jailfleet.dead".into(), "".into(), options, arguments);
    let mut consumer = consumer.await.expect("consumable");
    let mut letters = Vec::new();
    while letters.len() < count {
        let next = timeout(LONG, consumer.next()).await;
        let letter = next.expect("a letter in time").expect("the queue lives");
        letters.push(letter.expect("the channel lives").data.into());
    }
    letters
}

/// What both ends of a door see of one story.
async fn story(mut doors: Doors, mut side: Side) -> Vec<String> {
    let mut told = Vec::new();
    answered_and_handed_back(&mut doors, &mut side, &mut told).await;
    moved(&mut doors, &side, &mut told).await;
    stopped(&mut doors, &side, &mut told).await;
    let counters = &doors.counters;
    told.push(format!(
        "{} dropped, {} lost",
        counters.tickets_dropped.get(),
        counters.results_lost.get()
    ));
    told.push(format!("closed: {}", doors.sessions.close(LONG).await));
    if let Side::Broker(door, _) = side {
        door.close(LONG).await;
    }
    told
}

async fn answered_and_handed_back(doors: &mut Doors, side: &mut Side, told: &mut Vec<String>) {
    // A job, its result, and a result that nobody waits for.
    side.submit("plain", Lane::Bulk).await;
    let first = next(doors, &Source::ALL).await;
    told.push(seen(&first));
    let published = doors.outbox.publish(reply("plain", &side.reply_to())).await;
    told.push(format!("{published:?}"));
    ack(first.ticket).await;
    told.push(format!("{:?}", side.result().await));
    let nobody = doors
        .outbox
        .publish(reply("late", "jailfleet.reply.gone"))
        .await;
    told.push(format!("{nobody:?} {:?}", side.lost().await));

    // Handed back, dropped, handed back as a dead letter.
    side.submit("again", Lane::Bulk).await;
    let first = next(doors, &Source::ALL).await;
    let requeued = first.ticket.settle(Disposition::Requeue).await;
    told.push(format!("{requeued:?}"));
    let second = next(doors, &Source::ALL).await;
    told.push(seen(&second));
    drop(second);
    let third = next(doors, &Source::ALL).await;
    told.push(seen(&third));
    let buried = third.ticket.settle(Disposition::DeadLetter).await;
    told.push(format!("{buried:?}"));
}

async fn moved(doors: &mut Doors, side: &Side, told: &mut Vec<String>) {
    // What cannot be a job leaves its head.
    side.submit("long", Lane::Bulk).await;
    let long = next(doors, &Source::ALL).await;
    let letter = DeadLetter {
        reason: "not_json: no JSON".to_owned(),
        body_head: Bytes::from(vec![b'x'; 10_000]),
        origin: long.origin.clone(),
        envelope: long.envelope.clone(),
    };
    told.push(format!("{:?}", doors.outbox.dead(letter).await));
    ack(long.ticket).await;
    told.extend(side.dead(2).await.iter().map(|body| format!("{body:?}")));

    // Tried again with a fault of ours, then alone.
    side.submit("retried", Lane::Interactive).await;
    let first = next(doors, &Source::ALL).await;
    let mut moved: Move = as_move(&first);
    moved.envelope.faults = 1;
    told.push(format!("{:?}", doors.outbox.retry(moved.clone(), 1).await));
    ack(first.ticket).await;
    let second = next(doors, &Source::ALL).await;
    told.push(seen(&second));
    told.push(format!("{:?}", doors.outbox.suspect(moved).await));
    ack(second.ticket).await;
    let alone = next(doors, &Source::ALL).await;
    told.push(seen(&alone));
    ack(alone.ticket).await;
}

async fn stopped(doors: &mut Doors, side: &Side, told: &mut Vec<String>) {
    // The interactive lane comes first, and each can be asked alone.
    for (id, lane) in [("slow", Lane::Bulk), ("quick", Lane::Interactive)] {
        side.submit(id, lane).await;
    }
    let quick = next(doors, &[Source::Interactive]).await;
    told.push(seen(&quick));
    let slow = next(doors, &[Source::Bulk]).await;
    told.push(seen(&slow));

    // A stop: what is out can still be settled, and nothing more comes.
    side.submit("waits", Lane::Bulk).await;
    let mut waiting = Vec::new();
    doors.intake.stop(&mut waiting).await;
    // Whether it had come before the stop is a matter of moments.
    for delivery in waiting {
        let back = delivery.ticket.settle(Disposition::Requeue).await;
        back.expect("given back");
    }
    told.push(format!("{:?}", doors.intake.next().await.map(|_| ())));
    for delivery in [quick, slow] {
        told.push(format!(
            "{:?}",
            delivery.ticket.settle(Disposition::Ack).await
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_producer_see_the_same_through_both_doors() {
    require!(Broker);
    let plan = plan(2);
    let (doors, producer) = embedded::pair(16, &plan);
    let embedded = story(doors, Side::Embedded(producer)).await;

    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = amqp::open(&amqp, &plan).expect("opens");
    up(&mut doors).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("alike")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    let client = Client::new(&vhost.uri()).await;
    let queued = story(doors, Side::Broker(Box::new(producer), Box::new(client))).await;

    assert!(embedded.len() > 20, "{embedded:#?}");
    for (at, (embedded, queued)) in embedded.iter().zip(&queued).enumerate() {
        assert_eq!(embedded, queued, "line {at}");
    }
    assert_eq!(embedded.len(), queued.len());
}
