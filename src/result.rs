//! A job's result, typed. [`crate::wire`] turns it into a message and back.

use crate::artifact::{Artifact, LeftOut};
use crate::blob::Blob;
use crate::job::{JobId, ProfileName};
use crate::limits::Limits;
use crate::outcome::{ErrorDetail, Outcome};
use crate::units::Elapsed;
use crate::wall::HeldWall;

/// One of the two streams of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The stream as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The stream that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Stdout, Self::Stderr]
            .into_iter()
            .find(|stream| stream.as_str() == text)
    }
}

/// What a run used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all processes.
    pub cpu: Elapsed,
    /// Its user part.
    pub user: Elapsed,
    /// Its system part.
    pub system: Elapsed,
    /// Wall time of the program.
    pub wall: Elapsed,
    /// Highest memory use, where the host can tell.
    pub peak_memory_bytes: Option<u64>,
    /// Highest number of tasks, where the host can tell.
    pub processes_peak: Option<u64>,
}

/// The limits that were in force, and where they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsInForce {
    /// The limits.
    pub limits: Limits,
    /// The profile that they were taken from, where the job named one that exists.
    pub profile: Option<ProfileName>,
    /// Hex SHA-256 of the worker's effective config.
    pub config_digest: String,
}

/// Where the job's time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the publishing to the worker, where the message says when it was published.
    pub queued: Option<Elapsed>,
    /// From the worker's receiving it to the program's start.
    pub setup: Elapsed,
    /// From the program's start to its end.
    pub run: Elapsed,
    /// From the worker's receiving it to the result.
    pub total: Elapsed,
}

/// Who ran the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStamp {
    /// The host's name.
    pub host: String,
    /// The worker's version.
    pub version: String,
    /// The slot, where the job reached one.
    pub slot: Option<u16>,
    /// Which attempt this was, from 1 on.
    pub attempt: u32,
    /// When the walls were last proved by a canary, RFC 3339.
    pub last_canary: Option<String>,
}

/// The result of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    /// The job's id; absent where neither the body nor the message had a valid one.
    pub job_id: Option<JobId>,
    /// The job's slug.
    pub slug: Option<String>,
    /// The job's batch.
    pub batch: Option<String>,
    /// What ended the run.
    pub outcome: Outcome,
    /// The main process's exit code, where it had one.
    pub exit_code: Option<i32>,
    /// The signal that ended the main process, where one did.
    pub signal: Option<i32>,
    /// What was written to standard output; absent where nothing ran.
    pub stdout: Option<Blob>,
    /// What was written to standard error; absent where nothing ran.
    pub stderr: Option<Blob>,
    /// The streams that were cut.
    pub truncated: Vec<Stream>,
    /// The globals that the code left, as JSON text. The program's word, never evidence.
    pub globals: Option<String>,
    /// The artifacts that the run left. The program's word, never evidence.
    pub artifacts: Vec<Artifact>,
    /// What was wanted of it and is not among them.
    pub artifacts_left_out: Vec<LeftOut>,
    /// What a person or program should know beyond the outcome.
    pub error: Option<ErrorDetail>,
    /// What the run used; absent where nothing ran.
    pub usage: Option<Usage>,
    /// The limits in force; absent where none were decided.
    pub limits: Option<LimitsInForce>,
    /// Where the time went.
    pub timing: Option<Timing>,
    /// The walls that held.
    pub walls: Vec<HeldWall>,
    /// Who ran it.
    pub worker: WorkerStamp,
    /// Verdicts of a grader as JSON text: with the grading work.
    pub grade: Option<String>,
}

impl JobResult {
    /// A result of a job that did not run: everything that a run would fill is absent.
    #[must_use]
    pub fn without_run(
        job_id: Option<JobId>,
        outcome: Outcome,
        error: Option<ErrorDetail>,
        worker: WorkerStamp,
    ) -> Self {
        Self {
            job_id,
            slug: None,
            batch: None,
            outcome,
            exit_code: None,
            signal: None,
            stdout: None,
            stderr: None,
            truncated: Vec::new(),
            globals: None,
            artifacts: Vec::new(),
            artifacts_left_out: Vec::new(),
            error,
            usage: None,
            limits: None,
            timing: None,
            walls: Vec::new(),
            worker,
            grade: None,
        }
    }
}
