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
use worker::Worker;

/// What a worker ends with that killed runs and handed their jobs back.
const HANDED_BACK: i32 = 5;
/// More than a job may be delivered before it is suspected of killing its workers.
const RESTARTS: usize = 4;
/// Fewer than a worker fetches: each restart gives all of them back.
const JOBS: usize = 6;

/// A worker whose two slots are both for the bulk lane, and which lets nothing run on when it stops.
fn start(uri: &str) -> (Worker, String) {
    let set = [
        "--set",
        "worker.lanes.interactive=0",
        "--set",
        "worker.drain_ms=1",
    ];
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
