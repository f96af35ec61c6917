//! Artifacts through both doors, the real warden and real jails.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use client::{Client, Job};
use jailfleet_harness::{Broker, require};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use worker::{Worker, local};

fn job(id: &str, runtime: &str, code: &str, artifacts: &[&str]) -> Value {
    json!({ "v": 1, "minor": 1, "id": id, "runtime": runtime, "code": code, "artifacts": artifacts })
}

/// What became of jobs, in their order, all in one worker.
fn run(jobs: &[Value], flags: &[&str]) -> Vec<Value> {
    let lines: Vec<String> = jobs.iter().map(Value::to_string).collect();
    let (code, results) = local(&lines, flags);
    assert_eq!(code, 0);
    let of = |job: &Value| {
        let mut found = results
            .iter()
            .filter(|result| result["job_id"] == job["id"]);
        found.next().cloned().expect("each job gets a result")
    };
    jobs.iter().map(of).collect()
}

fn left_out(path: &str, reason: &str) -> Value {
    json!({ "path": path, "reason": reason })
}

const LEAVE: &str = "mkdir -p tmp/out/d; printf '{\"ok\": true}' >tmp/report.json; ln -s /etc/passwd tmp/out/l\n\
    printf '\\0\\377' >tmp/out/d/plot.png; printf x >tmp/out/run; chmod +x tmp/out/run; echo done";

/// A job that leaves some of what it is asked for.
fn leaving(id: &str) -> Value {
    job(
        id,
        "bash",
        LEAVE,
        &["tmp/report.json", "tmp/out/", "tmp/coverage.xml"],
    )
}

fn assert_left(result: &Value) {
    assert_eq!(
        (&result["outcome"], &result["exit_code"], &result["stdout"]),
        (&json!("exited"), &json!(0), &json!("done\n"))
    );
    let expected = json!([
        { "path": "tmp/report.json", "content": "{\"ok\": true}" },
        { "path": "tmp/out/d/plot.png", "content": { "base64": "AP8=" } },
        { "path": "tmp/out/run", "content": "x", "executable": true },
    ]);
    assert_eq!(result["artifacts"], expected);
    let expected = json!([
        left_out("tmp/out/l", "link"),
        left_out("tmp/coverage.xml", "missing"),
    ]);
    assert_eq!(result["artifacts_left_out"], expected);
}

#[test]
fn a_result_brings_what_the_job_asked_for_and_says_what_is_missing() {
    let results = run(
        &[
            leaving("a"),
            json!({ "v": 1, "id": "b", "runtime": "bash", "code": "touch tmp/x" }),
        ],
        &[],
    );
    assert_left(&results[0]);
    for field in ["artifacts", "artifacts_left_out"] {
        assert!(
            results[1].get(field).is_none(),
            "nobody asked: {}",
            results[1]
        );
    }
}

#[tokio::test]
async fn both_doors_bring_the_same() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let flags = ["--set", "admin.listen=127.0.0.1:0"];
    let uri = vhost.uri();
    let worker = Worker::start(&flags, &[("JAILFLEET__AMQP__URI", uri.as_str())]);
    let line = worker.says("the admin port is open");
    let admin = line["address"].as_str().expect("its address").to_owned();
    worker.says("taking jobs");
    client::get_until(&admin, "/readyz", |answer| {
        answer.starts_with("HTTP/1.1 200")
    })
    .await;
    let mut client = Client::new(&uri, "jailfleet.reply.artifacts").await;
    client
        .publish(Job::new("a", &leaving("a").to_string()))
        .await;
    let (_, result) = client.result().await;
    assert_left(&result);
    let metrics = client::get(&admin, "/metrics").await;
    for line in [
        "jailfleet_artifacts_total 3\n",
        "jailfleet_artifacts_left_out_total{reason=\"link\"} 1\n",
        "jailfleet_artifacts_left_out_total{reason=\"missing\"} 1\n",
        "jailfleet_artifacts_left_out_total{reason=\"lost\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(0));
}

#[test]
fn artifacts_come_whatever_ended_the_run_and_change_no_outcome() {
    let mut slow = job("wall", "bash", "echo part >tmp/log; sleep 60", &["tmp/log"]);
    slow["limits"] = json!({ "wall_ms": 300 });
    let mut loud = job(
        "output",
        "bash",
        "echo part >tmp/log; exec cat /dev/zero",
        &["tmp/log"],
    );
    loud["limits"] = json!({ "output_bytes": 1000 });
    let failing = job(
        "exit",
        "bash",
        "echo part >tmp/log; exit 3",
        &["tmp/log", "tmp/no"],
    );
    let broken = job(
        "signal",
        "bash",
        "echo part >tmp/log; kill -SEGV $$",
        &["tmp/log"],
    );
    let results = run(&[slow, loud, failing, broken], &[]);
    let outcomes = ["wall_limit", "output_limit", "exited", "signaled"];
    for (result, outcome) in results.iter().zip(outcomes) {
        assert_eq!(result["outcome"], outcome, "{result}");
        assert_eq!(
            result["artifacts"],
            json!([{ "path": "tmp/log", "content": "part\n" }])
        );
        assert!(result.get("error").is_none(), "{result}");
    }
    assert_eq!(results[2]["exit_code"], 3);
    assert_eq!(
        results[2]["artifacts_left_out"],
        json!([left_out("tmp/no", "missing")])
    );
}

#[test]
fn globals_and_artifacts_come_side_by_side() {
    let mut both = job(
        "a",
        "python",
        "with open('tmp/r', 'w') as f: f.write(str(x))\ny = x + 1\ndel f",
        &["tmp/r"],
    );
    both["globals"] = json!("{\"x\": 1}");
    let result = run(&[both], &[]).remove(0);
    assert_eq!(result["globals"], "{\"x\": 1, \"y\": 2}", "{result}");
    assert_eq!(
        result["artifacts"],
        json!([{ "path": "tmp/r", "content": "1" }])
    );
}

#[test]
fn a_job_that_did_not_run_says_so_of_each() {
    let mut late = job("late", "bash", "", &["tmp/a", "tmp/b/"]);
    late["deadline"] = json!("2001-01-01T00:00:00Z");
    let mut no_program = job("no_program", "native", "no program", &["tmp/a"]);
    no_program["limits"] = json!({ "wall_ms": 1000 });
    let results = run(&[late, no_program], &[]);
    assert_eq!(results[0]["outcome"], "expired");
    let expected = json!([left_out("tmp/a", "no_run"), left_out("tmp/b/", "no_run")]);
    assert_eq!(results[0]["artifacts_left_out"], expected);
    assert_eq!(results[1]["error"]["code"], "bad_program", "{}", results[1]);
    assert_eq!(
        results[1]["artifacts_left_out"],
        json!([left_out("tmp/a", "no_run")])
    );
}

#[test]
fn the_workers_bounds_are_kept_and_told() {
    let code = "mkdir tmp/out; for i in 1 2 3; do head -c 500 /dev/zero | tr '\\0' x >tmp/out/$i; done\n\
                head -c 2000 /dev/zero >tmp/large; mkdir tmp/many; touch tmp/many/{1..40}";
    let wanted = ["tmp/large", "tmp/out/", "tmp/many/"];
    let flags = [
        "--set",
        "caps.artifact_bytes=1000",
        "--set",
        "caps.artifacts_bytes=1200",
        "--set",
        "caps.artifact_entries=30",
    ];
    let result = run(&[job("a", "bash", code, &wanted)], &flags).remove(0);
    let came: Vec<_> = result["artifacts"]
        .as_array()
        .expect("some")
        .iter()
        .collect();
    assert_eq!(came.len(), 2, "{result}");
    assert_eq!(came[1]["path"], "tmp/out/2");
    let expected = json!([
        left_out("tmp/large", "too_large"),
        left_out("tmp/out/3", "too_large"),
        left_out("tmp/many/", "too_many"),
    ]);
    assert_eq!(result["artifacts_left_out"], expected);
    let none = ["--set", "caps.artifacts=0"];
    let result = run(&[job("a", "bash", "", &["tmp/a"])], &none).remove(0);
    assert_eq!(result["error"]["code"], "too_large", "{result}");
}

#[test]
fn a_result_that_would_be_too_large_keeps_its_output_and_leaves_the_artifacts_out() {
    let code = "head -c 3000000 /dev/urandom >tmp/noise; echo still here";
    let flags = [
        "--set",
        "caps.result_bytes=1000000",
        "--set",
        "runtime_defaults.ceiling.output_bytes=500000",
        "--set",
        "runtime_defaults.limits.output_bytes=400000",
    ];
    let result = run(&[job("a", "bash", code, &["tmp/noise"])], &flags).remove(0);
    assert_eq!(result["stdout"], "still here\n", "{result}");
    assert!(result.get("error").is_none(), "{result}");
    let expected = json!([left_out("tmp/noise", "result_too_large")]);
    assert_eq!(result["artifacts_left_out"], expected);
}

#[test]
fn a_job_that_does_not_say_the_minor_is_refused_by_the_field() {
    let mut job = leaving("a");
    job["minor"] = json!(0);
    let result = run(&[job], &[]).remove(0);
    assert_eq!(result["error"]["code"], "unknown_field", "{result}");
    let message = result["error"]["message"].as_str().expect("words");
    assert!(message.contains("\"minor\": 1"), "{message}");
}
