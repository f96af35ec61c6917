//! Jobs through a real RabbitMQ node, real workers and their wardens.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of the reaper")]
mod client;
#[path = "support/mistakes.rs"]
mod mistakes;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use client::{Client, Job};
use jailfleet::rejection::RejectionCode;
use jailfleet_harness::{Broker, require};
use mistakes::{ELSEWHERE, FOUND_IN_THE_JAIL, mistakes, valid};
use nix::sys::signal::Signal;
use nix::unistd::User;
use serde_json::{Value, json};
use worker::{LONG, Worker, resident_kib, status_of};

const ADMIN: [&str; 2] = ["--set", "admin.listen=127.0.0.1:0"];

async fn start(uri: &str, more: &[&str]) -> (Worker, String) {
    let worker = Worker::start(&[&ADMIN, more].concat(), &[("JAILFLEET__AMQP__URI", uri)]);
    let line = worker.says("the admin port is open");
    let admin = line
        .get("address")
        .and_then(serde_json::Value::as_str)
        .expect("its address")
        .to_owned();
    worker.says("taking jobs");
    client::get_until(&admin, "/readyz", |answer| {
        answer.starts_with("HTTP/1.1 200")
    })
    .await;
    (worker, admin)
}

#[tokio::test]
async fn every_mistake_is_answered_with_its_code_and_the_worker_goes_on() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin) = start(&vhost.uri(), &["--set", "caps.message_bytes=65536"]).await;
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.mistakes").await;
    let mistakes = mistakes();
    for (id, body, _) in &mistakes {
        client.publish(Job::new(id, body)).await;
    }
    client
        .publish(Job::new("good", &valid("good").to_string()))
        .await;
    let mut past = valid("past");
    past["deadline"] = json!("2001-01-01T00:00:00Z");
    client.publish(Job::new("past", &past.to_string())).await;

    let mut answers = BTreeMap::new();
    for _ in 0..mistakes.len() + 2 {
        let (correlation, result) = client.result().await;
        assert!(
            answers.insert(correlation, result).is_none(),
            "answered twice"
        );
    }
    let codes: BTreeSet<&str> = mistakes.iter().map(|(_, _, code)| *code).collect();
    let all = RejectionCode::ALL
        .iter()
        .filter(|code| !ELSEWHERE.contains(code));
    assert_eq!(codes, all.map(|code| code.as_str()).collect());
    for (id, _, code) in &mistakes {
        let answer = answers
            .get(*id)
            .unwrap_or_else(|| panic!("{id} was not answered"));
        assert_eq!(
            (&answer["outcome"], &answer["error"]["code"]),
            (&json!("rejected"), &json!(code)),
            "{id}: {answer}"
        );
    }
    assert_eq!(answers["good"]["stdout"], "42\n");
    let healthy = client::get(&admin, "/healthz").await;
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    assert_eq!(answers["past"]["outcome"], "expired");

    let metrics = client::get(&admin, "/metrics").await;
    let mut counts = BTreeMap::new();
    for (_, _, code) in &mistakes {
        *counts.entry(code).or_insert(0) += 1;
    }
    for (code, count) in counts {
        let line = format!("jailfleet_jobs_rejected_total{{code=\"{code}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert!(
        client::get(&admin, "/readyz")
            .await
            .starts_with("HTTP/1.1 200")
    );
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}

/// The jobs of `examples/rejected`, as the demo sends them.
fn refused_examples() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/rejected");
    let cards = std::fs::read_dir(folder).expect("the examples are there");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(std::ffi::OsStr::to_str);
        let id = name.expect("a plain name").to_owned();
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut card: Value = serde_json::from_str(&text).expect("a card is JSON");
        let job = card.get_mut("job").and_then(Value::as_object_mut);
        let job = job.expect("a card holds a job");
        job.extend([("v".to_owned(), json!(1)), ("id".to_owned(), json!(id))]);
        (id, json!(job).to_string())
    };
    cards.map(read).collect()
}

/// What of a result is not about the single run.
fn lasting(mut result: Value) -> Value {
    let fields = result.as_object_mut().expect("an object");
    fields.retain(|name, _| !["timing", "worker", "usage"].contains(&name.as_str()));
    result
}

#[tokio::test]
async fn what_a_producer_would_refuse_is_answered_alike_through_both_doors() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let examples = refused_examples();
    assert!(examples.len() > 9, "{examples:?}");
    let lines: Vec<String> = examples.iter().map(|(_, line)| line.clone()).collect();
    let (_, results) = worker::local(&lines, &[]);
    let embedded: BTreeMap<String, Value> = results
        .into_iter()
        .map(|result| {
            (
                result["job_id"].as_str().expect("an id").to_owned(),
                lasting(result),
            )
        })
        .collect();

    let (worker, _) = start(&vhost.uri(), &[]).await;
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.refused").await;
    for (id, line) in &examples {
        client.publish(Job::new(id, line)).await;
    }
    let mut queued = BTreeMap::new();
    for _ in &examples {
        let (id, result) = client.result().await;
        queued.insert(id, lasting(result));
    }
    assert_eq!(queued, embedded);
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}

#[tokio::test]
async fn what_nobody_can_be_told_is_parked_and_a_job_may_want_no_result() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin) = start(&vhost.uri(), &[]).await;
    let client = Client::new(&vhost.uri(), "jailfleet.reply.dead").await;
    let long = format!("no job at all {}", "x".repeat(10_000));
    client.publish(Job::new("lost", &long).reply_to(None)).await;
    for (id, reply_to) in [
        ("hostile", "amq.rabbitmq.reply-to.g1h2AA.bogus"),
        ("ours", "jailfleet.dead"),
    ] {
        let body = valid(id).to_string();
        client
            .publish(Job::new(id, &body).reply_to(Some(reply_to)))
            .await;
    }
    let mut newer = valid("newer");
    newer["minor"] = json!(7);
    client.publish(Job::new("newer", &newer.to_string())).await;
    client
        .publish(Job::new("quiet", &valid("quiet").to_string()).reply_to(None))
        .await;

    let mut dead = client.read("jailfleet.dead.parked", 3).await;
    dead.sort();
    let reasons: Vec<&str> = dead
        .iter()
        .map(|(reason, _)| reason.split(':').next().unwrap_or_default())
        .collect();
    assert_eq!(reasons, ["bad_reply_to", "bad_reply_to", "not_json"]);
    let (_, kept) = dead.last().expect("three of them");
    assert_eq!(
        kept.as_slice(),
        &long.as_bytes()[..4096],
        "its head is kept"
    );
    assert_eq!(client.read("jailfleet.jobs.newer", 1).await.len(), 1);

    let counted = [
        "jailfleet_jobs_set_aside_total{reason=\"no_reply\"} 1\n",
        "jailfleet_jobs_rejected_total{code=\"bad_reply_to\"} 2\n",
        "jailfleet_jobs_rejected_total{code=\"not_json\"} 1\n",
        "jailfleet_jobs_finished_total{lane=\"bulk\",outcome=\"exited\"} 1\n",
    ];
    client::get_until(&admin, "/metrics", |metrics| {
        counted.iter().all(|line| metrics.contains(line))
    })
    .await;
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}

#[tokio::test]
async fn each_mistake_that_nobody_can_be_told_of_is_parked_with_its_head() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, _) = start(&vhost.uri(), &["--set", "caps.message_bytes=65536"]).await;
    let client = Client::new(&vhost.uri(), "jailfleet.reply.nobody").await;
    let mut mistakes = mistakes();
    // These are jobs, which ask for no result; what is wrong is found when their jail is made.
    mistakes.retain(|(_, _, code)| !FOUND_IN_THE_JAIL.contains(code));
    for (id, body, _) in &mistakes {
        client.publish(Job::new(id, body).reply_to(None)).await;
    }
    let parked = client.read("jailfleet.dead.parked", mistakes.len()).await;
    let head = |body: &[u8]| body.iter().copied().take(4096).collect::<Vec<u8>>();
    let mut expected: Vec<_> = mistakes
        .iter()
        .map(|(_, body, code)| (*code, head(body.as_bytes())))
        .collect();
    let mut found: Vec<_> = parked
        .iter()
        .map(|(reason, body)| (reason.split(':').next().unwrap_or_default(), body.clone()))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}

#[tokio::test]
async fn two_hundred_jobs_get_one_result_each_though_one_of_two_workers_is_stopped() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    let ((first, _), (second, _)) = (start(&uri, &[]).await, start(&uri, &[]).await);
    let mut client = Client::new(&uri, "jailfleet.reply.batch").await;
    for number in 0..200 {
        let id = format!("job-{number}");
        client.publish(Job::new(&id, &valid(&id).to_string())).await;
    }
    let mut results = BTreeMap::new();
    let mut first = Some(first);
    while results.len() < 200 {
        let (id, result) = client.result().await;
        assert_eq!(result["stdout"], "42\n", "{result}");
        assert!(results.insert(id, result).is_none(), "a second result");
        if results.len() == 60
            && let Some(first) = first.take()
        {
            first.signal(Signal::SIGTERM);
            let ended = tokio::task::spawn_blocking(move || first.ends());
            let ended = tokio::time::timeout(LONG, ended).await.expect("in time");
            assert_eq!(ended.expect("no panic").code(), Some(0), "drained cleanly");
        }
    }
    assert_eq!(
        client.waiting("jailfleet.reply.batch").await,
        0,
        "no second result waits"
    );
    assert_eq!(
        client.waiting("jailfleet.jobs.default.bulk").await,
        0,
        "no job is left"
    );
    second.signal(Signal::SIGTERM);
    assert_eq!(second.ends().code(), Some(0));
}

#[tokio::test]
async fn a_worker_has_one_connection_for_each_role_however_much_it_does() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, admin) = start(&vhost.uri(), &[]).await;
    let roles = ["consume", "control", "publish", "reap"];
    for role in roles {
        let up = format!("jailfleet_amqp_connected{{role=\"{role}\"}} 1\n");
        client::get_until(&admin, "/metrics", |metrics| metrics.contains(&up)).await;
    }
    let pid = worker.pid();
    let expected = roles.map(|role| format!("jailfleet {role} {pid}"));
    let connections = || {
        let mut names = broker.connections().expect("a list");
        // Others may share the node, and so does the client below.
        names.retain(|name| name.ends_with(&format!(" {pid}")));
        names.sort();
        names
    };
    assert_eq!(connections(), expected);
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.roles").await;
    for number in 0..20 {
        let id = format!("job-{number}");
        client.publish(Job::new(&id, &valid(&id).to_string())).await;
    }
    for _ in 0..20 {
        client.result().await;
    }
    assert_eq!(connections(), expected, "after twenty jobs");
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}

#[tokio::test]
async fn worker_and_warden_stay_small() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, _) = start(&vhost.uri(), &[]).await;
    let warden = worker.warden().to_string();
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.small").await;
    for number in 0..500 {
        let id = format!("job-{number}");
        client.publish(Job::new(&id, &valid(&id).to_string())).await;
    }
    for _ in 0..50 {
        client.result().await;
    }
    let together = resident_kib(&worker.pid().to_string()) + resident_kib(&warden);
    assert!(together < 64 * 1024, "{together} KiB");
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}

/// The network interfaces of a process's namespace.
fn interfaces(process: &str) -> Vec<String> {
    let table = std::fs::read_to_string(format!("{process}/net/dev")).expect("readable");
    let rows = table.lines().skip(2);
    rows.filter_map(|row| Some(row.split_once(':')?.0.trim().to_owned()))
        .collect()
}

#[tokio::test]
async fn no_thread_of_a_worker_has_kept_anything_of_root() {
    require!(Root, Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, _) = start(&vhost.uri(), &[]).await;
    let nobody = User::from_name("nobody").expect("users can be read");
    let nobody = nobody.expect("the user of config/worker.toml");
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
    let (uids, gids) = (four(nobody.uid.as_raw()), four(nobody.gid.as_raw()));
    let none = "0000000000000000";

    let threads = std::fs::read_dir(format!("/proc/{}/task", worker.pid()));
    let threads: Vec<_> = threads.expect("it is alive").collect();
    assert!(threads.len() > 1, "those of the runtimes are among them");
    for thread in threads {
        let thread = thread.expect("it is still there").path();
        for (name, value) in [
            ("Uid", uids.as_str()),
            ("Gid", &gids),
            ("Groups", ""),
            ("CapInh", none),
            ("CapPrm", none),
            ("CapEff", none),
            ("CapAmb", none),
            ("CapBnd", none),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status_of(&thread, name), value, "{name} of {thread:?}");
        }
    }
    let warden = format!("/proc/{}", worker.warden());
    assert_eq!(status_of(&warden, "Uid"), four(0));
    assert_eq!(status_of(&warden, "Threads"), "1", "it never has another");
    // Whoever takes the warden over finds no network there.
    let net = |process: &str| std::fs::read_link(format!("{process}/ns/net")).expect("readable");
    assert_ne!(net(&warden), net("/proc/self"));
    assert_eq!(interfaces(&warden), ["lo"]);
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}
