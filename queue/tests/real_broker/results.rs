//! Results on their way to reply queues that exist, and to others.

use crate::support::{
    Client, LONG, ack, as_move, open_doors, plan, produce_plan, reply, section, submit, up,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use jailfleet::settings::ReplyMode;
use jailfleet_harness::{Broker, require};
use jailfleet_queue::amqp::producer::ProducerDoor;
use jailfleet_queue::{Outbox, Published, amqp};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use std::collections::BTreeMap;

const RESULTS: usize = 2000;
const LOST: &str = "jailfleet.results.lost";

/// A result on its way: where it is sent, and whether that queue exists.
struct Sent {
    id: String,
    queue: String,
    lives: bool,
    published: Published,
}

/// Sends every other result to a queue that does not exist, in an order that mixes them.
async fn send_all(outbox: &Outbox, alive: &[String]) -> Vec<Sent> {
    // 7 and 2000 have no common factor: all places are visited.
    let sends: FuturesUnordered<_> = (0..RESULTS)
        .map(|step| {
            let place = step * 7 % RESULTS;
            let lives = place.is_multiple_of(2);
            let home = alive
                .iter()
                .cycle()
                .nth(place / 2)
                .expect("endless")
                .clone();
            let queue = if lives { home } else { format!("gone-{place}") };
            let (id, outbox) = (format!("job-{place}"), outbox.clone());
            async move {
                let published = outbox.publish(reply(&id, &queue)).await.expect("safe");
                Sent {
                    id,
                    queue,
                    lives,
                    published,
                }
            }
        })
        .collect();
    tokio::time::timeout(LONG, sends.collect())
        .await
        .expect("in time")
}

/// Makes queues that take results in both reply modes.
async fn make_queues(client: &Client) -> Vec<String> {
    let alive: Vec<String> = (0..10).map(|place| format!("alive-{place}")).collect();
    for name in &alive {
        let queue = name.as_str();
        let (options, none) = (QueueDeclareOptions::default(), FieldTable::default());
        client
            .channel
            .queue_declare(queue.into(), options, none.clone())
            .await
            .expect("made");
        let bind = QueueBindOptions::default();
        let results = "jailfleet.results".into();
        let bound = client
            .channel
            .queue_bind(queue.into(), results, queue.into(), bind, none);
        bound.await.expect("bound");
    }
    alive
}

/// The promise of the outbox: each result is found in exactly one place, and it is the right one.
async fn each_result_in_one_place(mode: ReplyMode) {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let mut doors = amqp::open(&section(&vhost.uri(), mode), &plan(1)).expect("opens");
    up(&mut doors).await;
    let client = Client::new(&vhost.uri()).await;
    let alive = make_queues(&client).await;
    let sent = send_all(&doors.outbox, &alive).await;

    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for queue in alive.iter().map(String::as_str).chain([LOST]) {
        for message in client.drain(queue).await {
            let id = message.properties.message_id().clone().expect("has an id");
            let place = format!("{queue}/{}", message.routing_key);
            found.entry(id.to_string()).or_default().push(place);
        }
    }
    assert_eq!((sent.len(), found.len()), (RESULTS, RESULTS));
    for Sent {
        id,
        queue,
        lives,
        published,
    } in sent
    {
        let home = if lives { queue.as_str() } else { LOST };
        let places = found.get(&format!("{id}.1")).expect("somewhere");
        assert_eq!(places, &[format!("{home}/{queue}")], "{id}");
        if mode == ReplyMode::Default {
            let expected = if lives {
                Published::Delivered
            } else {
                Published::Lost
            };
            assert_eq!(published, expected, "{id}");
        }
    }
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_2000_results_half_of_them_unroutable_is_in_exactly_one_place() {
    require!(Broker);
    each_result_in_one_place(ReplyMode::Default).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_2000_results_half_of_them_unroutable_is_in_exactly_one_place_by_exchange() {
    require!(Broker);
    each_result_in_one_place(ReplyMode::Exchange).await;
}

/// The dead queue holds one letter for each of `names`, with the address as a word of its own.
async fn letters_tell(client: &Client, names: &[&str]) {
    // The dead queue has a single active consumer: it is consumed, never peeked at.
    let mut dead = client
        .channel
        .basic_consume(
            "jailfleet.dead".into(),
            "reaper".into(),
            <_>::default(),
            <_>::default(),
        )
        .await
        .expect("consumes");
    for name in names {
        let message = dead.next().await.expect("a letter").expect("well");
        assert_eq!(message.data.len(), 4096);
        assert_eq!(*message.properties.reply_to(), None);
        let headers = message.properties.headers().clone().expect("headers");
        let text = |key: &str| match headers.inner().get(key) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(text("jailfleet-reply-to"), *name);
        assert_eq!(text("jailfleet-reason"), "bad_reply_to");
        assert_eq!(text("jailfleet-queue"), "jailfleet.jobs.default.bulk");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_reply_to_never_becomes_a_property_or_an_address_of_ours() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = open_doors(&amqp).await;
    let client = Client::new(&vhost.uri()).await;
    let hostile = [
        "amq.rabbitmq.reply-to.g1h2AA.bogus",
        "jailfleet.jobs.default.bulk",
        "amq.direct",
    ];
    for name in hostile {
        let properties = BasicProperties::default().with_reply_to(name.into());
        let (options, key) = (BasicPublishOptions::default(), "default.bulk".into());
        let sent = client.channel.basic_publish(
            "jailfleet.jobs".into(),
            key,
            options,
            &[b'x'; 10_000],
            properties,
        );
        sent.await.expect("sent");
        let delivery = doors.intake.next().await.expect("the job");
        let asked = delivery.envelope.reply_to.clone().expect("asked for");
        assert_eq!(asked, name);
        jailfleet::reply::vet(&asked, "jailfleet").expect_err("refused");
        let letter = jailfleet_queue::DeadLetter {
            reason: "bad_reply_to".to_owned(),
            body_head: delivery.body.clone(),
            origin: delivery.origin.clone(),
            envelope: delivery.envelope.clone(),
        };
        doors.outbox.dead(letter).await.expect("kept");
        ack(delivery.ticket).await;
    }
    assert_eq!(client.count("jailfleet.dead").await, 3);
    let trouble = doors.state.borrow().trouble.clone();
    assert_eq!(
        doors.counters.publish_sessions.get(),
        1,
        "no channel was closed over it: {trouble:?}"
    );
    letters_tell(&client, &hostile).await;
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_closes_the_channel_is_given_up_alone() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = open_doors(&amqp).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("poison")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    let queue = producer.reply_queue().to_owned();
    submit(&producer, "poison").await;
    let delivery = doors.intake.next().await.expect("the job");
    let moved = as_move(&delivery);
    // No broker takes an expiration of half a billion years.
    let poison = doors.outbox.retry(moved, u64::MAX);
    let ids: Vec<String> = (0..20).map(|place| format!("good-{place}")).collect();
    let good: FuturesUnordered<_> = ids
        .iter()
        .map(|id| doors.outbox.publish(reply(id, &queue)))
        .collect();
    let (poison, good) = tokio::time::timeout(LONG, async {
        tokio::join!(poison, good.collect::<Vec<_>>())
    })
    .await
    .expect("in time");
    assert!(
        matches!(poison, Err(jailfleet_queue::OutboxError::Refused { .. })),
        "{poison:?}"
    );
    assert!(
        good.iter()
            .all(|published| *published == Ok(Published::Delivered)),
        "{good:?}"
    );
    ack(delivery.ticket).await;
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_its_full_queue_refuses_is_kept_as_lost_with_that_reason() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let doors = open_doors(&section(&vhost.uri(), ReplyMode::Default)).await;
    let client = Client::new(&vhost.uri()).await;
    let mut bounds = FieldTable::default();
    bounds.insert("x-max-length".into(), AMQPValue::LongLongInt(1));
    let refuse = AMQPValue::LongString("reject-publish".into());
    bounds.insert("x-overflow".into(), refuse);
    let options = QueueDeclareOptions::default();
    let made = client
        .channel
        .queue_declare("small".into(), options, bounds);
    made.await.expect("made");
    let first = doors.outbox.publish(reply("fits", "small")).await;
    assert_eq!(first, Ok(Published::Delivered));
    let second = doors.outbox.publish(reply("refused", "small")).await;
    assert_eq!(second, Ok(Published::Lost));
    let kept = client.take(LOST).await;
    assert_eq!(kept.routing_key.as_str(), "small");
    let id = kept.properties.message_id().clone().expect("an id");
    assert_eq!(id.as_str(), "refused.1");
    let headers = kept.properties.headers().clone().expect("headers");
    let reason = headers.inner().get("jailfleet-lost-reason");
    assert_eq!(reason, Some(&AMQPValue::LongString("queue_full".into())));
    assert_eq!(client.count("small").await, 1);
    assert_eq!(doors.counters.results_lost.get(), 1);
    assert!(doors.sessions.close(LONG).await);
}
