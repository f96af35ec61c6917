//! The walls that hold, as the warden tells them: a bit each, and what Landlock and AppArmor add.

use super::ProtocolError;
use super::codec::{Eye, Pen};
use crate::apparmor::Way;
use jailfleet::wall::{HeldWall, Wall};

/// Before the name of a profile that came on top of another label, as AppArmor writes it.
pub const STACKED: &str = "&";

/// The walls that the warden's slots hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walls {
    bits: u32,
    landlock_abi: u16,
    apparmor: Option<Way>,
}

impl Walls {
    /// The same walls and `wall`.
    #[must_use]
    pub const fn with(self, wall: Wall) -> Self {
        Self {
            bits: self.bits | (1 << wall_bit(wall)),
            ..self
        }
    }

    /// The same walls and Landlock of this ABI version.
    #[must_use]
    pub const fn with_landlock(self, abi: u16) -> Self {
        Self {
            landlock_abi: abi,
            ..self.with(Wall::Landlock)
        }
    }

    /// The same walls and AppArmor profiles that are entered this way.
    #[must_use]
    pub const fn with_apparmor(self, way: Way) -> Self {
        Self {
            apparmor: Some(way),
            ..self.with(Wall::Apparmor)
        }
    }

    /// How jails enter their AppArmor profiles, where they do.
    #[must_use]
    pub const fn apparmor(self) -> Option<Way> {
        self.apparmor
    }

    /// Whether `wall` holds.
    #[must_use]
    pub const fn holds(self, wall: Wall) -> bool {
        self.bits & (1 << wall_bit(wall)) != 0
    }

    /// The walls as results name them, but that a result names the runtime's own AppArmor profile.
    #[must_use]
    pub fn held(self) -> Vec<HeldWall> {
        let held = Wall::ALL.iter().copied().filter(|wall| self.holds(*wall));
        held.map(|wall| match wall {
            Wall::Landlock => HeldWall::detailed(wall, self.landlock_abi.to_string()),
            Wall::Apparmor if self.apparmor == Some(Way::Stack) => {
                HeldWall::detailed(wall, STACKED)
            }
            Wall::Rlimits
            | Wall::NoNewPrivs
            | Wall::Descriptors
            | Wall::Uid
            | Wall::Caps
            | Wall::Userns
            | Wall::Pidns
            | Wall::Mountns
            | Wall::Netns
            | Wall::Ipcns
            | Wall::Utsns
            | Wall::Cgroupns
            | Wall::Root
            | Wall::Scratch
            | Wall::CgroupMemory
            | Wall::CgroupPids
            | Wall::CgroupCpu
            | Wall::Apparmor
            | Wall::Seccomp => HeldWall::plain(wall),
        })
        .collect()
    }
}

impl Pen {
    pub(super) fn walls(self, walls: Walls) -> Self {
        self.u32(walls.bits)
            .u16(walls.landlock_abi)
            .u16(way_number(walls.apparmor))
    }
}

impl Eye<'_> {
    pub(super) fn walls(&mut self) -> Result<Walls, ProtocolError> {
        let walls = Walls {
            bits: self.u32()?,
            landlock_abi: self.u16()?,
            apparmor: way_from(self.u16()?)?,
        };
        let known = walls.bits >> Wall::ALL.len() == 0;
        if !known || walls.holds(Wall::Apparmor) != walls.apparmor.is_some() {
            return Err(ProtocolError::BadField);
        }
        Ok(walls)
    }
}

const fn wall_bit(wall: Wall) -> u32 {
    wall as u32
}

const fn way_number(way: Option<Way>) -> u16 {
    match way {
        None => 0,
        Some(Way::Change) => 1,
        Some(Way::Stack) => 2,
    }
}

const fn way_from(number: u16) -> Result<Option<Way>, ProtocolError> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Way::Change)),
        2 => Ok(Some(Way::Stack)),
        _ => Err(ProtocolError::BadField),
    }
}
