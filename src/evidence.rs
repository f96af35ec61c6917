//! What was observed of one run. Facts only: [`crate::verdict`] decides what they mean.

use std::time::Duration;

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// One step between the fork and the program. The numbers are part of the protocol between
        /// warden and worker, and never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Stage {
            $($(#[$doc])* $name = $number,)*
        }

        impl Stage {
            /// Every stage, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stage's name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The stage's number.
            #[must_use]
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The stage of that number.
            #[must_use]
            pub const fn from_u16(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

stages! {
    /// A session of its own, default signals.
    Session = 1, "session";
    /// The three standard descriptors, and no other.
    Descriptors = 2, "descriptors";
    /// Namespaces and the private root.
    Namespaces = 3, "namespaces";
    /// The run's cgroup.
    Cgroup = 4, "cgroup";
    /// The job's files written into its folder.
    Unpack = 5, "unpack";
    /// Entering the working directory.
    WorkingDirectory = 6, "working_directory";
    /// Resource limits.
    Rlimits = 7, "rlimits";
    /// Groups, gid, uid, capabilities.
    Identity = 8, "identity";
    /// The AppArmor profile.
    Apparmor = 9, "apparmor";
    /// The parent-death signal and a look at the parent.
    ParentDeath = 10, "parent_death";
    /// No new privileges.
    NoNewPrivs = 11, "no_new_privs";
    /// The Landlock ruleset.
    Landlock = 12, "landlock";
    /// The system call filter.
    Seccomp = 13, "seccomp";
    /// Becoming the program.
    Exec = 14, "exec";
    /// The fork itself, done by the slot's init.
    Fork = 15, "fork";
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the main process ended, as its parent saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It called exit.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// It never became the program: a stage of ours failed before exec.
    StageFailed {
        /// Which.
        stage: Stage,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_read_back_by_their_numbers() {
        for stage in Stage::ALL.iter().copied() {
            assert_eq!(Stage::from_u16(stage.number()), Some(stage));
        }
        assert_eq!((Stage::from_u16(0), Stage::from_u16(999)), (None, None));
    }
}
