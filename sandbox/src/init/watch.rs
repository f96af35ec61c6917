//! What the init sees of a running child: its exec, its end, the orphans, an order to kill.

use super::Init;
use crate::clock;
use crate::jail::{FAILURE_BYTES, decode};
use crate::link::{Command, Word};
use crate::protocol::DATAGRAM_BYTES;
use crate::sys::exec::{Patience, Waited, exit_now, wait_child, was_killed};
use crate::sys::message::receive;
use crate::sys::notify::{let_it_fail, next_waiting};
use jailfleet::evidence::{End, Stage, UnknownCalls};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeVal;
use nix::unistd::{Pid, read};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A child between fork and end.
pub(super) struct Child {
    /// As this pid namespace numbers it.
    pub(super) pid: i32,
    /// The pipe that tells a failed stage; `None` once the program was executed.
    pub(super) told: Option<OwnedFd>,
}

/// How a run ended.
pub(super) struct Ending {
    pub(super) end: End,
    pub(super) wall: Duration,
    pub(super) unknown_calls: UnknownCalls,
}

impl Ending {
    pub(super) const fn without_a_program(end: End) -> Self {
        Self {
            end,
            wall: Duration::ZERO,
            unknown_calls: UnknownCalls::NONE,
        }
    }
}

/// CPU time of all children that were reaped so far.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    user: Duration,
    system: Duration,
}

impl Usage {
    /// What came on top of `before`: user, system.
    pub(super) const fn since(self, before: Self) -> (Duration, Duration) {
        (
            self.user.saturating_sub(before.user),
            self.system.saturating_sub(before.system),
        )
    }
}

pub(super) fn children_usage() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Usage {
            user: Duration::ZERO,
            system: Duration::ZERO,
        };
    };
    Usage {
        user: span(usage.user_time()),
        system: span(usage.system_time()),
    }
}

fn span(time: TimeVal) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0));
    seconds.saturating_add(Duration::from_micros(
        u64::try_from(time.tv_usec()).unwrap_or(0),
    ))
}

impl Init<'_> {
    /// Stays with the child until it has ended and nothing else runs in the namespace.
    pub(super) fn watch(&self, run: u64, mut child: Child) -> Ending {
        let mut started: Option<Instant> = None;
        let mut failed: Option<End> = None;
        let mut unknown_calls = UnknownCalls::NONE;
        loop {
            let ready = self.wait_for_news(child.told.as_ref());
            if ready.told
                && let Some(told) = child.told.take()
            {
                failed = failure(&told);
                if failed.is_none() {
                    started = Some(clock::now());
                    self.marks.note(Stage::Exec);
                    let stages = self.marks.times();
                    self.say(&Word::Started { run, stages });
                }
            }
            if ready.child
                && let Some(end) = self.reap_until(child.pid)
            {
                let wall = started.map_or(Duration::ZERO, |at| clock::now().duration_since(at));
                leave_nobody();
                return Ending {
                    end: failed.unwrap_or(end),
                    wall,
                    unknown_calls,
                };
            }
            if ready.call {
                self.refuse_unknown(&mut unknown_calls);
            }
            if ready.link {
                self.obey(run);
            }
        }
    }

    /// Reaps whoever ended; the answer is there when `main` is among them.
    fn reap_until(&self, main: i32) -> Option<End> {
        // The signals only wake us; which children ended is the wait's to say.
        while let Ok(Some(_)) = self.children.read_signal() {}
        // Asked before it is reaped: afterwards its number may be another's.
        let too_early = was_killed(main).is_ok_and(|killed| killed && !became_a_program(main));
        let mut found = None;
        while let Ok(Waited::Ended(pid, end)) = wait_child(-1, Patience::Poll) {
            if pid == main {
                found = Some(if too_early { self.unfinished() } else { end });
            }
        }
        found
    }

    /// A child that was killed before its exec is no program that was killed.
    fn unfinished(&self) -> End {
        End::StageFailed {
            stage: self.marks.unfinished(),
            errno: libc::EINTR,
        }
    }

    /// Answers a call that the policy does not name as a kernel that does not have it.
    fn refuse_unknown(&self, calls: &mut UnknownCalls) {
        let Some(listener) = self.listener.as_ref().map(AsFd::as_fd) else {
            return;
        };
        let Ok(waiting) = next_waiting(listener) else {
            return; // Whoever called was killed in between.
        };
        calls.note(waiting.number);
        match let_it_fail(listener, waiting, libc::ENOSYS) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            // Without an answer the program would hang until its wall limit, and that would look as
            // if it were its own doing.
            Err(_) => exit_now(1),
        }
    }

    /// A kill of this run, or the end of the warden.
    fn obey(&self, running: u64) {
        let mut bytes = [0; DATAGRAM_BYTES];
        match receive(self.link.as_fd(), &mut bytes) {
            Ok(message) if message.length == 0 => exit_now(0),
            Ok(message) => {
                let bytes = bytes.get(..message.length).unwrap_or_default();
                match Command::decode(bytes) {
                    Ok(Command::Kill { run }) if run == running => kill_everybody(),
                    Ok(Command::Kill { .. }) => {}
                    // The warden never sends a second run, nor the word to collect before its end; whoever did is not our warden.
                    Ok(Command::Run { .. } | Command::Collect { .. }) | Err(_) => exit_now(1),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => exit_now(1),
        }
    }

    fn wait_for_news(&self, told: Option<&OwnedFd>) -> News {
        // What is not there has its place taken by another look at the warden's socket.
        let told_or_link = told.unwrap_or(&self.link);
        let listener_or_link = self.listener.as_ref().unwrap_or(&self.link);
        let watched = [&self.link, told_or_link, listener_or_link].map(AsFd::as_fd);
        let [link, told_fd, listener] = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let children = PollFd::new(self.children.as_fd(), PollFlags::POLLIN);
        let mut waits = [link, told_fd, listener, children];
        match poll(&mut waits, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return News::default(),
            // Blind to the warden's end, an init must not live on.
            Err(_) => exit_now(1),
        }
        let [link, told_fd, listener, children] =
            waits.map(|wait| wait.revents().unwrap_or(PollFlags::empty()));
        News {
            link: !link.is_empty(),
            child: !children.is_empty(),
            told: told.is_some() && !told_fd.is_empty(),
            // It hangs up when the last process with the filter is gone, but for us.
            call: self.listener.is_some() && listener.contains(PollFlags::POLLIN),
        }
    }
}

#[derive(Default)]
struct News {
    link: bool,
    child: bool,
    told: bool,
    call: bool,
}

/// Whether an ended child, not yet reaped, had come as far as its exec; unless the kernel says that it
/// had not, it had.
///
/// # Source
/// proc_pid_stat(5), the field `flags`; PF_FORKNOEXEC in the kernel's `sched.h`
fn became_a_program(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    !forked_only(&stat)
}

fn forked_only(stat: &str) -> bool {
    const PF_FORKNOEXEC: u64 = 0x40;
    // The name may hold spaces and parentheses; what follows it begins with the third field.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let flags = fields.and_then(|fields| fields.split(' ').nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_FORKNOEXEC != 0)
}

/// What the child told of a failed stage; `None` when the pipe closed at the exec.
fn failure(told: &OwnedFd) -> Option<End> {
    let mut bytes = [0; FAILURE_BYTES];
    match read(told, &mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(_) => match decode(bytes) {
            Some((stage, errno)) => Some(End::StageFailed { stage, errno }),
            None => Some(End::Unstarted),
        },
    }
}

/// Kills every process in the namespace but us. A process that is forking at this moment is killed
/// too: the kernel does not let a fork pass a pending kill.
fn kill_everybody() {
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        // ESRCH: nobody is left.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(_) => exit_now(1),
    }
}

/// Kills and reaps until the namespace holds nobody but us.
pub(super) fn leave_nobody() {
    loop {
        kill_everybody();
        match wait_child(-1, Patience::Block) {
            Ok(Waited::NoChild) => return,
            Ok(Waited::Ended(..) | Waited::NoneYet) => {}
            Err(_) => exit_now(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::forked_only;

    #[test]
    fn a_process_that_never_executed_anything_is_told_by_its_flags() {
        let stat = |flags| format!("7 (a) b (c) Z 1 7 7 0 -1 {flags} 0 0 0 0 1 2");
        assert!(forked_only(&stat(0x40_0040)));
        assert!(!forked_only(&stat(0x40_0000)));
        assert!(!forked_only("7 (cut off"));
    }
}
