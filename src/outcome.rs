//! What ended a run: the closed list of outcomes and of error codes.

use crate::rejection::RejectionCode;

/// What ended a run, or why there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The main process exited, with whatever code.
    Exited,
    /// A signal ended the main process.
    Signaled,
    /// The run used up its CPU time.
    CpuLimit,
    /// The run used up its wall time.
    WallLimit,
    /// The kernel killed a process of the run because its memory was used up.
    MemoryLimit,
    /// stdout and stderr together grew beyond the limit.
    OutputLimit,
    /// The job was refused: the producer's mistake.
    Rejected,
    /// The job's deadline passed before it was started.
    Expired,
    /// Somebody cancelled the job.
    Cancelled,
    /// The worker that had the job is gone; provisional.
    WorkerLost,
    /// Trouble of ours, after the retries were used up. Never a word about the program.
    EngineFault,
    /// One that a newer worker says and this version does not know. Nobody here makes it.
    Other,
}

impl Outcome {
    /// Every outcome that can be made here, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::Exited,
        Self::Signaled,
        Self::CpuLimit,
        Self::WallLimit,
        Self::MemoryLimit,
        Self::OutputLimit,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
        Self::WorkerLost,
        Self::EngineFault,
    ];

    /// The outcome as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signaled => "signaled",
            Self::CpuLimit => "cpu_limit",
            Self::WallLimit => "wall_limit",
            Self::MemoryLimit => "memory_limit",
            Self::OutputLimit => "output_limit",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::WorkerLost => "worker_lost",
            Self::EngineFault => "engine_fault",
            Self::Other => "other",
        }
    }

    /// The outcome that `text` names, if this version knows it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|outcome| outcome.as_str() == text)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The code of a result's `error`: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// The producer's mistake.
    Rejected(RejectionCode),
    /// The job had `globals`, and the code left no single JSON object within the caps.
    NoGlobals,
    /// The result was larger than allowed, and lost its payloads.
    ResultTooLarge,
    /// A stage of the jail failed before the program started.
    StageFailed,
    /// The jail vanished without a word.
    JailLost,
    /// The host withheld the CPU for most of the wall time.
    CpuWithheld,
    /// The host's memory ran out, and not what the job may use.
    MemoryWithheld,
    /// No clean slot could be had for the job.
    SlotFault,
    /// The worker stopped before the run's end.
    WorkerStopping,
    /// The worker that had the job is gone.
    WorkerLost,
    /// The job was started several times, and each time its worker died.
    TooManyDeliveries,
    /// The job's deadline passed before it was started.
    DeadlinePassed,
    /// Somebody cancelled the job.
    Cancelled,
    /// No queue takes jobs of that pool and lane.
    Unrouted,
    /// One that a newer worker says and this version does not know. Nobody here makes it.
    Other,
}

impl ErrorCode {
    /// Every code that can be made here and is not a rejection's.
    pub const OWN: &'static [Self] = &[
        Self::NoGlobals,
        Self::ResultTooLarge,
        Self::StageFailed,
        Self::JailLost,
        Self::CpuWithheld,
        Self::MemoryWithheld,
        Self::SlotFault,
        Self::WorkerStopping,
        Self::WorkerLost,
        Self::TooManyDeliveries,
        Self::DeadlinePassed,
        Self::Cancelled,
        Self::Unrouted,
    ];

    /// The code as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected(code) => code.as_str(),
            Self::NoGlobals => "no_globals",
            Self::ResultTooLarge => "result_too_large",
            Self::StageFailed => "stage_failed",
            Self::JailLost => "jail_lost",
            Self::CpuWithheld => "cpu_withheld",
            Self::MemoryWithheld => "memory_withheld",
            Self::SlotFault => "slot_fault",
            Self::WorkerStopping => "worker_stopping",
            Self::WorkerLost => "worker_lost",
            Self::TooManyDeliveries => "too_many_deliveries",
            Self::DeadlinePassed => "deadline_passed",
            Self::Cancelled => "cancelled",
            Self::Unrouted => "unrouted",
            Self::Other => "other",
        }
    }

    /// The code that `text` names, if this version knows it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let own = Self::OWN.iter().copied().find(|code| code.as_str() == text);
        own.or_else(|| RejectionCode::parse(text).map(Self::Rejected))
    }
}

/// The `error` of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl ErrorDetail {
    /// An error with that code and message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<crate::rejection::Rejection> for ErrorDetail {
    fn from(rejection: crate::rejection::Rejection) -> Self {
        Self {
            code: ErrorCode::Rejected(rejection.code),
            message: rejection.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_no_two_are_the_same() {
        let own = ErrorCode::OWN.iter().copied();
        let rejections = RejectionCode::ALL.iter().copied().map(ErrorCode::Rejected);
        let mut seen = std::collections::BTreeSet::new();
        for code in own.chain(rejections) {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
            assert!(
                seen.insert(code.as_str()),
                "{} is there twice",
                code.as_str()
            );
        }
        for outcome in Outcome::ALL.iter().copied() {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
    }
}
