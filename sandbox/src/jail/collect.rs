//! The other child of an init: it brings out what a run left, after the run is over.
//!
//! Nothing of the run is alive then, so nothing changes under its hands. It is still kept as a program
//! is: it has the slot's own identity and no power, sees the jail's root alone, and may do no more than
//! read below the working directory and write to one pipe. A path that leads anywhere else does not open.

mod walk;

use super::{Identity, identity, start};
use crate::landlock;
use crate::sys::exec::exit_now;
use crate::sys::map::Mapping;
use crate::sys::restrict::{close_all_but, landlock_restrict_self, seccomp_set_filter};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::dup2_stderr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a collector is given.
#[derive(Debug)]
pub struct Collecting<'a> {
    /// Who the program was.
    pub identity: Identity,
    /// Its working directory.
    pub cwd: BorrowedFd<'a>,
    /// What is wanted, as the worker wrote it; mapped, not yet read by anybody.
    pub wanted: &'a Mapping,
    /// Where it goes.
    pub out: OwnedFd,
    /// The collector's own system call filter.
    pub filter: &'a [libc::sock_filter],
}

/// One for each folder on the way down, the three streams, and a few.
const MOST_DESCRIPTORS: u64 = 64;

/// Brings out what is wanted and ends. That it ends early is seen in what it wrote.
pub fn collect(collecting: Collecting<'_>) -> ! {
    let Collecting {
        identity,
        cwd,
        wanted,
        out,
        filter,
    } = collecting;
    let confined = confine(identity, cwd, out.as_fd(), filter);
    let done = confined.and_then(|()| walk::bring_out(wanted.as_bytes(), cwd, File::from(out)));
    exit_now(i32::from(done.is_err()))
}

/// Gives up all that a collector does not need, and then reads what a stranger wrote.
fn confine(
    identity: Identity,
    cwd: BorrowedFd<'_>,
    out: BorrowedFd<'_>,
    filter: &[libc::sock_filter],
) -> io::Result<()> {
    start::own_session(identity)?;
    // The third stream is the warden's log.
    dup2_stderr(io::stdin().as_fd())?;
    let ruleset = landlock::only_reading(cwd)?;
    let kept = [Some(cwd), Some(out), ruleset.as_ref().map(AsFd::as_fd)];
    close_all_but(&kept.into_iter().flatten().collect::<Vec<_>>())?;
    for (resource, most) in [
        (Resource::RLIMIT_NOFILE, MOST_DESCRIPTORS),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 1),
    ] {
        setrlimit(resource, most, most)?;
    }
    identity::become_the_slot(identity)?;
    start::die_with_the_init()?;
    set_no_new_privs()?;
    if let Some(ruleset) = ruleset {
        landlock_restrict_self(ruleset.as_fd())?;
    }
    seccomp_set_filter(filter)
}
