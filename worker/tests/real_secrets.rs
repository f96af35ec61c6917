//! The broker's password is nowhere but where an operator put it.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests that need no broker")]
mod worker;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};

use jailfleet_harness::{Broker, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use worker::{LONG, command, executable, file_of, producer};

const PASSWORD: &str = "hunter2-of-nobody-else";

/// The command lines of these processes, as `ps` shows them.
/// What everybody reads in `ps`. A program that has just been started has nothing there for a moment.
async fn command_line(pid: u32) -> String {
    let looking = async {
        loop {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it is alive");
            if !line.is_empty() {
                return String::from_utf8_lossy(&line).into_owned();
            }
            tokio::task::yield_now().await;
        }
    };
    let line = tokio::time::timeout(LONG, looking).await;
    line.unwrap_or_else(|_| panic!("{pid} has no command line"))
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.expect("it is alive");
    list.split_whitespace()
        .map(|child| child.parse().expect("a pid"))
        .collect()
}

/// Ends a process that a test which fails leaves behind.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill() {
            eprintln!("it could not be killed: {error}");
        }
        if let Err(error) = self.0.wait() {
            eprintln!("it could not be waited for: {error}");
        }
    }
}

fn log_of(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a log")
}

/// Waits until a log has that text.
async fn until_logged(path: &Path, text: &str) {
    let looking = async {
        while !log_of(path).contains(text) {
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::time::timeout(LONG, looking).await;
    found.unwrap_or_else(|_| panic!("{text:?} is not in {}", log_of(path)));
}

#[tokio::test]
async fn the_password_is_in_no_log_and_on_no_command_line_of_worker_warden_and_producer() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let user = vhost.user("secret").expect("a user");
    user.permit(".*", ".*", ".*").expect("rights");
    user.change_password(PASSWORD).expect("changed");
    let with_password = format!("{}:{PASSWORD}@", user.name());
    let uri = user.uri_without_password();
    let uri = uri.replace(&format!("{}@", user.name()), &with_password);
    assert!(uri.contains(PASSWORD));

    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("worker.log");
    let everything = ["--set", "log.level=trace", "--set", "worker.slots=2"];
    let mut starting = command(executable());
    starting.args(["--walls", "laptop"]).args(everything);
    starting
        .env("JAILFLEET__AMQP__URI", &uri)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).expect("a file"));
    let mut worker = Ended(starting.spawn().expect("it starts"));
    until_logged(&log, "taking jobs").await;

    let job = |number: u32| {
        let id = format!("job-{number}");
        json!({ "v": 1, "id": id, "runtime": "bash", "code": "sleep 1; echo ran" }).to_string()
    };
    let jobs = file_of(&(0..4).map(job).collect::<Vec<_>>().join("\n"));
    let results = folder.path().join("results.jsonl");
    let said = folder.path().join("producer.log");
    let mut bulk = producer(&uri);
    bulk.arg("bulk")
        .arg(jobs.path())
        .arg("--results")
        .arg(&results);
    bulk.args(["--set", "log.level=trace"]);
    bulk.stdout(Stdio::null())
        .stderr(File::create(&said).expect("a file"));
    let mut bulk = Ended(bulk.spawn().expect("it starts"));
    let mut seen = vec![worker.0.id(), bulk.0.id()];
    seen.extend(children(worker.0.id()));
    assert!(seen.len() > 2, "the warden too: {seen:?}");
    for pid in seen {
        let line = command_line(pid).await;
        assert!(!line.contains(PASSWORD), "{line}");
    }
    let ended = bulk.0.wait().expect("it can be waited for");
    assert!(ended.success(), "{}", log_of(&said));

    // What is said when the broker lets nobody in any more is about the same URI.
    user.change_password("another").expect("changed");
    user.disconnect().expect("its connections are closed");
    until_logged(&log, "no session with the broker").await;
    let pid = i32::try_from(worker.0.id()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is alive");
    worker.0.wait().expect("it can be waited for");
    for path in [&log, &said] {
        let text = log_of(path);
        assert!(!text.is_empty(), "{}", path.display());
        let lines = text.lines().filter(|line| line.contains(PASSWORD));
        assert_eq!(lines.collect::<Vec<_>>(), [""; 0], "{}", path.display());
    }
}
