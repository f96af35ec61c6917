//! Canaries in real jails: they prove walls that hold, and a hole that an operator made by mistake is
//! found by them before the first job, or while the worker runs.

#[path = "support/client.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod client;
#[path = "support/worker.rs"]
#[expect(dead_code, reason = "shared with the tests of jobs")]
mod worker;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jailfleet_harness::{Broker, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::time::timeout;
use worker::{LONG, Worker, file_of, local, processes_with};

/// Shows a file of the host as the passwords of the jail.
fn hole(secrets: &Path) -> tempfile::NamedTempFile {
    file_of(&format!(
        "[warden]\nsystem_binds = [{{ source = \"/usr\" }}, {{ source = \"/bin\" }}, \
         {{ source = \"/sbin\" }}, {{ source = \"/lib\" }}, {{ source = \"/lib64\", optional = true }}, \
         {{ source = \"{}\", target = \"/etc/shadow\" }}]\n",
        secrets.display()
    ))
}

fn path_of(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

fn open_to(file: &tempfile::NamedTempFile, mode: u32) {
    let mode = Permissions::from_mode(mode);
    std::fs::set_permissions(file.path(), mode).expect("it is ours");
}

#[test]
fn each_result_tells_when_the_walls_of_its_slot_were_last_proven() {
    let job = json!({ "v": 1, "id": "one", "runtime": "bash", "code": "echo 1" });
    let (code, results) = local(&[job.to_string()], &[]);
    assert_eq!(code, 0);
    let proven = &results[0]["worker"]["last_canary"];
    let proven = proven.as_str().expect("a time");
    assert!(
        proven.ends_with('Z') && proven.starts_with("20"),
        "{proven}"
    );
}

#[test]
fn a_worker_from_whose_jail_a_canary_gets_out_takes_no_job_at_all() {
    require!(Root);
    let secrets = file_of("root:secret\n");
    open_to(&secrets, 0o644);
    let config = hole(secrets.path());
    let job = json!({ "v": 1, "id": "one", "runtime": "bash", "code": "echo 1" });
    let (code, results) = local(&[job.to_string()], &["--config", path_of(&config)]);
    assert_eq!((code, results.len()), (7, 0));
}

#[test]
fn a_worker_whose_canaries_say_nothing_takes_no_job_either() {
    // This python runs another program than it was given.
    let config = file_of(
        "[runtimes.python]\nargs = [\"-c\", \"pass\"]\n\
         [runtimes.bash]\noffered = \"never\"\n",
    );
    let job = json!({ "v": 1, "id": "one", "runtime": "python", "code": "print(1)" });
    let (code, results) = local(&[job.to_string()], &["--config", path_of(&config)]);
    assert_eq!((code, results.len()), (3, 0));
}

/// A worker of this configuration and one setting more that is ready for jobs, with the address of
/// its admin port.
async fn start(uri: &str, config: &tempfile::NamedTempFile, set: &str) -> (Worker, String) {
    let arguments = ["--config", path_of(config), "--set", set];
    let (worker, admin) = Worker::start_with_admin(&arguments, &[("JAILFLEET__AMQP__URI", uri)]);
    client::until_ready(&admin).await;
    (worker, admin)
}

/// Waits until the worker says that it is not ready, and why.
async fn until_unready(admin: &str, why: &str) {
    client::get_until(admin, "/readyz", |answer| {
        answer.starts_with("HTTP/1.1 503") && answer.contains(why)
    })
    .await;
}

#[tokio::test]
async fn a_hole_that_opens_later_stops_the_worker_and_everybody_who_asks_is_told() {
    require!(Root, Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let secrets = file_of("root:secret\n");
    open_to(&secrets, 0o600);
    let config = hole(secrets.path());
    let (worker, admin) = start(&vhost.uri(), &config, "worker.canary_interval_s=1").await;

    open_to(&secrets, 0o644);
    until_unready(&admin, "a canary escaped").await;
    let metrics = client::get(&admin, "/metrics").await;
    assert!(metrics.contains("jailfleet_worker_escaped 1"), "{metrics}");
    assert!(metrics.contains("jailfleet_canaries_total{told=\"escaped\"} 1"));
    let producer = client::Client::new(&vhost.uri(), "jailfleet.reply.canary").await;
    let job = json!({ "v": 1, "id": "late", "runtime": "bash", "code": "echo late" });
    producer
        .publish(client::Job::new("late", &job.to_string()))
        .await;
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ends().code(), Some(7));
    let waiting = producer.waiting("jailfleet.jobs.default.bulk").await;
    assert_eq!(waiting, 1, "nobody took the job");
}

/// A worker of one slot whose only runtime is a bash that the test can take away.
fn one_bash(bash: &Path) -> tempfile::NamedTempFile {
    file_of(&format!(
        "[worker]\nslots = 1\n[warden]\nsystem_binds = [{{ source = \"/usr\" }}, {{ source = \"/bin\" }}, \
         {{ source = \"/sbin\" }}, {{ source = \"/lib\" }}, {{ source = \"/lib64\", optional = true }}, \
         {{ source = \"{}\", target = \"/opt/bash\" }}]\n\
         [runtimes.bash]\nprogram = \"/opt/bash\"\n[runtimes.python]\noffered = \"never\"\n",
        bash.display()
    ))
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

/// Kills the inits of every slot of a warden.
fn kill_inits(warden: Pid) {
    let path = format!("/proc/{warden}/task/{warden}/children");
    let inits = std::fs::read_to_string(path).expect("the warden is alive");
    for init in inits.split_whitespace() {
        let init = Pid::from_raw(init.parse().expect("a pid"));
        kill(init, Signal::SIGKILL).expect("it is alive");
    }
}

#[tokio::test]
async fn a_rebuilt_slot_takes_no_job_before_a_canary_came_back_and_readiness_says_so() {
    require!(Root, Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let folder = tempfile::tempdir().expect("a folder");
    let bash = folder.path().join("bash");
    std::fs::copy("/bin/bash", &bash).expect("copied");
    allow(&bash, 0o755);
    let config = one_bash(&bash);
    let (worker, admin) = start(&vhost.uri(), &config, "worker.slots=1").await;

    // No program starts any more: neither a canary nor a job would.
    allow(&bash, 0o644);
    kill_inits(worker.warden());
    until_unready(&admin, "no proven slot").await;
    let metrics = client::get(&admin, "/metrics").await;
    assert!(metrics.contains("jailfleet_canaries_total{told=\"held\"} 1\n"));
    let mut producer = client::Client::new(&vhost.uri(), "jailfleet.reply.rebuilt").await;
    let job = json!({ "v": 1, "id": "waits", "runtime": "bash", "code": "echo 1" });
    producer
        .publish(client::Job::new("waits", &job.to_string()))
        .await;
    worker.says("no canary comes back from this slot");

    allow(&bash, 0o755);
    let (_, result) = producer.result().await;
    assert_eq!(
        (&result["outcome"], &result["stdout"]),
        (&json!("exited"), &json!("1\n"))
    );
    assert_eq!(result["worker"]["attempt"], 1, "it was never tried in vain");
    assert!(result["worker"]["last_canary"].is_string(), "{result}");
    worker.stops();
}

/// Waits until a program with this argument runs, and ends its slot's init under it.
async fn end_the_slot_under(mark: &str, worker: &Worker) {
    let running = async {
        while processes_with(mark).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, running).await.expect("it runs in time");
    kill_inits(worker.warden());
    let ended = async {
        while !processes_with(mark).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, ended).await.expect("it ends with its slot");
}

#[tokio::test]
async fn a_fault_in_the_middle_of_a_run_is_tried_again_and_the_third_one_is_answered() {
    require!(Root, Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let quick = file_of("[retry]\ndelay_min_ms = 100\ndelay_max_ms = 200\n");
    let lane = "worker.lanes.interactive=0";
    let (worker, admin) = start(&vhost.uri(), &quick, lane).await;
    let mut producer = client::Client::new(&vhost.uri(), "jailfleet.reply.middle").await;
    let retried =
        |times: u32| format!("jailfleet_jobs_set_aside_total{{reason=\"retried\"}} {times}\n");
    // The kernel cuts a name of its own; an argument stays whole.
    let mark = |id: &str| format!("{id}-{}", std::process::id());
    for (id, code) in [
        ("once", "sleep 3; echo ran"),
        ("always", "sleep 5; echo ran"),
    ] {
        let job = json!({ "v": 1, "id": id, "runtime": "bash", "code": code, "argv": [mark(id)] });
        let job = job.to_string();
        producer.publish(client::Job::new(id, &job)).await;
        end_the_slot_under(&mark(id), &worker).await;
        if id == "once" {
            let (_, result) = producer.result().await;
            assert_eq!(
                (&result["outcome"], &result["stdout"]),
                (&json!("exited"), &json!("ran\n"))
            );
            assert_eq!(result["worker"]["attempt"], 2, "{result}");
            client::until_exported(&admin, &retried(1)).await;
        }
    }
    for times in 2..=3 {
        client::until_exported(&admin, &retried(times)).await;
        end_the_slot_under(&mark("always"), &worker).await;
    }
    let (id, result) = producer.result().await;
    assert_eq!(
        (id.as_str(), &result["outcome"]),
        ("always", &json!("engine_fault"))
    );
    assert_eq!(result["worker"]["attempt"], 3, "{result}");
    client::until_exported(&admin, &retried(3)).await;
    worker.stops();
}

/// An attempt of a canary alone: what stands before the first one, then this one.
fn alone(canary: &str, name: &str) -> String {
    let is_attempt = |line: &&str| line.starts_with("attempt \"") || line.starts_with("attempt(\"");
    let before = canary.lines().take_while(|line| !is_attempt(line));
    let this = canary.lines().filter(is_attempt);
    let this = this.filter(|line| line.contains(name));
    before.chain(this).collect::<Vec<_>>().join("\n")
}

/// What an attempt says outside a jail, with a descriptor too many.
fn said(program: &str, canary: &str, name: &str) -> String {
    let ran = worker::command("bash")
        .args(["-c", "exec 7</dev/null; exec \"$@\"", "bash", program, "-c"])
        .arg(alone(canary, name))
        .output()
        .expect("it runs");
    String::from_utf8(ran.stdout).expect("it prints text")
}

#[test]
fn an_attempt_that_nothing_stops_says_so() {
    // Only those that leave nothing behind here.
    let shell = ["lists the root", "makes a network socket"];
    let python = [
        "lists the root",
        "makes a network socket",
        "has a fourth descriptor",
    ];
    for name in shell {
        let canary = include_str!("../src/canary/escape.sh");
        assert_eq!(said("bash", canary, name), format!("BROKEN {name}\n"));
    }
    for name in python {
        let canary = include_str!("../src/canary/escape.py");
        assert_eq!(said("python3", canary, name), format!("BROKEN {name}\n"));
    }
}
