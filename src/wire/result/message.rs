//! The result message as it travels, field by field, and its conversions.

use super::super::VERSION;
use super::super::blob::BlobMessage;
use super::super::decimal::DecimalMs;
use super::super::given::Given;
use super::super::limits::LimitsInForceMessage;
use super::artifacts::{self, ArtifactMessage, LeftOutMessage};
use crate::job::JobId;
use crate::outcome::{ErrorCode, ErrorDetail, Outcome};
use crate::result::{JobResult, Stream, Timing, Usage, WorkerStamp};
use crate::wall::HeldWall;
use serde::{Deserialize, Serialize};

/// The result of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(title = "jailfleet result, version 1", rename = "Result")
)]
pub(in crate::wire) struct ResultMessage {
    /// The version of the format: 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    pub(super) v: u64,
    /// The job's id; absent where neither body nor message had a valid one.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    job_id: Given<String>,
    /// The job's slug.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    slug: Given<String>,
    /// The job's batch.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    batch: Given<String>,
    /// What ended the run, or why there was none.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = outcomes())))]
    outcome: String,
    /// The main process's exit code, where it exited.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    exit_code: Given<i32>,
    /// The signal that ended the main process, where one did.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    signal: Given<i32>,
    /// What the run wrote to standard output; absent where nothing ran.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    stdout: Given<BlobMessage>,
    /// What the run wrote to standard error; absent where nothing ran.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    stderr: Given<BlobMessage>,
    /// The streams that were cut: `stdout`, `stderr`.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    truncated: Given<Vec<String>>,
    /// The globals that the code left, as JSON text: the program's word, never evidence.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    globals: Given<String>,
    /// The files that were wanted and that the run left: the program's word, never evidence.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    artifacts: Given<Vec<ArtifactMessage>>,
    /// What was wanted and is not among them, with the reason.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    artifacts_left_out: Given<Vec<LeftOutMessage>>,
    /// What one should know beyond the outcome.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    error: Given<ErrorMessage>,
    /// What the run used.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    usage: Given<UsageMessage>,
    /// The limits that were in force.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    limits: Given<LimitsInForceMessage>,
    /// Where the time went.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    timing: Given<TimingMessage>,
    /// The walls that held, a detail after a colon.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    walls: Given<Vec<String>>,
    /// Who ran the job.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    worker: Given<WorkerMessage>,
    /// Verdicts of a grader: with the grading work.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    grade: Given<serde_json::Map<String, serde_json::Value>>,
}

/// An error: a code of the closed list, and words for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Error"))]
struct ErrorMessage {
    /// For programs.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = error_codes())))]
    code: String,
    /// For people.
    message: String,
}

/// What a run used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Usage"))]
struct UsageMessage {
    /// CPU time of all processes.
    cpu_ms: DecimalMs,
    /// Its user part.
    user_ms: DecimalMs,
    /// Its system part.
    system_ms: DecimalMs,
    /// Wall time of the program.
    wall_ms: DecimalMs,
    /// Highest memory use, where the host can tell.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    peak_memory_bytes: Given<u64>,
    /// Highest number of tasks, where the host can tell.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    processes_peak: Given<u64>,
}

/// Where the time went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Timing"))]
struct TimingMessage {
    /// From the publishing to the worker, where the message says when it was published.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    queued_ms: Given<DecimalMs>,
    /// From the worker's receiving it to the program's start.
    setup_ms: DecimalMs,
    /// From the program's start to its end.
    run_ms: DecimalMs,
    /// From the worker's receiving it to the result.
    total_ms: DecimalMs,
}

/// Who ran the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Worker"))]
struct WorkerMessage {
    /// The host's name.
    host: String,
    /// The worker's version.
    version: String,
    /// The slot, where the job reached one.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    slot: Given<u16>,
    /// Which attempt this was, from 1 on.
    attempt: u32,
    /// When a canary last proved the walls, RFC 3339.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    last_canary: Given<String>,
}

#[cfg(feature = "schema")]
fn outcomes() -> Vec<&'static str> {
    Outcome::ALL
        .iter()
        .map(|outcome| outcome.as_str())
        .collect()
}

#[cfg(feature = "schema")]
fn error_codes() -> Vec<&'static str> {
    let rejections = crate::rejection::RejectionCode::ALL
        .iter()
        .map(|code| code.as_str());
    ErrorCode::OWN
        .iter()
        .map(|code| code.as_str())
        .chain(rejections)
        .collect()
}

impl From<&JobResult> for ResultMessage {
    fn from(result: &JobResult) -> Self {
        let list = |entries: Vec<String>| Given((!entries.is_empty()).then_some(entries));
        Self {
            v: VERSION,
            job_id: Given(result.job_id.as_ref().map(ToString::to_string)),
            slug: Given(result.slug.clone()),
            batch: Given(result.batch.clone()),
            outcome: result.outcome.as_str().to_owned(),
            exit_code: Given(result.exit_code),
            signal: Given(result.signal),
            stdout: Given(result.stdout.as_ref().map(Into::into)),
            stderr: Given(result.stderr.as_ref().map(Into::into)),
            truncated: list(
                result
                    .truncated
                    .iter()
                    .map(|one| one.as_str().to_owned())
                    .collect(),
            ),
            globals: Given(result.globals.clone()),
            artifacts: artifacts::list(&result.artifacts),
            artifacts_left_out: artifacts::list(&result.artifacts_left_out),
            error: Given(result.error.as_ref().map(|error| ErrorMessage {
                code: error.code.as_str().to_owned(),
                message: error.message.clone(),
            })),
            usage: Given(result.usage.as_ref().map(Into::into)),
            limits: Given(result.limits.as_ref().map(Into::into)),
            timing: Given(result.timing.as_ref().map(Into::into)),
            walls: list(result.walls.iter().map(ToString::to_string).collect()),
            worker: Given(Some((&result.worker).into())),
            grade: Given(
                result
                    .grade
                    .as_deref()
                    .and_then(|text| serde_json::from_str(text).ok()),
            ),
        }
    }
}

impl From<&Usage> for UsageMessage {
    fn from(usage: &Usage) -> Self {
        Self {
            cpu_ms: DecimalMs(usage.cpu),
            user_ms: DecimalMs(usage.user),
            system_ms: DecimalMs(usage.system),
            wall_ms: DecimalMs(usage.wall),
            peak_memory_bytes: Given(usage.peak_memory_bytes),
            processes_peak: Given(usage.processes_peak),
        }
    }
}

impl From<&Timing> for TimingMessage {
    fn from(timing: &Timing) -> Self {
        Self {
            queued_ms: Given(timing.queued.map(DecimalMs)),
            setup_ms: DecimalMs(timing.setup),
            run_ms: DecimalMs(timing.run),
            total_ms: DecimalMs(timing.total),
        }
    }
}

impl From<&WorkerStamp> for WorkerMessage {
    fn from(worker: &WorkerStamp) -> Self {
        Self {
            host: worker.host.clone(),
            version: worker.version.clone(),
            slot: Given(worker.slot),
            attempt: worker.attempt,
            last_canary: Given(worker.last_canary.clone()),
        }
    }
}

impl ResultMessage {
    /// The message without what honest attempts at the same job may differ in.
    pub(super) fn without_circumstances(self) -> Self {
        Self {
            usage: Given(None),
            timing: Given(None),
            worker: Given(None),
            walls: Given(None),
            ..self
        }
    }

    /// The typed result; the error names the field whose value has no meaning.
    pub(super) fn typed(self) -> Result<JobResult, &'static str> {
        let job_id = self.job_id.0.map(|id| JobId::parse(&id)).transpose();
        let error = match self.error.0 {
            None => None,
            Some(error) => {
                let code = ErrorCode::parse(&error.code).unwrap_or(ErrorCode::Other);
                Some(ErrorDetail::new(code, error.message))
            }
        };
        let walls = self.walls.0.unwrap_or_default();
        let truncated = self.truncated.0.unwrap_or_default();
        Ok(JobResult {
            job_id: job_id.or(Err("job_id"))?,
            slug: self.slug.0,
            batch: self.batch.0,
            // This list and that of error codes are closed too, and a newer worker may know more.
            outcome: Outcome::parse(&self.outcome).unwrap_or(Outcome::Other),
            exit_code: self.exit_code.0,
            signal: self.signal.0,
            stdout: blob(self.stdout).or(Err("stdout"))?,
            stderr: blob(self.stderr).or(Err("stderr"))?,
            truncated: truncated
                .iter()
                .filter_map(|name| Stream::parse(name))
                .collect(),
            globals: self.globals.0,
            artifacts: artifacts::artifacts(self.artifacts).ok_or("artifacts")?,
            artifacts_left_out: artifacts::left_out(self.artifacts_left_out)
                .ok_or("artifacts_left_out")?,
            error,
            usage: self.usage.0.map(UsageMessage::typed),
            limits: self
                .limits
                .0
                .map(LimitsInForceMessage::in_force)
                .transpose()?,
            timing: self.timing.0.map(TimingMessage::typed),
            walls: walls
                .iter()
                .filter_map(|text| HeldWall::parse(text))
                .collect(),
            worker: self.worker.0.ok_or("worker")?.typed(),
            grade: self
                .grade
                .0
                .map(|grade| serde_json::Value::Object(grade).to_string()),
        })
    }
}

fn blob(message: Given<BlobMessage>) -> Result<Option<crate::blob::Blob>, ()> {
    message
        .0
        .map(|message| message.into_blob().ok_or(()))
        .transpose()
}

impl UsageMessage {
    fn typed(self) -> Usage {
        Usage {
            cpu: self.cpu_ms.0,
            user: self.user_ms.0,
            system: self.system_ms.0,
            wall: self.wall_ms.0,
            peak_memory_bytes: self.peak_memory_bytes.0,
            processes_peak: self.processes_peak.0,
        }
    }
}

impl TimingMessage {
    fn typed(self) -> Timing {
        Timing {
            queued: self.queued_ms.0.map(|queued| queued.0),
            setup: self.setup_ms.0,
            run: self.run_ms.0,
            total: self.total_ms.0,
        }
    }
}

impl WorkerMessage {
    fn typed(self) -> WorkerStamp {
        WorkerStamp {
            host: self.host,
            version: self.version,
            slot: self.slot.0,
            attempt: self.attempt,
            last_canary: self.last_canary.0,
        }
    }
}
