//! Who the program is: no group, uid or capability of ours stays.

use crate::jail::Identity;
use crate::sys::caps::{Caps, set_capabilities};
use crate::without::stands;
use jailfleet::wall::Wall;
use nix::unistd::{setgroups, setresgid, setresuid};
use std::io;

/// Drops to the slot's identity and gives up the last capabilities.
pub(super) fn become_the_slot(identity: Identity) -> io::Result<()> {
    match identity {
        Identity::Leased { .. } if !stands(Wall::Uid) => {}
        Identity::Leased { uid, gid } => {
            set_capabilities(Caps::IDENTITY, Caps::IDENTITY)?;
            setgroups(&[])?;
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)?;
        }
        // The user namespace maps nothing else, so there is nobody else to become.
        Identity::Mapped { .. } => {}
    }
    if !stands(Wall::Caps) {
        return Ok(());
    }
    set_capabilities(Caps::NONE, Caps::NONE)
}
