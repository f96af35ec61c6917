//! Sessions that end under a door, and the ones after them.

use crate::support::{
    Client, LONG, ack, job, open_doors, plan, produce_plan, section, serve, submit, up,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use jailfleet::settings::ReplyMode;
use jailfleet_harness::{Broker, require};
use jailfleet_queue::amqp::producer::ProducerDoor;
use jailfleet_queue::{Disposition, amqp};
use lapin::options::QueueDeleteOptions;
use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_consumer_is_noticed_and_made_anew() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let mut doors = open_doors(&amqp).await;
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
    submit(&producer, "after").await;
    let delivery = tokio::time::timeout(LONG, doors.intake.next())
        .await
        .expect("in time");
    let delivery = delivery.expect("jobs flow again");
    ack(delivery.ticket).await;
    let trouble = doors.state.borrow().trouble.clone();
    assert_eq!(doors.counters.consume_sessions.get(), 2, "{trouble:?}");
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_in_the_middle_loses_no_job_and_no_result() {
    const JOBS: usize = 400;
    require!(Broker);
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

/// On the one thread that it has, so that all of the test's runtime stands still.
#[tokio::test]
async fn a_runtime_that_stands_still_for_longer_than_heartbeats_costs_no_session() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let mut amqp = section(&vhost.uri(), ReplyMode::Default);
    amqp.heartbeat_s = 2;
    let mut doors = open_doors(&amqp).await;
    let (nobody, silence) = sync_channel::<()>(1);
    let stood = silence.recv_timeout(Duration::from_secs(8));
    drop(nobody);
    assert_eq!(stood, Err(RecvTimeoutError::Timeout));
    assert!(doors.state.borrow_and_update().is_ready());
    let producer = ProducerDoor::open(&amqp, &produce_plan("still")).expect("opens");
    submit(&producer, "after").await;
    let delivery = tokio::time::timeout(LONG, doors.intake.next()).await;
    let delivery = delivery.expect("in time").expect("jobs flow");
    ack(delivery.ticket).await;
    assert_eq!(doors.counters.session_failures.get(), 0);
    assert_eq!(doors.counters.consume_sessions.get(), 1);
    assert!(doors.sessions.close(LONG).await);
    producer.close(LONG).await;
}
