//! Children that make one wall around themselves, and end.

use crate::init::{HeldBy, map_one_user};
use crate::jail::Identity;
use crate::root::{Root, RootPlan};
use crate::sys::caps::{Caps, set_capabilities};
use crate::sys::clone::{Cloned, clone_process};
use crate::sys::exec::{Patience, Waited, exit_now, wait_child};
use crate::sys::notify::seccomp_listen;
use crate::sys::restrict::{close_on_exec_from, landlock_restrict_self, seccomp_set_filter};
use crate::warden::{WORKER_SCORE, protect_from_oom};
use jailfleet::evidence::End;
use nix::sched::CloneFlags;
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, getegid, geteuid};
use std::io;
use std::os::fd::AsFd;

/// Runs `wall` in a child of the given namespaces; the answer comes back as its status.
fn in_a_child(namespaces: CloneFlags, wall: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match clone_process(namespaces.bits(), None)? {
        Cloned::Child => match wall() {
            Ok(()) => exit_now(0),
            Err(error) => exit_now(
                error
                    .raw_os_error()
                    .filter(|errno| *errno < 255)
                    .unwrap_or(255),
            ),
        },
        Cloned::Parent { pid, pidfd: _ } => match wait_child(pid, Patience::Block)? {
            Waited::Ended(_, End::Exited(0)) => Ok(()),
            Waited::Ended(_, End::Exited(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Waited::Ended(_, end) => Err(io::Error::other(format!("the trial ended with {end:?}"))),
            Waited::NoneYet | Waited::NoChild => Err(io::ErrorKind::NotFound.into()),
        },
    }
}

pub(super) fn no_new_privs() -> io::Result<()> {
    in_a_child(CloneFlags::empty(), || Ok(set_no_new_privs()?))
}

pub(super) fn descriptors() -> io::Result<()> {
    in_a_child(CloneFlags::empty(), || close_on_exec_from(3))
}

pub(super) fn capabilities() -> io::Result<()> {
    in_a_child(CloneFlags::empty(), || {
        set_capabilities(Caps::NONE, Caps::NONE)
    })
}

pub(super) fn namespaces(flags: CloneFlags) -> io::Result<()> {
    in_a_child(flags, || Ok(()))
}

pub(super) fn seccomp() -> io::Result<()> {
    let filter = crate::seccomp::filter(HeldBy::Cgroup)?;
    in_a_child(CloneFlags::empty(), || {
        set_no_new_privs()?;
        seccomp_set_filter(&filter)
    })
}

/// Whether unknown calls can be heard of.
pub(super) fn listening() -> io::Result<()> {
    let listener = crate::seccomp::listener()?;
    in_a_child(CloneFlags::empty(), || {
        set_no_new_privs()?;
        seccomp_listen(&listener).map(drop)
    })
}

pub(super) fn landlock() -> io::Result<()> {
    let ruleset = crate::landlock::empty_ruleset()?;
    in_a_child(CloneFlags::empty(), || {
        set_no_new_privs()?;
        match &ruleset {
            Some(ruleset) => landlock_restrict_self(ruleset.as_fd()),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    })
}

pub(super) fn protected_from_oom() -> io::Result<()> {
    in_a_child(CloneFlags::empty(), || {
        if protect_from_oom(WORKER_SCORE) {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    })
}

/// Whom the trial's tree is built for; nobody runs in it.
const NOBODY: u32 = 65_534;

pub(super) fn root(plan: &RootPlan, namespaces: CloneFlags) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let (outer_uid, outer_gid) = (geteuid(), getegid());
    in_a_child(namespaces, || {
        let identity = if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
            let identity = Identity::Mapped { uid, gid };
            map_one_user(identity, outer_uid, outer_gid)?;
            identity
        } else {
            Identity::Leased { uid, gid }
        };
        Root::build(plan, identity).map(drop)
    })
}
