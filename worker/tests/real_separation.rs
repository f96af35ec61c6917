//! What a worker that belongs to somebody else can do to its warden and the slots: talk to them by the protocol.
//!
//! The tries are made with the worker's identity, but without its own filter of system calls, and without
//! its AppArmor profile: each must fail by identity alone.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/mistakes.rs"]
#[expect(dead_code, reason = "shared with the tests of mistakes")]
mod mistakes;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod worker;

use std::collections::BTreeMap;
use std::path::Path;

use client::{Client, Job};
use jailfleet_harness::{Broker, require};
use mistakes::valid;
use nix::unistd::Pid;
use worker::{Worker, command, status_of};

const SCRIPT: &str = include_str!("support/takeover.py");

/// What the kernel may answer: the third and fourth where it has no such file or call.
const REFUSALS: [&str; 5] = ["EPERM", "EACCES", "ENOENT", "ENOSYS", "EROFS"];

/// The warden's `state_dir` as the embedded configuration has it: all wardens of a host must share it.
const LEASES: &str = "/run/jailfleet";

/// The one number of a line of four equal ones.
fn id(pid: Pid, name: &str) -> u32 {
    let line = status_of(format!("/proc/{pid}"), name);
    let mut ids: Vec<u32> = line
        .split_whitespace()
        .map(|id| id.parse().expect("a number"))
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{name} of {pid}: {line}");
    ids.swap_remove(0)
}

fn children(pid: Pid) -> Vec<String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let line = std::fs::read_to_string(path).expect("it is alive");
    line.split_whitespace().map(str::to_owned).collect()
}

/// Makes all tries against these processes, as whoever the worker is.
fn tries(worker: &Worker, state: &str, targets: &[String]) -> BTreeMap<String, String> {
    let (uid, gid) = (id(worker.pid(), "Uid"), id(worker.pid(), "Gid"));
    assert_ne!(uid, 0, "it gave root up");
    let mut script = command("python3");
    let identity = [uid.to_string(), gid.to_string()];
    script.args(["-I", "-c", SCRIPT]).args(identity);
    script.arg(state).args(targets);
    let ended = script.output().expect("python3 starts");
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{:?}: {words}", ended.status);
    serde_json::from_slice(&ended.stdout).expect("an object")
}

#[tokio::test]
async fn whoever_takes_a_worker_over_can_do_nothing_to_its_warden_and_slots_but_talk() {
    require!(Root, X86, Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let worker = Worker::start(
        &["--set", "admin.listen=127.0.0.1:0"],
        &[("JAILFLEET__AMQP__URI", &vhost.uri())],
    );
    let line = worker.says("the admin port is open");
    let admin = line.get("address").and_then(serde_json::Value::as_str);
    let admin = admin.expect("its address");
    client::get_until(admin, "/readyz", |answer| {
        answer.starts_with("HTTP/1.1 200")
    })
    .await;
    let mut client = Client::new(&vhost.uri(), "jailfleet.reply.separation").await;
    client
        .publish(Job::new("before", &valid("before").to_string()))
        .await;
    assert_eq!(client.result().await.1["outcome"], "exited");

    let mut targets = vec![worker.warden().to_string()];
    targets.extend(children(worker.warden()));
    assert!(targets.len() > 1, "there are slots");
    assert!(Path::new(LEASES).is_dir(), "{LEASES} is where leases are");
    let told = tries(&worker, LEASES, &targets);
    assert!(
        told.len() > 50 * targets.len(),
        "each try was made: {told:?}"
    );
    let done: Vec<_> = told
        .iter()
        .filter(|(_, told)| !REFUSALS.contains(&told.as_str()))
        .collect();
    assert!(done.is_empty(), "{done:#?}");

    // And nobody has noticed anything.
    client
        .publish(Job::new("after", &valid("after").to_string()))
        .await;
    assert_eq!(client.result().await.1["outcome"], "exited");
    worker.stops();
}
