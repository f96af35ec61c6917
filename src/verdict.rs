//! The only place that decides what ended a run: evidence in, outcome out.

use crate::evidence::Evidence;
use crate::limits::Limits;
use crate::outcome::{ErrorDetail, Outcome};

/// Who brought the file that is executed. It decides whose mistake a failing exec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The worker's config names it (an interpreter): that it does not start is our trouble.
    Configured,
    /// The job brought it (`main_executable` runtimes): that it does not start is the job's.
    FromJob,
}

/// What ended a run, and what of it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The outcome.
    pub outcome: Outcome,
    /// The main process's exit code, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the main process, where one did.
    pub signal: Option<i32>,
    /// What a person should know beyond the outcome.
    pub error: Option<ErrorDetail>,
}

/// Decides what ended a run.
#[must_use]
pub fn judge(evidence: &Evidence, limits: &Limits, program: Program) -> Judged {
    let _ = (evidence, limits, program);
    Judged {
        outcome: Outcome::EngineFault,
        exit_code: None,
        signal: None,
        error: None,
    }
}
