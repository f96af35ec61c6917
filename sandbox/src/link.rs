//! What the warden and a slot's init say to each other: the same fixed-size datagrams as
//! [`crate::protocol`], under another magic. The end of this socket is also how an init learns that
//! its warden is gone.

use crate::protocol::{Datagram, Extras, Eye, Pen, ProtocolError, Residue};
use jailfleet::evidence::{End, StageTimes, UnknownCalls};
use jailfleet::limits::Limits;
use std::time::Duration;

/// The first four bytes of each datagram.
pub const MAGIC: [u8; 4] = *b"JFI\x02";

/// What the warden tells an init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Run a program; the descriptors of the order come along.
    Run {
        /// The run.
        run: u64,
        /// Index of the runtime.
        runtime: u16,
        /// The limits in force.
        limits: Limits,
        /// What comes along besides what every run has.
        extras: Extras,
    },
    /// Bring out what this run left: its evidence is taken, and what is done from now on is not counted
    /// as its own. Comes after the run's end, where its artifacts are wanted.
    Collect {
        /// The run.
        run: u64,
    },
    /// Kill everything of this run.
    Kill {
        /// The run.
        run: u64,
    },
}

/// Whether an init hears of the calls that the policy does not name. They are refused either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// It hears of each.
    Works,
    /// Somebody outside listens already, and the kernel allows one alone.
    Prevented,
}

/// What an init tells the warden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The namespaces and the root stand; runs may come.
    Built {
        /// The version of Landlock that rulesets are made for; 0: the host has none.
        landlock_abi: u16,
        /// Whether unknown calls of its runs are counted.
        counting: Counting,
    },
    /// They could not be made; the init is gone.
    BuildFailed {
        /// The errno.
        errno: i32,
    },
    /// The program was executed.
    Started {
        /// The run.
        run: u64,
        /// What its set-up took.
        stages: StageTimes,
    },
    /// No process of the run is left in the pid namespace.
    Ended {
        /// The run.
        run: u64,
        /// How the main process ended.
        end: End,
        /// User time of all processes that were reaped.
        user: Duration,
        /// Their system time.
        system: Duration,
        /// From exec to the main process's end.
        wall: Duration,
        /// Calls that the filter did not know.
        unknown_calls: UnknownCalls,
    },
    /// The scratch is new and no IPC object is left.
    Cleaned {
        /// The run.
        run: u64,
    },
    /// The slot cannot be cleaned from the inside.
    Unclean {
        /// The run.
        run: u64,
        /// Why.
        residue: Residue,
        /// What the kernel answered.
        errno: i32,
    },
}

impl Command {
    /// The datagram that says this.
    #[must_use]
    pub fn encode(&self) -> Datagram {
        match self {
            Self::Run {
                run,
                runtime,
                limits,
                extras,
            } => Pen::new(MAGIC, 1)
                .u64(*run)
                .u16(*runtime)
                .limits(limits)
                .extras(*extras)
                .done(),
            Self::Kill { run } => Pen::new(MAGIC, 2).u64(*run).done(),
            Self::Collect { run } => Pen::new(MAGIC, 3).u64(*run).done(),
        }
    }

    /// What a datagram says.
    ///
    /// # Errors
    /// [`ProtocolError`] for anything that [`Command::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut eye = Eye::open(MAGIC, bytes)?;
        let command = match eye.kind {
            1 => Self::Run {
                run: eye.u64()?,
                runtime: eye.u16()?,
                limits: eye.limits()?,
                extras: eye.extras()?,
            },
            2 => Self::Kill { run: eye.u64()? },
            3 => Self::Collect { run: eye.u64()? },
            kind => return Err(ProtocolError::UnknownKind(kind)),
        };
        eye.done(command)
    }
}

impl Word {
    /// The datagram that says this.
    #[must_use]
    pub fn encode(&self) -> Datagram {
        match self {
            Self::Built {
                landlock_abi,
                counting,
            } => Pen::new(MAGIC, 101)
                .u16(*landlock_abi)
                .u16(counting.number())
                .done(),
            Self::BuildFailed { errno } => Pen::new(MAGIC, 102).i32(*errno).done(),
            Self::Started { run, stages } => Pen::new(MAGIC, 103).u64(*run).stages(stages).done(),
            Self::Ended {
                run,
                end,
                user,
                system,
                wall,
                unknown_calls,
            } => Pen::new(MAGIC, 104)
                .u64(*run)
                .end(*end)
                .span(*user)
                .span(*system)
                .span(*wall)
                .calls(*unknown_calls)
                .done(),
            Self::Cleaned { run } => Pen::new(MAGIC, 105).u64(*run).done(),
            Self::Unclean {
                run,
                residue,
                errno,
            } => Pen::new(MAGIC, 106)
                .u64(*run)
                .u16(residue.number())
                .i32(*errno)
                .done(),
        }
    }

    /// What a datagram says.
    ///
    /// # Errors
    /// [`ProtocolError`] for anything that [`Word::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut eye = Eye::open(MAGIC, bytes)?;
        let word = match eye.kind {
            101 => Self::Built {
                landlock_abi: eye.u16()?,
                counting: Counting::from(eye.u16()?)?,
            },
            102 => Self::BuildFailed { errno: eye.i32()? },
            103 => Self::Started {
                run: eye.u64()?,
                stages: eye.stages()?,
            },
            104 => Self::Ended {
                run: eye.u64()?,
                end: eye.end()?,
                user: eye.span()?,
                system: eye.span()?,
                wall: eye.span()?,
                unknown_calls: eye.calls()?,
            },
            105 => Self::Cleaned { run: eye.u64()? },
            106 => Self::Unclean {
                run: eye.u64()?,
                residue: Residue::from(eye.u16()?)?,
                errno: eye.i32()?,
            },
            kind => return Err(ProtocolError::UnknownKind(kind)),
        };
        eye.done(word)
    }
}

impl Counting {
    const fn number(self) -> u16 {
        match self {
            Self::Works => 1,
            Self::Prevented => 2,
        }
    }

    const fn from(number: u16) -> Result<Self, ProtocolError> {
        match number {
            1 => Ok(Self::Works),
            2 => Ok(Self::Prevented),
            _ => Err(ProtocolError::BadField),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_could_not_be_cleaned_says_what_the_kernel_answered() {
        let word = Word::Unclean {
            run: 7,
            residue: Residue::Scratch,
            errno: 28,
        };
        assert_eq!(Word::decode(&word.encode()), Ok(word));
    }

    #[test]
    fn an_init_that_stands_says_whether_it_counts_unknown_calls() {
        for counting in [Counting::Works, Counting::Prevented] {
            let word = Word::Built {
                landlock_abi: 7,
                counting,
            };
            assert_eq!(Word::decode(&word.encode()), Ok(word));
        }
        let word = Word::Built {
            landlock_abi: 7,
            counting: Counting::Works,
        };
        let mut bytes = word.encode();
        let after_abi = 4 + 2 + 2;
        bytes[after_abi] = 3;
        assert_eq!(Word::decode(&bytes), Err(ProtocolError::BadField));
    }
}
