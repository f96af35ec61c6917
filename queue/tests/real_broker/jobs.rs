//! Jobs in the intake: dropped, moved, given back.

use crate::support::{
    Client, LONG, ack, as_move, open_doors, plan, produce_plan, section, submit, up,
};
use jailfleet::settings::{AmqpSection, ReplyMode};
use jailfleet_harness::{Broker, require};
use jailfleet_queue::amqp::producer::ProducerDoor;
use jailfleet_queue::{Disposition, amqp};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use std::collections::BTreeSet;
use std::time::Duration;

/// Where the bulk jobs of the tests' pool wait.
const BULK: &str = "jailfleet.jobs.default.bulk";

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_ticket_is_counted_and_its_job_comes_back() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = open_doors(&amqp).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("dropped")).expect("opens");
    submit(&producer, "dropped").await;
    drop(doors.intake.next().await.expect("the job"));
    let again = doors.intake.next().await.expect("the job again");
    assert!(again.envelope.redelivered);
    assert_eq!(again.envelope.delivery_count, 1);
    assert_eq!(doors.counters.tickets_dropped.get(), 1);
    ack(again.ticket).await;
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_holds_as_many_jobs_as_its_slots_and_a_few_more_however_many_wait() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = AmqpSection {
        prefetch_extra: 3,
        ..section(&vhost.uri(), ReplyMode::Default)
    };
    let client = Client::new(&vhost.uri()).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("ahead")).expect("opens");
    for number in 0..50 {
        submit(&producer, &format!("job-{number}")).await;
    }
    let mut waiting = 50;
    for slots in [2_u32, 7] {
        let slots_of_a_lane = usize::try_from(slots).expect("few");
        let mut doors = amqp::open(&amqp, &plan(slots_of_a_lane)).expect("opens");
        up(&mut doors).await;
        let mut held = Vec::new();
        for _ in 0..slots + 3 {
            held.push(doors.intake.next().await.expect("a job").ticket);
        }
        let more = tokio::time::timeout(Duration::from_millis(300), doors.intake.next());
        more.await.expect_err("one more than it may hold");
        assert_eq!(client.count(BULK).await, waiting - slots - 3);
        // Each that is done makes room for one.
        ack(held.pop().expect("one of them")).await;
        waiting -= 1;
        held.push(doors.intake.next().await.expect("the next job").ticket);
        assert_eq!(client.count(BULK).await, waiting - slots - 3);
        drop(held);
        assert!(doors.sessions.close(LONG).await);
        let all_back = async {
            while client.count(BULK).await != waiting {
                tokio::task::yield_now().await;
            }
        };
        let back = tokio::time::timeout(LONG, all_back).await;
        back.expect("what it held is back in the queue");
    }
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_jobs_come_back_with_their_faults_and_nobody_else_can_make_faults_up() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = open_doors(&amqp).await;
    let client = Client::new(&vhost.uri()).await;
    let mut headers = FieldTable::default();
    headers.insert("jailfleet-faults".into(), AMQPValue::LongLongInt(9));
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(19));
    headers.insert("jailfleet-deliveries".into(), AMQPValue::LongLongInt(19));
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
    ack(first.ticket).await;

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
    ack(second.ticket).await;

    let third = doors.intake.next().await.expect("the suspect");
    assert!(third.origin.suspect);
    assert_eq!(third.origin.lane, jailfleet::job::Lane::Bulk);
    assert_eq!(third.envelope.faults, 1);
    moved.envelope.handed_on = 3;
    let handing_on = doors.outbox.newer(moved, 600_000);
    handing_on.await.expect("handed on");
    ack(third.ticket).await;
    let newer = client.take("jailfleet.jobs.newer").await;
    assert_eq!(newer.data, b"body");
    let expiration = newer.properties.expiration().as_ref();
    assert_eq!(expiration.map(|ms| ms.as_str()), Some("600000"));
    assert!(doors.sessions.close(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_sent_anew_brings_its_count_along_and_nothing_is_added() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = open_doors(&amqp).await;
    let producer = ProducerDoor::open(&amqp, &produce_plan("anew")).expect("opens");
    submit(&producer, "anew").await;
    let first = doors.intake.next().await.expect("the job");
    first
        .ticket
        .settle(Disposition::Requeue)
        .await
        .expect("it goes back");
    let mut job = doors.intake.next().await.expect("the job again");
    for _ in 0..3 {
        assert_eq!(job.envelope.delivery_count, 1);
        doors.outbox.give_back(as_move(&job)).await.expect("sent");
        ack(job.ticket).await;
        job = doors.intake.next().await.expect("the job anew");
        assert!(!job.envelope.redelivered, "for the broker it is new");
    }
    // A suspect goes back to the suspects.
    doors.outbox.suspect(as_move(&job)).await.expect("moved");
    ack(job.ticket).await;
    let suspect = doors.intake.next().await.expect("the suspect");
    assert_eq!(suspect.envelope.delivery_count, 0);
    doors
        .outbox
        .give_back(as_move(&suspect))
        .await
        .expect("sent");
    ack(suspect.ticket).await;
    let suspect = doors.intake.next().await.expect("the suspect anew");
    assert!(suspect.origin.suspect);
    assert_eq!(suspect.envelope.delivery_count, 0);
    ack(suspect.ticket).await;
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_intake_gives_back_what_waits_and_still_settles_what_is_out() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let producer = ProducerDoor::open(&amqp, &produce_plan("stop")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    for place in 0..30 {
        submit(&producer, &format!("job-{place}")).await;
    }
    let mut doors = amqp::open(&amqp, &plan(2)).expect("opens");
    let running = doors.intake.next().await.expect("a job");
    let mut waiting = Vec::new();
    doors.intake.stop(&mut waiting).await;
    // Two slots, and eight ahead of them.
    assert_eq!(waiting.len(), 9);
    for delivery in waiting {
        let back = delivery.ticket.settle(Disposition::Requeue).await;
        back.expect("settled after the stop");
    }
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
        let message = client.take(BULK).await;
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
    assert_eq!(client.count(BULK).await, 0);
    producer.close(LONG).await;
}
