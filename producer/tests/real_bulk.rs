//! `bulk` and `submit` against a real RabbitMQ node, killed in the middle of their work.

mod support;

use std::collections::BTreeMap;

use jailfleet::job::Job;
use jailfleet::outcome::Outcome;
use jailfleet::settings;
use jailfleet::wire::{self, DecodeHint, WireCaps};
use jailfleet_harness::{Broker, require};
use jailfleet_producer::client::Client;
use jailfleet_producer::journal::replay;
use support::{Answers, Files, LONG, Responder, kill, lines, producer, result, run};
use tokio::io::AsyncWriteExt;

const JOBS: usize = 3000;

fn echo(job: &Job) -> Answers {
    vec![(result(job, Outcome::Exited, job.id.as_str()), None)]
}

/// Every third job has no id of its own: a resumed run must not make up another one for it.
fn input() -> Vec<String> {
    (0..JOBS)
        .map(|number| match number % 3 {
            0 => format!("{{\"v\":1,\"runtime\":\"python\",\"code\":\"print({number})\"}}"),
            _ => format!(
                "{{\"v\":1,\"id\":\"job-{number}\",\"runtime\":\"python\",\"code\":\"print({number})\"}}"
            ),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_producer_is_killed_again_and_again_gets_each_result_once() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let files = Files::new(&input());
    let mut responder = Responder::start(&vhost.uri(), 64, echo).await;
    // A small window, so that the batch is long enough to be killed in the middle.
    let small = ["--set", "producer.window=16"];

    // No result comes while it is killed: only the journal can tell a resumed run what it sent.
    responder.hold_answers(true);
    // How often a job was planned and not confirmed when its producer was killed: as often it may
    // be published again.
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    let mut middle = 0;
    for kills in 1..=4 {
        let child = files.bulk(&vhost.uri(), &small).spawn().expect("it starts");
        responder.saw(kills * 400).await;
        kill(child).await;
        let journal = replay(&std::fs::read(&files.journal).expect("a journal")).expect("whole");
        for known in journal.jobs.values().filter(|known| !known.confirmed) {
            *open.entry(known.id.to_string()).or_default() += 1;
        }
        middle += usize::from(journal.jobs.len() < JOBS);
    }
    assert!(
        middle > 0,
        "no kill came in the middle of publishing: the test shows nothing"
    );
    responder.hold_answers(false);

    let last = run(&mut files.bulk(&vhost.uri(), &["--json"])).await;
    let said = String::from_utf8_lossy(&last.stderr);
    assert_eq!(last.status.code(), Some(0), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&last.stdout).expect("one object");
    assert_eq!(summary["results"], JOBS, "{summary}");
    assert_eq!(summary["missing"], 0, "{summary}");

    let ids = files.result_ids();
    assert_eq!(ids.len(), JOBS);
    assert!(ids.values().all(|times| *times == 1));
    let seen = responder.seen();
    assert_eq!(seen.len(), JOBS, "a job was published under two ids");
    // What was under way at a kill may come twice: at most one window of it.
    let again = seen.values().sum::<usize>() - JOBS;
    assert!(again <= 4 * 16, "{again} jobs were published again");
    for (id, times) in &seen {
        let most = 1 + open.get(id).copied().unwrap_or(0);
        assert!(
            *times <= most,
            "{id} was confirmed, and published again: {times} times"
        );
    }
    // Others may share the node.
    let ours = format!("{}: ", vhost.name());
    let mut replies = broker.queues().expect("a list");
    replies.retain(|name| name.starts_with(&ours) && name.contains(".reply."));
    assert_eq!(replies, [""; 0]);

    // And once more: there is nothing left to do, and it says so without a broker.
    let again = run(&mut files.bulk("amqp://127.0.0.1:1/none", &["--json"])).await;
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    responder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_dropped_and_conflicts_and_strangers_are_told() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let job =
        |id: &str| format!("{{\"v\":1,\"id\":\"{id}\",\"runtime\":\"python\",\"code\":\"1\"}}");
    let files = Files::new(&["twice", "differs", "lost", "stranger", "last"].map(job));
    let answer = |job: &Job| {
        let fine = || result(job, Outcome::Exited, job.id.as_str());
        match job.id.as_str() {
            "twice" => vec![(fine(), None), (fine(), None)],
            "differs" => vec![(fine(), None), (result(job, Outcome::Exited, "else"), None)],
            "lost" => vec![(result(job, Outcome::WorkerLost, ""), None), (fine(), None)],
            "stranger" => vec![
                (result(job, Outcome::Exited, "forged"), Some("0".repeat(32))),
                (fine(), None),
            ],
            _ => vec![(fine(), None)],
        }
    };
    // One job at a time: the last one's answer comes when all others are in the reply queue.
    let responder = Responder::start(&vhost.uri(), 1, answer).await;
    let more = ["--json", "--set", "producer.window=1"];
    let output = run(&mut files.bulk(&vhost.uri(), &more)).await;
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{summary} {said}");
    let counts = [
        "results",
        "duplicates",
        "replaced",
        "conflicts",
        "strangers",
        "exited_zero",
    ];
    let counts = counts.map(|name| summary[name].as_u64().expect("a number"));
    assert_eq!(counts, [5, 1, 1, 1, 1, 5], "{summary}");
    assert!(
        lines(&files.results)
            .iter()
            .all(|line| !line.contains("forged"))
    );
    let aside = lines(&files.aside);
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(
        aside[0].contains("\"conflict\"") && aside[0].contains("differs"),
        "{aside:?}"
    );
    responder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_without_workers_gives_up_and_gets_its_results_later() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let good = "{\"v\":1,\"id\":\"a\",\"runtime\":\"python\",\"code\":\"1\"}".to_owned();
    let bad = "{\"v\":1,\"id\":\"b\",\"runtime\":\"python\",\"code\":\"1\",\"nice\":9}".to_owned();
    let files = Files::new(&[good, bad, "{".to_owned()]);

    let refused = run(&mut files.bulk(&vhost.uri(), &[])).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("line 2: unknown_field") && said.contains("line 3: not_json"),
        "{said}"
    );
    assert!(
        broker
            .queues()
            .expect("a list")
            .iter()
            .all(|name| !name.contains(vhost.name()))
    );

    let skip = [
        "--skip-bad",
        "--json",
        "--set",
        "producer.idle_timeout_ms=1000",
    ];
    let quiet = run(&mut files.bulk(&vhost.uri(), &skip)).await;
    let said = String::from_utf8_lossy(&quiet.stderr);
    assert_eq!(quiet.status.code(), Some(3), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&quiet.stdout).expect("one object");
    assert_eq!(
        (&summary["missing"], &summary["skipped_lines"]),
        (&1.into(), &2.into())
    );

    // The result comes while no producer runs, and waits in the reply queue, which was left there.
    let mut responder = Responder::start(&vhost.uri(), 64, echo).await;
    responder.saw(1).await;
    let done = run(&mut files.bulk(&vhost.uri(), &skip)).await;
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&done.stdout).expect("one object");
    assert_eq!(
        (&summary["results"], &summary["published"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        responder.seen().get("a"),
        Some(&1),
        "it was confirmed, and published again"
    );
    responder.stop().await;
}

/// Sends the first job of a batch once more, under its own secret, and leaves the answer in the reply queue.
async fn answer_again(uri: &str, files: &Files, line: &str) {
    let env = [("JAILFLEET__AMQP__URI".to_owned(), uri.to_owned())];
    let settings = settings::producer_settings(None, &env, &[]).expect("good settings");
    let journal = replay(&std::fs::read(&files.journal).expect("a journal")).expect("whole");
    let reply = journal.header.expect("a header").reply;
    let known = journal.jobs.get(&1).expect("the first job");
    let job = wire::decode_job(
        line.as_bytes(),
        &DecodeHint::default(),
        &WireCaps::default(),
    );
    let job = job.expect("a good job");
    let pools = vec![job.pool.clone()];
    let mut client = Client::connect_as(&settings, pools, &reply)
        .await
        .expect("it connects");
    let published = client.publisher().publish(&job, known.correlation).await;
    published.expect("the broker takes it");
    let arrival = tokio::time::timeout(LONG, client.next()).await;
    let arrival = arrival.expect("in time").expect("the door is open");
    arrival.hand_back().await.expect("it goes back");
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_in_the_reply_queue_of_a_complete_batch_is_taken_by_the_same_command() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let line = "{\"v\":1,\"id\":\"a\",\"runtime\":\"python\",\"code\":\"1\"}";
    let files = Files::new(&[line.to_owned()]);
    let responder = Responder::start(&vhost.uri(), 4, echo).await;
    let first = run(&mut files.bulk(&vhost.uri(), &[])).await;
    assert_eq!(first.status.code(), Some(0));
    // As if a second result had come at the very end, over which the queue could not be deleted.
    let whole = std::fs::read_to_string(&files.journal).expect("a journal");
    let open = whole
        .strip_suffix("{\"closed\":true}\n")
        .expect("it was closed");
    std::fs::write(&files.journal, open).expect("written");
    answer_again(&vhost.uri(), &files, line).await;

    let again = run(&mut files.bulk(&vhost.uri(), &["--json"])).await;
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(0), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&again.stdout).expect("one object");
    assert_eq!(
        (&summary["results"], &summary["duplicates"]),
        (&1.into(), &1.into()),
        "{summary}"
    );
    let ours = format!("{}: ", vhost.name());
    let mut replies = broker.queues().expect("a list");
    replies.retain(|name| name.starts_with(&ours) && name.contains(".reply."));
    assert_eq!(replies, [""; 0]);
    responder.stop().await;
}

/// A result with whatever the job asked for, and one thing that it did not get.
fn with_artifacts(job: &Job) -> jailfleet::result::JobResult {
    use jailfleet::artifact::{Artifact, ArtifactPath, LeftOut, LeftOutReason};
    let mut answer = result(job, Outcome::Exited, "");
    answer.exit_code = Some(0);
    let asked = job.artifacts.iter().map(|path| Artifact {
        path: path.path().clone(),
        content: jailfleet::blob::Blob::new("left"),
        executable: false,
    });
    answer.artifacts = asked.collect();
    answer.artifacts_left_out = vec![LeftOut {
        path: ArtifactPath::parse("tmp/\u{1b}no/").expect("a path"),
        reason: LeftOutReason::Missing,
    }];
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submit_writes_artifacts_into_a_folder_of_their_own_and_says_what_is_missing() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let answer = |job: &Job| vec![(with_artifacts(job), None)];
    let responder = Responder::start(&vhost.uri(), 4, answer).await;
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("left");
    let submit = async |more: &[&str]| {
        let mut command = producer(&vhost.uri());
        command.args(["submit", "--code", "/dev/null"]).args(more);
        let output = tokio::time::timeout(LONG, command.output()).await;
        output.expect("in time").expect("it ends")
    };
    let into = ["--artifacts-dir", folder.to_str().expect("text")];
    let wanted = ["--artifact", "tmp/a", "--artifact", "tmp/b/c"];
    let output = submit(&[&wanted[..], &into].concat()).await;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words}");
    let remark = "jailfleet-producer: artifact \"tmp/\\u{1b}no/\" left out: missing\n";
    assert_eq!(words, remark);
    for name in ["tmp/a", "tmp/b/c"] {
        let content = std::fs::read_to_string(folder.join(name)).expect("it was written");
        assert_eq!(content, "left");
    }
    // Before anything is published: nobody loses a result for want of a place to put it.
    for (more, words) in [
        (&into[..], "not an empty folder"),
        (&[][..], "--artifacts-dir"),
    ] {
        let output = submit(&[&wanted[..], more].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let json = submit(&[&wanted[..], &["--json"]].concat()).await;
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert_eq!(value["artifacts"][1]["path"], "tmp/b/c");
    responder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submit_prints_what_the_program_printed_and_ends_as_it_ended() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let answer = |job: &Job| {
        let code = job.code.clone().unwrap_or_default();
        let mut answer = result(job, Outcome::Exited, "");
        answer.exit_code = Some(7);
        answer.stdout = Some(code);
        answer.stderr = Some(jailfleet::blob::Blob::new(job.argv.join(" ")));
        vec![(answer, None)]
    };
    let responder = Responder::start(&vhost.uri(), 4, answer).await;
    let submit = |more: &[&str]| {
        let mut command = producer(&vhost.uri());
        command
            .args(["submit", "--code", "-"])
            .args(more)
            .stdin(std::process::Stdio::piped());
        command
    };
    let talk = async |more: &[&str]| {
        let mut child = submit(more).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(b"\xff code").await.expect("it reads");
        drop(stdin);
        let output = tokio::time::timeout(LONG, child.wait_with_output()).await;
        output.expect("in time").expect("it ends")
    };
    let plain = talk(&["--", "one", "--two"]).await;
    assert_eq!(
        plain.status.code(),
        Some(7),
        "{}",
        String::from_utf8_lossy(&plain.stderr)
    );
    assert_eq!(plain.stdout, b"\xff code");
    assert_eq!(plain.stderr, b"one --two");

    let json = talk(&["--json", "--id", "mine"]).await;
    assert_eq!(json.status.code(), Some(0));
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert_eq!(
        (&value["job_id"], &value["exit_code"]),
        (&"mine".into(), &7.into())
    );

    let nobody = talk(&["--lane", "nowhere"]).await;
    assert_eq!(
        nobody.status.code(),
        Some(125),
        "a job that cannot be made has no exit code"
    );
    responder.stop().await;
}
