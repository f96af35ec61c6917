//! The only place that decides what ended a run: evidence in, outcome out.
//!
//! The order, first match wins:
//!
//! 1. The job was cancelled, or the worker is stopping.
//! 2. A stage of ours failed before the program started: the job's mistake or our trouble, by the
//!    table in [`blame`]. No limit can be the program's where there was no program: a jail that vanished
//!    before the start is our trouble. Where the kernel killed for want of memory meanwhile, both are the
//!    job's mistake if it was the memory that the job had asked for, and our trouble if it was the host's.
//! 3. The first limit that we acted on, by time. A wall limit while the host withheld the CPU is
//!    our trouble.
//! 4. An out-of-memory kill in the run's cgroup, also of a child whose parent then exits 0. Where the run
//!    never met its own limit it was the host's memory that ran out: our trouble.
//! 5. The kernel's CPU limit: SIGXCPU (or the SIGKILL that follows it) with the CPU time used up.
//! 6. A signal.
//! 7. The exit.
//!
//! A jail that vanished without a word after the start is our trouble, unless 1, 3 or 4 have their own
//! evidence.

use crate::evidence::{Acted, End, Evidence, Stage};
use crate::limits::Limits;
use crate::outcome::{ErrorCode, ErrorDetail, Outcome};
use crate::rejection::RejectionCode;
use crate::runtime::Program;
use std::time::Duration;

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

// Signal and error numbers of Linux, the same on every architecture that we run on. Written out
// because this crate makes no system calls and so depends on no crate that does.
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const ENOEXEC: i32 = 8;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const ENAMETOOLONG: i32 = 36;
const ELOOP: i32 = 40;
const ELIBBAD: i32 = 80;
const EDQUOT: i32 = 122;

/// Decides what ended a run. `program` is what the run's runtime executes.
#[must_use]
pub fn judge(evidence: &Evidence, limits: &Limits, program: &Program) -> Judged {
    let (outcome, error) = decide(evidence, limits, program);
    let (exit_code, signal) = match evidence.end {
        End::Exited(code) => (Some(code), None),
        End::Signaled(signal) => (None, Some(signal)),
        End::StageFailed { .. } | End::Lost | End::Unstarted => (None, None),
    };
    Judged {
        outcome,
        exit_code,
        signal,
        error,
    }
}

fn decide(
    evidence: &Evidence,
    limits: &Limits,
    program: &Program,
) -> (Outcome, Option<ErrorDetail>) {
    match evidence.acted {
        Some(Acted::Cancel) => return told(Outcome::Cancelled, ErrorCode::Cancelled, CANCELLED),
        Some(Acted::Drain) => {
            return told(
                Outcome::EngineFault,
                ErrorCode::WorkerStopping,
                WORKER_STOPPING,
            );
        }
        Some(Acted::Cpu | Acted::Wall | Acted::Output) | None => {}
    }
    match evidence.end {
        End::StageFailed { stage, errno } => {
            return unstarted(evidence, limits, stage_failed(stage, errno, program));
        }
        End::Unstarted => return unstarted(evidence, limits, jail_unstarted()),
        End::Exited(_) | End::Signaled(_) | End::Lost => {}
    }
    match evidence.acted {
        Some(Acted::Wall) if cpu_was_withheld(evidence) => {
            return told(Outcome::EngineFault, ErrorCode::CpuWithheld, CPU_WITHHELD);
        }
        // Nobody can make that of it but the kernel: what a program does for itself can be killed.
        Some(Acted::Wall) if evidence.end == End::Lost => {
            return told(Outcome::EngineFault, ErrorCode::JailLost, JAIL_STUCK);
        }
        Some(Acted::Wall) => return (Outcome::WallLimit, None),
        Some(Acted::Cpu) => return (Outcome::CpuLimit, None),
        Some(Acted::Output) => return (Outcome::OutputLimit, None),
        Some(Acted::Cancel | Acted::Drain) | None => {}
    }
    if host_ran_out_of_memory(evidence, limits) {
        return memory_withheld();
    }
    if evidence.oom_kills > 0 {
        return (Outcome::MemoryLimit, None);
    }
    match evidence.end {
        End::Signaled(SIGXCPU)
            if evidence.cpu >= limits.cpu_ms.duration().mul_f64(KERNEL_CLOCK_SHARE) =>
        {
            (Outcome::CpuLimit, None)
        }
        // Where only the kernel keeps the limit, a program that ignores SIGXCPU is ended by the
        // SIGKILL of the hard limit: the same limit, one second later. That second is more than the
        // kernel's clock is off; a program that kills itself earlier was killed by itself.
        End::Signaled(SIGKILL) if evidence.cpu >= limits.cpu_ms.duration() => {
            (Outcome::CpuLimit, None)
        }
        End::Signaled(_) => (Outcome::Signaled, None),
        End::Exited(_) => (Outcome::Exited, None),
        End::Lost => told(Outcome::EngineFault, ErrorCode::JailLost, JAIL_LOST),
        End::StageFailed { stage, errno } => {
            unstarted(evidence, limits, stage_failed(stage, errno, program))
        }
        End::Unstarted => unstarted(evidence, limits, jail_unstarted()),
    }
}

/// An end without a program: `otherwise`, unless memory ran out. Where the run had used what it may, it was the
/// job's own limit that was too small, and no other worker will start it either; where it had not, it was the
/// host's memory.
fn unstarted(
    evidence: &Evidence,
    limits: &Limits,
    otherwise: (Outcome, Option<ErrorDetail>),
) -> (Outcome, Option<ErrorDetail>) {
    if evidence.oom_kills == 0 {
        return otherwise;
    }
    match own_limit_was_met(evidence, limits) {
        Some(true) => {
            let code = RejectionCode::LimitsTooSmall;
            told(Outcome::Rejected, ErrorCode::Rejected(code), advice(code))
        }
        Some(false) => memory_withheld(),
        None => otherwise,
    }
}

/// Whether the kernel killed a process of the run because the host's memory had run out, or that of a group
/// above the run's. Where nothing says so, it was the run's own limit.
fn host_ran_out_of_memory(evidence: &Evidence, limits: &Limits) -> bool {
    evidence.oom_kills > 0 && own_limit_was_met(evidence, limits) == Some(false)
}

/// Whether the run met its own memory limit; `None` where nothing tells. Where the kernel does not count how
/// often a group met it, it tells how much the group had at most.
fn own_limit_was_met(evidence: &Evidence, limits: &Limits) -> Option<bool> {
    let met = |used| met_its_memory_limit(used, limits);
    match evidence.memory_refusals {
        Some(refusals) => Some(refusals > 0),
        None => evidence.peak_memory_bytes.map(met),
    }
}

const fn met_its_memory_limit(used: u64, limits: &Limits) -> bool {
    used.saturating_add(CHARGED_AHEAD) >= limits.memory_bytes.get()
}

/// How much the kernel charges a group ahead of its use, in one go: 64 pages. A group meets its limit
/// when less than that is left.
const CHARGED_AHEAD: u64 = 64 * 4096;

/// The kernel counts towards RLIMIT_CPU in whole ticks, those in which a hypervisor took the CPU
/// away included; the exact clocks of the evidence may lie this far below when SIGXCPU comes.
const KERNEL_CLOCK_SHARE: f64 = 0.75;

const CANCELLED: &str = "the job was cancelled while it ran";
const WORKER_STOPPING: &str = "the worker stopped before the run's end";
const CPU_WITHHELD: &str =
    "the host withheld the CPU for more than half of the wall time; the run says nothing";
const MEMORY_WITHHELD: &str = "the kernel killed a process of the run because the host's memory ran out, and \
                               not what the run may use; the run says nothing";
const JAIL_LOST: &str = "the jail vanished without a word";
const JAIL_STUCK: &str = "the program did not end when it was killed at its wall limit: it waits in the \
                          kernel, as for a device or a file system of the host that does not answer";
const JAIL_UNSTARTED: &str = "the program was never seen to start, and the jail is gone";

fn memory_withheld() -> (Outcome, Option<ErrorDetail>) {
    let code = ErrorCode::MemoryWithheld;
    told(Outcome::EngineFault, code, MEMORY_WITHHELD)
}

fn jail_unstarted() -> (Outcome, Option<ErrorDetail>) {
    told(Outcome::EngineFault, ErrorCode::JailLost, JAIL_UNSTARTED)
}

fn told(outcome: Outcome, code: ErrorCode, message: &str) -> (Outcome, Option<ErrorDetail>) {
    (outcome, Some(ErrorDetail::new(code, message)))
}

/// Whether tasks of the run waited for the CPU, all of them at once, for more than half of the wall
/// time. Threads of the program that wait for each other's turn do not count as *full* pressure.
fn cpu_was_withheld(evidence: &Evidence) -> bool {
    let withheld = evidence.pressure_full.unwrap_or(Duration::ZERO);
    withheld.saturating_mul(2) > evidence.wall
}

fn stage_failed(stage: Stage, errno: i32, program: &Program) -> (Outcome, Option<ErrorDetail>) {
    match blame(stage, errno, program) {
        Blame::Job(code) => {
            let message = format!("{}: stage {stage}, error {errno}", advice(code));
            (
                Outcome::Rejected,
                Some(ErrorDetail::new(ErrorCode::Rejected(code), message)),
            )
        }
        Blame::Engine => {
            let message = format!("the jail's stage {stage} failed with error {errno}");
            let detail = ErrorDetail::new(ErrorCode::StageFailed, message);
            (Outcome::EngineFault, Some(detail))
        }
    }
}

/// Whose mistake a failed stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The job's own size or shape caused it: it is refused with that code.
    Job(RejectionCode),
    /// Trouble of ours: tried again, then answered `engine_fault`.
    Engine,
}

/// The table of (stage, errno). Only what a job's size or shape can cause is the job's; everything
/// else, also what nobody has thought of, is ours.
#[must_use]
pub fn blame(stage: Stage, errno: i32, program: &Program) -> Blame {
    match stage {
        Stage::Unpack => match errno {
            ENOSPC | EDQUOT | EFBIG | ENOMEM => Blame::Job(RejectionCode::FilesTooLarge),
            EEXIST | ENOTDIR | EISDIR => Blame::Job(RejectionCode::DuplicatePath),
            ENAMETOOLONG | ELOOP => Blame::Job(RejectionCode::BadPath),
            _ => Blame::Engine,
        },
        Stage::Exec => match (errno, program) {
            (E2BIG, _) => Blame::Job(RejectionCode::BadArgv),
            (ENOMEM, _) => Blame::Job(RejectionCode::LimitsTooSmall),
            (ENOEXEC | ENOENT | EACCES | ENOTDIR | EINVAL | ELIBBAD | ELOOP, Program::MainFile) => {
                Blame::Job(RejectionCode::BadProgram)
            }
            _ => Blame::Engine,
        },
        // The job's own limit of open files is in force by then.
        Stage::Landlock | Stage::Seccomp if errno == EMFILE => {
            Blame::Job(RejectionCode::LimitsTooSmall)
        }
        Stage::Session
        | Stage::Descriptors
        | Stage::Namespaces
        | Stage::Cgroup
        | Stage::WorkingDirectory
        | Stage::Rlimits
        | Stage::Identity
        | Stage::Apparmor
        | Stage::ParentDeath
        | Stage::NoNewPrivs
        | Stage::Landlock
        | Stage::Seccomp
        | Stage::Fork => Blame::Engine,
    }
}

/// What a producer should do about a refusal that only the jail could find.
fn advice(code: RejectionCode) -> &'static str {
    let known = ADVICE.iter().find(|(one, _)| *one == code);
    known.map_or("the job cannot be started", |(_, text)| text)
}

const ADVICE: &[(RejectionCode, &str)] = &[
    (
        RejectionCode::FilesTooLarge,
        "the files do not fit: send less, or raise limits.disk_bytes or limits.disk_files",
    ),
    (
        RejectionCode::DuplicatePath,
        "a file's path is already taken by the main file, by tmp or by another file",
    ),
    (
        RejectionCode::BadPath,
        "a file's path is too long: shorten it",
    ),
    (
        RejectionCode::BadArgv,
        "argv and env are too large together: send less",
    ),
    (
        RejectionCode::LimitsTooSmall,
        "the program does not start within limits.memory_bytes, limits.address_space_bytes, \
         limits.stack_bytes or limits.open_files: raise them",
    ),
    (
        RejectionCode::BadProgram,
        "the code is no program that this host can execute, or names no interpreter here",
    ),
];

#[cfg(test)]
mod tests;
