//! A job goes out and its result comes back: the producer's door and the worker's.

use crate::support::{
    Client, LONG, ack, job, open_doors, plan, produce_plan, reply, section, serve,
};
use jailfleet::settings::ReplyMode;
use jailfleet_harness::{Broker, require};
use jailfleet_queue::amqp::producer::{ProducerDoor, ReplyQueue};
use jailfleet_queue::{Disposition, amqp};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_out_and_its_result_comes_back_and_nothing_stays() {
    require!(Broker);
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
    ack(result.ticket).await;

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
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Exchange);
    let mut producer = ProducerDoor::open(&amqp, &produce_plan("kept")).expect("opens");
    producer.ready(LONG).await.expect("ready");
    let doors = open_doors(&amqp).await;
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
    ack(result.ticket).await;
    assert_eq!(again.close(LONG).await, ReplyQueue::Deleted);
    assert!(doors.sessions.close(LONG).await);
}
