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

use client::{Client, get_until, until_exported};
use jailfleet_harness::{Broker, require};
use sender::{Sender, now};
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

#[tokio::test]
async fn another_job_under_the_same_id_is_run_and_counted_also_when_it_comes_again() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let (first, _, sender, mut client) = bulk::start(&uri, REPLY).await;
    first.stops();
    let other_queue = "jailfleet.reply.stranger";
    let mut stranger = Client::new(&uri, other_queue).await;
    let others = Sender::new(&uri, other_queue).await;
    let job = |code: &str| json!({ "v": 1, "id": "twin", "runtime": "bash", "code": code });
    let published = now();
    sender.job(&job("echo mine"), published).await;
    sender.job(&job("echo another"), published).await;
    others.job(&job("echo mine"), published).await;
    // All three are of messages that were delivered before, as after a broken connection.
    let held = [
        sender.hold().await,
        sender.hold().await,
        sender.hold().await,
    ];
    let (worker, admin) = bulk::start_worker(&uri).await;
    let [mine, another, others] = &held;
    let answers = [(mine, "mine\n"), (another, "another\n")];
    for (held, stdout) in answers {
        sender.give_back(held).await;
        let (_, result) = client.result().await;
        assert_eq!(result["stdout"], stdout, "{result}");
    }
    sender.give_back(others).await;
    let (_, result) = stranger.result().await;
    assert_eq!(
        result["stdout"], "mine\n",
        "its own queue hears of it: {result}"
    );
    for line in [
        "jailfleet_jobs_adopted_total{twin=\"stranger\"} 2\n",
        "jailfleet_jobs_adopted_total{twin=\"finished\"} 0\n",
        "jailfleet_job_run_seconds_count{lane=\"bulk\"} 3\n",
        "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n",
    ] {
        until_exported(&admin, line).await;
    }
    assert_eq!(client.waiting(REPLY).await, 0, "one answer each");
    worker.stops();
}

#[tokio::test]
async fn a_job_that_is_held_for_longer_than_the_broker_waits_is_adopted_and_the_timeout_is_named() {
    require!(Broker);
    let broker = Broker::own().expect("a broker");
    let uri = broker.uri("/");
    // Channels read both when they are opened.
    let impatient = "application:set_env(rabbit, consumer_timeout, 2000), \
                     application:set_env(rabbit, channel_tick_interval, 500).";
    broker.ctl(&["eval", impatient]).expect("they are set");
    let (worker, admin, sender, mut client) = bulk::start(&uri, REPLY).await;
    let limits = json!({ "cpu_ms": 60_000, "wall_ms": 60_000 });
    let code = "sleep 5; echo ran";
    let job = json!({ "v": 1, "id": "long", "runtime": "bash", "code": code, "limits": limits });
    sender.job(&job, now()).await;
    let line = worker.says("no session with the broker");
    let error = line["error"].as_str().expect("it names the error");
    for part in [
        "timed out",
        "consumer_timeout",
        "jailfleet.jobs.default.bulk",
    ] {
        assert!(error.contains(part), "{line}");
    }
    assert_eq!(line["role"], "consume", "{line}");
    let adopted = |page: &str| {
        let series = "jailfleet_jobs_adopted_total{twin=\"running\"} ";
        let counts = page.lines().filter_map(|line| line.strip_prefix(series));
        counts.into_iter().any(|count| count != "0")
    };
    get_until(&admin, "/metrics", adopted).await;
    let (_, result) = client.result().await;
    assert_eq!(result["stdout"], "ran\n", "{result}");
    until_exported(&admin, "jailfleet_jobs_in_progress{lane=\"bulk\"} 0\n").await;
    let page = client::get(&admin, "/metrics").await;
    let failures = "jailfleet_door_events_total{event=\"session_failures\"} ";
    let failures = page.lines().find_map(|line| line.strip_prefix(failures));
    assert!(
        failures.is_some_and(|count| count != "0"),
        "counted: {failures:?}"
    );
    assert!(page.contains("jailfleet_job_run_seconds_count{lane=\"bulk\"} 1\n"));
    assert_eq!(client.waiting(REPLY).await, 0, "one answer");
    worker.stops();
}
