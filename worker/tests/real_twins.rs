//! Jobs that the broker brings again to the worker that runs them still.

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

use client::until_exported;
use jailfleet_harness::{Broker, require};
use sender::now;
use serde_json::json;

const REPLY: &str = "jailfleet.reply.twins";

#[tokio::test]
async fn a_job_whose_connection_breaks_while_it_runs_is_run_once_and_answered_once() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin, sender, mut client) = bulk::start(&vhost.uri(), REPLY).await;
    let until = async |line| until_exported(&admin, line).await;
    let limits = json!({ "cpu_ms": 60_000, "wall_ms": 60_000 });
    let code = "while :; do :; done";
    let job = json!({ "v": 1, "id": "twin", "runtime": "bash", "code": code, "limits": limits });
    sender.job(&job, now()).await;
    until("jailfleet_worker_slots_busy 1\n").await;

    let connections = ["list_connections", "pid", "client_properties"];
    let connections = broker.ctl(&connections).expect("a list");
    let ours = format!("jailfleet consume {}", worker.pid());
    let line = connections.lines().find(|line| line.contains(&ours));
    let line = line.unwrap_or_else(|| panic!("{ours} is not in {connections}"));
    let pid = line.split_whitespace().next().expect("its first word");
    let close = ["close_connection", pid, "for a test"];
    broker.ctl(&close).expect("closed");

    // It is back, and the second slot stays free for others.
    until("jailfleet_jobs_received_total{lane=\"bulk\",redelivered=\"true\"} 1\n").await;
    until("jailfleet_jobs_adopted_total{twin=\"running\"} 1\n").await;
    until("jailfleet_worker_slots_busy 1\n").await;
    sender.cancel_jobs(&["twin"], now()).await;
    let (_, result) = client.result().await;
    assert_eq!(result["outcome"], "cancelled", "{result}");
    until("jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;
    until("jailfleet_job_run_seconds_count{lane=\"bulk\"} 1\n").await;
    assert_eq!(client.waiting(REPLY).await, 0, "one answer");
    assert_eq!(client.waiting("jailfleet.jobs.default.bulk").await, 0);
    worker.stops();
}

#[tokio::test]
async fn a_job_that_comes_again_after_its_answer_is_acked_and_not_run_again() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    // It makes the queues.
    let (first, _, sender, mut client) = bulk::start(&uri, REPLY).await;
    first.stops();
    // One message twice, as if the broker had not heard the ack of it.
    let job = json!({ "v": 1, "id": "twin", "runtime": "bash", "code": "echo ran" });
    let published = now();
    sender.job(&job, published).await;
    sender.job(&job, published).await;
    let (one, other) = (sender.hold().await, sender.hold().await);
    let (worker, admin) = bulk::start_worker(&uri).await;
    sender.give_back(&one).await;
    let (_, result) = client.result().await;
    assert_eq!(result["stdout"], "ran\n", "{result}");
    until_exported(&admin, "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;

    sender.give_back(&other).await;
    until_exported(
        &admin,
        "jailfleet_jobs_adopted_total{twin=\"finished\"} 1\n",
    )
    .await;
    until_exported(&admin, "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;
    assert_eq!(client.waiting(REPLY).await, 0, "one answer");
    assert_eq!(client.waiting("jailfleet.jobs.default.bulk").await, 0);
    until_exported(&admin, "jailfleet_job_run_seconds_count{lane=\"bulk\"} 1\n").await;
    worker.stops();
}
