//! Cancels and deadlines through a real RabbitMQ node, real workers and their wardens.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/sender.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs that come again")]
mod sender;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use client::Client;
use jailfleet::job::EpochMs;
use jailfleet::wire::moment;
use jailfleet_harness::{Broker, require};
use lapin::BasicProperties;
use sender::{Sender, now};
use serde_json::{Value, json};
use worker::{LONG, Worker, producer};

/// Much less than an endless loop may run for, and more than its end takes.
const SOON: Duration = Duration::from_secs(20);
const REPLY: &str = "jailfleet.reply.cancel";

/// A worker that is ready for jobs of the bulk lane alone, with the address of its admin port.
async fn start(uri: &str) -> (Worker, String) {
    let (worker, admin) = Worker::start_for_bulk(uri);
    client::until_ready(&admin).await;
    (worker, admin)
}

/// Who hears of results, and who sends the jobs and cancels.
async fn parties(uri: &str) -> (Client, Sender) {
    (Client::new(uri, REPLY).await, Sender::new(uri, REPLY).await)
}

fn quick(id: &str) -> Value {
    json!({ "v": 1, "id": id, "runtime": "bash", "code": "echo ran", "batch": "exam" })
}

/// Runs until somebody ends it, or for a minute.
fn endless(id: &str) -> Value {
    let limits = json!({ "cpu_ms": 60_000, "wall_ms": 60_000 });
    let code = "echo began; while :; do :; done";
    json!({ "v": 1, "id": id, "runtime": "bash", "code": code, "batch": "exam", "limits": limits })
}

/// The next result, which must come long before an endless loop ends by itself.
async fn soon(client: &mut Client) -> (String, Value) {
    let result = client.result_within(SOON).await;
    result.expect("a result soon")
}

/// The outcomes of so many results, by the ids of their jobs.
async fn outcomes(client: &mut Client, count: usize) -> BTreeMap<String, Value> {
    let mut outcomes = BTreeMap::new();
    for _ in 0..count {
        let (id, result) = soon(client).await;
        outcomes.insert(id, result.get("outcome").cloned().unwrap_or_default());
    }
    outcomes
}

fn assert_cancelled(result: &Value) {
    let word = |pointer| result.pointer(pointer).and_then(Value::as_str);
    assert_eq!(word("/outcome"), Some("cancelled"), "{result}");
    assert_eq!(word("/error/code"), Some("cancelled"), "{result}");
}

/// Waits until so many slots of the worker run a job.
async fn until_busy(admin: &str, slots: u32) {
    let line = format!("jailfleet_worker_slots_busy {slots}\n");
    client::until_exported(admin, &line).await;
}

/// Gives a worker two jobs without an end, `loop-1` and `loop-2`, and waits until both run.
async fn fill_both_slots(sender: &Sender, admin: &str) {
    for id in ["loop-1", "loop-2"] {
        sender.job(&endless(id), now()).await;
    }
    until_busy(admin, 2).await;
}

async fn until_counted(admin: &str, series: &str, count: u32) {
    let line = format!("{series} {count}\n");
    client::until_exported(admin, &line).await;
}

#[tokio::test]
async fn a_cancel_ends_endless_loops_and_answers_what_waits_behind_them_without_a_run() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin) = start(&vhost.uri()).await;
    let (mut client, sender) = parties(&vhost.uri()).await;
    fill_both_slots(&sender, &admin).await;
    // It has been fetched, or lies in its queue: to whoever waits for it that is the same.
    sender.job(&quick("waits"), now()).await;
    sender
        .cancel_jobs(&["waits", "nobody-knows-me"], now())
        .await;
    let (id, waited) = soon(&mut client).await;
    assert_eq!(id, "waits");
    assert_cancelled(&waited);
    assert_eq!(waited.get("stdout"), None, "it did not run");

    sender.cancel_batch("exam", Some("another-pool")).await;
    sender.cancel_jobs(&["loop-1"], now()).await;
    let (id, ended) = soon(&mut client).await;
    assert_eq!(id, "loop-1", "the other one is not meant");
    assert_cancelled(&ended);
    assert_eq!(
        ended["stdout"], "began\n",
        "what it wrote until then is told"
    );
    sender.cancel_batch("exam", Some("default")).await;
    let (id, ended) = soon(&mut client).await;
    assert_eq!(id, "loop-2");
    assert_cancelled(&ended);

    // The slots were swept and take jobs again.
    sender.job(&quick("after"), EpochMs(now().0 + 1)).await;
    let (_, after) = soon(&mut client).await;
    assert_eq!(after["stdout"], "ran\n", "{after}");
    until_counted(&admin, "jailfleet_jobs_cancelled_total{met=\"running\"}", 2).await;
    until_counted(&admin, "jailfleet_jobs_cancelled_total{met=\"waiting\"}", 1).await;
    until_counted(&admin, "jailfleet_cancels_total{result=\"other_pool\"}", 1).await;
    until_busy(&admin, 0).await;
    assert_eq!(client.waiting(REPLY).await, 0, "nobody is answered twice");
    worker.stops();
}

#[tokio::test]
async fn the_command_cancels_by_id_what_runs_and_what_waits_and_nothing_else() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let (worker, admin) = start(&uri).await;
    let (mut client, sender) = parties(&uri).await;
    fill_both_slots(&sender, &admin).await;
    for id in ["waits", "stays"] {
        sender.job(&quick(id), now()).await;
    }
    let mut command = producer(&uri);
    command.args(["cancel", "--job", "loop-1", "waits", "--json"]);
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = ended.await.expect("no panic").expect("it starts");
    assert!(ended.status.success(), "{ended:?}");
    let mut results = BTreeMap::new();
    for _ in 0..3 {
        let (id, result) = soon(&mut client).await;
        results.insert(id, result);
    }
    let of = |id: &str| {
        results
            .get(id)
            .unwrap_or_else(|| panic!("{id}: {results:?}"))
    };
    assert_cancelled(of("loop-1"));
    assert_cancelled(of("waits"));
    assert_eq!(
        of("stays")["stdout"],
        "ran\n",
        "in the slot that is free again"
    );
    until_busy(&admin, 1).await;
    sender.cancel_jobs(&["loop-2"], now()).await;
    assert_cancelled(&soon(&mut client).await.1);
    worker.stops();
}

#[tokio::test]
async fn a_worker_that_comes_later_honours_cancels_and_a_job_published_after_one_runs() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    // It makes the queues.
    let (first, _) = start(&uri).await;
    first.stops();
    let (mut client, sender) = parties(&uri).await;
    let sent = now();
    sender.job(&quick("unwanted"), EpochMs(sent.0 - 1)).await;
    sender.job(&quick("wanted"), EpochMs(sent.0 - 1)).await;
    sender.cancel_jobs(&["unwanted", "reborn"], sent).await;
    sender.job(&quick("reborn"), EpochMs(sent.0 + 1)).await;

    let (second, _) = start(&uri).await;
    let mut outcomes = BTreeMap::new();
    for _ in 0..3 {
        let (id, result) = soon(&mut client).await;
        let outcome = result["outcome"].as_str().unwrap_or_default().to_owned();
        outcomes.insert(id, (outcome, result["stdout"].clone()));
    }
    let ran = ("exited".to_owned(), json!("ran\n"));
    let not_run = ("cancelled".to_owned(), Value::Null);
    assert_eq!(outcomes["unwanted"], not_run);
    assert_eq!((&outcomes["wanted"], &outcomes["reborn"]), (&ran, &ran));
    second.stops();
}

#[tokio::test]
async fn every_worker_hears_a_cancel() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let ((first, one), (second, other)) = (start(&uri).await, start(&uri).await);
    let (mut client, sender) = parties(&uri).await;
    for number in 0..4 {
        sender.job(&endless(&format!("loop-{number}")), now()).await;
    }
    until_busy(&one, 2).await;
    until_busy(&other, 2).await;
    sender.cancel_batch("exam", None).await;
    for _ in 0..4 {
        assert_cancelled(&soon(&mut client).await.1);
    }
    for worker in [first, second] {
        worker.stops();
    }
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_try_is_neither_run_nor_tried_again_once_it_is_cancelled_or_late()
 {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, _) = start(&vhost.uri()).await;
    let (mut client, sender) = parties(&vhost.uri()).await;
    let start = now();
    let mut late = quick("late");
    late["deadline"] = json!(moment(EpochMs(start.0 + 500)));
    sender.retried_job(&quick("unwanted"), start, 1_500).await;
    sender.retried_job(&late, start, 1_500).await;
    sender.retried_job(&quick("wanted"), start, 1_500).await;
    sender.cancel_jobs(&["unwanted"], now()).await;
    let outcomes = outcomes(&mut client, 3).await;
    let expected = [
        ("late", "expired"),
        ("unwanted", "cancelled"),
        ("wanted", "exited"),
    ];
    let expected = expected.map(|(id, outcome)| (id.to_owned(), json!(outcome)));
    assert_eq!(outcomes, BTreeMap::from(expected));
    worker.stops();
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_job_waits_for_a_slot_is_kept() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin) = start(&vhost.uri()).await;
    let (mut client, sender) = parties(&vhost.uri()).await;
    fill_both_slots(&sender, &admin).await;
    let deadline = EpochMs(now().0 + 4_000);
    let mut late = quick("late");
    late["deadline"] = json!(moment(deadline));
    sender.job(&late, now()).await;
    // Received, and in good time: what comes next is the look just before the start.
    loop {
        let line = worker.says("job received");
        if line["message_id"] == "late" {
            break;
        }
    }
    assert!(now() < deadline, "this machine is too slow for this test");
    let passes = Duration::from_millis(deadline.0 + 1 - now().0);
    tokio::time::sleep(passes).await;
    sender.cancel_jobs(&["loop-1", "loop-2"], now()).await;
    let outcomes = outcomes(&mut client, 3).await;
    assert_eq!(outcomes["late"], "expired", "{outcomes:?}");
    worker.stops();
}

/// The number behind a series.
async fn count_of(admin: &str, series: &str) -> u64 {
    let metrics = client::get(admin, "/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    let number = line.unwrap_or_else(|| panic!("{series} is not exported"));
    number.trim().parse().expect("a number")
}

/// The same of two workers together, once it is `count`.
async fn until_together(admins: [&str; 2], series: &str, count: u64) {
    let counting = async {
        while count_of(admins[0], series).await + count_of(admins[1], series).await != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, counting).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_of_a_cancelled_batch_has_one_result_whether_it_was_done_or_ran_or_waited() {
    const JOBS: usize = 500;
    const DONE: usize = 60;
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let ((first, one), (second, other)) = (start(&uri).await, start(&uri).await);
    let client = Client::new(&uri, REPLY).await;
    let lines = (0..JOBS).map(|number| match number {
        ..DONE => quick(&format!("job-{number}")).to_string(),
        _ => endless(&format!("job-{number}")).to_string(),
    });
    let jobs = worker::file_of(&lines.collect::<Vec<_>>().join("\n"));
    let folder = tempfile::tempdir().expect("a folder for the test");
    let results = folder.path().join("results.jsonl");
    let mut bulk = worker::producer(&uri);
    bulk.arg("bulk")
        .arg(jobs.path())
        .arg("--results")
        .arg(&results);
    bulk.args(["--set", "producer.window=1000"]);
    let bulk = bulk.spawn().expect("the producer starts");

    let exited = "jailfleet_jobs_finished_total{lane=\"bulk\",outcome=\"exited\"}";
    until_together([&one, &other], exited, DONE as u64).await;
    until_busy(&one, 2).await;
    until_busy(&other, 2).await;
    // All are published: what is not done is with the workers, six each, or in the queue.
    let waiting = u32::try_from(JOBS - DONE - 12).expect("a small number");
    client
        .until_waiting("jailfleet.jobs.default.bulk", waiting)
        .await;
    let cancelled = worker::producer(&uri)
        .args(["cancel", "--batch", "exam", "--json"])
        .output();
    let cancelled = cancelled.expect("the producer starts");
    assert_eq!(cancelled.status.code(), Some(0), "{cancelled:?}");
    let facts: Value = serde_json::from_slice(&cancelled.stdout).expect("one object");
    assert_eq!(facts["batch"], "exam");

    let ended = tokio::task::spawn_blocking(move || bulk.wait_with_output());
    let ended = tokio::time::timeout(LONG, ended).await.expect("in time");
    let ended = ended.expect("no panic").expect("it can be waited for");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let mut outcomes = BTreeMap::new();
    let mut ids = std::collections::BTreeSet::new();
    let text = std::fs::read_to_string(&results).expect("the results");
    for line in text.lines() {
        let result: Value = serde_json::from_str(line).expect("one result a line");
        assert!(
            ids.insert(result["job_id"].to_string()),
            "answered twice: {result}"
        );
        *outcomes.entry(result["outcome"].to_string()).or_insert(0) += 1;
    }
    let cancelled = ("\"cancelled\"".to_owned(), JOBS - DONE);
    assert_eq!(
        outcomes,
        BTreeMap::from([("\"exited\"".to_owned(), DONE), cancelled])
    );
    let running = "jailfleet_jobs_cancelled_total{met=\"running\"}";
    until_together([&one, &other], running, 4).await;
    for worker in [first, second] {
        worker.stops();
    }
}

#[tokio::test]
async fn a_flood_of_garbage_and_of_cancels_neither_stops_a_worker_nor_fills_its_memory() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin) = start(&vhost.uri()).await;
    let (mut client, sender) = parties(&vhost.uri()).await;
    sender.job(&endless("loop"), now()).await;
    until_busy(&admin, 1).await;
    let long = "x".repeat(1 << 20);
    for body in [
        "",
        "{",
        "[]",
        "\u{0}",
        r#"{"v":1,"sent_ms":1,"batch":"b","sudo":1}"#,
        &long,
    ] {
        let properties = BasicProperties::default();
        let to = ("jailfleet.cancel", "whatever");
        sender.publish(to, body.as_bytes(), properties).await;
    }
    // More ids than are remembered.
    for round in 0..40 {
        let ids: Vec<String> = (0..400)
            .map(|id| format!("{round}-{id}-{}", "y".repeat(100)))
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        sender.cancel_jobs(&ids, now()).await;
    }
    until_counted(&admin, "jailfleet_cancels_total{result=\"taken\"}", 40).await;
    until_counted(&admin, "jailfleet_cancels_total{result=\"refused\"}", 6).await;
    until_counted(&admin, "jailfleet_cancels_remembered", 10_000).await;
    until_counted(&admin, "jailfleet_cancels_forgotten_total", 6_000).await;
    let together = worker::resident_kib(&worker.pid().to_string());
    assert!(together < 64 * 1024, "{together} KiB");

    sender.cancel_jobs(&["loop"], now()).await;
    assert_cancelled(&soon(&mut client).await.1);
    sender.job(&quick("after"), EpochMs(now().0 + 1)).await;
    assert_eq!(soon(&mut client).await.1["stdout"], "ran\n");
    worker.stops();
}
