//! Waiting for children, which as pid 1 are all processes that lose their parent.

use anyhow::{Context, Result};
use jailfleet_guest::{End, Left};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long what an errand's program left may take to end by itself. A warden that lost its worker
/// has slots to tear down.
const GRACE: Duration = Duration::from_secs(10);

/// Tells when a child has ended.
#[derive(Debug)]
pub(crate) struct Children {
    signals: SignalFd,
}

/// Who is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nobody,
    Somebody,
}

impl Children {
    /// Starts to watch.
    pub(crate) fn watch() -> Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().context("block SIGCHLD")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).context("watch for SIGCHLD")?;
        Ok(Self { signals })
    }

    /// Waits for `main`, kills it at its limit, and then for everybody that is left.
    pub(crate) fn finish(&mut self, main: Pid, limit: Duration) -> Result<(End, Left)> {
        let mut ended = None;
        let until = now() + limit;
        let rest = self.reap_until(until, |pid, end| {
            if pid == main {
                ended = Some(end);
            }
            pid == main
        })?;
        let end = match ended {
            Some(end) => end,
            None => {
                kill_everybody()?;
                End::TimedOut
            }
        };
        // Orphans become our children: when we have none, nobody is left at all.
        let rest = match rest {
            Rest::Nobody => Rest::Nobody,
            Rest::Somebody => self.reap_until(now() + GRACE, |_, _| false)?,
        };
        let left = match rest {
            Rest::Nobody => Left::Nothing,
            Rest::Somebody => {
                kill_everybody()?;
                self.reap_until(now() + GRACE, |_, _| false)?;
                Left::Processes
            }
        };
        Ok((end, left))
    }

    /// Reaps until nobody is left, `enough` says so, or the time has come.
    fn reap_until(
        &mut self,
        until: Instant,
        mut enough: impl FnMut(Pid, End) -> bool,
    ) -> Result<Rest> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    if enough(pid, End::Exited(code)) {
                        return Ok(Rest::Somebody);
                    }
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    if enough(pid, End::Signaled(signal as i32)) {
                        return Ok(Rest::Somebody);
                    }
                }
                Ok(WaitStatus::StillAlive) => {
                    let left = until.saturating_duration_since(now());
                    if left.is_zero() {
                        return Ok(Rest::Somebody);
                    }
                    self.wait(left)?;
                }
                // Nobody is traced or asked for stops.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(Rest::Nobody),
                Err(errno) => return Err(errno).context("wait for the children"),
            }
        }
    }

    fn wait(&mut self, limit: Duration) -> Result<()> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for a signal"),
        }
        // One signal can stand for many children, and the loop above looks at them all.
        while self
            .signals
            .read_signal()
            .context("read a signal")?
            .is_some()
        {}
        Ok(())
    }
}

/// Everything but pid 1, which is us.
fn kill_everybody() -> Result<()> {
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context("kill what is left"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the guest")]
fn now() -> Instant {
    Instant::now()
}
