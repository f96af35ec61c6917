//! Users that have what the program says that they need, and nothing else.

use bytes::Bytes;
use jailfleet::job::{Lane, Name};
use jailfleet::settings::{AmqpSection, ReplyMode, worker_settings};
use jailfleet_harness::{Broker, User, Vhost, require};
use jailfleet_queue::amqp::producer::{ProducePlan, ProducerDoor};
use jailfleet_queue::amqp::shelf::Shelf;
use jailfleet_queue::topology::{Kept, Names, Party, ReplyLife, Rights};
use jailfleet_queue::{Disposition, JobMessage};
use lapin::types::AMQPValue;
use serde_json::Value;

use super::client::{Client, Job, until_exported};
use super::mistakes::valid;
use super::worker::{LONG, Worker};
use super::{import, start, until_drift};

fn pool(name: &str) -> Name {
    Name::parse(name).expect("a name")
}

fn rights(party: Party) -> Rights {
    let names = Names::new("jailfleet");
    Rights::of(party, &names, &[pool("default")], ReplyMode::Exchange)
}

/// A user with exactly these rights.
fn user_with<'a>(vhost: &'a Vhost<'a>, name: &str, rights: &Rights) -> User<'a> {
    let user = vhost.user(name).expect("a user");
    give(&user, rights);
    user
}

fn give(user: &User<'_>, rights: &Rights) {
    let Rights {
        configure,
        write,
        read,
        topics,
    } = rights;
    user.permit(configure, write, read).expect("rights");
    for (exchange, keys) in topics {
        user.permit_topic(exchange, keys).expect("rights");
    }
}

fn section(uri: &str) -> AmqpSection {
    let uri = [("JAILFLEET__AMQP__URI".to_owned(), uri.to_owned())];
    let mode = [("amqp.reply_mode".to_owned(), "exchange".to_owned())];
    let settings = worker_settings(None, &uri, &mode);
    settings.expect("the defaults are good").amqp
}

fn job(id: &str, to: &str, reply_to: &str) -> JobMessage {
    JobMessage {
        body: Bytes::from(valid(id).to_string()),
        message_id: id.to_owned(),
        correlation_id: Some(id.to_owned()),
        reply_to: Some(reply_to.to_owned()),
        pool: pool(to),
        lane: Lane::Bulk,
        published_ms: None,
        traceparent: None,
    }
}

async fn next_result(producer: &mut ProducerDoor) -> (String, Value) {
    let next = tokio::time::timeout(LONG, producer.next_result()).await;
    let result = next.expect("in time").expect("the door is open");
    let id = result.message.correlation_id.clone().expect("an echo");
    let body = serde_json::from_slice(&result.message.body).expect("JSON");
    result.ticket.settle(Disposition::Ack).await.expect("acked");
    (id, body)
}

#[tokio::test]
async fn worker_producer_and_operator_need_no_more_rights_than_they_are_said_to_need() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    // What waits a minute for its second try waits less.
    let guest = Client::new(&vhost.uri(), "guest").await;
    import(&broker, &vhost);
    let retry = "jailfleet.retry.unrouted";
    guest.delete(retry).await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    let soon = [
        ("x-dead-letter-exchange", text("jailfleet.jobs")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-message-ttl", AMQPValue::LongLongInt(300)),
    ];
    guest.declare(retry, &soon, retry, "").await;
    let [worker, producer, operator] =
        Party::ALL.map(|party| user_with(&vhost, party.user(), &rights(party)));

    let mode = ["--set", "amqp.reply_mode=exchange"];
    let (running, admin) = start(&worker.uri(), &mode).await;
    until_drift(&admin, "missing", |count| count == 0.0).await;
    until_drift(&admin, "unseen", |count| count > 0.0).await;
    let plan = ProducePlan {
        reply: "least".to_owned(),
        life: ReplyLife::Lasting,
        pools: vec![pool("default")],
        prefetch: 8,
    };
    let mut door = ProducerDoor::open(&section(&producer.uri()), &plan).expect("it opens");
    door.ready(LONG).await.expect("ready");
    let own = door.reply_queue().to_owned();
    let sender = door.sender();
    for (id, to, reply_to) in [
        ("plain", "default", own.as_str()),
        ("lost", "default", "jailfleet.reply.gone"),
        ("stray", "nowhere", own.as_str()),
    ] {
        let sent = sender.publish(job(id, to, reply_to)).await;
        sent.unwrap_or_else(|error| panic!("{id}: {error}"));
    }
    let mut told = [next_result(&mut door).await, next_result(&mut door).await];
    told.sort_by(|(one, _), (other, _)| one.cmp(other));
    let [(plain, ran), (stray, refused)] = told;
    assert_eq!((plain.as_str(), &ran["stdout"]), ("plain", &"42\n".into()));
    // By the reaper, which publishes, parks and reads by the rights of the worker.
    assert_eq!(
        (stray.as_str(), &refused["outcome"]),
        ("stray", &"rejected".into())
    );

    guest.until_waiting("jailfleet.dead.parked", 1).await;
    guest.until_waiting("jailfleet.results.lost", 1).await;
    let amqp = section(&operator.uri());
    for kept in [Kept::DeadParked, Kept::ResultsLost] {
        let mut shelf = Shelf::open(&amqp, kept).await.expect("it may look");
        let message = shelf
            .next()
            .await
            .expect("it may take")
            .expect("one is there");
        if kept == Kept::DeadParked {
            let again = job("again", "default", &own);
            shelf.send(again).await.expect("it may send again");
            shelf.forget(message).await.expect("it may forget");
        }
        shelf.close().await.expect("it may put back");
    }
    let (again, _) = next_result(&mut door).await;
    assert_eq!(again, "again");
    commands_work(&producer, &operator, &guest).await;
    // By the worker, with its own rights.
    until_exported(&admin, "jailfleet_cancels_total{result=\"taken\"} 1\n").await;
    door.close(LONG).await;
    running.stops();
}

/// Runs what an operator and a producer type, each with the rights of its user.
async fn commands_work(producer: &User<'_>, operator: &User<'_>, guest: &Client) {
    let folder = tempfile::tempdir().expect("a folder");
    let fetched = folder.path().join("lost.jsonl");
    let fetched = fetched.to_str().expect("a plain path");
    let body = Job::new("bad", "no json").reply_to(None);
    guest.publish(body).await;
    guest.until_waiting("jailfleet.dead.parked", 1).await;
    for (user, line) in [
        (producer, &["cancel", "--job", "nobody-knows-me"][..]),
        (operator, &["dead", "list", "--json"]),
        (operator, &["dead", "show", "bad"]),
        (operator, &["lost", "list", "--json"]),
        (operator, &["lost", "fetch", "--results", fetched]),
        (operator, &["dead", "drop", "--all"]),
    ] {
        let mut command = super::worker::producer(&user.uri());
        command
            .args(line)
            .env("JAILFLEET__AMQP__REPLY_MODE", "exchange");
        let ended = tokio::task::spawn_blocking(move || command.output());
        let ended = ended.await.expect("no panic").expect("it starts");
        assert!(ended.status.success(), "{line:?}: {ended:?}");
    }
    guest.until_waiting("jailfleet.dead.parked", 0).await;
    guest.until_waiting("jailfleet.results.lost", 0).await;
}

/// The expression without one of the names that it matches.
fn without(expression: &str, name: &str) -> String {
    let name = name.replace('.', "\\.");
    format!("^(?!{name}$){}", expression.trim_start_matches('^'))
}

/// Waits until the worker says that this role lacks a right to what it names.
fn until_refused(worker: &Worker, role: &str, about: &str) {
    loop {
        let line = worker.says("its user lacks a right");
        let error = line.get("error").and_then(Value::as_str);
        if line.get("role") == Some(&Value::from(role))
            && error.is_some_and(|error| error.contains(about))
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_worker_names_each_queue_that_it_may_not_read() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    import(&broker, &vhost);
    let whole = rights(Party::Worker);
    let user = user_with(&vhost, "reads", &whole);
    let lacking = |queue: &str| Rights {
        read: without(&whole.read, queue),
        ..whole.clone()
    };
    let quick = ["--set", "amqp.backoff_max_ms=200"];
    let (worker, _) = start(&user.uri(), &quick).await;
    for queue in [
        "jobs.default.bulk",
        "jobs.default.interactive",
        "suspect.default",
    ] {
        let queue = format!("jailfleet.{queue}");
        give(&user, &lacking(&queue));
        user.disconnect().expect("its connections are closed");
        until_refused(&worker, "consume", &format!("consume from {queue}: "));
    }
    worker.stops();
    // A reaper that lacks a right waits long: each has a worker of its own.
    for queue in ["jailfleet.dead", "jailfleet.jobs.unrouted"] {
        give(&user, &lacking(queue));
        let (worker, _) = start(&user.uri(), &quick).await;
        until_refused(&worker, "reap", &format!("consume from {queue}: "));
        worker.stops();
    }
}

/// For how long, in refusals, a right is away: a message that the broker closes the channel over four times goes
/// back to its queue, what went back a few times becomes a suspect, and what goes on to fail as one is given up.
const fn refusals(exchange: &str) -> usize {
    match exchange.as_bytes() {
        b"jailfleet.results" => 8,
        b"jailfleet.dead" => 20,
        _ => 1,
    }
}

/// Each exchange that a worker writes to, with a job that makes it write there, and the queue where
/// that ends if it is no reply queue.
fn each_exchange(plain: &str) -> [(&'static str, Job<'_>, Option<&'static str>); 4] {
    let newer = r#"{"v":1,"minor":99,"id":"newer","runtime":"bash","code":""}"#;
    let nowhere = Job::new("stray", plain).key("nowhere.bulk");
    let retried = "jailfleet.retry.unrouted";
    let bad = Job::new("bad", "no json").reply_to(None);
    [
        ("jailfleet.results", Job::new("plain", plain), None),
        (
            "jailfleet.internal",
            Job::new("newer", newer),
            Some("jailfleet.jobs.newer"),
        ),
        ("jailfleet.dead", bad, Some("jailfleet.dead.parked")),
        (retried, nowhere, Some(retried)),
    ]
}

#[tokio::test]
async fn a_worker_names_each_exchange_that_it_may_not_write_to_and_loses_nothing() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    import(&broker, &vhost);
    let whole = rights(Party::Worker);
    let user = user_with(&vhost, "writes", &whole);
    let mut guest = Client::new(&vhost.uri(), "jailfleet.reply.writes").await;
    guest
        .bind("jailfleet.reply.writes", "jailfleet.results")
        .await;
    let quick = [
        "amqp.backoff_min_ms=20",
        "amqp.backoff_max_ms=20",
        "amqp.reply_mode=exchange",
    ];
    let quick = quick.map(|set| ["--set", set]).concat();
    let (worker, _) = start(&user.uri(), &quick).await;
    let plain = valid("plain").to_string();
    for (exchange, job, kept) in each_exchange(&plain) {
        let less = Rights {
            write: without(&whole.write, exchange),
            ..whole.clone()
        };
        give(&user, &less);
        // The broker remembers what a channel may do.
        user.disconnect().expect("its connections are closed");
        guest.publish(job).await;
        for _ in 0..refusals(exchange) {
            until_refused(
                &worker,
                "publish",
                &format!("access to exchange '{exchange}'"),
            );
        }
        give(&user, &whole);
        user.disconnect().expect("its connections are closed");
        match kept {
            Some(queue) => guest.until_waiting(queue, 1).await,
            None => {
                let (id, told) = guest.result().await;
                assert_eq!(
                    (id.as_str(), &told["stdout"], &told["worker"]["attempt"]),
                    ("plain", &"42\n".into(), &1.into()),
                    "{told}"
                );
            }
        }
    }
    user.permit_topic("jailfleet.dead", "^parked\\.")
        .expect("rights");
    user.disconnect().expect("its connections are closed");
    guest
        .publish(Job::new("topic", "no json").reply_to(None))
        .await;
    until_refused(&worker, "publish", "'bad.default.bulk'");
    worker.stops();
}
