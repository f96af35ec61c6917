//! From a dirty slot to one that was proved clean: who is swept, when, and what is told of it.

use super::runs::log;
use super::{Stand, Warden, WardenError};
use crate::protocol::Residue;
use crate::slot::{Dirty, Slot, Swept};
use crate::sweep::{self, By};
use std::io;
use std::time::{Duration, Instant};

/// How often a slot that is not clean is swept and looked at again.
const SWEEP_AGAIN: Duration = Duration::from_millis(10);

impl Warden {
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
        if slot.jail.lease.is_none() || !slot.state.cleaned {
            return Ok((Stand::Dirty(slot), Some(due)));
        }
        match slot.sweeping(now) {
            Ok(Swept::NotBefore(until)) => return Ok((Stand::Dirty(slot), Some(until.min(due)))),
            Ok(Swept::Now(by)) => swept_by(&mut slot, by),
            Ok(Swept::Unasked) => {}
            Err(error) => {
                sweep_failed(&mut slot, &error);
                slot.state.sweep_first = true;
            }
        }
        let swept = !std::mem::take(&mut slot.state.sweep_first);
        if swept && let Ok(proof) = sweep::prove(&slot) {
            return match slot.proved(proof) {
                Ok(slot) => {
                    self.idle(slot.build)?;
                    Ok((Stand::Idle(slot), None))
                }
                Err(slot) => Ok((self.give_up(*slot, Residue::Processes, now)?, Some(now))),
            };
        }
        if let Err(error) = slot.start_sweep(now) {
            sweep_failed(&mut slot, &error);
            // A run that had to be stopped is not trusted to be gone before a sweep was.
            slot.state.sweep_first = true;
        }
        let again = now.checked_add(SWEEP_AGAIN).unwrap_or(due);
        Ok((Stand::Dirty(slot), Some(again.min(due))))
    }
}

/// Whether a sweep goes on.
pub(super) fn still_sweeping<S>(slot: &mut Slot<S>, now: Instant) -> bool {
    match slot.sweeping(now) {
        Ok(Swept::NotBefore(_)) => return true,
        Ok(Swept::Now(by)) => swept_by(slot, by),
        Ok(Swept::Unasked) => {}
        Err(error) => sweep_failed(slot, &error),
    }
    false
}

/// Tells of a sweep that had no pkill; it was a sweep all the same.
fn swept_by<S>(slot: &mut Slot<S>, by: By) {
    match by {
        By::KillAndPkill => slot.jail.sweep_trouble = None,
        By::KillAlone => tell_once(slot, sweep::NO_PKILL.to_owned()),
    }
}

fn sweep_failed<S>(slot: &mut Slot<S>, error: &io::Error) {
    tell_once(slot, format!("the sweep failed: {error}"));
}

/// A sweep may be tried again many times a second: the same trouble is told once.
fn tell_once<S>(slot: &mut Slot<S>, trouble: String) {
    if slot.jail.sweep_trouble.as_ref() != Some(&trouble) {
        log(slot.number(), &trouble);
        slot.jail.sweep_trouble = Some(trouble);
    }
}
