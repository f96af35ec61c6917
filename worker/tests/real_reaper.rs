//! Dead letters through a real RabbitMQ node and real workers: who is told, and what is kept.

#[path = "support/client.rs"]
mod client;
#[path = "support/mistakes.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod mistakes;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Client, Job};
use jailfleet::wire::result_digest;
use jailfleet_harness::{Broker, require};
use lapin::types::AMQPValue;
use mistakes::valid;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use worker::{Worker, processes_with};

const DEAD: &str = "jailfleet.dead";
const PARKED: &str = "jailfleet.dead.parked";

/// A worker that has made every queue.
async fn start(uri: &str, more: &[&str]) -> Worker {
    start_with_admin(uri, more).await.0
}

/// The same, with the address of its admin port.
async fn start_with_admin(uri: &str, more: &[&str]) -> (Worker, String) {
    let (worker, admin) = Worker::start_with_admin(more, &[("JAILFLEET__AMQP__URI", uri)]);
    worker.says("taking jobs");
    client::until_ready(&admin).await;
    (worker, admin)
}

/// The outcome of a result and the code of its error.
fn word(result: &Value) -> (Option<&str>, Option<&str>) {
    let text = |pointer| result.pointer(pointer).and_then(Value::as_str);
    (text("/outcome"), text("/error/code"))
}

/// Puts a full queue where the reaper parks: a worker that finds it there tells and cannot park.
async fn leave_no_room_to_park(client: &Client) {
    client.delete(PARKED).await;
    let full = [
        // Of this kind, since a quorum queue takes a new publisher's first message even when full.
        ("x-queue-type", AMQPValue::LongString("classic".into())),
        ("x-max-length", AMQPValue::LongLongInt(1)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ];
    client
        .declare(PARKED, &full, "jailfleet.jobs", "fill")
        .await;
    client.fill("fill").await;
}

/// Publishes twenty good jobs around one that gets its worker killed at each start, and waits until
/// all are answered, each once. Answers with the last worker.
async fn kill_again_and_again(uri: &str, client: &mut Client) -> Worker {
    let mut worker = Some(start(uri, &[]).await);
    let mark = format!("killer-{}", std::process::id());
    for number in 0..20 {
        if number == 10 {
            let killer = json!({
                "v": 1, "id": "killer", "runtime": "bash", "code": "sleep 300; true", "argv": [mark],
            });
            let killer = killer.to_string();
            client.publish(Job::new("killer", &killer)).await;
        }
        let id = format!("job-{number}");
        client.publish(Job::new(&id, &valid(&id).to_string())).await;
    }
    let mut answers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut starts = 0;
    while answers.len() < 21 {
        if !processes_with(&mark).is_empty()
            && let Some(killed) = worker.take()
        {
            starts += 1;
            killed.signal(Signal::SIGKILL);
            // With its warden, and so with every jail.
            killed.ends();
            assert_eq!(processes_with(&mark).len(), 0, "nothing of it is left");
            worker = Some(start(uri, &[]).await);
        }
        if let Some((id, result)) = client.result_within(Duration::from_millis(20)).await {
            answers.entry(id).or_default().push(result);
        }
    }
    assert!((1..=5).contains(&starts), "{starts} starts");
    let told = answers.remove("killer").expect("it was answered");
    let [told] = told.as_slice() else {
        panic!("once: {told:?}");
    };
    let lost = (Some("worker_lost"), Some("too_many_deliveries"));
    assert_eq!(word(told), lost, "{told:?}");
    for (id, results) in &answers {
        for result in results {
            assert_eq!(result.get("stdout"), Some(&json!("42\n")), "{id}");
        }
    }
    worker.expect("the last one lives")
}

#[tokio::test]
async fn a_job_that_kills_its_worker_each_time_is_given_up_and_its_neighbours_succeed() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.killer").await;
    let worker = kill_again_and_again(&vhost.uri(), &mut client).await;
    // The last result comes before its job is acked.
    client.until_waiting("jailfleet.suspect.default", 0).await;
    assert_eq!(client.waiting(DEAD).await, 0);
    worker.stops();
}

#[tokio::test]
async fn a_worker_of_the_interactive_lane_alone_runs_suspects_of_either_lane() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.alone").await;
    let (suspect, lane) = (
        "jailfleet.suspect.default",
        "jailfleet.jobs.default.interactive",
    );
    client.bind(suspect, "jailfleet.jobs").await;
    let of_bulk = valid("bulk").to_string();
    client
        .publish(Job::new("bulk", &of_bulk).key(suspect))
        .await;
    let mut job = valid("interactive");
    job["lane"] = json!("interactive");
    let body = job.to_string();
    let job = Job::new("interactive", &body);
    client.publish(job.key("default.interactive")).await;
    // As often as makes it one too.
    for _ in 0..2 {
        client.take_and_die(&uri, lane).await;
    }

    let (worker, admin) = start_with_admin(&uri, &["--set", "worker.lanes.bulk=0"]).await;
    let mut ran = Vec::new();
    for _ in 0..2 {
        let (id, told) = client.result().await;
        assert_eq!(told["stdout"], "42\n", "{told}");
        ran.push(id);
    }
    ran.sort();
    assert_eq!(ran, ["bulk", "interactive"]);
    let moved = "jailfleet_jobs_set_aside_total{reason=\"suspect\"} 1\n";
    client::until_exported(&admin, moved).await;
    client.until_waiting(suspect, 0).await;
    worker.stops();
}

#[tokio::test]
async fn a_killer_that_the_broker_gives_up_is_answered_by_the_reaper_and_parked_whole() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.killer").await;
    // One delivery less than a worker needs to give a suspect up itself.
    let suspect = "jailfleet.suspect.default";
    client.delete(suspect).await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    let arguments = [
        ("x-delivery-limit", AMQPValue::LongLongInt(1)),
        ("x-dead-letter-exchange", text(DEAD)),
        ("x-dead-letter-routing-key", text("suspect.default")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    let internal = "jailfleet.internal";
    client
        .declare(suspect, &arguments, internal, "suspect.default")
        .await;

    let worker = kill_again_and_again(&uri, &mut client).await;
    client.until_waiting(PARKED, 1).await;
    let (reason, body) = client.read(PARKED, 1).await.remove(0);
    assert!(reason.contains("its worker died"), "{reason}");
    let body: Value = serde_json::from_slice(&body).expect("the whole job");
    assert_eq!(body["id"], "killer");
    assert_eq!(client.waiting(DEAD).await, 0);
    worker.stops();
}

#[tokio::test]
async fn a_letter_that_the_broker_gave_up_is_read_whatever_count_it_brings_along() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.count").await;
    let suspect = "jailfleet.suspect.default";
    client.bind(suspect, "jailfleet.jobs").await;
    let mut job = valid("count");
    job["slug"] = json!("of-the-body");
    let body = job.to_string();
    client.publish(Job::new("count", &body).key(suspect)).await;
    // Once more than its limit, and each time its reader is gone.
    for _ in 0..2 {
        client.take_and_die(&uri, suspect).await;
    }
    Client::die_with_one_of(&uri, suspect).await;
    client.until_waiting(DEAD, 1).await;

    let worker = start(&uri, &[]).await;
    let (_, told) = client.result().await;
    let lost = (Some("worker_lost"), Some("too_many_deliveries"));
    assert_eq!(word(&told), lost, "{told}");
    assert_eq!(told["slug"], "of-the-body", "{told}");
    client.until_waiting(PARKED, 1).await;
    let (reason, _) = client.read(PARKED, 1).await.remove(0);
    assert!(reason.contains("its worker died"), "{reason}");
    worker.stops();
}

#[tokio::test]
async fn a_dead_letter_is_answered_only_where_it_may_be_and_is_parked_either_way() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    // Nobody takes jobs now: what may not wait is dead at once.
    let mut client = Client::new(&uri, "jailfleet.reply.dead").await;
    let hostile = "amq.rabbitmq.reply-to.g1h2AA.bogus";
    for (id, reply_to) in [
        ("late", Some("jailfleet.reply.dead")),
        ("hostile", Some(hostile)),
        ("ours", Some("jailfleet.jobs.default.bulk")),
        ("quiet", None),
    ] {
        let body = valid(id).to_string();
        let job = Job::new(id, &body).reply_to(reply_to).expires_after("1");
        client.publish(job).await;
    }
    client.until_waiting(DEAD, 4).await;

    let worker = start(&uri, &[]).await;
    let (id, told) = client.result().await;
    let late = (Some("expired"), Some("deadline_passed"));
    assert_eq!((id.as_str(), word(&told)), ("late", late), "{told}");
    assert_eq!(told["job_id"], "late");
    client.until_waiting(PARKED, 4).await;
    assert_eq!(client.waiting(DEAD).await, 0);
    assert_eq!(client.waiting("jailfleet.jobs.default.bulk").await, 0);
    assert_eq!(client.waiting("jailfleet.results.lost").await, 0);
    let nobody = client.result_within(Duration::from_millis(1)).await;
    assert_eq!(nobody, None, "nobody else was told");
    worker.stops();
}

#[tokio::test]
async fn a_reaper_that_is_killed_before_it_parks_says_the_same_word_again_and_nothing_else() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.twice").await;
    let body = valid("twice").to_string();
    client
        .publish(Job::new("twice", &body).expires_after("1"))
        .await;
    client.until_waiting(DEAD, 1).await;
    leave_no_room_to_park(&client).await;

    let worker = start(&uri, &[]).await;
    let (_, first) = client.result().await;
    worker.signal(Signal::SIGKILL);
    worker.ends();
    client.delete(PARKED).await;

    let worker = start(&uri, &[]).await;
    client.until_waiting(PARKED, 1).await;
    let mut words = vec![first];
    while let Some((_, again)) = client.result_within(Duration::from_millis(1)).await {
        words.push(again);
    }
    let digest = |word: &Value| result_digest(word.to_string().as_bytes()).expect("a result");
    let digests: Vec<String> = words.iter().map(digest).collect();
    assert!(
        digests.windows(2).all(|pair| pair[0] == pair[1]),
        "{words:?}"
    );
    assert!(words.len() <= 4, "{words:?}");
    assert_eq!(client.waiting(DEAD).await, 0);
    assert_eq!(client.waiting(PARKED).await, 1);
    worker.stops();
}

#[tokio::test]
async fn a_letter_over_which_three_readers_ended_is_answered_once_unread_and_parked_whole() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.unread").await;
    let body = "whatever it is that ends its readers";
    let letter = Job::new("unread", body);
    client.publish(letter.expires_after("1")).await;
    client.until_waiting(DEAD, 1).await;
    for _ in 0..3 {
        client.take_and_die(&uri, DEAD).await;
    }

    let worker = start(&uri, &[]).await;
    client.until_waiting(PARKED, 1).await;
    let (id, told) = client.result().await;
    let lost = (Some("worker_lost"), Some("worker_lost"));
    assert_eq!((id.as_str(), word(&told)), ("unread", lost), "{told}");
    assert_eq!(told["job_id"], "unread");
    assert_eq!(client.waiting(DEAD).await, 0);
    let more = client.result_within(Duration::from_millis(1)).await;
    assert_eq!(more, None, "one word");
    let (reason, kept) = client.read(PARKED, 1).await.remove(0);
    assert!(reason.starts_with("unread: "), "{reason}");
    assert_eq!(kept, body.as_bytes());
    worker.stops();
}

#[tokio::test]
async fn a_requester_hears_once_of_a_letter_that_cannot_be_parked() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.once").await;
    let body = valid("once").to_string();
    let letter = Job::new("once", &body).expires_after("1");
    client.publish(letter).await;
    client.until_waiting(DEAD, 1).await;
    leave_no_room_to_park(&client).await;

    let worker = start(&uri, &[]).await;
    let (_, told) = client.result().await;
    assert_eq!(word(&told).0, Some("expired"), "{told}");
    for _ in 0..5 {
        worker.says("a dead letter was handed back");
    }
    let more = client.result_within(Duration::from_millis(1)).await;
    assert_eq!(more, None, "one word for all attempts to park it");
    worker.stops();
}

#[tokio::test]
async fn a_worker_that_may_not_read_the_dead_says_so_and_works_on() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let user = vhost.user("half").expect("a user");
    user.permit(".*", ".*", ".*").expect("rights");
    let set = [
        "--set",
        "amqp.backoff_min_ms=1",
        "--set",
        "amqp.backoff_max_ms=1",
    ];
    let (worker, admin) = start_with_admin(&user.uri(), &set).await;
    let seen = "jailfleet_kept_messages{queue=\"dead.parked\"} 0";
    client::until_exported(&admin, seen).await;

    user.permit(".*", ".*", "^jailfleet\\.(?!dead$)")
        .expect("rights");
    user.disconnect().expect("its connections are closed");
    let line = worker.says("its user lacks a right");
    let error = line
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or_default();
    assert!(error.starts_with("consume from jailfleet.dead: "), "{line}");
    assert_eq!(line["role"], "reap");
    // Long, whatever the settings say of other pauses.
    assert_eq!(line["pause_ms"], "300001", "{line}");
    let told = [
        "jailfleet_kept_messages{queue=\"dead.parked\"} NaN",
        "jailfleet_door_events_total{event=\"rights_missing\"} 1",
    ];
    let right = |page: &str| told.iter().all(|line| page.contains(line));
    client::get_until(&admin, "/metrics", right).await;

    let mut client = Client::new(&uri, "jailfleet.reply.half").await;
    client
        .publish(Job::new("half", &valid("half").to_string()))
        .await;
    let (_, told) = client.result().await;
    assert_eq!(told["stdout"], "42\n", "{told}");
    worker.stops();
}

#[tokio::test]
async fn a_job_without_a_queue_is_tried_once_more_and_then_rejected() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    start(&uri, &[]).await.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.stray").await;
    // The same as a worker makes, but for the minute.
    let retry = "jailfleet.retry.unrouted";
    client.delete(retry).await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    let arguments = [
        ("x-dead-letter-exchange", text("jailfleet.jobs")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-message-ttl", AMQPValue::LongLongInt(300)),
    ];
    client.declare(retry, &arguments, retry, "").await;
    for (id, key) in [("never", "nowhere.bulk"), ("soon", "soon.bulk")] {
        let body = valid(id).to_string();
        client.publish(Job::new(id, &body).key(key)).await;
    }
    client.until_waiting("jailfleet.jobs.unrouted", 2).await;
    // Between its first and its second try a pool comes up.
    let soon = "jailfleet.jobs.soon.bulk";
    client
        .declare(soon, &[], "jailfleet.jobs", "soon.bulk")
        .await;

    let worker = start(&uri, &[]).await;
    let (id, told) = client.result().await;
    let unrouted = (Some("rejected"), Some("unrouted"));
    assert_eq!((id.as_str(), word(&told)), ("never", unrouted), "{told}");
    client.until_waiting(soon, 1).await;
    client.until_waiting(PARKED, 1).await;
    assert_eq!(client.waiting("jailfleet.jobs.unrouted").await, 0);
    worker.stops();
}
