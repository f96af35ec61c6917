//! What worker and warden say to each other: datagrams of one fixed size, encoded and decoded by
//! pure functions that accept exactly one spelling of each message.

pub(crate) mod codec;
mod extras;
mod reasons;
mod walls;

pub use codec::Datagram;
pub(crate) use codec::{Eye, Pen};
pub use extras::{Extras, RunDescriptors};
pub use reasons::{Refusal, Residue};
pub use walls::{STACKED, Walls};

use jailfleet::evidence::{Acted, Evidence, StageTimes};
use jailfleet::limits::Limits;
use reasons::{acted_from, acted_number};
use std::time::Duration;

/// Every datagram has this many bytes; what a message does not need is zero.
pub const DATAGRAM_BYTES: usize = 160;
/// The first four bytes of each datagram; the last of them is the protocol's version.
pub const MAGIC: [u8; 4] = *b"JFW\x03";

/// How many descriptors travel with [`Order::Run`]: payload, stdin, stdout, stderr.
pub const RUN_DESCRIPTORS: usize = 4;
/// How many more travel with a run whose artifacts are wanted: what is wanted, and where it goes.
pub const ARTIFACT_DESCRIPTORS: usize = 2;
/// How many more travel with the run of a harness: what it is given, and where its answer goes.
pub const SIDE_DESCRIPTORS: usize = 2;
/// The numbers at which a harness finds those two.
pub const SIDE_PLACES: [i32; SIDE_DESCRIPTORS] = [3, 4];

/// One building of a slot. A slot that was taken out of use is built anew, with other walls: what was
/// proven, ordered or doubted of one building says nothing of the next.
///
/// (A plain user's slot has a new init for each run. As long as the warden says that it is idle again,
/// and not that it was quarantined, these count as one building.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Build {
    /// The slot's number.
    pub slot: u16,
    /// How often the worker was told before that the slot was taken out of use.
    pub number: u32,
}

impl Build {
    /// What stands in the slot when the warden is ready.
    #[must_use]
    pub const fn first(slot: u16) -> Self {
        Self { slot, number: 0 }
    }

    /// What is built in the slot after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            slot: self.slot,
            number: self.number.wrapping_add(1),
        }
    }
}

/// One run, as the worker asks for it. It names a runtime by its index in the config and may only
/// lower that runtime's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JailPlan {
    /// The worker's number for this run, never used twice.
    pub run: u64,
    /// The slot to run in, as it stood when it was idle; it must still stand so.
    pub build: Build,
    /// Index of the runtime in the settings' sorted list.
    pub runtime: u16,
    /// The limits in force.
    pub limits: Limits,
    /// What comes along besides what every run has.
    pub extras: Extras,
}

/// What the worker tells the warden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first word: the digest of the config that the worker read.
    Hello {
        /// SHA-256 over the effective config.
        digest: [u8; 32],
    },
    /// Run a program; [`RUN_DESCRIPTORS`] descriptors come along, and those that its extras say.
    Run(JailPlan),
    /// End a run and record why.
    Kill {
        /// Its slot.
        slot: u16,
        /// The run; a kill that comes too late for it does nothing.
        run: u64,
        /// What to record.
        why: Acted,
    },
    /// Replace a slot that nothing runs in: its walls are in doubt.
    Replace {
        /// Which, as it stands; one that was replaced meanwhile has other walls.
        build: Build,
    },
    /// Kill everything, leave nothing, end.
    Stop,
}

/// What the warden tells the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// All slots stand; the answer to [`Order::Hello`].
    Ready {
        /// How many slots there are, numbered from 0, all idle; each stands as [`Build::first`].
        slot_count: u16,
        /// The walls that each of them holds.
        walls: Walls,
        /// The digest of the config that the warden read.
        config_digest: [u8; 32],
    },
    /// The program of this run was executed.
    Started {
        /// Its slot.
        slot: u16,
        /// The run.
        run: u64,
        /// What its set-up took, stage by stage.
        stages: StageTimes,
    },
    /// A run is over; its output ends are closed. The slot is not idle yet.
    Ended {
        /// Its slot.
        slot: u16,
        /// The run.
        run: u64,
        /// What was observed.
        evidence: Evidence,
    },
    /// The run was not started, and will not be.
    Refused {
        /// Its slot.
        slot: u16,
        /// The run.
        run: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The slot was proved clean and takes the next run.
    Idle {
        /// Which, as it stands.
        build: Build,
    },
    /// The slot was not clean; it is being replaced and says [`Report::Idle`] when it stands again.
    Quarantined {
        /// What takes no run any more.
        build: Build,
        /// Why.
        residue: Residue,
    },
}

/// Why a datagram was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Wrong size, magic or version.
    #[error(
        "read the datagram: it is not of this protocol's version, start worker and warden from the same build"
    )]
    NotOurs,
    /// A kind that this direction does not have.
    #[error("read the datagram: its kind {0} is unknown")]
    UnknownKind(u16),
    /// A field outside its range, or bytes set that the message does not have.
    #[error("read the datagram: a field is out of range")]
    BadField,
}

impl Order {
    /// The datagram that says this.
    #[must_use]
    pub fn encode(&self) -> Datagram {
        match self {
            Self::Hello { digest } => Pen::new(MAGIC, 1).raw(digest).done(),
            Self::Run(plan) => Pen::new(MAGIC, 2)
                .u64(plan.run)
                .build(plan.build)
                .u16(plan.runtime)
                .limits(&plan.limits)
                .extras(plan.extras)
                .done(),
            Self::Kill { slot, run, why } => Pen::new(MAGIC, 3)
                .u16(*slot)
                .u64(*run)
                .u16(acted_number(*why))
                .done(),
            Self::Stop => Pen::new(MAGIC, 4).done(),
            Self::Replace { build } => Pen::new(MAGIC, 5).build(*build).done(),
        }
    }

    /// What a datagram says.
    ///
    /// # Errors
    /// [`ProtocolError`] for anything that [`Order::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut eye = Eye::open(MAGIC, bytes)?;
        let order = match eye.kind {
            1 => Self::Hello {
                digest: eye.take()?,
            },
            2 => Self::Run(JailPlan {
                run: eye.u64()?,
                build: eye.build()?,
                runtime: eye.u16()?,
                limits: eye.limits()?,
                extras: eye.extras()?,
            }),
            3 => Self::Kill {
                slot: eye.u16()?,
                run: eye.u64()?,
                why: acted_from(eye.u16()?)?,
            },
            4 => Self::Stop,
            5 => Self::Replace {
                build: eye.build()?,
            },
            kind => return Err(ProtocolError::UnknownKind(kind)),
        };
        eye.done(order)
    }

    /// Whether so many descriptors may come with this order.
    #[must_use]
    pub const fn goes_with(&self, descriptors: usize) -> bool {
        match self {
            Self::Run(plan) => descriptors == plan.extras.descriptors(),
            Self::Hello { .. } | Self::Kill { .. } | Self::Replace { .. } | Self::Stop => {
                descriptors == 0
            }
        }
    }
}

impl Report {
    /// The datagram that says this.
    #[must_use]
    pub fn encode(&self) -> Datagram {
        match self {
            Self::Ready {
                slot_count,
                walls,
                config_digest,
            } => Pen::new(MAGIC, 101)
                .u16(*slot_count)
                .walls(*walls)
                .raw(config_digest)
                .done(),
            Self::Started { slot, run, stages } => Pen::new(MAGIC, 102)
                .u16(*slot)
                .u64(*run)
                .stages(stages)
                .done(),
            Self::Ended {
                slot,
                run,
                evidence,
            } => Pen::new(MAGIC, 103)
                .u16(*slot)
                .u64(*run)
                .end(evidence.end)
                .u16(evidence.acted.map_or(0, acted_number))
                .u64(evidence.oom_kills)
                .maybe(evidence.memory_refusals)
                .span(evidence.cpu)
                .span(evidence.user)
                .span(evidence.system)
                .span(evidence.wall)
                .maybe(evidence.peak_memory_bytes)
                .maybe(evidence.processes_peak)
                .maybe(
                    evidence
                        .pressure_full
                        .map(|span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
                )
                .calls(evidence.unknown_calls)
                .done(),
            Self::Idle { build } => Pen::new(MAGIC, 104).build(*build).done(),
            Self::Quarantined { build, residue } => Pen::new(MAGIC, 105)
                .build(*build)
                .u16(residue.number())
                .done(),
            Self::Refused { slot, run, refusal } => Pen::new(MAGIC, 106)
                .u16(*slot)
                .u64(*run)
                .u16(refusal.number())
                .done(),
        }
    }

    /// What a datagram says.
    ///
    /// # Errors
    /// [`ProtocolError`] for anything that [`Report::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut eye = Eye::open(MAGIC, bytes)?;
        let report = match eye.kind {
            101 => Self::Ready {
                slot_count: eye.u16()?,
                walls: eye.walls()?,
                config_digest: eye.take()?,
            },
            102 => Self::Started {
                slot: eye.u16()?,
                run: eye.u64()?,
                stages: eye.stages()?,
            },
            103 => Self::Ended {
                slot: eye.u16()?,
                run: eye.u64()?,
                evidence: decode_evidence(&mut eye)?,
            },
            104 => Self::Idle {
                build: eye.build()?,
            },
            105 => Self::Quarantined {
                build: eye.build()?,
                residue: Residue::from(eye.u16()?)?,
            },
            106 => Self::Refused {
                slot: eye.u16()?,
                run: eye.u64()?,
                refusal: Refusal::from(eye.u16()?)?,
            },
            kind => return Err(ProtocolError::UnknownKind(kind)),
        };
        eye.done(report)
    }
}

fn decode_evidence(eye: &mut Eye<'_>) -> Result<Evidence, ProtocolError> {
    Ok(Evidence {
        end: eye.end()?,
        acted: match eye.u16()? {
            0 => None,
            number => Some(acted_from(number)?),
        },
        oom_kills: eye.u64()?,
        memory_refusals: eye.maybe()?,
        cpu: eye.span()?,
        user: eye.span()?,
        system: eye.span()?,
        wall: eye.span()?,
        peak_memory_bytes: eye.maybe()?,
        processes_peak: eye.maybe()?,
        pressure_full: eye.maybe()?.map(Duration::from_nanos),
        unknown_calls: eye.calls()?,
    })
}

#[cfg(test)]
#[path = "protocol/tests.rs"]
mod tests;
