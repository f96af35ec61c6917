//! Workers that start while the broker is full, or does not let them in.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use client::{Client, Job, get_until, until_exported, until_ready};
use jailfleet_harness::{Broker, require};
use serde_json::Value;
use worker::Worker;

const REPLY: &str = "jailfleet.reply.full";

/// A worker that asks often, with the address of its admin port.
fn start(uri: &str) -> (Worker, String) {
    let often = ["--set", "amqp.backoff_max_ms=500"];
    Worker::start_with_admin(&often, &[("JAILFLEET__AMQP__URI", uri)])
}

/// Waits until the worker says what is wrong, with all of these words.
fn says(worker: &Worker, parts: &[&str]) {
    loop {
        let line = worker.says("no session with the broker");
        let error = line.get("error").and_then(Value::as_str);
        let error = error.expect("it names the error");
        if parts.iter().all(|part| error.contains(part)) {
            return;
        }
    }
}

fn plain(id: &str) -> String {
    format!(r#"{{"v":1,"id":"{id}","runtime":"bash","code":"echo ran"}}"#)
}

async fn unready(admin: &str, why: &str) {
    get_until(admin, "/readyz", |answer| {
        answer.starts_with("HTTP/1.1 503") && answer.contains(why)
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_not_let_in_says_why_and_works_as_soon_as_it_is() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let name = format!("away-{}", std::process::id());
    let uri = broker.uri(&name);
    let (worker, admin) = start(&uri);
    says(&worker, &["vhost", &name, "not found", "add_vhost"]);
    unready(&admin, "not connected for consuming").await;

    broker.ctl(&["add_vhost", &name]).expect("made");
    let none = r#"{"max-connections": 0}"#;
    let limit = |limits: &str| {
        let set = ["set_vhost_limits", "--vhost", &name, limits];
        broker.ctl(&set).expect("a limit");
    };
    limit(none);
    let rights = ["set_permissions", "--vhost", &name, "guest"];
    let rights = [&rights[..], &[".*"; 3]].concat();
    broker.ctl(&rights).expect("rights");
    says(&worker, &["connection limit", "set_vhost_limits"]);
    unready(&admin, "not connected for consuming").await;

    limit(r#"{"max-connections": -1}"#);
    until_ready(&admin).await;
    let mut client = Client::new(&uri, REPLY).await;
    client.publish(Job::new("one", &plain("one"))).await;
    let (_, result) = client.result().await;
    assert_eq!(result["stdout"], "ran\n", "{result}");
    worker.stops();
    broker.ctl(&["delete_vhost", &name]).expect("it is ours");
}

#[tokio::test]
async fn a_worker_that_starts_on_a_full_broker_says_so_and_answers_when_it_has_room() {
    require!(Broker);
    let broker = Broker::own().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    // It makes the queues.
    let (first, admin) = start(&uri);
    until_ready(&admin).await;
    first.stops();
    let mut client = Client::new(&uri, REPLY).await;
    for id in ["one", "two", "three"] {
        client.publish(Job::new(id, &plain(id))).await;
    }
    let disk = |least_free: &str| {
        let set = ["set_disk_free_limit", least_free];
        broker.ctl(&set).expect("a limit");
    };
    disk("9000000000000000");
    let (worker, admin) = start(&uri);
    let line = worker.says("the broker takes nothing now");
    let reason = line.get("reason").and_then(Value::as_str);
    let reason = reason.expect("it says why");
    for part in ["low on disk", "rabbitmq-diagnostics alarms"] {
        assert!(reason.contains(part), "{reason}");
    }
    unready(&admin, "the broker blocks publishing").await;
    until_exported(&admin, "jailfleet_amqp_blocked 1\n").await;

    disk("1000");
    let mut answered = Vec::new();
    for _ in 0..3 {
        let (id, result) = client.result().await;
        assert_eq!(result["stdout"], "ran\n", "{result}");
        answered.push(id);
    }
    answered.sort();
    assert_eq!(answered, ["one", "three", "two"]);
    until_ready(&admin).await;
    until_exported(&admin, "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;
    assert_eq!(client.waiting(REPLY).await, 0, "one answer each");
    worker.stops();
}

#[tokio::test]
async fn a_result_that_is_larger_than_the_broker_takes_comes_without_its_output() {
    require!(Broker);
    let broker = Broker::own().expect("a broker");
    let uri = broker.uri("/");
    // By the two names under which its releases look for it.
    let small = "application:set_env(rabbit, max_message_size, 100000), \
                 persistent_term:put(max_message_size, 100000).";
    broker.ctl(&["eval", small]).expect("it is set");
    let (worker, admin) = start(&uri);
    until_ready(&admin).await;
    let mut client = Client::new(&uri, REPLY).await;
    let code = "head -c 200000 /dev/zero | tr '\\0' x; exit 3";
    let large = serde_json::json!({ "v": 1, "id": "large", "runtime": "bash", "code": code });
    client.publish(Job::new("large", &large.to_string())).await;
    let (id, result) = client.result().await;
    assert_eq!(id, "large");
    assert_eq!(
        (&result["outcome"], &result["exit_code"]),
        (&"exited".into(), &3.into())
    );
    assert_eq!(result["error"]["code"], "result_too_large", "{result}");
    let why = result["error"]["message"].as_str().expect("it says why");
    assert!(why.contains("caps.result_bytes"), "{why}");
    assert_eq!(result.get("stdout"), None, "{result}");
    until_ready(&admin).await;
    client.publish(Job::new("after", &plain("after"))).await;
    let (id, result) = client.result().await;
    assert_eq!((id.as_str(), &result["stdout"]), ("after", &"ran\n".into()));
    until_exported(&admin, "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;
    let runs = "jailfleet_job_run_seconds_count{lane=\"bulk\"} 2\n";
    until_exported(&admin, runs).await;
    assert_eq!(client.waiting("jailfleet.dead.parked").await, 0);
    worker.stops();
}

#[tokio::test]
async fn a_worker_that_finds_nobody_at_the_brokers_address_waits_and_works_when_somebody_is() {
    require!(Broker);
    let mut broker = Broker::own().expect("a broker");
    let uri = broker.uri("/");
    broker.halt().expect("it stops");
    let (worker, admin) = start(&uri);
    says(&worker, &["refused", "is the broker running"]);
    unready(&admin, "not connected for consuming").await;
    until_exported(&admin, "jailfleet_amqp_connected{role=\"consume\"} 0\n").await;

    broker.resume().expect("it starts again");
    until_ready(&admin).await;
    let mut client = Client::new(&uri, REPLY).await;
    client.publish(Job::new("one", &plain("one"))).await;
    let (_, result) = client.result().await;
    assert_eq!(result["stdout"], "ran\n", "{result}");
    worker.stops();
}
