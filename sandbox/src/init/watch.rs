//! What the init sees of a running child: its exec, its end, the orphans, an order to kill.

use super::Init;
use crate::clock;
use crate::jail::{FAILURE_BYTES, decode};
use crate::link::{Command, Word};
use crate::protocol::DATAGRAM_BYTES;
use crate::sys::exec::{Patience, Waited, exit_now, wait_child};
use crate::sys::message::receive;
use jailfleet::evidence::{End, Stage};
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
}

impl Ending {
    pub(super) const fn without_a_program(end: End) -> Self {
        Self {
            end,
            wall: Duration::ZERO,
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
                };
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
        let mut found = None;
        while let Ok(Waited::Ended(pid, end)) = wait_child(-1, Patience::Poll) {
            if pid == main {
                found = Some(end);
            }
        }
        found
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
                    // The warden never sends a second run; whoever did is not our warden.
                    Ok(Command::Run { .. }) | Err(_) => exit_now(1),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => exit_now(1),
        }
    }

    fn wait_for_news(&self, told: Option<&OwnedFd>) -> News {
        let link = PollFd::new(self.link.as_fd(), PollFlags::POLLIN);
        let children = PollFd::new(self.children.as_fd(), PollFlags::POLLIN);
        let ready = |wait: &PollFd<'_>| wait.any().unwrap_or(false);
        let polled = match told {
            None => {
                let mut waits = [link, children];
                let polled = poll(&mut waits, PollTimeout::NONE);
                let [link, children] = &waits;
                polled.map(|_| News {
                    link: ready(link),
                    child: ready(children),
                    told: false,
                })
            }
            Some(told) => {
                let told = PollFd::new(told.as_fd(), PollFlags::POLLIN);
                let mut waits = [link, children, told];
                let polled = poll(&mut waits, PollTimeout::NONE);
                let [link, children, told] = &waits;
                polled.map(|_| News {
                    link: ready(link),
                    child: ready(children),
                    told: ready(told),
                })
            }
        };
        match polled {
            Ok(news) => news,
            Err(Errno::EINTR) => News {
                link: false,
                child: false,
                told: false,
            },
            // Blind to the warden's end, an init must not live on.
            Err(_) => exit_now(1),
        }
    }
}

struct News {
    link: bool,
    child: bool,
    told: bool,
}

/// What the child told of a failed stage; `None` when the pipe closed at the exec.
fn failure(told: &OwnedFd) -> Option<End> {
    let mut bytes = [0; FAILURE_BYTES];
    match read(told, &mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(_) => match decode(bytes) {
            Some((stage, errno)) => Some(End::StageFailed { stage, errno }),
            None => Some(End::Lost),
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
fn leave_nobody() {
    loop {
        kill_everybody();
        match wait_child(-1, Patience::Block) {
            Ok(Waited::NoChild) => return,
            Ok(Waited::Ended(..) | Waited::NoneYet) => {}
            Err(_) => exit_now(1),
        }
    }
}
