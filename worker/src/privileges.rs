//! Giving up root for good, once the warden runs.

use jailfleet_sandbox::sys::caps::drop_bounding_set;
use nix::errno::Errno;
use nix::unistd::{
    Gid, Uid, User, getegid, geteuid, getgroups, getresgid, getresuid, setgid, setgroups, setuid,
};
use std::io;
use thiserror::Error;

/// Why the privileges could not be given up. The worker must not go on with them.
#[derive(Debug, Error)]
pub enum DropError {
    /// There is no such user.
    #[error(
        "become the user {user:?}: there is none; create it with `useradd --system {user}` or set worker.user"
    )]
    NoUser {
        /// The setting.
        user: String,
    },
    /// The user is root itself.
    #[error("become the user {user:?}: that is root again; set worker.user to another one")]
    StillRoot {
        /// The setting.
        user: String,
    },
    /// Root without CAP_SETPCAP, which the warden needs as well.
    #[error(
        "become the user {user:?}: no capability can be put out of reach; grant root CAP_SETPCAP, or start as a plain user"
    )]
    Bounded {
        /// The setting.
        user: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A system call failed.
    #[error("become the user {user:?}")]
    Call {
        /// The setting.
        user: String,
        /// What the kernel said.
        #[source]
        errno: Errno,
    },
    /// The kernel took the calls, but the identity is not the one asked for.
    #[error("become the user {user:?}: the process still has another identity or its old groups")]
    NotGone {
        /// The setting.
        user: String,
    },
}

/// What became of the privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// They were given up; the process is now this user.
    To(Uid),
    /// There were none.
    NothingToDrop,
}

/// Becomes `user` if the process is root, and makes sure that there is no way back.
///
/// # Errors
/// [`DropError`]: the caller must end.
pub fn give_up(user: &str) -> Result<Dropped, DropError> {
    if !geteuid().is_root() {
        return Ok(Dropped::NothingToDrop);
    }
    let name = || user.to_owned();
    let call = |errno| DropError::Call {
        user: name(),
        errno,
    };
    let found = User::from_name(user).map_err(call)?;
    let Some(found) = found else {
        return Err(DropError::NoUser { user: name() });
    };
    if found.uid.is_root() || found.gid == Gid::from_raw(0) {
        return Err(DropError::StillRoot { user: name() });
    }
    // While there is the right to: an executable with file capabilities gives nothing after this.
    drop_bounding_set().map_err(|source| DropError::Bounded {
        user: name(),
        source,
    })?;
    // Groups first: without root they could not be given up any more.
    setgroups(&[]).map_err(call)?;
    setgid(found.gid).map_err(call)?;
    setuid(found.uid).map_err(call)?;
    verify(found.uid, found.gid).map_err(|gone| match gone {
        Verify::Call(errno) => call(errno),
        Verify::Wrong => DropError::NotGone { user: name() },
    })?;
    Ok(Dropped::To(found.uid))
}

enum Verify {
    Call(Errno),
    Wrong,
}

fn verify(uid: Uid, gid: Gid) -> Result<(), Verify> {
    let (uids, gids) = (
        getresuid().map_err(Verify::Call)?,
        getresgid().map_err(Verify::Call)?,
    );
    let uids_gone = [uids.real, uids.effective, uids.saved]
        .iter()
        .all(|one| *one == uid);
    let gids_gone = [gids.real, gids.effective, gids.saved]
        .iter()
        .all(|one| *one == gid);
    let groups = getgroups().map_err(Verify::Call)?;
    let groups_gone = groups.iter().all(|group| *group == getegid());
    // The kernel must refuse the way back.
    let no_return = setuid(Uid::from_raw(0)) == Err(Errno::EPERM);
    if uids_gone && gids_gone && groups_gone && no_return {
        Ok(())
    } else {
        Err(Verify::Wrong)
    }
}
