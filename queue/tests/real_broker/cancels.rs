//! Cancels: who hears them, when, and what is none.

use crate::support::{Client, LONG, plan, section};
use jailfleet::cancel::{Cancel, Target};
use jailfleet::job::EpochMs;
use jailfleet::settings::{AmqpSection, ReplyMode};
use jailfleet::wire::{CANCEL_BYTES, decode_cancel, encode_cancel};
use jailfleet_harness::{Broker, require};
use jailfleet_queue::amqp::{self, canceller};
use jailfleet_queue::{CancelIntake, CancelNews, Doors};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};

fn cancel(name: &str) -> Cancel {
    Cancel {
        targets: vec![Target::Batch(name.to_owned())],
        pool: None,
        sent: EpochMs(1_000),
    }
}

/// Opens the doors of a worker.
fn open(amqp: &AmqpSection) -> (Doors, CancelIntake) {
    let mut doors = amqp::open_and_reap(amqp, &plan(1)).expect("opens");
    let cancels = doors.cancels.take().expect("it hears cancels");
    (doors, cancels)
}

async fn next(cancels: &mut CancelIntake) -> CancelNews {
    let news = tokio::time::timeout(LONG, cancels.next()).await;
    news.expect("in time").expect("the door is open")
}

/// What is told until everything of the past was.
async fn past(cancels: &mut CancelIntake) -> Vec<CancelNews> {
    let mut told = Vec::new();
    loop {
        match next(cancels).await {
            CancelNews::CaughtUp => return told,
            asked @ CancelNews::Asked(_) => told.push(asked),
        }
    }
}

fn asked(name: &str) -> CancelNews {
    CancelNews::Asked(encode_cancel(&cancel(name)).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_worker_hears_each_cancel_and_one_that_comes_later_hears_those_before_it_first() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    // Nobody has made anything on the broker yet.
    let sent = canceller::send(&amqp, &[cancel("a"), cancel("b")]).await;
    sent.expect("kept");
    let ((first, mut of_first), (second, mut of_second)) = (open(&amqp), open(&amqp));
    for cancels in [&mut of_first, &mut of_second] {
        assert_eq!(past(cancels).await, [asked("a"), asked("b")]);
    }
    canceller::send(&amqp, &[cancel("c")]).await.expect("kept");
    for cancels in [&mut of_first, &mut of_second] {
        assert_eq!(next(cancels).await, asked("c"));
    }
    let (third, mut of_third) = open(&amqp);
    let all = [asked("a"), asked("b"), asked("c")];
    assert_eq!(past(&mut of_third).await, all);

    // A session that breaks reads again, and the others' marks tell it nothing.
    let reason = [
        "close_all_connections",
        "--vhost",
        vhost.name(),
        "for a test",
    ];
    broker.ctl(&reason).expect("closed");
    for cancels in [&mut of_first, &mut of_second, &mut of_third] {
        assert_eq!(past(cancels).await, all);
    }
    for doors in [first, second, third] {
        assert!(doors.sessions.close(LONG).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_comes_through_the_exchange_for_cancels_is_one_and_long_ones_are_cut() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let amqp = section(&vhost.uri(), ReplyMode::Default);
    let (doors, mut cancels) = open(&amqp);
    assert_eq!(past(&mut cancels).await, []);
    let client = Client::new(&vhost.uri()).await;
    let confirms = client
        .channel
        .confirm_select(ConfirmSelectOptions::default());
    confirms.await.expect("confirms");
    let long = vec![b'x'; 3 * CANCEL_BYTES];
    let forged = encode_cancel(&cancel("forged"));
    for (exchange, key, body) in [
        ("", "jailfleet.cancels", forged.as_slice()),
        ("jailfleet.internal", "cancels.mark", &forged),
        ("jailfleet.cancel", "whatever", &long),
        ("jailfleet.cancel", "", b"no cancel"),
    ] {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let (exchange, key) = (exchange.into(), key.into());
        let sent = client
            .channel
            .basic_publish(exchange, key, options, body, properties);
        sent.await.expect("written").await.expect("confirmed");
    }
    let CancelNews::Asked(cut) = next(&mut cancels).await else {
        panic!("the past is told only once");
    };
    assert_eq!(cut.len(), CANCEL_BYTES + 1);
    decode_cancel(&cut).expect_err("still too long to be one");
    assert_eq!(
        next(&mut cancels).await,
        CancelNews::Asked("no cancel".into())
    );
    assert!(doors.sessions.close(LONG).await);
}
