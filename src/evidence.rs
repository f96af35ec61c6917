//! What was observed of one run. Facts only: [`crate::verdict`] decides what they mean.

use std::num::NonZeroU32;
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

/// How long each stage of one run's set-up took, in nanoseconds; zero for a stage that did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimes([u64; Stage::ALL.len()]);

impl StageTimes {
    /// How long `stage` took.
    #[must_use]
    pub fn of(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.0.get(place(stage)).copied().unwrap_or_default())
    }

    /// Records how long `stage` took.
    pub fn note(&mut self, stage: Stage, took: Duration) {
        if let Some(noted) = self.0.get_mut(place(stage)) {
            *noted = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        }
    }

    /// Every stage with its time, by number.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        let spans = self.0.into_iter().map(Duration::from_nanos);
        Stage::ALL.iter().copied().zip(spans)
    }

    /// All stages together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.iter().map(|(_, took)| took).sum()
    }
}

/// Stages are numbered from 1 without a gap, which a test holds.
fn place(stage: Stage) -> usize {
    usize::from(stage.number()).saturating_sub(1)
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
    /// Nobody saw the program start, and no stage said why: the jail vanished, or there was none. Nothing of
    /// it can be the program's doing.
    Unstarted,
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

/// How many of a run's unknown calls are told by their number.
const MOST_UNKNOWN: usize = 8;

/// System calls of a run that the policy does not name: the first few different ones, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnknownCalls([Option<NonZeroU32>; MOST_UNKNOWN]);

impl UnknownCalls {
    /// None at all.
    pub const NONE: Self = Self([None; MOST_UNKNOWN]);
    /// How many there can be.
    pub const MOST: usize = MOST_UNKNOWN;

    /// Notes a call, unless it was noted before or there is no room; number 0 is known everywhere.
    pub fn note(&mut self, number: u32) {
        let Some(number) = NonZeroU32::new(number) else {
            return;
        };
        for noted in &mut self.0 {
            match noted {
                Some(other) if *other == number => return,
                Some(_) => {}
                None => {
                    *noted = Some(number);
                    return;
                }
            }
        }
    }

    /// Their numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flatten().map(|number| number.get())
    }
}

/// Everything observed of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// How the main process ended.
    pub end: End,
    /// The first limit that we acted on, if any.
    pub acted: Option<Acted>,
    /// Out-of-memory kills counted in the run's memory cgroup, whoever's memory had run out.
    pub oom_kills: u64,
    /// How often the run asked for more than its own memory limit left it and nothing could be taken back,
    /// where the host can tell.
    pub memory_refusals: Option<u64>,
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
    /// Calls that the filter did not know.
    pub unknown_calls: UnknownCalls,
}

impl Evidence {
    /// What is known of a run whose jail vanished without a word.
    pub const LOST: Self = Self {
        end: End::Lost,
        acted: None,
        oom_kills: 0,
        memory_refusals: None,
        cpu: Duration::ZERO,
        user: Duration::ZERO,
        system: Duration::ZERO,
        wall: Duration::ZERO,
        peak_memory_bytes: None,
        processes_peak: None,
        pressure_full: None,
        unknown_calls: UnknownCalls::NONE,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_unknown_calls_are_told_once_each() {
        let mut calls = UnknownCalls::default();
        for number in [500, 0, 501, 500].into_iter().chain(600..700) {
            calls.note(number);
        }
        let told: Vec<u32> = calls.iter().collect();
        assert_eq!(told, [500, 501, 600, 601, 602, 603, 604, 605]);
    }

    #[test]
    fn the_time_of_each_stage_is_kept_apart() {
        let mut times = StageTimes::default();
        for (at, stage) in (1..).zip(Stage::ALL.iter().copied()) {
            assert_eq!(stage.number(), at);
            times.note(stage, Duration::from_nanos(u64::from(at)));
        }
        for (stage, took) in times.iter() {
            assert_eq!(took, Duration::from_nanos(u64::from(stage.number())));
            assert_eq!(times.of(stage), took);
        }
        assert_eq!(times.total(), Duration::from_nanos(120));
    }

    #[test]
    fn stages_read_back_by_their_numbers() {
        for stage in Stage::ALL.iter().copied() {
            assert_eq!(Stage::from_u16(stage.number()), Some(stage));
        }
        assert_eq!((Stage::from_u16(0), Stage::from_u16(999)), (None, None));
    }
}
