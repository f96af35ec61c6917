//! A run from its order to a clean slot.

use super::{Stand, Warden, WardenError};
use crate::clock;
use crate::link::{Counting, Word};
use crate::protocol::{Build, DATAGRAM_BYTES, JailPlan, Refusal, Report, Residue};
use crate::slot::{Ending, Observed, Running, Slot};
use crate::sys::message::receive;
use jailfleet::evidence::{Acted, End, Evidence};
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a killed init may take to vanish before somebody is told.
const ENDING_DEADLINE: Duration = Duration::from_secs(10);

impl Warden {
    /// Starts a run in an idle slot, if that still stands as the worker knew it.
    pub(super) fn start(&mut self, plan: &JailPlan, fds: &[OwnedFd]) -> Result<(), WardenError> {
        self.check(plan, fds)?;
        let slot = plan.build.slot;
        if self.building(slot) != plan.build {
            // The worker ordered it before it read that the slot was taken out of use.
            return self.report(&Report::Refused {
                slot,
                run: plan.run,
                refusal: Refusal::OtherBuilding,
            });
        }
        let index = usize::from(slot);
        let slot = match self.take(index) {
            Stand::Idle(slot) => slot,
            other @ (Stand::Ending(_)
            | Stand::Building(_)
            | Stand::Vacant { .. }
            | Stand::Running(_)
            | Stand::Dirty(_)) => {
                self.put(index, other);
                return Err(WardenError::Worker(format!("slot {slot} is not idle")));
            }
        };
        let now = clock::now();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match slot.start(plan, &borrowed, now) {
            Ok(running) => self.put(index, Stand::Running(running)),
            Err(failed) => {
                let (slot, error) = *failed;
                log(
                    slot.number(),
                    &format!("the run could not be started: {error}"),
                );
                self.unstarted(plan)?;
                let ending = self.give_up(slot, Residue::InitLost, now)?;
                self.put(index, ending);
            }
        }
        Ok(())
    }

    /// Answers a run that never began: our trouble, and retried.
    fn unstarted(&mut self, plan: &JailPlan) -> Result<(), WardenError> {
        self.report(&Report::Ended {
            slot: plan.build.slot,
            run: plan.run,
            evidence: Evidence {
                end: End::Unstarted,
                ..Evidence::LOST
            },
        })
    }

    /// Kills a run for the worker's reason, if it still runs.
    pub(super) fn kill(&mut self, slot: u16, run: u64, why: Acted) -> Result<(), WardenError> {
        let index = usize::from(slot);
        let now = clock::now();
        let stand = match self.take(index) {
            Stand::Running(mut slot) if slot.state.run == run => match slot.act(why, now) {
                Ok(()) => Stand::Running(slot),
                Err(_init_gone) => self.lose(slot, now)?,
            },
            other @ (Stand::Running(_)
            | Stand::Building(_)
            | Stand::Idle(_)
            | Stand::Dirty(_)
            | Stand::Ending(_)
            | Stand::Vacant { .. }) => other,
        };
        self.put(index, stand);
        Ok(())
    }

    /// Replaces a slot whose walls the worker doubts; one in which something runs stays, and one that
    /// was replaced meanwhile has other walls.
    pub(super) fn replace(&mut self, build: Build) -> Result<(), WardenError> {
        if self.building(build.slot) != build {
            return Ok(());
        }
        let index = usize::from(build.slot);
        let now = clock::now();
        let stand = match self.take(index) {
            Stand::Idle(slot) => self.give_up(slot, Residue::Canary, now)?,
            Stand::Dirty(slot) => self.give_up(slot, Residue::Canary, now)?,
            other @ (Stand::Running(_)
            | Stand::Building(_)
            | Stand::Ending(_)
            | Stand::Vacant { .. }) => other,
        };
        self.put(index, stand);
        Ok(())
    }

    /// Takes everything that a slot's init has said.
    pub(super) fn hear_slot(&mut self, index: usize) -> Result<(), WardenError> {
        loop {
            let now = clock::now();
            let stand = self.take(index);
            let heard = match &stand {
                Stand::Ending(_) | Stand::Vacant { .. } => FromInit::Nothing,
                Stand::Building(slot) => hear(&slot.jail.link),
                Stand::Idle(slot) => hear(&slot.jail.link),
                Stand::Running(slot) => hear(&slot.jail.link),
                Stand::Dirty(slot) => hear(&slot.jail.link),
            };
            let (stand, more) = match (heard, stand) {
                (FromInit::Nothing, stand) => (stand, false),
                (FromInit::Word(word), stand) => (self.follow(stand, word, now)?, true),
                (FromInit::Gone, stand) => (self.init_gone(stand, now)?, false),
            };
            self.put(index, stand);
            if !more {
                return Ok(());
            }
        }
    }

    /// One word of an init, in the state that the slot is in.
    fn follow(&mut self, stand: Stand, word: Word, now: Instant) -> Result<Stand, WardenError> {
        match (stand, word) {
            (
                Stand::Building(slot),
                Word::Built {
                    landlock_abi,
                    counting,
                },
            ) => {
                self.walls = self.host.walls(landlock_abi);
                self.say_once_if_nobody_counts(counting);
                let slot = slot.built();
                self.idle(slot.build)?;
                Ok(Stand::Idle(slot))
            }
            (Stand::Building(slot), Word::BuildFailed { errno }) => {
                self.build_failed(slot, &io::Error::from_raw_os_error(errno), now)
            }
            (Stand::Running(mut slot), Word::Started { run, stages }) if run == slot.state.run => {
                slot.started(now, self.host.cores_u32());
                self.report(&Report::Started {
                    slot: slot.number(),
                    run,
                    stages,
                })?;
                Ok(Stand::Running(slot))
            }
            (
                Stand::Running(slot),
                Word::Ended {
                    run,
                    end,
                    user,
                    system,
                    wall,
                    unknown_calls,
                },
            ) if run == slot.state.run => self.ended(
                slot,
                Observed {
                    end,
                    user,
                    system,
                    wall,
                    unknown_calls,
                },
                now,
            ),
            (Stand::Dirty(mut slot), Word::Cleaned { run }) if run == slot.state.run => {
                slot.state.cleaned = true;
                self.tick_dirty(slot, now).map(|(stand, _due)| stand)
            }
            (Stand::Dirty(slot), Word::Unclean { residue, errno, .. }) => {
                let (what, why) = (residue.as_str(), io::Error::from_raw_os_error(errno));
                log(
                    slot.number(),
                    &format!("it could not be cleaned, {what}: {why}"),
                );
                self.give_up(slot, residue, now)
            }
            (Stand::Building(slot), _) => self.give_up(slot, Residue::InitLost, now),
            (Stand::Idle(slot), _) => self.give_up(slot, Residue::InitLost, now),
            (Stand::Dirty(slot), _) => self.give_up(slot, Residue::InitLost, now),
            (Stand::Running(slot), _) => self.lose(slot, now),
            (other @ (Stand::Ending(_) | Stand::Vacant { .. }), _) => Ok(other),
        }
    }

    /// Calls that the policy does not name are refused either way; only their numbers are lost.
    fn say_once_if_nobody_counts(&mut self, counting: Counting) {
        if counting == Counting::Prevented && !std::mem::replace(&mut self.uncounted_said, true) {
            eprintln!(
                "jailfleet-warden: unknown system calls are refused and not counted: whoever started \
                 us listens to system calls already"
            );
        }
    }

    fn ended(
        &mut self,
        slot: Slot<Running>,
        observed: Observed,
        now: Instant,
    ) -> Result<Stand, WardenError> {
        let run = slot.state.run;
        let deadline = now.checked_add(self.sweep_timeout).unwrap_or(now);
        let (mut slot, evidence) = slot.ended(observed, deadline);
        self.report(&Report::Ended {
            slot: slot.number(),
            run,
            evidence,
        })?;
        if slot.state.to_collect
            && let Err(error) = slot.collect()
        {
            log(
                slot.number(),
                &format!("what its run left cannot be brought out: {error}"),
            );
            return self.give_up(slot, Residue::InitLost, now);
        }
        Ok(Stand::Dirty(slot))
    }

    /// A slot is idle: the worker learns it, once it was told of the slots at all.
    pub(super) fn idle(&mut self, build: Build) -> Result<(), WardenError> {
        match self.greeting {
            super::Greeting::Answered => self.report(&Report::Idle { build }),
            super::Greeting::Awaited | super::Greeting::Heard => Ok(()),
        }
    }

    /// The init's socket closed.
    fn init_gone(&mut self, stand: Stand, now: Instant) -> Result<Stand, WardenError> {
        match stand {
            Stand::Building(slot) => {
                self.build_failed(slot, &io::ErrorKind::UnexpectedEof.into(), now)
            }
            Stand::Idle(slot) => self.give_up(slot, Residue::InitLost, now),
            // For a plain user the init's end is not a loss but the proof.
            Stand::Dirty(slot) if slot.jail.lease.is_none() => Ok(self.end_init(slot, now)),
            Stand::Dirty(slot) => self.give_up(slot, Residue::InitLost, now),
            Stand::Running(slot) => self.lose(slot, now),
            other @ (Stand::Ending(_) | Stand::Vacant { .. }) => Ok(other),
        }
    }

    /// Takes a slot out of use, tells the worker why, and ends its init.
    pub(super) fn give_up<S>(
        &mut self,
        slot: Slot<S>,
        residue: Residue,
        now: Instant,
    ) -> Result<Stand, WardenError> {
        log(slot.number(), &format!("quarantined: {}", residue.as_str()));
        if self.greeting == super::Greeting::Answered {
            let build = slot.build;
            // In one step: whatever was ordered before the worker reads this is for walls that are gone.
            if let Some(known) = self.builds.get_mut(usize::from(build.slot)) {
                *known = build.next();
            }
            self.report(&Report::Quarantined { build, residue })?;
        }
        let build_at = match residue {
            // What failed once most likely fails again: no hurry.
            Residue::Build => now.checked_add(super::build::BUILD_AGAIN).unwrap_or(now),
            Residue::InitLost
            | Residue::Processes
            | Residue::Scratch
            | Residue::Ipc
            | Residue::Canary => now,
        };
        Ok(self.end_init(slot, build_at))
    }

    /// A running slot whose init does not answer: the run is over, the slot is replaced.
    pub(super) fn lose(&mut self, slot: Slot<Running>, now: Instant) -> Result<Stand, WardenError> {
        // Killed first, so that nothing of the run goes on after its evidence was sent.
        signal_init(&slot);
        let run = slot.state.run;
        let (slot, evidence) = slot.ended(Observed::LOST, now);
        self.report(&Report::Ended {
            slot: slot.number(),
            run,
            evidence,
        })?;
        self.give_up(slot, Residue::InitLost, now)
    }

    fn end_init<S>(&mut self, slot: Slot<S>, build_at: Instant) -> Stand {
        signal_init(&slot);
        let deadline = build_at.checked_add(ENDING_DEADLINE).unwrap_or(build_at);
        Stand::Ending(slot.into_state(Ending {
            deadline,
            reaped: false,
            stuck: false,
            build_at,
        }))
    }
}

/// Kills an init, and with it everything in its pid namespace.
pub(super) fn signal_init<S>(slot: &Slot<S>) {
    match rustix::process::pidfd_send_signal(&slot.jail.pidfd, rustix::process::Signal::KILL) {
        // SRCH: it has ended already.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => log(
            slot.number(),
            &format!("{} could not be sent: {error}", Signal::SIGKILL),
        ),
    }
}

/// What an init's socket holds.
enum FromInit {
    Word(Word),
    Nothing,
    Gone,
}

fn hear(link: &OwnedFd) -> FromInit {
    let mut bytes = [0; DATAGRAM_BYTES];
    match receive(link.as_fd(), &mut bytes) {
        Ok(message) if message.length == 0 => FromInit::Gone,
        Ok(message) => match Word::decode(bytes.get(..message.length).unwrap_or_default()) {
            Ok(word) if message.fds.is_empty() => FromInit::Word(word),
            Ok(_) | Err(_) => FromInit::Gone,
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => FromInit::Nothing,
        Err(_) => FromInit::Gone,
    }
}

/// One line for the operator, who reads the warden's standard error.
pub(super) fn log(slot: u16, text: &str) {
    eprintln!("jailfleet-warden: slot {slot}: {text}");
}
