//! The privileged process: one thread, one loop, nothing in it that blocks.
//!
//! It reads fixed-size datagrams from the worker and from each slot's init, and two clocks. All
//! that can take time (unpacking, killing until empty, replacing a scratch) happens in a slot's own
//! init; what outstays its deadline is killed from here and replaced.

mod start;
mod confine;
mod build;
mod descriptors;
mod finish;
mod orders;
mod reports;
mod runs;
mod sweeps;

use crate::clock;
use crate::jail::Identity;
use crate::launch::{Launch, NulInRuntime};
use crate::protocol::{Build, ProtocolError, Report, Residue, Walls};
use crate::slot::{Building, Dirty, Due, Ending, Idle, Running, Slot};
use jailfleet::settings::WorkerSettings;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orders::Flow;
use reports::Reports;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

pub use build::Host;
pub use start::{WORKER_SCORE, digest_of_hex, harden, protect_from_oom};

/// Why the warden ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WardenError {
    /// A runtime's config cannot be handed to the kernel.
    #[error(transparent)]
    Runtime(#[from] NulInRuntime),
    /// Something that all slots share could not be made.
    #[error("make {what}")]
    Make {
        /// What.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A slot could not be built at the start.
    #[error("build slot {slot}: {reason}; `jailfleet-worker doctor` says what this host lacks")]
    Slot {
        /// Which.
        slot: u16,
        /// What was seen.
        reason: String,
    },
    /// The worker said something that our worker never says.
    #[error("follow the worker: {0}")]
    Worker(String),
    /// A datagram did not decode.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Waiting or receiving failed.
    #[error("wait for the worker and the jails")]
    Wait(#[source] io::Error),
}

/// What stands in a slot's place.
#[derive(Debug)]
enum Stand {
    Building(Slot<Building>),
    Idle(Slot<Idle>),
    Running(Slot<Running>),
    Dirty(Slot<Dirty>),
    Ending(Slot<Ending>),
    /// Nothing yet, or nothing any more: build one when this moment comes.
    Vacant {
        number: u16,
        build_at: Instant,
    },
}

/// The warden.
#[derive(Debug)]
pub struct Warden {
    control: OwnedFd,
    host: Host,
    launches: Vec<Launch>,
    digest: [u8; 32],
    sweep_timeout: Duration,
    walls: Walls,
    stands: Vec<Stand>,
    /// The buildings that the worker knows of, each the one that takes its slot's next run.
    builds: Vec<Build>,
    reports: Reports,
    greeting: Greeting,
    /// Whether the operator knows that unknown calls are not counted here.
    uncounted_said: bool,
}

/// How far the handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// The worker has not said hello.
    Awaited,
    /// It has, and waits for all slots to stand.
    Heard,
    /// It was told that they do.
    Answered,
}

impl Warden {
    /// Prepares everything that does not depend on the worker.
    ///
    /// # Errors
    /// [`WardenError`] when the host refuses what all slots need.
    pub fn prepare(settings: &WorkerSettings, control: OwnedFd) -> Result<Self, WardenError> {
        let mut launches = settings
            .runtimes
            .iter()
            .map(|runtime| Launch::prepare(runtime, &settings.warden.system_binds))
            .collect::<Result<Vec<_>, _>>()?;
        let apparmor = confine::confine(settings, &mut launches);
        let host = Host::prepare(settings, apparmor)?;
        let now = clock::now();
        let count = u16::try_from(settings.worker.slots.count(host.cores())).unwrap_or(u16::MAX);
        Ok(Self {
            control,
            host,
            launches,
            digest: start::digest_bytes(&settings.digest())?,
            sweep_timeout: settings.warden.sweep_timeout_ms.duration(),
            walls: Walls::default(),
            reports: Reports::of(usize::from(count)),
            stands: (0..count)
                .map(|number| Stand::Vacant {
                    number,
                    build_at: now,
                })
                .collect(),
            builds: (0..count).map(Build::first).collect(),
            greeting: Greeting::Awaited,
            uncounted_said: false,
        })
    }

    /// Serves the worker until it goes or says stop, then leaves nothing.
    ///
    /// # Errors
    /// [`WardenError`] after everything was cleaned up.
    pub fn run(mut self) -> Result<(), WardenError> {
        let served = self.serve();
        self.finish();
        served
    }

    fn serve(&mut self) -> Result<(), WardenError> {
        loop {
            let next = self.tick(clock::now())?;
            self.answer_greeting()?;
            self.reports
                .flush(self.control.as_fd())
                .map_err(WardenError::Wait)?;
            let ready = self.wait_until(next).map_err(WardenError::Wait)?;
            for (index, ready) in ready.slots.into_iter().enumerate() {
                if ready {
                    self.hear_slot(index)?;
                }
            }
            if ready.control && self.hear_worker()? == Flow::Stop {
                return Ok(());
            }
        }
    }

    /// Does what the clocks ask for; the answer is when they ask again.
    fn tick(&mut self, now: Instant) -> Result<Instant, WardenError> {
        let mut next = now.checked_add(IDLE_LOOK).unwrap_or(now);
        for index in 0..self.stands.len() {
            let stand = self.take(index);
            let (stand, due) = self.tick_stand(stand, now)?;
            self.put(index, stand);
            next = next.min(due.unwrap_or(next));
        }
        Ok(next)
    }

    fn tick_stand(
        &mut self,
        stand: Stand,
        now: Instant,
    ) -> Result<(Stand, Option<Instant>), WardenError> {
        match stand {
            Stand::Vacant { number, build_at } if now >= build_at => {
                match self.build(number, now) {
                    Ok(slot) => {
                        let due = slot.state.deadline;
                        Ok((Stand::Building(slot), Some(due)))
                    }
                    Err(error) if self.greeting == Greeting::Answered => {
                        runs::log(number, &format!("failed to {error}"));
                        let build_at = now.checked_add(build::BUILD_AGAIN).unwrap_or(now);
                        Ok((Stand::Vacant { number, build_at }, Some(build_at)))
                    }
                    Err(error) => Err(error),
                }
            }
            Stand::Vacant { build_at, .. } => Ok((stand, Some(build_at))),
            Stand::Building(slot) if now >= slot.state.deadline => {
                let ending = self.give_up(slot, Residue::Build, now)?;
                Ok((ending, Some(now)))
            }
            Stand::Building(ref slot) => {
                let due = slot.state.deadline;
                Ok((stand, Some(due)))
            }
            Stand::Idle(_) => Ok((stand, None)),
            Stand::Running(slot) => self.tick_running(slot, now),
            Stand::Dirty(slot) => self.tick_dirty(slot, now),
            Stand::Ending(slot) => self.tick_ending(slot, now),
        }
    }

    fn tick_running(
        &mut self,
        mut slot: Slot<Running>,
        now: Instant,
    ) -> Result<(Stand, Option<Instant>), WardenError> {
        let cores = self.host.cores_u32();
        let why = match slot.due(now) {
            Due::Nothing(until) => return Ok((Stand::Running(slot), Some(until))),
            Due::EndInit => return Ok((self.lose(slot, now)?, Some(now))),
            Due::Act(why) => why,
            Due::LookAtCpu => match slot.look_at_cpu(now, cores) {
                Some(why) => why,
                None => return Ok((Stand::Running(slot), Some(now))),
            },
        };
        match slot.act(why, now) {
            Ok(()) => Ok((Stand::Running(slot), Some(now))),
            Err(_init_gone) => Ok((self.lose(slot, now)?, Some(now))),
        }
    }

    fn answer_greeting(&mut self) -> Result<(), WardenError> {
        let all_stand = self
            .stands
            .iter()
            .all(|stand| matches!(stand, Stand::Idle(_)));
        if self.greeting != Greeting::Heard || !all_stand {
            return Ok(());
        }
        self.greeting = Greeting::Answered;
        self.report(&Report::Ready {
            slot_count: u16::try_from(self.stands.len()).unwrap_or(u16::MAX),
            walls: self.walls,
            config_digest: self.digest,
        })
    }

    fn report(&mut self, report: &Report) -> Result<(), WardenError> {
        let sent = self.reports.send(self.control.as_fd(), report);
        sent.map_err(WardenError::Wait)
    }

    fn take(&mut self, index: usize) -> Stand {
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let vacant = Stand::Vacant {
            number,
            build_at: clock::now(),
        };
        match self.stands.get_mut(index) {
            Some(stand) => std::mem::replace(stand, vacant),
            None => vacant,
        }
    }

    fn put(&mut self, index: usize, stand: Stand) {
        if let Some(place) = self.stands.get_mut(index) {
            *place = stand;
        }
    }

    /// Sleeps until a socket has something or `next` comes.
    fn wait_until(&self, next: Instant) -> io::Result<Ready> {
        let wait = next.saturating_duration_since(clock::now());
        // Rounded up: waking a moment early would spin.
        let millis = wait.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let of_worker = if self.reports.wait() {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let mut waits = vec![PollFd::new(self.control.as_fd(), of_worker)];
        for stand in &self.stands {
            let watched = stand.watched().unwrap_or(self.control.as_fd());
            waits.push(PollFd::new(watched, PollFlags::POLLIN));
        }
        match poll(&mut waits, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => {
                return Ok(Ready {
                    control: false,
                    slots: Vec::new(),
                });
            }
            Err(errno) => return Err(errno.into()),
        }
        let ready = |wait: &PollFd<'_>| wait.any().unwrap_or(false);
        let (control, slots) = waits
            .split_first()
            .map_or((false, Vec::new()), |(control, slots)| {
                (ready(control), slots.iter().map(ready).collect())
            });
        let watched = self.stands.iter().map(|stand| stand.watched().is_some());
        let slots = slots
            .into_iter()
            .zip(watched)
            .map(|(ready, watched)| ready && watched)
            .collect();
        Ok(Ready { control, slots })
    }
}

/// Without anything to do, the warden wakes this often, to no purpose but to be seen alive.
const IDLE_LOOK: Duration = Duration::from_secs(3600);

struct Ready {
    control: bool,
    slots: Vec<bool>,
}

impl Stand {
    /// The descriptor that tells of this slot: its init's words, its sweeper's end, or its init's.
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Building(slot) => Some(slot.link()),
            Self::Idle(slot) => Some(slot.link()),
            Self::Running(slot) => Some(slot.link()),
            Self::Dirty(slot) => Some(match &slot.jail.sweeper {
                Some(sweeper) => sweeper.watched(),
                None => slot.link(),
            }),
            // It is readable for ever once the init was reaped.
            Self::Ending(slot) => (!slot.state.reaped).then(|| slot.jail.pidfd.as_fd()),
            Self::Vacant { .. } => None,
        }
    }
}

impl Identity {
    /// Whether the uid is leased and may be swept.
    #[must_use]
    pub const fn is_leased(self) -> bool {
        matches!(self, Self::Leased { .. })
    }
}
