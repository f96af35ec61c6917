//! What a result says to codejail's users: the one place that decides it, for the gateway's callers
//! and for those who compare.

use jailfleet::blob::Blob;
use jailfleet::outcome::{ErrorCode, Outcome};
use jailfleet::rejection::RejectionCode;
use jailfleet::result::JobResult;

use super::repr;
use super::traceback;

/// The service's word for trouble that it does not explain to strangers.
pub(crate) const SEE_LOGS: &str = "Couldn't execute sandboxed code: See logs.";
/// Its word for a run that ended well and left no globals.
pub(super) const CORRUPTED: &str = "Sandboxed code produced corrupted stdout.";

/// As SIGXCPU and SIGKILL: what codejail's limits end a program by.
const BY_CPU_LIMIT: i32 = -24;
const BY_KILL: i32 = -9;

/// What a result says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// The code ended by itself, with 0, and left these globals.
    Left(&'a str),
    /// It failed, in these words: its `emsg`.
    Failed(String),
    /// The job was refused, with a code where it is known.
    Rejected(Option<RejectionCode>),
    /// Its time was up before it was run.
    Late,
    /// No word about the code.
    Fault,
}

/// What that result says.
pub(crate) fn of(result: &JobResult) -> Verdict<'_> {
    let code = result.error.as_ref().map(|error| error.code);
    // In codejail's manner of counting.
    let status = match result.outcome {
        Outcome::Exited => result.exit_code,
        Outcome::Signaled => result.signal.map(|signal| -signal),
        Outcome::CpuLimit => Some(BY_CPU_LIMIT),
        Outcome::WallLimit | Outcome::OutputLimit => Some(BY_KILL),
        // A child may have been the one that was killed; then the program tells by its own code.
        Outcome::MemoryLimit => match result.exit_code {
            Some(code) if code != 0 => Some(code),
            Some(_) | None => Some(BY_KILL),
        },
        Outcome::Rejected => {
            return Verdict::Rejected(match code {
                Some(ErrorCode::Rejected(code)) => Some(code),
                Some(_) | None => None,
            });
        }
        Outcome::Expired => return Verdict::Late,
        Outcome::Cancelled | Outcome::WorkerLost | Outcome::EngineFault | Outcome::Other => None,
    };
    let Some(status) = status else {
        return Verdict::Fault;
    };
    match (code, status, &result.globals) {
        // What it left could not be brought here, and nobody can say what it was.
        (Some(ErrorCode::ResultTooLarge), _, _) => Verdict::Failed(SEE_LOGS.to_owned()),
        (_, 0, Some(left)) => Verdict::Left(left),
        (_, 0, None) => Verdict::Failed(CORRUPTED.to_owned()),
        (_, status, _) => Verdict::Failed(words(result, status)),
    }
}

fn words(result: &JobResult, status: i32) -> String {
    let stderr = result.stderr.as_ref().map(Blob::as_bytes);
    let stderr = traceback::with_wrapper(stderr.unwrap_or_default());
    let stderr = repr::of_bytes(&stderr);
    // What code prints is thrown away there before anybody can see it.
    format!(
        "Couldn't execute jailed code: stdout: b'', stderr: {stderr} with status code: {status}"
    )
}
