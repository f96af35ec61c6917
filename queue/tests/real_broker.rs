//! The doors in front of a real RabbitMQ node that the tests start themselves.

mod support;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jailfleet::settings::ReplyMode;
use jailfleet_harness::Broker;
use jailfleet_queue::amqp::producer::{ProducePlan, ProducerDoor, ReplyQueue};
use jailfleet_queue::{Delivery, Disposition, Move, Outbox, Published, amqp};
use lapin::BasicProperties;
use lapin::options::{
    BasicPublishOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use std::collections::{BTreeMap, BTreeSet};
use support::{Client, LONG, job, plan, pool, reply, section, serve, up};

fn produce_plan(reply: &str) -> ProducePlan {
    ProducePlan {
        reply: reply.to_owned(),
        pools: vec![pool()],
        prefetch: 64,
    }
}

fn as_move(delivery: &Delivery) -> Move {
    Move {
        body: delivery.body.clone(),
        envelope: delivery.envelope.clone(),
        origin: delivery.origin.clone(),
    }
}

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
    each_result_in_one_place(ReplyMode::Default).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_2000_results_half_of_them_unroutable_is_in_exactly_one_place_by_exchange() {
    each_result_in_one_place(ReplyMode::Exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_out_and_its_result_comes_back_and_nothing_stays() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut producer = ProducerDoor::open(&amqp, &produce_plan("round")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    // No worker has been there yet: the producer has made the queue itself.
    let queue = producer.reply_queue().to_owned();
    let sender = producer.sender();
    sender
        .publish(job("first", Some(&queue)))
        .await
        .expect("confirmed");

    let mut doors = amqp::open(&amqp, &plan(2)).expect("opens");
    let delivery = doors.intake.next().await.expect("the job");
    assert_eq!(delivery.envelope.message_id.as_deref(), Some("first"));
    assert_eq!(
        delivery.envelope.correlation_id.as_deref(),
        Some("secret-first")
    );
    assert_eq!(delivery.envelope.published_ms, Some(1_000_000));
    assert_eq!(delivery.envelope.delivery_count, 0);
    assert_eq!(&*delivery.origin.tenant, vhost.name());
    assert!(!delivery.origin.suspect);
    serve(&doors.outbox, delivery).await;

    let result = producer.next_result().await.expect("the result");
    assert_eq!(result.message.message_id.as_deref(), Some("first.1"));
    assert_eq!(
        result.message.correlation_id.as_deref(),
        Some("secret-first")
    );
    assert_eq!(
        result.message.kind.as_deref(),
        Some(jailfleet::wire::RESULT_TYPE)
    );
    assert_eq!(result.message.digest.as_deref(), Some("00"));
    assert_eq!(&result.message.body[..], b"result of first");
    result
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");

    assert!(doors.sessions.close(LONG).await);
    drop(sender);
    assert_eq!(producer.close(LONG).await, ReplyQueue::Deleted);
    let client = Client::new(&vhost.uri()).await;
    for queue in [
        "jailfleet.jobs.default.bulk",
        "jailfleet.results.lost",
        "jailfleet.jobs.unrouted",
    ] {
        assert_eq!(client.count(queue).await, 0, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_queue_that_holds_an_untaken_result_is_kept() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Exchange);
    let mut producer = ProducerDoor::open(&amqp, &produce_plan("kept")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    let mut doors = amqp::open(&amqp, &plan(1)).expect("opens");
    up(&mut doors).await;
    let queue = producer.reply_queue().to_owned();
    doors
        .outbox
        .publish(reply("one", &queue))
        .await
        .expect("safe");
    let untaken = producer.next_result().await.expect("the result");
    assert_eq!(producer.close(LONG).await, ReplyQueue::Kept);
    // The door is closed: nobody can say any more that it was taken.
    untaken
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect_err("too late");

    let mut again = ProducerDoor::open(&amqp, &produce_plan("kept")).expect("opens");
    let result = again
        .next_result()
        .await
        .expect("the same result, the next time");
    assert!(result.message.redelivered);
    result
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    assert_eq!(again.close(LONG).await, ReplyQueue::Deleted);
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_ticket_is_counted_and_its_job_comes_back() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = amqp::open(&amqp, &plan(1)).expect("opens");
    up(&mut doors).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("dropped")).expect("opens");
    producer
        .sender()
        .publish(job("dropped", None))
        .await
        .expect("confirmed");
    drop(doors.intake.next().await.expect("the job"));
    let again = doors.intake.next().await.expect("the job again");
    assert!(again.envelope.redelivered);
    assert_eq!(again.envelope.delivery_count, 1);
    assert_eq!(doors.counters.tickets_dropped.get(), 1);
    again
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_consumer_is_noticed_and_made_anew() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = amqp::open(&amqp, &plan(1)).expect("opens");
    up(&mut doors).await;
    let client = Client::new(&vhost.uri()).await;
    let queue = "jailfleet.jobs.default.bulk";
    let deleted = client
        .channel
        .queue_delete(queue.into(), QueueDeleteOptions::default());
    deleted.await.expect("deleted");
    let noticed = doors.state.wait_for(|state| state.trouble.is_some());
    tokio::time::timeout(LONG, noticed)
        .await
        .expect("in time")
        .expect("open");
    up(&mut doors).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("after")).expect("opens");
    producer
        .sender()
        .publish(job("after", None))
        .await
        .expect("confirmed");
    let delivery = tokio::time::timeout(LONG, doors.intake.next())
        .await
        .expect("in time");
    let delivery = delivery.expect("jobs flow again");
    delivery
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    let trouble = doors.state.borrow().trouble.clone();
    assert_eq!(doors.counters.consume_sessions.get(), 2, "{trouble:?}");
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_in_the_middle_loses_no_job_and_no_result() {
    const JOBS: usize = 400;
    let mut broker = Broker::own().expect("a broker");
    let uri = broker.uri("/");
    let amqp = section(&uri, ReplyMode::Default);
    let mut producer = ProducerDoor::open(&amqp, &produce_plan("restart")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    let queue = producer.reply_queue().to_owned();
    let mut doors = amqp::open(&amqp, &plan(4)).expect("opens");
    up(&mut doors).await;

    let outbox = doors.outbox.clone();
    let mut intake = doors.intake;
    let work = async {
        while let Some(delivery) = intake.next().await {
            serve(&outbox, delivery).await;
        }
    };
    let sender = producer.sender();
    let publish = async {
        let sends: FuturesUnordered<_> = (0..JOBS)
            .map(|place| {
                let (sender, queue) = (sender.clone(), queue.clone());
                async move {
                    sender
                        .publish(job(&format!("job-{place}"), Some(&queue)))
                        .await
                }
            })
            .collect();
        let confirmed: Vec<_> = sends.collect().await;
        assert!(confirmed.iter().all(Result::is_ok));
    };
    let mut results: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let collect = async {
        let mut restarted = false;
        while results.len() < JOBS {
            let result = producer.next_result().await.expect("open");
            let id = result.message.message_id.clone().expect("has an id");
            let before = results.insert(id, result.message.body.to_vec());
            assert!(before.is_none_or(|before| before == result.message.body));
            let _settled: Result<(), _> = result.ticket.settle(Disposition::Ack).await;
            if !restarted && results.len() >= JOBS / 10 {
                restarted = true;
                tokio::task::block_in_place(|| {
                    broker.halt().expect("stopped");
                    broker.resume().expect("started again");
                });
            }
        }
    };
    tokio::time::timeout(LONG * 3, async {
        tokio::select! {
            ((), ()) = async { tokio::join!(publish, collect) } => {}
            () = work => panic!("the intake ended"),
        }
    })
    .await
    .expect("in time");
    assert_eq!(results.len(), JOBS);
    assert!(
        doors.counters.consume_sessions.get() >= 2,
        "the broker was gone for a while"
    );
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_reply_to_never_becomes_a_property_or_an_address_of_ours() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = amqp::open(&amqp, &plan(1)).expect("opens");
    up(&mut doors).await;
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
        delivery
            .ticket
            .settle(Disposition::Ack)
            .await
            .expect("settled");
    }
    assert_eq!(client.count("jailfleet.dead").await, 3);
    let trouble = doors.state.borrow().trouble.clone();
    assert_eq!(
        doors.counters.publish_sessions.get(),
        1,
        "no channel was closed over it: {trouble:?}"
    );
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
    for name in hostile {
        let message = dead.next().await.expect("a letter").expect("well");
        assert_eq!(message.data.len(), 4096);
        assert_eq!(*message.properties.reply_to(), None);
        let headers = message.properties.headers().clone().expect("headers");
        let text = |key: &str| match headers.inner().get(key) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(text("jailfleet-reply-to"), name);
        assert_eq!(text("jailfleet-reason"), "bad_reply_to");
        assert_eq!(text("jailfleet-queue"), "jailfleet.jobs.default.bulk");
    }
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_jobs_come_back_with_their_faults_and_nobody_else_can_make_faults_up() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = amqp::open(&amqp, &plan(1)).expect("opens");
    up(&mut doors).await;
    let client = Client::new(&vhost.uri()).await;
    let mut headers = FieldTable::default();
    headers.insert("jailfleet-faults".into(), AMQPValue::LongLongInt(9));
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(19));
    let properties = BasicProperties::default()
        .with_message_id("forged".into())
        .with_user_id("guest".into())
        .with_reply_to("jailfleet.reply.mine".into())
        .with_headers(headers);
    let (options, key) = (BasicPublishOptions::default(), "default.bulk".into());
    let sent =
        client
            .channel
            .basic_publish("jailfleet.jobs".into(), key, options, b"body", properties);
    sent.await.expect("sent");

    let first = doors.intake.next().await.expect("the job");
    assert_eq!(
        (first.envelope.faults, first.envelope.delivery_count),
        (0, 0)
    );
    let mut moved = as_move(&first);
    moved.envelope.faults = 1;
    doors
        .outbox
        .retry(moved.clone(), 300)
        .await
        .expect("put aside");
    first
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");

    let second = tokio::time::timeout(LONG, doors.intake.next())
        .await
        .expect("in time");
    let second = second.expect("the job again");
    assert_eq!(second.envelope.faults, 1);
    assert_eq!(second.envelope.message_id.as_deref(), Some("forged"));
    assert_eq!(
        second.envelope.reply_to.as_deref(),
        Some("jailfleet.reply.mine")
    );
    assert_eq!(&second.body[..], b"body");
    moved.envelope = second.envelope.clone();
    doors.outbox.suspect(moved.clone()).await.expect("moved");
    second
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");

    let third = doors.intake.next().await.expect("the suspect");
    assert!(third.origin.suspect);
    assert_eq!(third.origin.lane, jailfleet::job::Lane::Bulk);
    assert_eq!(third.envelope.faults, 1);
    doors.outbox.newer(moved).await.expect("handed on");
    third
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    let newer = client.take("jailfleet.jobs.newer").await;
    assert_eq!(newer.data, b"body");
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_closes_the_channel_is_given_up_alone() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = amqp::open(&amqp, &plan(1)).expect("opens");
    up(&mut doors).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("poison")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    let queue = producer.reply_queue().to_owned();
    producer
        .sender()
        .publish(job("poison", None))
        .await
        .expect("confirmed");
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
    delivery
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled");
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_intake_gives_back_what_waits_and_still_settles_what_is_out() {
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let producer = ProducerDoor::open(&amqp, &produce_plan("stop")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    for place in 0..30 {
        producer
            .sender()
            .publish(job(&format!("job-{place}"), None))
            .await
            .expect("confirmed");
    }
    let mut doors = amqp::open(&amqp, &plan(2)).expect("opens");
    let running = doors.intake.next().await.expect("a job");
    doors.intake.stop().await;
    assert!(doors.intake.next().await.is_none());
    running
        .ticket
        .settle(Disposition::Ack)
        .await
        .expect("settled after the stop");
    assert!(doors.sessions.close(LONG).await);

    let client = Client::new(&vhost.uri()).await;
    let mut left = BTreeSet::new();
    for _ in 0..29 {
        let message = client.take("jailfleet.jobs.default.bulk").await;
        left.insert(
            message
                .properties
                .message_id()
                .clone()
                .expect("an id")
                .to_string(),
        );
    }
    assert_eq!(left.len(), 29);
    assert_eq!(client.count("jailfleet.jobs.default.bulk").await, 0);
    producer.close(LONG).await;
}
