//! Workers that stop again and again under jobs that did nothing wrong.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use client::{Client, Job, until_exported};
use jailfleet_harness::{Broker, require};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use worker::Worker;

/// What a worker ends with that killed runs and handed their jobs back.
const HANDED_BACK: i32 = 5;
/// More than a job may be delivered before it is suspected of killing its workers.
const RESTARTS: usize = 4;
/// Fewer than a worker fetches: each restart gives all of them back.
const JOBS: usize = 6;

/// A worker whose two slots are both for the bulk lane, and which lets nothing run on when it stops.
fn start(uri: &str) -> (Worker, String) {
    start_with(uri, "worker.drain_ms=1")
}

/// One that lets runs go on as that setting says.
fn start_with(uri: &str, drain: &str) -> (Worker, String) {
    let set = ["--set", "worker.lanes.interactive=0", "--set", drain];
    Worker::start_with_admin(&set, &[("JAILFLEET__AMQP__URI", uri)])
}

#[tokio::test]
async fn restarts_of_all_workers_again_and_again_make_no_suspects() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let (worker, admin) = start(&uri);
    client::until_ready(&admin).await;
    worker.stops();
    let mut client = Client::new(&uri, "jailfleet.reply.drain").await;
    for number in 0..JOBS {
        let id = format!("job-{number}");
        let body = json!({ "v": 1, "id": id, "runtime": "bash", "code": "sleep 2; echo done" });
        client.publish(Job::new(&id, &body.to_string())).await;
    }
    for _ in 0..RESTARTS {
        let (worker, admin) = start(&uri);
        until_exported(&admin, "jailfleet_worker_slots_busy 2\n").await;
        worker.signal(Signal::SIGTERM);
        assert_eq!(worker.ends().code(), Some(HANDED_BACK));
    }

    let (worker, admin) = start(&uri);
    for _ in 0..JOBS {
        let (id, result) = client.result().await;
        assert_eq!(result["outcome"], "exited", "{id}: {result}");
        let attempt = result.pointer("/worker/attempt").and_then(Value::as_u64);
        assert!(
            attempt.is_some_and(|attempt| attempt <= 2),
            "{id}: {result}"
        );
    }
    let suspects = "jailfleet_jobs_set_aside_total{reason=\"suspect\"} 0\n";
    until_exported(&admin, suspects).await;
    client.until_waiting("jailfleet.jobs.default.bulk", 0).await;
    assert_eq!(client.waiting("jailfleet.suspect.default").await, 0);
    worker.stops();
}

const SUSPECTS: &str = "jailfleet_jobs_set_aside_total{reason=\"suspect\"} 0\n";

#[tokio::test]
async fn a_rolling_restart_of_three_workers_under_load_makes_no_suspects_and_loses_nothing() {
    /// More than the fleet has slots, before each restart.
    const LOAD: usize = 12;
    const ROUNDS: usize = 2;
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let mut fleet = Vec::new();
    for _ in 0..3 {
        let (worker, admin) = start(&uri);
        client::until_ready(&admin).await;
        fleet.push((worker, admin));
    }
    let mut client = Client::new(&uri, "jailfleet.reply.rolling").await;
    let mut published = 0;
    for _ in 0..ROUNDS {
        for place in &mut fleet {
            let next = start(&uri);
            client::until_ready(&next.1).await;
            for _ in 0..LOAD {
                let id = format!("job-{published}");
                let code = "sleep 2; echo done";
                let body = json!({ "v": 1, "id": id, "runtime": "bash", "code": code });
                client.publish(Job::new(&id, &body.to_string())).await;
                published += 1;
            }
            until_exported(&place.1, "jailfleet_worker_slots_busy 2\n").await;
            until_exported(&place.1, SUSPECTS).await;
            let (old, _) = std::mem::replace(place, next);
            old.signal(Signal::SIGTERM);
            assert_eq!(old.ends().code(), Some(HANDED_BACK));
        }
    }
    let mut answered = BTreeSet::new();
    while answered.len() < published {
        let (id, result) = client.result().await;
        assert_eq!(result["outcome"], "exited", "{id}: {result}");
        assert!(answered.insert(id), "once: {result}");
    }
    for (worker, admin) in fleet {
        until_exported(&admin, SUSPECTS).await;
        worker.stops();
    }
    assert_eq!(client.waiting("jailfleet.suspect.default").await, 0);
    assert_eq!(client.waiting("jailfleet.jobs.default.bulk").await, 0);
    assert_eq!(client.waiting("jailfleet.reply.rolling").await, 0);
}

#[tokio::test]
async fn a_second_interrupt_ends_what_runs_at_once_and_its_job_goes_back() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let (worker, admin) = start_with(&uri, "worker.drain_ms=600000");
    client::until_ready(&admin).await;
    let mut client = Client::new(&uri, "jailfleet.reply.interrupt").await;
    let limits = json!({ "wall_ms": 60_000 });
    let body = json!({
        "v": 1, "id": "long", "runtime": "bash", "code": "sleep 50", "limits": limits,
    });
    client.publish(Job::new("long", &body.to_string())).await;
    until_exported(&admin, "jailfleet_worker_slots_busy 1\n").await;
    worker.signal(Signal::SIGINT);
    worker.says("draining: no more jobs are taken");
    until_exported(&admin, "jailfleet_worker_slots_busy 1\n").await;
    worker.signal(Signal::SIGINT);
    assert_eq!(worker.ends().code(), Some(HANDED_BACK));
    client.until_waiting("jailfleet.jobs.default.bulk", 1).await;
    let nobody = client.result_within(Duration::from_millis(1)).await;
    assert_eq!(nobody, None, "it was not judged");
}
