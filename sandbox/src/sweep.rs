//! Proof that nothing of a run is left, and what is done where something is.
//!
//! Only a leased uid can be swept ([`LeasedUid`] cannot be made otherwise): a plain user's slot
//! shares its uid with everything that the user runs, and cannot even express the question.

use crate::clock;
use crate::lease::LeasedUid;
use crate::protocol::Build;
use crate::slot::{Dirty, Slot};
use crate::sys::clone::{Cloned, clone_process};
use crate::sys::exec::{Patience, Strings, Waited, execve, exit_now, wait_child};
use crate::sys::ipc::{remove_system_v_objects, system_v_objects};
use crate::without::{kills, stands};
use jailfleet::evidence::End;
use jailfleet::wall::Wall;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{
    Gid, Pid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, setgroups, setresgid, setresuid,
};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Nothing of one run is left in its slot: its scratch is new, and nothing of its uid runs on this host.
/// Made by [`prove`] and nowhere else, for this run in this building of a slot and for no other.
#[derive(Debug)]
#[must_use]
pub struct CleanProof {
    build: Build,
    run: u64,
}

impl CleanProof {
    /// Whether it speaks of this run in this building. It can be asked once: what it is good for happens once.
    #[must_use]
    pub fn is_of(self, build: Build, run: u64) -> bool {
        self.build == build && self.run == run
    }

    /// A proof without a look, for what is done with one.
    #[cfg(test)]
    pub(crate) const fn unlooked(build: Build, run: u64) -> Self {
        Self { build, run }
    }
}

/// Something of the uid is still there, or it cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotClean {
    /// Its init has not replaced the scratch yet.
    #[error("prove the slot clean: its scratch is still the run's")]
    Scratch,
    /// It has no uid of its own, so that a look says nothing: the end of its init has to.
    #[error("prove the slot clean: it has no uid of its own")]
    Unleased,
    /// At least one process, perhaps a zombie, has the uid.
    #[error("prove the slot clean: a process of its uid is still there")]
    Processes,
    /// The kernel did not say.
    #[error("prove the slot clean: the kernel answered {0}")]
    Unknown(i32),
}

/// Looks whether anything of the slot's last run is left.
///
/// # Errors
/// [`NotClean`] unless it is certain that there is not.
pub fn prove(slot: &Slot<Dirty>) -> Result<CleanProof, NotClean> {
    if !slot.state.cleaned {
        return Err(NotClean::Scratch);
    }
    let lease = slot.jail.lease.as_ref().ok_or(NotClean::Unleased)?;
    look(lease.uid())?;
    Ok(CleanProof {
        build: slot.build,
        run: slot.state.run,
    })
}

/// Looks whether any process has this uid.
///
/// # Errors
/// [`NotClean`] unless the kernel says that there is none.
///
/// # Source
/// getpriority(2): ESRCH, no process was located. (`kill(-1, 0)` never says so.)
pub fn look(uid: LeasedUid) -> Result<(), NotClean> {
    match rustix::process::getpriority_user(rustix::process::Uid::from_raw(uid.get())) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        Ok(_) => Err(NotClean::Processes),
        Err(errno) => Err(NotClean::Unknown(errno.raw_os_error())),
    }
}

/// How long a sweeper may take before it is killed.
const SWEEP_DEADLINE: Duration = Duration::from_secs(2);
/// A sweeper that failed before it became pkill ends with this and its errno; pkill itself ends with 0
/// to 3, and no errno is so high that the sum would not fit.
const FAILED: i32 = 100;
/// What pkill ends with when it found nobody: the kill before it was enough.
const PKILL_FOUND_NOBODY: i32 = 1;
/// A sweeper that killed and could not become pkill ends with this.
const KILLED_WITHOUT_PKILL: i32 = 99;
/// Where pkill is found.
const PKILL: [&CStr; 2] = [c"/usr/bin/pkill", c"/bin/pkill"];

/// A child that kills everything that has a uid: once by `kill(-1, SIGKILL)` in the name of that uid,
/// which no fork bomb outruns, then by the `pkill` binary, which it becomes.
///
/// Whoever started it has neighbours to watch, so nothing here waits: look at [`Sweeper::done`] when
/// its descriptor is readable or its deadline has come.
#[derive(Debug)]
#[must_use]
pub struct Sweeper {
    pid: i32,
    pidfd: OwnedFd,
    deadline: Instant,
}

/// Whether a sweeper is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweeping {
    /// Still.
    GoesOn,
    /// Not any more; what it killed still has to be reaped: [`look`] again.
    Done(By),
}

/// What a sweep was done by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The kill of everything of the uid, and then pkill.
    KillAndPkill,
    /// The kill alone: pkill is not there, or cannot be executed. A host is to have it, and without it lacks
    /// the wall `uid`; but the kill is a whole sweep, and what proves a slot clean is the look after it.
    KillAlone,
}

/// Why there is no pkill behind the kill, and what to do.
pub const NO_PKILL: &str = "pkill cannot be executed, so that nothing stands behind the kill of what a slot's \
                            uid still has";
/// See [`NO_PKILL`].
pub const GET_PKILL: &str = "install pkill as /usr/bin/pkill (Debian, Ubuntu: apt-get install procps); where it is \
                             there, let the warden's AppArmor profile execute it (apparmor/jailfleet-profiles)";

/// Sweeps a uid that nothing runs under, to see what sweeps are done by on this host.
///
/// # Errors
/// When sweeps do not work here at all.
pub fn rehearse(uid: LeasedUid) -> io::Result<By> {
    Sweeper::start(uid, clock::now())?.wait()
}

impl Sweeper {
    /// Starts one.
    ///
    /// # Errors
    /// When the child cannot be made.
    pub fn start(uid: LeasedUid, now: Instant) -> io::Result<Self> {
        let number = CString::new(uid.get().to_string())?;
        let mut argv = Strings::with_room(4);
        let fits = [c"pkill", c"-KILL", c"-U", number.as_c_str()]
            .iter()
            .all(|text| argv.push(text));
        debug_assert!(fits, "there is room for four");
        match clone_process(0, None)? {
            Cloned::Child => {
                let status = match sweep_as(uid, &argv) {
                    Ok(()) => KILLED_WITHOUT_PKILL,
                    Err(error) => {
                        let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
                        FAILED.saturating_add(errno)
                    }
                };
                exit_now(status)
            }
            Cloned::Parent { pid, pidfd } => Ok(Self {
                pid,
                pidfd,
                deadline: now.checked_add(SWEEP_DEADLINE).unwrap_or(now),
            }),
        }
    }

    /// Readable once it has ended.
    #[must_use]
    pub fn watched(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// When it is to be looked at even if it has not ended.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reaps it if it has ended; kills it if it should have.
    ///
    /// # Errors
    /// What the kernel answered, to us or to it: it has ended then, and swept nothing, or not all.
    pub fn done(&mut self, now: Instant) -> io::Result<Sweeping> {
        match wait_child(self.pid, Patience::Poll)? {
            Waited::Ended(_, end) => return swept(end).map(Sweeping::Done),
            // Nobody knows then how it ended.
            Waited::NoChild => return Err(Errno::ECHILD.into()),
            Waited::NoneYet => {}
        }
        if now >= self.deadline {
            rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL)?;
            self.deadline = now.checked_add(SWEEP_DEADLINE).unwrap_or(now);
        }
        Ok(Sweeping::GoesOn)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn wait(mut self) -> io::Result<By> {
        loop {
            let now = clock::now();
            if let Sweeping::Done(by) = self.done(now)? {
                return Ok(by);
            }
            let left = self.deadline.saturating_duration_since(now);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut waits = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waits, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// What the end of a sweeper says of its sweep.
fn swept(end: End) -> io::Result<By> {
    match end {
        End::Exited(0 | PKILL_FOUND_NOBODY) => Ok(By::KillAndPkill),
        End::Exited(KILLED_WITHOUT_PKILL) => Ok(By::KillAlone),
        End::Exited(status) if status > FAILED => {
            Err(io::Error::from_raw_os_error(status.saturating_sub(FAILED)))
        }
        End::Exited(status) => Err(io::Error::other(format!("pkill ended with {status}"))),
        End::Signaled(signal) => Err(io::Error::other(format!(
            "the sweeper was ended by signal {signal}"
        ))),
        End::StageFailed { .. } | End::Lost | End::Unstarted => {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// In the child: becomes the uid, kills, and leaves as pkill; comes back where there is no pkill to become.
fn sweep_as(uid: LeasedUid, argv: &Strings<'_>) -> io::Result<()> {
    // The worker's socket may lie on a standard descriptor; a process of the slot's uid must not
    // carry it.
    let null = open(
        c"/dev/null",
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    crate::sys::restrict::close_on_exec_from(3)?;
    let (user, group) = (Uid::from_raw(uid.get()), Gid::from_raw(uid.get()));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    if kills() {
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    without_pkill(PKILL.map(|program| execve(program, argv, &Strings::with_room(0))))
}

/// What became of a sweep whose every try to become pkill came back. Where there is none, or it cannot be
/// executed, the kill before was the sweep.
///
/// # Errors
/// The first that says something else: the host may have it otherwise in a moment.
fn without_pkill(tries: [io::Error; 2]) -> io::Result<()> {
    let absent = |error: &io::Error| {
        let errno = error.raw_os_error();
        matches!(errno, Some(libc::ENOENT | libc::EACCES | libc::ENOEXEC))
    };
    match tries.into_iter().find(|error| !absent(error)) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Makes sure that no message queue, semaphore set or shared memory is left in this IPC namespace;
/// where one is, the namespace is left for a new one, and dies with all that it holds.
///
/// POSIX queues need no look: RLIMIT_MSGQUEUE is 0, so that none can be made.
///
/// # Errors
/// When the kernel does not tell or the namespace cannot be replaced.
pub fn no_ipc_left() -> io::Result<()> {
    // Or it would be the host's objects that go.
    if !stands(Wall::Ipcns) {
        return Ok(());
    }
    if system_v_objects()?.is_empty() {
        return Ok(());
    }
    // The next run may have less memory than this one left in them, and would be charged for it.
    remove_system_v_objects()?;
    unshare(CloneFlags::CLONE_NEWIPC)?;
    if system_v_objects()?.is_empty() {
        Ok(())
    } else {
        Err(Errno::EEXIST.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{By, FAILED, GET_PKILL, KILLED_WITHOUT_PKILL, swept, without_pkill};
    use jailfleet::evidence::End;
    use std::io;

    #[test]
    fn a_sweeper_that_failed_is_not_taken_for_one_that_swept() {
        let by = |status| swept(End::Exited(status)).expect("it swept");
        assert_eq!(by(0), By::KillAndPkill, "pkill killed somebody");
        assert_eq!(by(1), By::KillAndPkill, "the kill before it was enough");
        assert_eq!(by(KILLED_WITHOUT_PKILL), By::KillAlone);
        let failed = swept(End::Exited(FAILED + libc::EPERM)).expect_err("it never swept");
        assert_eq!(failed.raw_os_error(), Some(libc::EPERM));
        for end in [End::Exited(2), End::Exited(3), End::Signaled(9), End::Lost] {
            swept(end).expect_err("it swept nothing, or not all");
        }
    }

    #[test]
    fn a_sweep_goes_without_pkill_where_there_is_none_and_not_where_the_host_lacks_something() {
        let ended = |errnos: [i32; 2]| without_pkill(errnos.map(io::Error::from_raw_os_error));
        for absent in [libc::ENOENT, libc::EACCES, libc::ENOEXEC] {
            ended([absent, libc::ENOENT]).expect("the kill alone is a sweep");
        }
        for lacking in [libc::ENOMEM, libc::EAGAIN, libc::EMFILE, libc::ETXTBSY] {
            for errnos in [[lacking, libc::ENOENT], [libc::ENOENT, lacking]] {
                let error = ended(errnos).expect_err("it is swept again");
                assert_eq!(error.raw_os_error(), Some(lacking));
            }
        }
    }

    #[test]
    fn whoever_has_a_pkill_that_cannot_be_executed_is_told_of_the_profile_that_lets_it() {
        assert!(GET_PKILL.contains("procps"));
        let profile = "apparmor/jailfleet-profiles";
        assert!(GET_PKILL.contains(profile));
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(root.join(profile)).expect("the profiles");
        assert!(text.contains("pkill"));
    }
}
