//! What the tests with a real broker share: the producer's binary, and a worker without walls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jailfleet::job::{Job, Name};
use jailfleet::outcome::Outcome;
use jailfleet::result::{JobResult, Timing, WorkerStamp};
use jailfleet::settings::{self, LaneShares};
use jailfleet::units::Elapsed;
use jailfleet::wire::{self, DecodeHint, WireCaps};
use jailfleet_queue::amqp::{self, ConsumePlan};
use jailfleet_queue::{Delivery, Disposition, Doors, Outbox, Reply};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// More than any step takes on a machine that is busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Answers of the worker to one job, in order; with `None` under the job's own correlation id.
pub(crate) type Answers = Vec<(JobResult, Option<String>)>;

/// A worker that answers without running anything: real intake, real outbox, no walls.
pub(crate) struct Responder {
    tasks: JoinSet<()>,
    /// How many deliveries of each job there were.
    seen: Arc<Mutex<BTreeMap<String, usize>>>,
    /// How many deliveries there were in all.
    pub(crate) count: watch::Receiver<usize>,
    /// Whether answers go out.
    answering: watch::Sender<bool>,
}

impl Responder {
    /// Serves both lanes of the default pool with what `answer` says, `most` jobs at a time.
    pub(crate) async fn start(
        uri: &str,
        most: usize,
        answer: impl Fn(&Job) -> Answers + Send + Sync + 'static,
    ) -> Self {
        let env = [("JAILFLEET__AMQP__URI".to_owned(), uri.to_owned())];
        let section = settings::producer_settings(None, &env, &[])
            .expect("good settings")
            .amqp;
        let plan = ConsumePlan {
            pool: Name::parse("default").expect("a name"),
            slots: LaneShares {
                interactive: 16,
                bulk: 64,
            },
        };
        let mut doors = amqp::open(&section, &plan).expect("a door");
        let up = tokio::time::timeout(LONG, doors.state.wait_for(|state| state.is_ready()));
        drop(up.await.expect("in time").expect("the door stays open"));
        let seen = Arc::default();
        let (sender, count) = watch::channel(0);
        let (answering, gate) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(
            doors,
            most,
            Arc::new(answer),
            Arc::clone(&seen),
            sender,
            gate,
        ));
        Self {
            tasks,
            seen,
            count,
            answering,
        }
    }

    /// Takes jobs and acks them, and keeps the answers back until told otherwise.
    pub(crate) fn hold_answers(&self, hold: bool) {
        self.answering.send_replace(!hold);
    }

    /// Waits until at least `deliveries` came.
    pub(crate) async fn saw(&mut self, deliveries: usize) {
        let came = self.count.wait_for(|count| *count >= deliveries);
        let came = tokio::time::timeout(LONG, came).await.expect("in time");
        came.expect("the responder lives");
    }

    /// How often each job was delivered.
    pub(crate) fn seen(&self) -> BTreeMap<String, usize> {
        self.seen.lock().expect("nobody panicked").clone()
    }

    /// Stops without a word.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(
    mut doors: Doors,
    most: usize,
    answer: Arc<impl Fn(&Job) -> Answers + Send + Sync + 'static>,
    seen: Arc<Mutex<BTreeMap<String, usize>>>,
    count: watch::Sender<usize>,
    gate: watch::Receiver<bool>,
) {
    let mut attempts = JoinSet::new();
    while let Some(delivery) = doors.intake.next().await {
        let id = delivery
            .envelope
            .message_id
            .clone()
            .expect("our jobs have ids");
        *seen.lock().expect("nobody panicked").entry(id).or_default() += 1;
        count.send_modify(|count| *count += 1);
        attempts.spawn(attempt(
            delivery,
            doors.outbox.clone(),
            Arc::clone(&answer),
            gate.clone(),
        ));
        while *gate.borrow() && attempts.len() >= most && attempts.join_next().await.is_some() {}
    }
}

async fn attempt(
    delivery: Delivery,
    outbox: Outbox,
    answer: Arc<impl Fn(&Job) -> Answers + Send + Sync>,
    mut gate: watch::Receiver<bool>,
) {
    let hint = DecodeHint {
        message_id: delivery.envelope.message_id.as_deref(),
        pool: Some(&delivery.origin.pool),
        lane: Some(delivery.origin.lane),
    };
    let job = wire::decode_job(&delivery.body, &hint, &WireCaps::default()).expect("a good job");
    let reply_to = delivery
        .envelope
        .reply_to
        .clone()
        .expect("the producer waits");
    let mut ticket = Some(delivery.ticket);
    if !*gate.borrow()
        && let Some(ticket) = ticket.take()
    {
        ticket.settle(Disposition::Ack).await.expect("acked");
        gate.wait_for(|open| *open)
            .await
            .expect("the responder lives");
    }
    for (result, correlation) in answer(&job) {
        let reply = Reply {
            reply_to: jailfleet::reply::vet(&reply_to, "jailfleet").expect("a good queue"),
            correlation_id: correlation.or_else(|| delivery.envelope.correlation_id.clone()),
            traceparent: None,
            result: wire::encode_result(&result, 1 << 20),
        };
        outbox.publish(reply).await.expect("the result is safe");
    }
    if let Some(ticket) = ticket {
        ticket.settle(Disposition::Ack).await.expect("acked");
    }
}

/// A result as a worker would write it for a program that printed its own id.
pub(crate) fn result(job: &Job, outcome: Outcome, stdout: &str) -> JobResult {
    let worker = WorkerStamp {
        host: "responder".to_owned(),
        version: "0".to_owned(),
        slot: Some(0),
        attempt: 1,
        last_canary: None,
    };
    let mut result = JobResult::without_run(Some(job.id.clone()), outcome, None, worker);
    if outcome == Outcome::Exited {
        result.exit_code = Some(0);
        result.stdout = Some(jailfleet::blob::Blob::new(stdout));
        result.stderr = Some(jailfleet::blob::Blob::default());
    }
    result.timing = Some(Timing {
        queued: Some(Elapsed::from_micros(1500)),
        setup: Elapsed::from_micros(100),
        run: Elapsed::from_micros(20_000),
        total: Elapsed::from_micros(21_600),
    });
    result
}

/// A folder with the files of one batch.
pub(crate) struct Files {
    _folder: tempfile::TempDir,
    pub(crate) jobs: PathBuf,
    pub(crate) results: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) aside: PathBuf,
}

impl Files {
    /// `lines` as the input of a batch.
    pub(crate) fn new(lines: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let at = |name: &str| folder.path().join(name);
        let (jobs, results) = (at("jobs.jsonl"), at("results.jsonl"));
        let (journal, aside) = (at("results.jsonl.journal"), at("results.jsonl.aside"));
        std::fs::write(&jobs, lines.join("\n") + "\n").expect("room on the disk");
        Self {
            jobs,
            results,
            journal,
            aside,
            _folder: folder,
        }
    }

    /// `bulk` of this input, with more arguments.
    pub(crate) fn bulk(&self, uri: &str, more: &[&str]) -> Command {
        let mut command = producer(uri);
        command
            .arg("bulk")
            .arg(&self.jobs)
            .arg("--results")
            .arg(&self.results)
            .args(more);
        command
    }

    /// The ids in the results file, each with how often it is there.
    pub(crate) fn result_ids(&self) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        for line in lines(&self.results) {
            let value: serde_json::Value = serde_json::from_str(&line).expect("one result a line");
            *ids.entry(
                value
                    .get("job_id")
                    .and_then(|id| id.as_str())
                    .expect("an id")
                    .to_owned(),
            )
            .or_default() += 1;
        }
        ids
    }
}

/// The lines of a file; none where it is not there.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The real binary, connected to that vhost.
pub(crate) fn producer(uri: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jailfleet-producer"));
    command
        .env("JAILFLEET__AMQP__URI", uri)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run(command: &mut Command) -> Output {
    let output = tokio::time::timeout(LONG, command.output()).await;
    output.expect("in time").expect("it starts")
}

/// SIGKILL, with no chance to tidy up.
pub(crate) async fn kill(mut child: Child) {
    child.kill().await.expect("our own child");
}
