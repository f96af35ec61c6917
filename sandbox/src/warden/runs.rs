//! A run from its order to a clean slot.

use super::descriptors;
use super::{Stand, Warden, WardenError};
use crate::clock;
use crate::link::{Counting, Word};
use crate::protocol::{DATAGRAM_BYTES, JailPlan, Report, Residue};
use crate::slot::{Dirty, Ending, Observed, Running, Slot};
use crate::sweep;
use crate::sys::message::receive;
use jailfleet::evidence::{Acted, End, Evidence};
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a killed init may take to vanish before somebody is told.
const ENDING_DEADLINE: Duration = Duration::from_secs(10);
/// How often a slot that is not clean is swept and looked at again.
const SWEEP_AGAIN: Duration = Duration::from_millis(10);

impl Warden {
    /// Starts a run in an idle slot.
    pub(super) fn start(&mut self, plan: &JailPlan, fds: &[OwnedFd]) -> Result<(), WardenError> {
        self.check(plan)?;
        descriptors::check(fds).map_err(|bad| WardenError::Worker(bad.to_string()))?;
        let index = usize::from(plan.slot);
        let slot = match self.take(index) {
            Stand::Idle(slot) => slot,
            // The slot was lost in this very moment; the worker has yet to read that it is.
            other @ (Stand::Ending(_) | Stand::Building(_) | Stand::Vacant { .. }) => {
                self.put(index, other);
                return self.refuse(plan);
            }
            other @ (Stand::Running(_) | Stand::Dirty(_)) => {
                self.put(index, other);
                return Err(WardenError::Worker(format!(
                    "slot {} is not idle",
                    plan.slot
                )));
            }
        };
        let now = clock::now();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match slot.start(plan, &borrowed, now) {
            Ok(running) => self.put(index, Stand::Running(running)),
            Err(failed) => {
                let (slot, error) = *failed;
                log(
                    slot.number,
                    &format!("the run could not be started: {error}"),
                );
                self.refuse(plan)?;
                let ending = self.give_up(slot, Residue::InitLost, now)?;
                self.put(index, ending);
            }
        }
        Ok(())
    }

    /// Answers a run that never began: our trouble, and retried.
    fn refuse(&mut self, plan: &JailPlan) -> Result<(), WardenError> {
        self.report(&Report::Ended {
            slot: plan.slot,
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
    /// is being replaced already needs no second try.
    pub(super) fn replace(&mut self, slot: u16) -> Result<(), WardenError> {
        let index = usize::from(slot);
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
                Stand::Ending(_) | Stand::Vacant { .. } => Heard::Nothing,
                Stand::Building(slot) => hear(&slot.jail.link),
                Stand::Idle(slot) => hear(&slot.jail.link),
                Stand::Running(slot) => hear(&slot.jail.link),
                Stand::Dirty(slot) => hear(&slot.jail.link),
            };
            let (stand, more) = match (heard, stand) {
                (Heard::Nothing, stand) => (stand, false),
                (Heard::Word(word), stand) => (self.follow(stand, word, now)?, true),
                (Heard::Gone, stand) => (self.init_gone(stand, now)?, false),
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
                self.idle(slot.number)?;
                Ok(Stand::Idle(slot))
            }
            (Stand::Building(slot), Word::BuildFailed { errno }) => {
                self.build_failed(slot, &io::Error::from_raw_os_error(errno), now)
            }
            (Stand::Running(mut slot), Word::Started { run, stages }) if run == slot.state.run => {
                slot.started(now, self.host.cores_u32());
                self.report(&Report::Started {
                    slot: slot.number,
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
                    slot.number,
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
        let (slot, evidence) = slot.ended(observed, deadline);
        self.report(&Report::Ended {
            slot: slot.number,
            run,
            evidence,
        })?;
        Ok(Stand::Dirty(slot))
    }

    /// Looks whether a dirty slot is clean now, and sweeps it if not.
    pub(super) fn tick_dirty(
        &mut self,
        mut slot: Slot<Dirty>,
        now: Instant,
    ) -> Result<(Stand, Option<Instant>), WardenError> {
        if now >= slot.state.deadline {
            let stand = self.give_up(slot, Residue::Processes, now)?;
            return Ok((stand, Some(now)));
        }
        let due = slot.state.deadline;
        let Some(lease) = slot.jail.lease.as_ref().filter(|_| slot.state.cleaned) else {
            return Ok((Stand::Dirty(slot), Some(due)));
        };
        let uid = lease.uid();
        match slot.sweeping(now) {
            Ok(Some(until)) => return Ok((Stand::Dirty(slot), Some(until.min(due)))),
            Ok(None) => {}
            Err(error) => {
                sweep_failed(&mut slot, &error);
                slot.state.sweep_first = true;
            }
        }
        let swept = !std::mem::take(&mut slot.state.sweep_first);
        if swept && let Ok(proof) = sweep::look(uid) {
            let slot = slot.proved(proof);
            self.idle(slot.number)?;
            return Ok((Stand::Idle(slot), None));
        }
        if let Err(error) = slot.start_sweep(now) {
            sweep_failed(&mut slot, &error);
            // A run that had to be stopped is not trusted to be gone before a sweep was.
            slot.state.sweep_first = true;
        }
        let again = now.checked_add(SWEEP_AGAIN).unwrap_or(due);
        Ok((Stand::Dirty(slot), Some(again.min(due))))
    }

    /// A slot is idle: the worker learns it, once it was told of the slots at all.
    fn idle(&mut self, slot: u16) -> Result<(), WardenError> {
        match self.greeting {
            super::Greeting::Answered => self.report(&Report::Idle { slot }),
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
        log(slot.number, &format!("quarantined: {}", residue.as_str()));
        if self.greeting == super::Greeting::Answered {
            self.report(&Report::Quarantined {
                slot: slot.number,
                residue,
            })?;
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
            slot: slot.number,
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

/// Until when a sweep that goes on may do so.
pub(super) fn still_sweeping<S>(slot: &mut Slot<S>, now: Instant) -> Option<Instant> {
    slot.sweeping(now).unwrap_or_else(|error| {
        sweep_failed(slot, &error);
        None
    })
}

/// Tells why a sweep failed. It is tried again many times a second: the same cause is told once.
fn sweep_failed<S>(slot: &mut Slot<S>, error: &io::Error) {
    let why = error.to_string();
    if slot.jail.sweep_trouble.as_deref() != Some(why.as_str()) {
        log(slot.number, &format!("the sweep failed: {why}"));
        slot.jail.sweep_trouble = Some(why);
    }
}

/// Kills an init, and with it everything in its pid namespace.
pub(super) fn signal_init<S>(slot: &Slot<S>) {
    match rustix::process::pidfd_send_signal(&slot.jail.pidfd, rustix::process::Signal::KILL) {
        // SRCH: it has ended already.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => log(
            slot.number,
            &format!("{} could not be sent: {error}", Signal::SIGKILL),
        ),
    }
}

enum Heard {
    Word(Word),
    Nothing,
    Gone,
}

fn hear(link: &OwnedFd) -> Heard {
    let mut bytes = [0; DATAGRAM_BYTES];
    match receive(link.as_fd(), &mut bytes) {
        Ok(message) if message.length == 0 => Heard::Gone,
        Ok(message) => match Word::decode(bytes.get(..message.length).unwrap_or_default()) {
            Ok(word) if message.fds.is_empty() => Heard::Word(word),
            Ok(_) | Err(_) => Heard::Gone,
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Heard::Nothing,
        Err(_) => Heard::Gone,
    }
}

/// One line for the operator, who reads the warden's standard error.
pub(super) fn log(slot: u16, text: &str) {
    eprintln!("jailfleet-warden: slot {slot}: {text}");
}
