//! Ends: of a slot that is replaced, and of the warden itself, which leaves nothing behind.

use super::runs::{log, signal_init};
use super::sweeps::still_sweeping;
use super::{Stand, Warden, WardenError};
use crate::clock;
use crate::slot::{Ending, Slot};
use crate::sweep;
use crate::sys::exec::{Patience, Waited, wait_child};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long the inits may take to vanish when the warden ends.
const FINISH_DEADLINE: Duration = Duration::from_secs(10);
/// How often a cgroup that is still busy is tried again.
const REMOVE_AGAIN: Duration = Duration::from_millis(10);

impl Warden {
    /// Waits for a killed init; then its place is vacant.
    pub(super) fn tick_ending(
        &mut self,
        mut slot: Slot<Ending>,
        now: Instant,
    ) -> Result<(Stand, Option<Instant>), WardenError> {
        let again = now.checked_add(REMOVE_AGAIN).unwrap_or(now);
        if gone(&mut slot, now) {
            let vacant = Stand::Vacant {
                number: slot.number(),
                build_at: slot.state.build_at,
            };
            // What the build needs is free now; the lease is returned last, here.
            drop(slot);
            return Ok((vacant, Some(now)));
        }
        if now >= slot.state.deadline && !slot.state.stuck {
            slot.state.stuck = true;
            log(
                slot.number(),
                "its processes do not end, the slot stays out of use until they do",
            );
        }
        let due = if slot.state.stuck {
            Duration::from_secs(1)
        } else {
            REMOVE_AGAIN
        };
        Ok((Stand::Ending(slot), now.checked_add(due).or(Some(again))))
    }

    /// Kills every jail, waits for their ends, and removes what they stood on.
    pub(super) fn finish(&mut self) {
        let now = clock::now();
        let deadline = now.checked_add(FINISH_DEADLINE).unwrap_or(now);
        let stands = std::mem::take(&mut self.stands);
        let mut ending: Vec<Slot<Ending>> = stands
            .into_iter()
            .filter_map(|s| kill(s, deadline))
            .collect();
        while !ending.is_empty() && clock::now() < deadline {
            ending.retain_mut(|slot| !gone(slot, clock::now()));
            let Some(slot) = ending.first() else { break };
            // A descriptor of a process that was reaped is readable for ever: wait on none then.
            let waits = [PollFd::new(slot.jail.pidfd.as_fd(), PollFlags::POLLIN)];
            let first = if slot.state.reaped { &[][..] } else { &waits };
            if poll(&mut first.to_vec(), PollTimeout::from(10_u8)).is_err() {
                break;
            }
        }
        for slot in &ending {
            log(
                slot.number(),
                "something of it is left; the next start sweeps it",
            );
        }
        self.host.remove_groups();
    }
}

fn kill(stand: Stand, deadline: Instant) -> Option<Slot<Ending>> {
    fn end<S>(slot: Slot<S>, deadline: Instant) -> Slot<Ending> {
        signal_init(&slot);
        slot.into_state(Ending {
            deadline,
            reaped: false,
            stuck: false,
            build_at: deadline,
        })
    }
    match stand {
        Stand::Building(slot) => Some(end(slot, deadline)),
        Stand::Idle(slot) => Some(end(slot, deadline)),
        Stand::Running(slot) => Some(end(slot, deadline)),
        Stand::Dirty(slot) => Some(end(slot, deadline)),
        Stand::Ending(slot) => Some(slot),
        Stand::Vacant { .. } => None,
    }
}

/// Whether nothing of a slot is left, inside its namespaces or outside.
fn gone(slot: &mut Slot<Ending>, now: Instant) -> bool {
    if !slot.state.reaped {
        slot.state.reaped = match wait_child(slot.jail.pid, Patience::Poll) {
            // Its end comes only after every process of its pid namespace is gone.
            Ok(Waited::Ended(..) | Waited::NoChild) => true,
            Ok(Waited::NoneYet) | Err(_) => false,
        };
    }
    !still_sweeping(slot, now) && slot.state.reaped && clean(slot)
}

/// Whether nothing of the slot is left outside its namespaces either.
fn clean(slot: &mut Slot<Ending>) -> bool {
    let nobody = slot
        .jail
        .lease
        .as_ref()
        .is_none_or(|lease| sweep::look(lease.uid()).is_ok());
    let groups = slot
        .jail
        .cgroup
        .as_mut()
        .is_none_or(|cgroup| cgroup.remove().is_ok());
    nobody && groups
}
