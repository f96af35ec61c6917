//! A numbered place for one run, with its state in its type: only a proof of cleanness makes a dirty
//! slot idle again.

mod observed;

use crate::cgroup::{Counters, SlotCgroup};
use crate::lease::Lease;
use crate::link::Command;
use crate::protocol::{Build, Extras, JailPlan};
use crate::sweep::{By, CleanProof, Sweeper, Sweeping};
use jailfleet::evidence::{Acted, Evidence};
use jailfleet::limits::Limits;
pub use observed::Observed;
use observed::seen_end;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What stands in a slot: an init and all that it lives in. Replaced as a whole after a quarantine.
#[derive(Debug)]
pub struct Jail {
    /// The init, as the warden waits for it.
    pub pid: i32,
    /// The init itself.
    pub pidfd: OwnedFd,
    /// Our end of the socket to it.
    pub link: OwnedFd,
    /// The slot's uid; `None` for a plain user.
    pub lease: Option<Lease>,
    /// The slot's cgroups, where the host has usable ones.
    pub cgroup: Option<SlotCgroup>,
    /// The child that kills what its uid still has, while it is at work.
    pub sweeper: Option<Sweeper>,
    /// What was wrong with its last sweep, as it was told.
    pub sweep_trouble: Option<String>,
}

/// A slot in state `S`.
#[derive(Debug)]
#[must_use]
pub struct Slot<S> {
    /// Its number, and which of its buildings it is.
    pub build: Build,
    /// What stands in it.
    pub jail: Jail,
    /// What it is doing.
    pub state: S,
}

/// Its init is being built.
#[derive(Debug)]
pub struct Building {
    /// When it must stand.
    pub deadline: Instant,
}

/// It takes a run.
#[derive(Debug)]
pub struct Idle {
    before: Counters,
}

/// A program runs in it.
#[derive(Debug)]
pub struct Running {
    /// The run.
    pub run: u64,
    limits: Limits,
    extras: Extras,
    before: Counters,
    ordered: Instant,
    started: Option<Instant>,
    acted: Option<(Acted, Instant)>,
    next_cpu_look: Instant,
}

/// Its run is over and it is not yet proved clean.
#[derive(Debug)]
pub struct Dirty {
    /// The run that made it dirty.
    pub run: u64,
    /// When it must be clean.
    pub deadline: Instant,
    /// Whether its artifacts are wanted, and its init waits for the order to bring them out.
    pub to_collect: bool,
    /// Whether the init has replaced the scratch.
    pub cleaned: bool,
    /// Whether its uid is swept before anybody looks: a run that we had to stop is not trusted to be
    /// gone because a look finds nothing.
    pub sweep_first: bool,
}

/// Its init was killed and is waited for.
#[derive(Debug)]
pub struct Ending {
    /// When we say that it is stuck.
    pub deadline: Instant,
    /// Whether the init was waited for: then nothing of its pid namespace is left.
    pub reaped: bool,
    /// Whether somebody was told.
    pub stuck: bool,
    /// When its place may be built on again; later than at once only after a build that failed.
    pub build_at: Instant,
}

/// How long a child may take from the order to its exec: files of the job are written in it.
const SETUP_DEADLINE: Duration = Duration::from_secs(20);
/// How long an init may take to kill its run before it is killed itself. Within its ceiling a run can
/// have so many mappings in so many processes that the kernel takes seconds to undo them.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a collector may take, however slowly the worker reads.
pub const COLLECT_DEADLINE: Duration = Duration::from_secs(10);
/// Memory that a collector may need on top of what a run left.
const COLLECTOR_BYTES: u64 = 8 << 20;
/// How far the CPU time of the tree may pass the limit before we act: SIGXCPU comes first then, as
/// it does outside.
const CPU_GRACE: Duration = Duration::from_millis(20);
/// No look at the CPU clock comes sooner than this after the one before.
const CPU_LOOK_AT_LEAST: Duration = Duration::from_millis(4);

/// What a running slot asks for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing until then.
    Nothing(Instant),
    /// The limit was passed: act on it.
    Act(Acted),
    /// It is time to look at the CPU clock.
    LookAtCpu,
    /// The init does not obey: end it.
    EndInit,
}

/// How far the sweep of a slot's uid has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// There is none under way.
    Unasked,
    /// It goes on, and is to be looked at by then at the latest.
    NotBefore(Instant),
    /// It has just ended.
    Now(By),
}

impl<S> Slot<S> {
    /// The same slot in another state.
    pub fn into_state<T>(self, state: T) -> Slot<T> {
        Slot {
            build: self.build,
            jail: self.jail,
            state,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.build.slot
    }

    /// The socket to its init.
    pub fn link(&self) -> BorrowedFd<'_> {
        self.jail.link.as_fd()
    }

    /// Has a child kill what the slot's uid still has.
    ///
    /// # Errors
    /// When it cannot be made. Without a uid of its own there is nothing to do.
    pub fn start_sweep(&mut self, now: Instant) -> io::Result<()> {
        if let Some(lease) = &self.jail.lease {
            self.jail.sweeper = Some(Sweeper::start(lease.uid(), now)?);
        }
        Ok(())
    }

    /// Whether a sweep goes on, and until when it may; or what it was done by.
    ///
    /// # Errors
    /// What the kernel answered; the sweep is then given up.
    pub fn sweeping(&mut self, now: Instant) -> io::Result<Swept> {
        let Some(sweeper) = &mut self.jail.sweeper else {
            return Ok(Swept::Unasked);
        };
        match sweeper.done(now) {
            Ok(Sweeping::GoesOn) => Ok(Swept::NotBefore(sweeper.deadline())),
            Ok(Sweeping::Done(by)) => {
                self.jail.sweeper = None;
                Ok(Swept::Now(by))
            }
            Err(error) => {
                self.jail.sweeper = None;
                Err(error)
            }
        }
    }

    /// What its cgroups have counted so far; zeros without cgroups.
    fn counters(&self) -> Counters {
        self.jail
            .cgroup
            .as_ref()
            .map_or_else(Counters::default, SlotCgroup::counters)
    }
}

impl Slot<Building> {
    /// The init stands and nothing has run in it yet.
    pub fn built(self) -> Slot<Idle> {
        let before = self.counters();
        self.into_state(Idle { before })
    }
}

impl Slot<Idle> {
    /// Orders a run.
    ///
    /// # Errors
    /// When the limits could not be set or the init could not be told: the slot is then of no use.
    pub fn start(
        mut self,
        plan: &JailPlan,
        fds: &[BorrowedFd<'_>],
        now: Instant,
    ) -> Result<Slot<Running>, Box<(Self, io::Error)>> {
        if let Some(cgroup) = &mut self.jail.cgroup
            && let Err(error) = cgroup.arm(&plan.limits)
        {
            return Err(Box::new((self, error)));
        }
        let JailPlan {
            run,
            runtime,
            limits,
            extras,
            build: _,
        } = *plan;
        let command = Command::Run {
            run,
            runtime,
            limits,
            extras,
        };
        if let Err(error) = crate::client::send_datagram(self.link(), &command.encode(), fds) {
            return Err(Box::new((self, error)));
        }
        let state = Running {
            run,
            limits,
            extras,
            before: self.state.before,
            ordered: now,
            started: None,
            acted: None,
            next_cpu_look: now.checked_add(SETUP_DEADLINE).unwrap_or(now),
        };
        Ok(self.into_state(state))
    }
}

impl Slot<Running> {
    /// The program was executed: its clocks begin.
    pub fn started(&mut self, now: Instant, cores: u32) {
        self.state.started = Some(now);
        self.state.next_cpu_look = after(now, self.state.limits.cpu_ms.duration() / cores.max(1));
    }

    /// What is to be done now. Pure.
    #[must_use]
    pub fn due(&self, now: Instant) -> Due {
        let state = &self.state;
        if let Some((_, at)) = state.acted {
            let deadline = after(at, KILL_DEADLINE);
            return if now >= deadline {
                Due::EndInit
            } else {
                Due::Nothing(deadline)
            };
        }
        let Some(started) = state.started else {
            let deadline = after(state.ordered, SETUP_DEADLINE);
            return if now >= deadline {
                Due::EndInit
            } else {
                Due::Nothing(deadline)
            };
        };
        let wall = after(started, state.limits.wall_ms.duration());
        if now >= wall {
            Due::Act(Acted::Wall)
        } else if now >= state.next_cpu_look {
            Due::LookAtCpu
        } else {
            Due::Nothing(wall.min(state.next_cpu_look))
        }
    }

    /// Looks at the CPU clock: acts, or sets the next look to the first moment at which all cores
    /// together could have used up what is left.
    #[must_use]
    pub fn look_at_cpu(&mut self, now: Instant, cores: u32) -> Option<Acted> {
        let limit = self
            .state
            .limits
            .cpu_ms
            .duration()
            .saturating_add(CPU_GRACE);
        let cpu = self.jail.cgroup.as_ref().and_then(SlotCgroup::cpu_time);
        let Some(used) = cpu else {
            // RLIMIT_CPU alone stands guard where nobody counts for the whole tree.
            self.state.next_cpu_look = after(now, SETUP_DEADLINE);
            return None;
        };
        let used = used.saturating_sub(self.state.before.cpu.unwrap_or_default());
        let Some(left) = limit.checked_sub(used).filter(|left| !left.is_zero()) else {
            return Some(Acted::Cpu);
        };
        self.state.next_cpu_look = after(now, (left / cores.max(1)).max(CPU_LOOK_AT_LEAST));
        None
    }

    /// Has the run killed, and keeps the first reason.
    ///
    /// # Errors
    /// When the init cannot be told: then it must be ended.
    pub fn act(&mut self, why: Acted, now: Instant) -> io::Result<()> {
        self.state.acted.get_or_insert((why, now));
        let command = Command::Kill {
            run: self.state.run,
        };
        crate::client::send_datagram(self.link(), &command.encode(), &[])
    }

    /// The run is over: what was observed, and a slot to clean.
    pub fn ended(self, ending: Observed, deadline: Instant) -> (Slot<Dirty>, Evidence) {
        let now = self.counters();
        let before = &self.state.before;
        let counted = now
            .cpu
            .zip(before.cpu)
            .map(|(now, before)| now.saturating_sub(before));
        let pressure = now.pressure_full.zip(before.pressure_full);
        let acted = self.state.acted.map(|(why, _)| why);
        let evidence = Evidence {
            end: seen_end(ending.end, acted, self.state.started),
            acted,
            oom_kills: now.oom_kills.saturating_sub(before.oom_kills),
            memory_refusals: now
                .memory_refusals
                .zip(before.memory_refusals)
                .map(|(now, before)| now.saturating_sub(before)),
            cpu: counted.unwrap_or(ending.user.saturating_add(ending.system)),
            user: ending.user,
            system: ending.system,
            wall: ending.wall,
            peak_memory_bytes: self.jail.cgroup.as_ref().and_then(SlotCgroup::peak_memory),
            processes_peak: self
                .jail
                .cgroup
                .as_ref()
                .and_then(SlotCgroup::peak_processes),
            pressure_full: pressure.map(|(now, before)| now.saturating_sub(before)),
            unknown_calls: ending.unknown_calls,
        };
        let state = Dirty {
            run: self.state.run,
            deadline,
            to_collect: self.state.extras.artifacts(),
            cleaned: false,
            sweep_first: acted.is_some(),
        };
        (self.into_state(state), evidence)
    }
}

impl Slot<Dirty> {
    /// Has the init bring out what the run left, once the run's evidence was taken. The slot has more time
    /// for it, and more memory: what the run left may take up all that it was allowed.
    ///
    /// # Errors
    /// When the init cannot be told: the slot is then of no use.
    pub fn collect(&mut self) -> io::Result<()> {
        if let Some(cgroup) = &mut self.jail.cgroup {
            cgroup.make_room(COLLECTOR_BYTES)?;
        }
        let command = Command::Collect {
            run: self.state.run,
        };
        crate::client::send_datagram(self.link(), &command.encode(), &[])?;
        self.state.deadline = after(self.state.deadline, COLLECT_DEADLINE);
        Ok(())
    }

    /// Nothing of the last run is left. The proof is used up, whatever it is of.
    ///
    /// # Errors
    /// The slot as it was, where the proof is another run's, another building's or another slot's.
    pub fn proved(self, proof: CleanProof) -> Result<Slot<Idle>, Box<Self>> {
        if !proof.is_of(self.build, self.state.run) {
            return Err(Box::new(self));
        }
        let before = self.counters();
        Ok(self.into_state(Idle { before }))
    }
}

fn after(at: Instant, span: Duration) -> Instant {
    // A moment beyond the clock's range is no limit to wait for; a day is beyond every deadline.
    at.checked_add(span)
        .or_else(|| at.checked_add(Duration::from_hours(24)))
        .unwrap_or(at)
}

#[cfg(test)]
mod tests;
