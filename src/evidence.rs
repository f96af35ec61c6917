//! What was observed of one run. Facts only: [`crate::verdict`] decides what they mean.

use std::time::Duration;

/// How the main process ended, as its parent saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It called exit.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// It never became the program: a stage of ours failed before exec.
    StageFailed {
        /// The stage's stable number (`jailfleet_sandbox::stage::Stage`).
        stage: u16,
        /// The errno that it failed with.
        errno: i32,
    },
    /// The jail vanished without a word (its init or the warden died).
    Lost,
}

/// A limit that we acted on by killing the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// The CPU clock passed `cpu_ms`.
    Cpu,
    /// The wall clock passed `wall_ms`.
    Wall,
    /// A reader saw more than `output_bytes`.
    Output,
    /// Somebody cancelled the job.
    Cancel,
    /// The worker is stopping.
    Drain,
}

/// Everything observed of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// How the main process ended.
    pub end: End,
    /// The first limit that we acted on, if any.
    pub acted: Option<Acted>,
    /// Out-of-memory kills counted in the run's memory cgroup.
    pub oom_kills: u64,
    /// CPU time of the whole tree.
    pub cpu: Duration,
    /// Its user part.
    pub user: Duration,
    /// Its system part.
    pub system: Duration,
    /// Wall time from exec to the end.
    pub wall: Duration,
    /// Highest memory use seen, where the host can tell.
    pub peak_memory_bytes: Option<u64>,
    /// Highest number of tasks seen, where the host can tell.
    pub processes_peak: Option<u64>,
    /// Growth of the slot cgroup's `cpu.pressure` *full* total, where the host has it.
    pub pressure_full: Option<Duration>,
}
