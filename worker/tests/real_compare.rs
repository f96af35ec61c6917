//! `jailfleet-producer compare`: a service that answers by codejail's contract, and a real worker with the
//! limits of its settings, get the same jobs.
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing from a report has to fail the test"
)]

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jailfleet_harness::{Broker, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use worker::Worker;

/// The service's process; it ends when its standard input does.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    fn start() -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/codejail.py");
        // The python of the jails, so that both sides write the same tracebacks.
        let mut process = worker::command("/usr/bin/python3")
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut port = String::new();
        let stdout = process.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut port)
            .expect("its port");
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self { process, url }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("the service was perhaps left behind: {error}");
        }
    }
}

fn file_of(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("writable");
    file
}

fn path_of(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

/// A worker whose limits were imported from the settings that the service has.
async fn start(uri: &str) -> (Worker, NamedTempFile) {
    let settings = json!({ "limits": { "CPU": 1, "REALTIME": 6 } }).to_string();
    let mut import = worker::producer(uri);
    let settings = file_of(&settings);
    let import = import
        .args(["import-codejail", path_of(&settings)])
        .output();
    let import = import.expect("it starts");
    assert_eq!(import.status.code(), Some(0));
    let site = file_of(std::str::from_utf8(&import.stdout).expect("TOML"));
    let arguments = [
        "--config",
        path_of(&site),
        "--set",
        "worker.lanes.interactive=0",
    ];
    let variables = [("JAILFLEET__AMQP__URI", uri)];
    let (worker, admin) = Worker::start_with_admin(&arguments, &variables);
    client::until_ready(&admin).await;
    (worker, site)
}

fn job(id: &str, code: &str, globals: &str, more: &Value) -> String {
    let mut job =
        json!({ "v": 1, "id": id, "runtime": "python", "code": code, "globals": globals });
    for (name, value) in more.as_object().into_iter().flatten() {
        job[name.as_str()] = value.clone();
    }
    job.to_string()
}

fn compare(uri: &str, url: &str, jobs: &str, more: &[&str]) -> Output {
    let jobs = file_of(jobs);
    let mut compare = worker::producer(uri);
    compare
        .args(["compare", "--codejail-url", url, path_of(&jobs)])
        .args(more);
    let output = compare.output().expect("it starts");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The jobs' objects by id, and the summary.
fn report(output: &Output) -> (BTreeMap<String, Value>, Value) {
    let text = std::str::from_utf8(&output.stdout).expect("JSON");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let summary = lines.pop().expect("a last line")["summary"].clone();
    let named = |line: Value| (line["job_id"].as_str().expect("an id").to_owned(), line);
    (lines.into_iter().map(named).collect(), summary)
}

/// A zip with one module, `lib`, made by Python itself.
fn library() -> String {
    let code = "import io, sys, zipfile\nb = io.BytesIO()\nwith zipfile.ZipFile(b, 'w') as z:\n  \
                z.writestr('lib.py', 'answer = 42\\n\\ndef fail():\\n    raise KeyError(answer)\\n')\n\
                sys.stdout.buffer.write(b.getvalue())";
    let made = worker::command("/usr/bin/python3")
        .args(["-c", code])
        .output();
    STANDARD.encode(made.expect("python3 starts").stdout)
}

/// Code that means no harm, and codes that end in every way that codejail's users know.
fn equal_jobs() -> Vec<String> {
    let library = json!({
        "files": [{ "path": "python_lib.zip", "content": { "base64": library() } }],
        "python_path": ["python_lib.zip"],
    });
    let course = json!({ "limit_profile": "course-v1:edX+Demo.X+2026", "slug": "problem 1" });
    let odd = r#"{"nan": NaN, "inf": -Infinity, "half": "\ud800", "big": 123456789012345678901234567890}"#;
    let values = "a = {b'k': b'v', 1: (1, (2, b'x')), None: True}\nb = b'bytes'\nc = b'\\xff'\ndef f(): pass\n\
                  import math\nd = {1}\ne = 0.1 + 0.2\nx += 1\nprint('not seen')";
    let tests: &[(&str, &str, &str, &Value)] = &[
        (
            "values",
            values,
            r#"{"x": 16, "y": ["é", {"z": null}]}"#,
            &course,
        ),
        (
            "odd",
            "same = nan != nan and half == '\\ud800'",
            odd,
            &Value::Null,
        ),
        ("deleted", "del x", r#"{"x": 1}"#, &Value::Null),
        ("library", "import lib\ny = lib.answer", "{}", &library),
        ("library-fails", "import lib\nlib.fail()", "{}", &library),
        (
            "raises",
            "import sys\nsys.stderr.write('before\\n')\ndef f():\n  raise ValueError(\"it's \\\"no\\\"\")\nf()",
            r#"{"x": 1}"#,
            &Value::Null,
        ),
        (
            "chained",
            "try:\n  1/0\nexcept Exception as e:\n  raise KeyError('k') from e",
            "{}",
            &Value::Null,
        ),
        (
            "in-library",
            "import json\njson.loads('{')",
            "{}",
            &Value::Null,
        ),
        ("syntax", "x = 1\nx +", "{}", &Value::Null),
        ("deep", "def f(): f()\nf()", "{}", &Value::Null),
        ("exit-0", "import sys\nsys.exit(0)", "{}", &Value::Null),
        ("exit-3", "import sys\nsys.exit(3)", "{}", &Value::Null),
        (
            "segfault",
            "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
            "{}",
            &Value::Null,
        ),
        ("busy", "while True: pass", r#"{"x": 1}"#, &Value::Null),
        ("sleeps", "import time\ntime.sleep(60)", "{}", &Value::Null),
    ];
    tests
        .iter()
        .map(|(id, code, globals, more)| job(id, code, globals, more))
        .collect()
}

#[tokio::test]
async fn codes_that_end_in_every_usual_way_are_equal_on_both_sides_and_others_are_told() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, _site) = start(&vhost.uri()).await;
    let service = Service::start();

    let jobs = equal_jobs();
    let equal = compare(&vhost.uri(), &service.url, &jobs.join("\n"), &["--json"]);
    let (of, summary) = report(&equal);
    let unequal: Vec<&Value> = of
        .values()
        .filter(|one| one["verdict"] != "equal")
        .collect();
    assert!(unequal.is_empty(), "{}", json!(unequal));
    assert_eq!(equal.status.code(), Some(0), "{summary}");
    assert_eq!(
        (&summary["equal"], &summary["missing"]),
        (&json!(jobs.len()), &json!(0))
    );
    assert!(
        of["busy"]["codejail_ms"].as_f64() > Some(900.0),
        "{}",
        of["busy"]
    );

    // What people search the log for is in it, and what a program is or prints is not.
    loop {
        let finished = worker.says("job finished");
        let line = finished.to_string();
        assert!(
            !line.contains("not seen") && !line.contains("\\u00e9") && !line.contains('é'),
            "{line}"
        );
        if finished["job_id"] == "values" {
            assert_eq!(finished["slug"], "problem 1");
            break;
        }
    }

    // This service has no walls, and a temporary folder by a relative path, as codejail has.
    let differ = [
        job("same", "x = 1", "{}", &Value::Null),
        job(
            "tmpdir",
            "import os\nx = os.path.isabs(os.environ['TMPDIR'])\ny = 1",
            "{}",
            &Value::Null,
        ),
        job("fails", "open('/etc/passwd').close()", "{}", &Value::Null),
    ];
    let table = compare(&vhost.uri(), &service.url, &differ.join("\n"), &[]);
    assert_eq!(table.status.code(), Some(1));
    let text = String::from_utf8_lossy(&table.stdout);
    eprintln!("{text}");
    for part in [
        "job tmpdir: different\n  globals.x\n    codejail   false\n    jailfleet  true\n",
        "job fails: different\n  emsg\n    codejail   none\n",
        "equal                   1\ndifferent               2\nnot compared            0\n",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    let said = String::from_utf8_lossy(&table.stderr);
    assert!(
        said.ends_with("jailfleet-producer: 2 jobs differ\n"),
        "{said}"
    );
    worker.stops();
}

#[tokio::test]
async fn what_a_service_or_a_fleet_does_not_answer_is_not_compared_and_ends_in_time() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let (worker, _site) = start(&vhost.uri()).await;
    let service = Service::start();
    let behaviours = ["hang", "drop", "500", "nonsense"];
    let jobs =
        behaviours.map(|how| job(how, &format!("x = 1  # service: {how}"), "{}", &Value::Null));
    let large = "x = 'x' * 200_000";
    let jobs = [&jobs[..], &[job("large", large, "{}", &Value::Null)]]
        .concat()
        .join("\n");
    let more = [
        "--json",
        "--timeout",
        "4",
        "--parallel",
        "5",
        "--set",
        "producer.result_bytes=65536",
    ];
    let output = compare(&vhost.uri(), &service.url, &jobs, &more);
    assert_eq!(output.status.code(), Some(3));
    let (of, summary) = report(&output);
    for (id, why) in [
        ("hang", "codejail: no answer within 4 s"),
        ("drop", "codejail: ask: "),
        (
            "500",
            "codejail: 500 Internal Server Error: {\"error\": \"Codejail service is not",
        ),
        ("nonsense", "codejail: the answer is no object"),
        (
            "large",
            "codejail: read the answer, of which 65536 bytes are allowed",
        ),
    ] {
        assert_eq!(of[id]["verdict"], "not_compared", "{}", of[id]);
        let said = of[id]["why"].as_str().expect("words");
        // What escapes a quote is the answer's text, made safe to show.
        let said = said.replace('\\', "");
        assert!(said.starts_with(why), "{said}");
    }
    assert_eq!(summary["not_compared"], 5, "{summary}");
    worker.stops();

    // Nobody serves the queue now, and nobody the port.
    let one = job("one", "x = 1", "{}", &Value::Null);
    let output = compare(
        &vhost.uri(),
        &service.url,
        &one,
        &["--json", "--timeout", "1"],
    );
    let (of, _) = report(&output);
    assert_eq!(of["one"]["why"], "jailfleet: no result within 1 s");
    let many: Vec<String> = (0..60)
        .map(|n| job(&format!("j{n}"), "x = 1", "{}", &Value::Null))
        .collect();
    let nowhere = "http://127.0.0.1:1";
    let output = compare(
        &vhost.uri(),
        nowhere,
        &many.join("\n"),
        &["--timeout", "1", "--parallel", "64"],
    );
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("gave up: the codejail service gives no answers"),
        "{said}"
    );
}

#[test]
fn lines_that_a_service_could_not_run_are_all_named_before_anything_is_sent() {
    let lines = [
        job("good", "x = 1", "{}", &Value::Null),
        "{".to_owned(),
        job("argv", "x = 1", "{}", &json!({ "argv": ["a"] })),
        json!({ "v": 1, "id": "plain", "runtime": "python", "code": "x = 1" }).to_string(),
    ];
    let nowhere = "amqp://127.0.0.1:1/none";
    let refused = compare(nowhere, "http://127.0.0.1:1", &lines.join("\n"), &[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    for part in [
        "line 2: not_json",
        "line 3: argv: ",
        "line 4: globals: ",
        "3 of the lines",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let wrong = compare(nowhere, "https://codejail", &lines[0], &[]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn either_signal_stops_a_comparison_which_then_reports_what_it_has() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    // It takes requests and says nothing; nor does anybody run the jobs.
    let service = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = service.local_addr().expect("its address");
    let jobs = file_of(&job("one", "x = 1", "{}", &Value::Null));
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let compare = worker::producer(&vhost.uri())
            .args(["compare", "--json", "--timeout", "600", "--codejail-url"])
            .args([&format!("http://{address}"), path_of(&jobs)])
            .spawn()
            .expect("it starts");
        let asked = service.accept().expect("it asks");
        let pid = i32::try_from(compare.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
        let output = compare.wait_with_output().expect("it ends");
        drop(asked);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{signal}: {said}");
        assert!(said.ends_with("jailfleet-producer: stopped\n"), "{said}");
        let (_, summary) = report(&output);
        assert_eq!(summary["missing"], 1, "{summary}");
    }
}
