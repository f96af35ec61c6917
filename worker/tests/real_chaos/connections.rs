//! Connections that break, hang or lie, and what their worker makes of it.

use super::{Scene, strikes};
use crate::client::until_exported;
use crate::worker::{self, LONG};
use jailfleet_harness::chaos::{Method, Mischief, Spot};
use jailfleet_harness::{Broker, require};
use serde_json::{Value, json};
use std::time::Duration;

/// A job for the worker.
fn delivery() -> Spot {
    Spot::to_client(Method::BASIC_DELIVER).on("jailfleet consume")
}

/// A result of the worker's.
fn publish() -> Spot {
    Spot::to_broker(Method::BASIC_PUBLISH).on("jailfleet publish")
}

/// An ack of a job.
fn ack() -> Spot {
    Spot::to_broker(Method::BASIC_ACK).on("jailfleet consume")
}

/// A confirm of a result: on a publishing connection the broker's only acks.
fn confirm() -> Spot {
    Spot::to_client(Method::BASIC_ACK).on("jailfleet publish")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_that_never_comes_costs_a_connection_and_the_same_result_comes_again() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let mut scene = Scene::open(&vhost.uri(), &["amqp.confirm_timeout_ms=2000"]).await;
    let swallowed = scene.proxy.at(confirm(), Mischief::Swallow);
    scene.job("once", "echo ran").await;
    strikes(&swallowed);
    let first = scene.result_of("once", "ran\n").await;
    let second = scene.result_of("once", "ran\n").await;
    assert_eq!(first, second, "its id and digest say that it is the same");
    scene.until_counted("confirm_timeouts", 1).await;
    scene.until_counted("publish_sessions", 2).await;
    scene.until_counted("republished", 1).await;
    scene.until_counted("acked", 1).await;
    let runs = "jailfleet_job_run_seconds_count{lane=\"bulk\"} 1\n";
    until_exported(&scene.admin, runs).await;
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_waits_for_a_broker_that_lets_nobody_in_and_its_job_runs_once() {
    /// Several times what a result may take to be confirmed.
    const AWAY: Duration = Duration::from_secs(4);
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let settings = ["worker.publish_timeout_ms=1000"];
    let mut scene = Scene::open(&vhost.uri(), &settings).await;
    let limit = |limits: &str| {
        let set = ["set_vhost_limits", "--vhost", vhost.name(), limits];
        broker.ctl(&set).expect("a limit");
    };
    scene.job("once", "sleep 1; echo ran").await;
    let runs = "jailfleet_job_run_seconds_count{lane=\"bulk\"} 1\n";
    until_exported(&scene.admin, "jailfleet_worker_slots_busy 1\n").await;
    limit(r#"{"max-connections": 0}"#);
    assert_eq!(scene.proxy.cut("jailfleet publish"), 1);
    until_exported(&scene.admin, runs).await;
    let early = scene.client.answer_within(AWAY).await;
    assert_eq!(early, None, "nothing can go out");
    limit(r#"{"max-connections": -1}"#);
    scene.result_of("once", "ran\n").await;
    until_exported(&scene.admin, runs).await;
    assert_eq!(
        scene.counted("requeued").await,
        0,
        "its job did not go back"
    );
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_sees_one_result_of_a_job_whose_confirm_never_came() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let scene = Scene::open(&vhost.uri(), &["amqp.confirm_timeout_ms=1000"]).await;
    let swallowed = scene.proxy.at(confirm(), Mischief::Swallow);
    // The second one keeps the receiver there until the first one's result has come twice.
    let job = |id: &str, code: &str| {
        let limits = json!({ "wall_ms": 20_000 });
        json!({ "v": 1, "id": id, "runtime": "bash", "code": code, "limits": limits }).to_string()
    };
    let jobs = [job("quick", "echo ran"), job("slow", "sleep 5; echo ran")];
    let jobs = worker::file_of(&jobs.join("\n"));
    let folder = tempfile::tempdir().expect("a folder");
    let results = folder.path().join("results.jsonl");
    let mut bulk = worker::producer(&vhost.uri());
    bulk.arg("bulk")
        .arg(jobs.path())
        .arg("--results")
        .arg(&results);
    let bulk = bulk.arg("--json").spawn().expect("the producer starts");
    strikes(&swallowed);
    let ended = tokio::task::spawn_blocking(move || bulk.wait_with_output());
    let ended = tokio::time::timeout(LONG, ended).await.expect("in time");
    let ended = ended.expect("no panic").expect("it can be waited for");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let summary: Value = serde_json::from_slice(&ended.stdout).expect("one object");
    assert_eq!(
        (&summary["duplicates"], &summary["conflicts"]),
        (&json!(1), &json!(0))
    );
    let text = std::fs::read_to_string(&results).expect("the results");
    assert_eq!(text.lines().count(), 2, "{text}");
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_given_up_after_its_heartbeats_and_its_job_goes_on() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let mut scene = Scene::open(&vhost.uri(), &["amqp.heartbeat_s=2"]).await;
    let rule = scene.proxy.at(delivery(), Mischief::HalfOpen);
    scene.job("unheard", "echo heard").await;
    strikes(&rule);
    scene.result_of("unheard", "heard\n").await;
    scene.until_counted("consume_sessions", 2).await;

    let rule = scene.proxy.at(publish(), Mischief::HalfOpen);
    scene.job("unsaid", "echo said").await;
    strikes(&rule);
    scene.result_of("unsaid", "said\n").await;
    scene.until_counted("publish_sessions", 2).await;
    // It did not need to wait for a confirm for as long as one may take.
    assert_eq!(scene.counted("confirm_timeouts").await, 0);
    scene.ends().await;
}

/// A spot, what it is called, and which bytes of its frame are turned.
type Turned = (&'static str, fn() -> Spot, &'static [usize]);

/// The kind, the method, the mark of the end.
const PLAIN: &[usize] = &[0, 8, usize::MAX];
/// The same and its size, so that it is far too large, or swallows those behind it.
const WITH_SIZE: &[usize] = &[0, 3, 6, 8, usize::MAX];

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_frame_costs_a_session_and_neither_a_job_nor_the_worker() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let settings = ["amqp.heartbeat_s=2", "amqp.confirm_timeout_ms=5000"];
    let mut scene = Scene::open(&vhost.uri(), &settings).await;
    let spots: [Turned; 4] = [
        ("delivery", delivery, WITH_SIZE),
        ("publish", publish, WITH_SIZE),
        ("confirm", confirm, PLAIN),
        ("ack", ack, PLAIN),
    ];
    let mut struck = 0;
    for (name, spot, places) in spots {
        for at in places.iter().copied() {
            let rule = scene.proxy.at(spot(), Mischief::Corrupt { at });
            let id = format!("{name}-{at}");
            scene.job(&id, "echo ran").await;
            strikes(&rule);
            struck += 1;
            scene.one_result_of(&id, "ran\n").await;
            eprintln!("{id}: answered");
            scene
                .until_counted_at_least("session_failures", struck)
                .await;
        }
    }
    assert_eq!(scene.counted("refused").await, 0, "no message was given up");
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_stall_for_less_than_the_heartbeats_cost_nothing() {
    const JOBS: usize = 10;
    const STALL: Duration = Duration::from_secs(3);
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let mut scene = Scene::open(&vhost.uri(), &["amqp.heartbeat_s=5"]).await;
    let third = delivery().nth(3);
    let rule = scene.proxy.at(third, Mischief::Stall(STALL));
    for number in 0..JOBS {
        scene.job(&format!("job-{number}"), "echo ran").await;
    }
    strikes(&rule);
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < JOBS {
        let (id, result) = scene.client.result().await;
        assert_eq!(result["stdout"], "ran\n", "{result}");
        assert!(ids.insert(id), "answered twice: {result}");
    }
    assert_eq!(scene.counted("session_failures").await, 0);
    assert_eq!(scene.counted("consume_sessions").await, 1);
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_reset_at_any_frame_are_made_anew_and_each_job_is_answered() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let mut scene = Scene::open(&vhost.uri(), &[]).await;
    let spots = [delivery, publish, confirm, ack];
    for (number, spot) in spots.into_iter().enumerate() {
        let rule = scene.proxy.at(spot(), Mischief::Cut);
        let id = format!("job-{number}");
        scene.job(&id, "echo ran").await;
        strikes(&rule);
        scene.one_result_of(&id, "ran\n").await;
    }
    scene.until_counted("consume_sessions", 3).await;
    scene.until_counted("publish_sessions", 3).await;
    scene.ends().await;
}
