//! Why something was done or was not, as a number each.

use super::ProtocolError;
use jailfleet::evidence::Acted;

/// Why a slot was taken out of use before it is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residue {
    /// Its init ended or stopped answering.
    InitLost,
    /// Processes of its uid were still there at the deadline.
    Processes,
    /// Its scratch could not be replaced.
    Scratch,
    /// Message queues, semaphores or shared memory that could not be removed.
    Ipc,
    /// It could not be built.
    Build,
    /// The worker could not prove that its walls hold.
    Canary,
}

/// Why a run was refused. It never began, and says nothing about its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The slot was taken out of use after the run was ordered: what stands there is another building.
    #[error("start the run: its slot was rebuilt meanwhile, and its walls with it")]
    OtherBuilding,
}

pub(super) const fn acted_number(acted: Acted) -> u16 {
    match acted {
        Acted::Cpu => 1,
        Acted::Wall => 2,
        Acted::Output => 3,
        Acted::Cancel => 4,
        Acted::Drain => 5,
    }
}

pub(super) const fn acted_from(number: u16) -> Result<Acted, ProtocolError> {
    match number {
        1 => Ok(Acted::Cpu),
        2 => Ok(Acted::Wall),
        3 => Ok(Acted::Output),
        4 => Ok(Acted::Cancel),
        5 => Ok(Acted::Drain),
        _ => Err(ProtocolError::BadField),
    }
}

impl Refusal {
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::OtherBuilding => 1,
        }
    }

    pub(super) const fn from(number: u16) -> Result<Self, ProtocolError> {
        match number {
            1 => Ok(Self::OtherBuilding),
            _ => Err(ProtocolError::BadField),
        }
    }
}

impl Residue {
    /// The residue's name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InitLost => "init_lost",
            Self::Processes => "processes",
            Self::Scratch => "scratch",
            Self::Ipc => "ipc",
            Self::Build => "build",
            Self::Canary => "canary",
        }
    }

    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::InitLost => 1,
            Self::Processes => 2,
            Self::Scratch => 3,
            Self::Ipc => 4,
            Self::Build => 5,
            Self::Canary => 6,
        }
    }

    pub(crate) const fn from(number: u16) -> Result<Self, ProtocolError> {
        match number {
            1 => Ok(Self::InitLost),
            2 => Ok(Self::Processes),
            3 => Ok(Self::Scratch),
            4 => Ok(Self::Ipc),
            5 => Ok(Self::Build),
            6 => Ok(Self::Canary),
            _ => Err(ProtocolError::BadField),
        }
    }
}
