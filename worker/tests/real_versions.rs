//! Producers that are ahead of a worker: by their minor version, or by their clock. And those behind.

#[path = "support/bulk.rs"]
mod bulk;
#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/sender.rs"]
#[expect(dead_code, reason = "shared with the tests of cancels")]
mod sender;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::time::Duration;

use client::{get, until_exported};
use jailfleet::job::EpochMs;
use jailfleet::wire::moment;
use jailfleet_harness::{Broker, require};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use sender::{LANE, now};
use serde_json::{Value, json};
use worker::Worker;

const REPLY: &str = "jailfleet.reply.versions";
const BULK: &str = "jailfleet.jobs.default.bulk";
const HOUR_MS: u64 = 3_600_000;

/// A job of a minor version to come.
fn newer(id: &str) -> Value {
    json!({ "v": 1, "minor": 7, "id": id, "slug": "new", "program": { "cells": ["print(1)"] } })
}

/// Its properties, as if it had been put aside so many times.
fn handed_on(id: &str, times: i64) -> BasicProperties {
    let mut headers = FieldTable::default();
    let key = "jailfleet-handed-on";
    headers.insert(key.into(), AMQPValue::LongLongInt(times));
    BasicProperties::default()
        .with_message_id(id.into())
        .with_correlation_id(id.into())
        .with_reply_to(REPLY.into())
        .with_headers(headers)
        .with_delivery_mode(2)
}

#[tokio::test]
async fn a_newer_job_comes_back_to_its_lane_whole_until_a_worker_understands_it() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let (old, admin, sender, client) = bulk::start(&uri, REPLY).await;
    let (job, published) = (newer("new"), now());
    sender.job(&job, published).await;
    // Nobody says no: it comes back, and is put aside for longer.
    for line in [
        "jailfleet_jobs_set_aside_total{reason=\"newer\"} 1\n",
        "jailfleet_dead_letters_total{end=\"sent_back\"} 1\n",
        "jailfleet_jobs_set_aside_total{reason=\"newer\"} 2\n",
    ] {
        until_exported(&admin, line).await;
    }
    old.stops();

    // A worker of another lane reaps; we are the upgraded one of this lane.
    let lanes = ["--set", "worker.lanes.bulk=0"];
    let (other, _) = Worker::start_with_admin(&lanes, &[("JAILFLEET__AMQP__URI", &uri)]);
    client.until_waiting(BULK, 1).await;
    let held = sender.hold().await;
    assert_eq!(held.data, job.to_string().as_bytes());
    let properties = &held.properties;
    let id = properties.message_id().as_ref().map(ToString::to_string);
    let secret = properties.correlation_id().as_ref();
    let reply_to = properties.reply_to().as_ref().map(ToString::to_string);
    assert_eq!(id.as_deref(), Some("new"));
    assert_eq!(secret.map(ToString::to_string).as_deref(), Some("new"));
    assert_eq!(reply_to.as_deref(), Some(REPLY));
    let headers = properties.headers().as_ref().expect("headers");
    let number = |key: &str| match headers.inner().get(key) {
        Some(AMQPValue::LongLongInt(number)) => u64::try_from(*number).ok(),
        Some(_) | None => None,
    };
    assert_eq!(number("jailfleet-published-ms"), Some(published.0));
    assert_eq!(number("jailfleet-handed-on"), Some(2));
    assert_eq!(client.waiting(REPLY).await, 0, "nobody was told anything");
    other.stops();
}

#[tokio::test]
async fn a_newer_job_that_waited_for_a_day_is_answered_and_no_producer_can_make_that_up() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin, sender, mut client) = bulk::start(&vhost.uri(), REPLY).await;
    let body = newer("forged").to_string();
    let forged = handed_on("forged", 100_000);
    sender.publish(LANE, body.as_bytes(), forged).await;
    let aside = "jailfleet_jobs_set_aside_total{reason=\"newer\"} 1\n";
    until_exported(&admin, aside).await;

    let (body, back) = (newer("old").to_string(), "back.default.bulk");
    let internal = ("jailfleet.internal", back);
    let old = handed_on("old", 100_000);
    sender.publish(internal, body.as_bytes(), old).await;
    let (id, result) = client.result().await;
    assert_eq!(id, "old", "{result}");
    let told = (&result["outcome"], &result["error"]["code"]);
    assert_eq!(told, (&json!("rejected"), &json!("unsupported_minor")));
    assert_eq!(result["slug"], "new", "{result}");
    worker.stops();
}

/// What the worker measured of clocks in that direction, in seconds.
async fn skew(admin: &str, direction: &str) -> f64 {
    let metrics = get(admin, "/metrics").await;
    let series = format!("jailfleet_clock_skew_seconds{{direction=\"{direction}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
    value.expect("exported").trim().parse().expect("a number")
}

fn job(id: &str, deadline: Option<EpochMs>) -> Value {
    let code = "echo ran";
    match deadline.map(moment) {
        Some(by) => json!({ "v": 1, "id": id, "runtime": "bash", "code": code, "deadline": by }),
        None => json!({ "v": 1, "id": id, "runtime": "bash", "code": code }),
    }
}

#[tokio::test]
async fn a_producers_clock_that_is_an_hour_wrong_is_measured_and_spoils_no_result() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin, sender, mut client) = bulk::start(&vhost.uri(), REPLY).await;
    let mut run = async |id: &str, published: u64, deadline: Option<u64>| {
        let deadline = deadline.map(EpochMs);
        sender.job(&job(id, deadline), EpochMs(published)).await;
        client.result().await.1
    };
    let ahead = now().0 + HOUR_MS;
    let behind = now().0 - HOUR_MS;
    // A minute's time to start, by the producer's own clock.
    let (soon_ahead, soon_behind) = (Some(ahead + 60_000), Some(behind + 60_000));

    let first = run("right", now().0, None).await;
    assert_eq!(first["outcome"], "exited", "{first}");
    assert!(skew(&admin, "ahead").await < 60.0);

    let result = run("ahead", ahead, soon_ahead).await;
    assert_eq!(result["stdout"], "ran\n", "{result}");
    assert_eq!(result["timing"]["queued_ms"], 0, "{result}");
    let measured = skew(&admin, "ahead").await;
    assert!((3500.0..=3600.0).contains(&measured), "{measured}");

    // An hour of waiting, as far as this worker can tell.
    let result = run("behind", behind, None).await;
    let queued = result["timing"]["queued_ms"].as_f64().expect("a number");
    assert!((3_600_000.0..3_700_000.0).contains(&queued), "{result}");
    // Its deadlines come an hour too early.
    let result = run("late", behind, soon_behind).await;
    assert_eq!(result["outcome"], "expired", "{result}");
    // Whatever a clock says, it is not half a century.
    let result = run("never-set", 1, None).await;
    assert_eq!(result["timing"]["queued_ms"], 604_800_000, "{result}");
    worker.stops();
}

#[tokio::test]
async fn a_clock_behind_shows_by_a_job_that_comes_to_an_idle_worker() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin, sender, mut client) = bulk::start(&vhost.uri(), REPLY).await;
    // Two jobs at a time: of neither can be told whether it waited for the other.
    for round in 0..3 {
        for half in ["a", "b"] {
            let id = format!("{round}-{half}");
            sender
                .job(&job(&id, None), EpochMs(now().0 - HOUR_MS))
                .await;
        }
        client.result().await;
        client.result().await;
    }
    let before = skew(&admin, "behind").await;
    assert!(before < 3600.0, "{before} of jobs that may have waited");
    let mut after = before;
    while after < 3600.0 {
        // Idle for a while: nothing comes, since nothing was sent.
        let nothing = client.result_within(Duration::from_millis(1500)).await;
        assert!(nothing.is_none(), "{nothing:?}");
        sender
            .job(&job("alone", None), EpochMs(now().0 - HOUR_MS))
            .await;
        client.result().await;
        after = skew(&admin, "behind").await;
    }
    assert!((3600.0..3700.0).contains(&after), "{after}");
    worker.stops();
}
