//! What comes along with a run besides what every run has, and which descriptor is which.

use super::{ARTIFACT_DESCRIPTORS, ProtocolError, RUN_DESCRIPTORS, SIDE_DESCRIPTORS};
use std::os::fd::OwnedFd;

/// Whether a run has a harness, and whether its artifacts are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extras {
    harness: bool,
    artifacts: bool,
}

impl Extras {
    /// Neither.
    pub const NONE: Self = Self {
        harness: false,
        artifacts: false,
    };

    /// And a harness.
    #[must_use]
    pub const fn with_harness(self) -> Self {
        Self {
            harness: true,
            ..self
        }
    }

    /// And artifacts that are wanted.
    #[must_use]
    pub const fn with_artifacts(self) -> Self {
        Self {
            artifacts: true,
            ..self
        }
    }

    /// Whether there is a harness.
    #[must_use]
    pub const fn harness(self) -> bool {
        self.harness
    }

    /// Whether artifacts are wanted.
    #[must_use]
    pub const fn artifacts(self) -> bool {
        self.artifacts
    }

    /// How many descriptors come along in all.
    #[must_use]
    pub const fn descriptors(self) -> usize {
        let side = if self.harness { SIDE_DESCRIPTORS } else { 0 };
        let artifacts = if self.artifacts {
            ARTIFACT_DESCRIPTORS
        } else {
            0
        };
        RUN_DESCRIPTORS + side + artifacts
    }

    pub(super) const fn number(self) -> u16 {
        match (self.harness, self.artifacts) {
            (false, false) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (true, true) => 3,
        }
    }

    pub(super) const fn from(number: u16) -> Result<Self, ProtocolError> {
        Ok(match number {
            0 => Self::NONE,
            1 => Self::NONE.with_harness(),
            2 => Self::NONE.with_artifacts(),
            3 => Self::NONE.with_harness().with_artifacts(),
            _ => return Err(ProtocolError::BadField),
        })
    }
}

/// The descriptors of a run, told apart.
#[derive(Debug)]
pub struct RunDescriptors<F = OwnedFd> {
    /// Payload, stdin, stdout, stderr.
    pub run: [F; RUN_DESCRIPTORS],
    /// What a harness is given, and where its answer goes.
    pub side: Option<[F; SIDE_DESCRIPTORS]>,
    /// What is wanted of what the run leaves, and where it goes.
    pub artifacts: Option<[F; ARTIFACT_DESCRIPTORS]>,
}

impl<F> RunDescriptors<F> {
    /// Tells them apart; `None` where there are too few or too many.
    pub fn of(extras: Extras, fds: impl IntoIterator<Item = F>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let told = Self {
            run: next(&mut fds)?,
            side: if extras.harness {
                Some(next(&mut fds)?)
            } else {
                None
            },
            artifacts: if extras.artifacts {
                Some(next(&mut fds)?)
            } else {
                None
            },
        };
        fds.next().is_none().then_some(told)
    }
}

impl<F> RunDescriptors<F> {
    /// What their order has to say of them.
    #[must_use]
    pub const fn extras(&self) -> Extras {
        Extras {
            harness: self.side.is_some(),
            artifacts: self.artifacts.is_some(),
        }
    }
}

impl<F> IntoIterator for RunDescriptors<F> {
    type Item = F;
    type IntoIter = std::vec::IntoIter<F>;

    /// In the order in which they travel.
    fn into_iter(self) -> Self::IntoIter {
        let side = self.side.into_iter().flatten();
        let artifacts = self.artifacts.into_iter().flatten();
        let all: Vec<F> = self.run.into_iter().chain(side).chain(artifacts).collect();
        all.into_iter()
    }
}

fn next<F, const N: usize>(fds: &mut impl Iterator<Item = F>) -> Option<[F; N]> {
    let taken: Vec<F> = fds.take(N).collect();
    taken.try_into().ok()
}
