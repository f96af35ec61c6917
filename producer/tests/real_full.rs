//! A real broker that is full, or does not let us in: what each command says at once, and that nothing
//! is lost when it ends.

#[expect(dead_code, reason = "shared with the tests of bulk")]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use jailfleet::job::{Job, Name};
use jailfleet::outcome::Outcome;
use jailfleet::settings::{self, LaneShares};
use jailfleet_harness::{Broker, Vhost, require};
use jailfleet_queue::amqp::{self, ConsumePlan};
use jailfleet_queue::outbox::KeptBody;
use jailfleet_queue::{Doors, Envelope, Parked};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Answers, Files, LONG, Responder, producer, result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// A person waits no longer for a word. It is there in a fraction of that, but the machine may be busy.
const SOON: Duration = Duration::from_secs(8);

fn echo(job: &Job) -> Answers {
    vec![(result(job, Outcome::Exited, job.id.as_str()), None)]
}

fn input(jobs: usize) -> Vec<String> {
    let line = |number| {
        format!(r#"{{"v":1,"id":"job-{number}","runtime":"python","code":"print({number})"}}"#)
    };
    (0..jobs).map(line).collect()
}

/// Each of so many jobs, once.
fn each_once(jobs: usize) -> BTreeMap<String, usize> {
    (0..jobs)
        .map(|number| (format!("job-{number}"), 1))
        .collect()
}

/// A command under way, and what it says.
struct Running {
    child: Child,
    words: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let stderr = child.stderr.take().expect("it is piped");
        let words = BufReader::new(stderr).lines();
        Self { child, words }
    }

    /// Waits until one line of it has all of these, and not for long.
    async fn says(&mut self, parts: &[&str]) {
        let saying = async {
            while let Some(line) = self.words.next_line().await.expect("text") {
                eprintln!("{line}");
                if parts.iter().all(|part| line.contains(part)) {
                    return;
                }
            }
            panic!("it ended without a word of {parts:?}");
        };
        timeout(SOON, saying)
            .await
            .unwrap_or_else(|_| panic!("no word of {parts:?} in time"));
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it is ours");
    }

    /// Its end, within a time.
    async fn ends(mut self, within: Duration) -> (ExitStatus, String) {
        let mut stdout = self.child.stdout.take().expect("it is piped");
        let mut text = String::new();
        let ending = async {
            while let Some(line) = self.words.next_line().await.expect("text") {
                eprintln!("{line}");
            }
            stdout.read_to_string(&mut text).await.expect("text");
            self.child.wait().await.expect("it can be waited for")
        };
        let status = timeout(within, ending).await.expect("it ends in time");
        (status, text)
    }
}

/// Runs a command to an end that must come soon, with these words on stderr.
async fn fails(command: &mut Command, code: i32, parts: &[&str]) {
    let mut running = Running::start(command);
    running.says(parts).await;
    assert_eq!(running.ends(SOON).await.0.code(), Some(code));
}

/// Runs a command that must end well, and soon; answers with its stdout.
async fn does(uri: &str, arguments: &[&str]) -> String {
    let running = Running::start(producer(uri).args(arguments));
    let (status, text) = running.ends(SOON).await;
    assert_eq!(status.code(), Some(0), "{arguments:?}");
    text
}

fn submit(uri: &str, more: &[&str]) -> Command {
    let mut command = producer(uri);
    command.args(["submit", "--runtime", "python", "--code", "/dev/null"]);
    command.args(more);
    command
}

/// A worker's doors, which make everything that there is in a vhost.
async fn doors(uri: &str) -> Doors {
    let env = [("JAILFLEET__AMQP__URI".to_owned(), uri.to_owned())];
    let settings = settings::producer_settings(None, &env, &[]).expect("good settings");
    let plan = ConsumePlan {
        pool: Name::parse("default").expect("a name"),
        slots: LaneShares {
            interactive: 1,
            bulk: 1,
        },
    };
    let mut doors = amqp::open_and_reap(&settings.amqp, &plan).expect("a door");
    let all_up = |state: &jailfleet_queue::DoorState| {
        state.is_ready() && state.control == jailfleet_queue::Link::Up
    };
    let up = timeout(LONG, doors.state.wait_for(all_up));
    drop(up.await.expect("in time").expect("the door stays open"));
    doors
}

/// Makes everything that there is in a vhost, and parks two dead letters there.
async fn furnish(uri: &str) {
    let doors = doors(uri).await;
    for id in ["dead-1", "dead-2"] {
        let letter = Parked {
            body: Bytes::from(format!(
                r#"{{"v":1,"id":"{id}","runtime":"python","code":""}}"#
            )),
            envelope: Envelope {
                message_id: Some(id.to_owned()),
                ..Envelope::default()
            },
            queue: "jailfleet.suspect.default".to_owned(),
            lane_key: Some("default.bulk".to_owned()),
            reason: "its worker died".to_owned(),
            answered: None,
            kept: KeptBody::Whole,
            parked_ms: 1_700_000_000_000,
        };
        doors.outbox.park(letter).await.expect("parked");
    }
    assert!(doors.sessions.close(LONG).await);
}

/// Fills the disk of a node, as it sees it, or frees it again.
fn disk(broker: &Broker, least_free: &str) {
    let set = ["set_disk_free_limit", least_free];
    broker.ctl(&set).expect("a limit");
}

const FULL: &str = "9000000000000000";
const FREE: &str = "1000";

#[tokio::test(flavor = "multi_thread")]
async fn each_command_says_at_once_that_the_broker_has_no_room_and_nothing_is_lost() {
    require!(Broker);
    let broker = Broker::own().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    furnish(&uri).await;
    disk(&broker, FULL);
    let alarm = ["low on disk", "rabbitmq-diagnostics alarms"];

    // What only reads or takes away is not stopped by it.
    assert!(does(&uri, &["dead", "list"]).await.contains("dead-1"));
    does(&uri, &["lost", "list"]).await;
    does(&uri, &["dead", "drop", "dead-2"]).await;

    fails(producer(&uri).args(["cancel", "--job", "x"]), 1, &alarm).await;
    fails(producer(&uri).args(["dead", "requeue", "--all"]), 1, &alarm).await;
    // Its letter is where it was.
    assert!(does(&uri, &["dead", "list"]).await.contains("dead-1"));

    // One that waits a second for its result says what it waited for in truth.
    let mut short = submit(&uri, &["--timeout", "1"]);
    fails(&mut short, 125, &["hand the job", alarm[0], alarm[1]]).await;
    let mut interrupted = Running::start(&mut submit(&uri, &[]));
    interrupted.says(&alarm).await;
    interrupted.interrupt();
    assert_eq!(interrupted.ends(SOON).await.0.code(), Some(125));

    let mut one = Running::start(&mut submit(&uri, &["--id", "one"]));
    one.says(&alarm).await;
    let files = Files::new(&input(40));
    let mut stopped = Running::start(&mut files.bulk(&uri, &[]));
    stopped.says(&alarm).await;
    stopped.interrupt();
    assert_eq!(stopped.ends(SOON).await.0.code(), Some(5));
    let mut batch = Running::start(&mut files.bulk(&uri, &[]));
    batch.says(&alarm).await;

    // It ends, and all goes on by itself.
    disk(&broker, FREE);
    let responder = Responder::start(&uri, 64, echo).await;
    let (status, text) = one.ends(LONG).await;
    assert_eq!((status.code(), text.as_str()), (Some(0), "one"));
    assert_eq!(batch.ends(LONG).await.0.code(), Some(0));
    assert_eq!(files.result_ids(), each_once(40));
    does(&uri, &["cancel", "--job", "x"]).await;

    // The other alarm.
    let memory = |most: &str| {
        let set = ["set_vm_memory_high_watermark", most];
        broker.ctl(&set).expect("a limit");
    };
    memory("0.00001");
    let alarm = ["low on memory", "rabbitmq-diagnostics alarms"];
    let mut two = Running::start(&mut submit(&uri, &["--id", "two"]));
    two.says(&alarm).await;
    fails(producer(&uri).args(["cancel", "--job", "x"]), 1, &alarm).await;
    memory("0.4");
    let (status, text) = two.ends(LONG).await;
    assert_eq!((status.code(), text.as_str()), (Some(0), "two"));
    responder.stop().await;
}

/// What goes wrong where a broker does not let us in: each command says it, and a batch that waits goes
/// on when it ends.
async fn until_let_in(uri: &str, parts: &[&str], let_in: impl AsyncFnOnce()) {
    for (arguments, code) in [
        (&["cancel", "--batch", "exam"][..], 1),
        (&["dead", "list"], 1),
        (&["dead", "requeue", "--all"], 1),
        (&["lost", "list"], 1),
        (&["lost", "fetch", "--results", "/dev/null"], 1),
    ] {
        fails(producer(uri).args(arguments), code, parts).await;
    }
    let quick = ["--set", "amqp.connect_timeout_ms=500"];
    let reached = [&["reach the broker"], parts].concat();
    fails(&mut submit(uri, &quick), 125, &reached).await;
    let patient = [
        "--set",
        "amqp.connect_timeout_ms=60000",
        "--set",
        "amqp.backoff_max_ms=500",
    ];
    let files = Files::new(&input(40));
    fails(&mut files.bulk(uri, &quick), 1, &reached).await;
    let mut batch = Running::start(&mut files.bulk(uri, &patient));
    batch.says(parts).await;
    let_in().await;
    let responder = Responder::start(uri, 64, echo).await;
    assert_eq!(batch.ends(LONG).await.0.code(), Some(0));
    assert_eq!(files.result_ids(), each_once(40));
    responder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vhost_that_is_away_is_named_and_a_batch_waits_for_it() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let name = format!("away-{}", std::process::id());
    let words = ["vhost", name.as_str(), "not found", "add_vhost"];
    until_let_in(&broker.uri(&name), &words, async || {
        broker.ctl(&["add_vhost", &name]).expect("made");
        let rights = ["set_permissions", "--vhost", &name, "guest"];
        let rights = [&rights[..], &[".*"; 3]].concat();
        broker.ctl(&rights).expect("rights");
    })
    .await;
    broker.ctl(&["delete_vhost", &name]).expect("it is ours");
}

fn limit(broker: &Broker, vhost: &Vhost<'_>, limits: &str) {
    let set = ["set_vhost_limits", "--vhost", vhost.name(), limits];
    broker.ctl(&set).expect("a limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vhost_with_too_many_connections_is_named_and_a_batch_waits_for_one() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    limit(&broker, &vhost, r#"{"max-connections": 0}"#);
    let words = ["connection limit", "set_vhost_limits"];
    until_let_in(&vhost.uri(), &words, async || {
        limit(&broker, &vhost, r#"{"max-connections": -1}"#);
    })
    .await;
}

/// Puts a bounded queue where the interactive lane would be. Of this kind, since a quorum queue takes the
/// first message of each new publisher even when it is full.
fn bound_interactive(broker: &Broker, vhost: &Vhost<'_>) {
    let queue = serde_json::json!({
        "name": "jailfleet.jobs.default.interactive",
        "vhost": vhost.name(),
        "durable": true,
        "auto_delete": false,
        "arguments": { "x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish" },
    });
    let definitions = serde_json::json!({ "queues": [queue] }).to_string();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(definitions.as_bytes()).expect("written");
    let all_may_read = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file.path(), all_may_read).expect("it is ours");
    let path = file.path().to_str().expect("text");
    broker.ctl(&["import_definitions", path]).expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_a_full_queue_is_refused_at_once_with_the_name_of_the_queue() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    bound_interactive(&broker, &vhost);
    furnish(&uri).await;
    let mut said = String::new();
    for attempt in 0..5 {
        let output = submit(&uri, &["--timeout", "1"]).output();
        let output = timeout(SOON, output).await.expect("in time");
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(125), "attempt {attempt}");
        said = String::from_utf8(output.stderr).expect("text");
        eprintln!("{said}");
        if said.contains("the queue is full") {
            break;
        }
        assert!(said.contains("is a worker"), "it was taken: {said}");
    }
    for part in ["default.interactive", "the queue is full; try again later"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_meets_a_full_queue_says_so_and_goes_on_as_workers_make_room() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let uri = vhost.uri();
    furnish(&uri).await;
    let pattern = r"^jailfleet\.jobs\.default\.bulk$";
    let set = [
        "set_policy",
        "--vhost",
        vhost.name(),
        "--apply-to",
        "queues",
    ];
    let bound = ["full", pattern, r#"{"max-length": 3}"#];
    broker.ctl(&[&set[..], &bound].concat()).expect("a policy");
    let files = Files::new(&input(400));
    // A quorum queue that is full says so a little late: not all of the jobs go out at one time.
    let narrow = ["--set", "producer.window=16"];
    let full = ["default.bulk", "full"];
    let mut stopped = Running::start(&mut files.bulk(&uri, &narrow));
    stopped.says(&full).await;
    stopped.interrupt();
    assert_eq!(stopped.ends(SOON).await.0.code(), Some(5));
    // The same command goes on, and gives up where nobody makes room.
    let idle = ["--set", "producer.idle_timeout_ms=1500"];
    let idle = [narrow, idle].concat();
    let gave_up = ["without news", full[0], full[1]];
    fails(&mut files.bulk(&uri, &idle), 3, &gave_up).await;

    let mut batch = Running::start(&mut files.bulk(&uri, &narrow));
    batch.says(&full).await;
    let responder = Responder::start(&uri, 64, echo).await;
    assert_eq!(batch.ends(LONG).await.0.code(), Some(0));
    assert_eq!(files.result_ids(), each_once(400));
    responder.stop().await;
}
