//! What each slot is up to, as far as the worker knows: booked from reports, without any I/O.
//!
//! Whether a slot is proven stands here too, beside what voids it: a quarantine forgets the proof in the
//! same step in which it takes the slot out, so that no job can find one without the other. Which building
//! of a slot stands is the warden's to say.

use jailfleet::evidence::Evidence;
use jailfleet::job::EpochMs;
use jailfleet_program::Moment;
use jailfleet_sandbox::protocol::{Build, Refusal, Report, Residue};
use std::time::Duration;

use super::Start;
use super::waiting::Waiting;
use crate::supervisor::SlotCounts;

/// The slots of one warden.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    /// Those that jobs may have.
    idle: Vec<u16>,
    /// Those that only a canary may have: without a proof, or with one on trial.
    unproven: Vec<u16>,
    waived: bool,
    gone: bool,
}

/// One slot.
#[derive(Debug)]
struct Row {
    entry: Entry,
    /// What stands in it, or is built in it: a proof speaks of one building alone.
    build: Build,
    proven: Option<Proof>,
    /// Whether a canary was sent to renew the proof, and nobody said yet what it told: until then the
    /// slot counts as proven, but no job gets it.
    on_trial: bool,
}

/// When a canary made every attempt in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// By the worker's own clock, to say whose turn is next.
    pub at: Moment,
    /// By the calendar, for results.
    pub epoch: EpochMs,
}

/// Whose an idle slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Any job's.
    Jobs,
    /// A canary's alone.
    Canaries,
}

/// A slot that was taken from the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) build: Build,
    pub(super) proven: Option<Proof>,
}

/// What a slot is up to.
#[derive(Debug)]
enum Entry {
    Idle,
    Leased,
    Running(Waiting),
    Sweeping { since: Moment },
    Quarantined,
}

/// What follows from a report.
#[derive(Debug)]
#[must_use]
pub(super) enum Booked {
    /// Nothing that anybody waits for.
    Nothing,
    /// A run is over.
    Ended {
        /// Who waits for it.
        waiting: Waiting,
        /// What was observed.
        evidence: Evidence,
    },
    /// One more slot can be leased.
    Idle {
        /// From the end of its run.
        swept: Duration,
        whose: For,
    },
    /// One more slot can be leased, and this one was out of use.
    Rebuilt { slot: u16, whose: For },
    /// A slot is out of use.
    Quarantined {
        slot: u16,
        residue: Residue,
        /// Who waited for a run in it.
        lost: Option<Waiting>,
        /// Who could have leased it until now.
        idle_before: Option<For>,
    },
    /// The warden said something that does not fit what it said before.
    Surprise(&'static str),
}

impl Table {
    /// Slots that were just built: nothing is proven of any of them.
    pub(super) fn of_unproven(slots: u16) -> Self {
        let row = |slot| Row {
            entry: Entry::Idle,
            build: Build::first(slot),
            proven: None,
            on_trial: false,
        };
        Self {
            rows: (0..slots).map(row).collect(),
            unproven: (0..slots).collect(),
            ..Self::default()
        }
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// How many slots jobs may have, sooner or later, and how many not.
    pub(super) fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts::default();
        for row in &self.rows {
            let count = match (&row.entry, self.waived || row.proven.is_some()) {
                (Entry::Quarantined, _) => &mut counts.quarantined,
                (_, true) => &mut counts.proven,
                (_, false) => &mut counts.unproven,
            };
            *count = count.saturating_add(1);
        }
        counts
    }

    /// Takes an idle slot for a job: the one that was used last, whose pages are still warm.
    pub(super) fn lease(&mut self) -> Option<Taken> {
        let slot = self.idle.pop()?;
        self.taken(slot)
    }

    /// Takes an idle slot that no job may have, for a canary: the one that has waited longest.
    pub(super) fn lease_unproven(&mut self) -> Option<Taken> {
        let slot = *self.unproven.first()?;
        self.unproven.retain(|other| *other != slot);
        let row = self.rows.get_mut(usize::from(slot))?;
        if std::mem::take(&mut row.on_trial) {
            // The canary before was lost without a word: it may have failed, and the old proof with it.
            row.proven = None;
        }
        self.taken(slot)
    }

    /// Takes the idle slot whose proof is the oldest, for a canary, and puts that proof on trial: the
    /// warden sweeps the slot before anybody has understood what the canary told.
    pub(super) fn lease_oldest(&mut self) -> Option<Taken> {
        let proven = self.idle.iter().filter_map(|slot| {
            let proof = self.rows.get(usize::from(*slot))?.proven?;
            Some((proof.at, *slot))
        });
        let (_, slot) = proven.min()?;
        self.idle.retain(|other| *other != slot);
        self.rows.get_mut(usize::from(slot))?.on_trial = true;
        self.taken(slot)
    }

    fn taken(&mut self, slot: u16) -> Option<Taken> {
        let row = self.rows.get_mut(usize::from(slot))?;
        row.entry = Entry::Leased;
        Some(Taken {
            build: row.build,
            proven: row.proven,
        })
    }

    /// Puts a slot where whoever may have it finds it.
    fn shelve(&mut self, slot: u16) -> For {
        let row = self.rows.get(usize::from(slot));
        let trusted = row.is_some_and(|row| row.proven.is_some() && !row.on_trial);
        if self.waived || trusted {
            self.idle.push(slot);
            For::Jobs
        } else {
            self.unproven.push(slot);
            For::Canaries
        }
    }

    /// Takes a slot from where it was put.
    fn unshelve(&mut self, slot: u16) -> Option<For> {
        let shelves = [
            (&mut self.idle, For::Jobs),
            (&mut self.unproven, For::Canaries),
        ];
        for (shelf, whose) in shelves {
            let before = shelf.len();
            shelf.retain(|other| *other != slot);
            if shelf.len() < before {
                return Some(whose);
            }
        }
        None
    }

    /// Notes what a canary found in a building of a slot, `None` for nothing of use; a building that
    /// is gone by now profits nothing from it. Says whose the slot was and is, where it is idle.
    pub(super) fn prove(&mut self, build: Build, proof: Option<Proof>) -> Option<(For, For)> {
        let row = self.rows.get_mut(usize::from(build.slot))?;
        if row.build != build {
            return None;
        }
        row.proven = proof;
        row.on_trial = false;
        let before = self.unshelve(build.slot)?;
        Some((before, self.shelve(build.slot)))
    }

    /// From now on jobs may have every slot: there is no canary to prove one. Answers with how many
    /// waited for that.
    pub(super) fn waive_proofs(&mut self) -> usize {
        self.waived = true;
        let waited = std::mem::take(&mut self.unproven);
        for slot in waited.iter().rev() {
            self.shelve(*slot);
        }
        waited.len()
    }

    /// Gives back a lease that was not used; says whose the slot is now, where it can be leased again.
    /// A canary that never flew puts no proof on trial.
    pub(super) fn give_back(&mut self, build: Build) -> Option<For> {
        let row = self.leased(build)?;
        row.entry = Entry::Idle;
        row.on_trial = false;
        Some(self.shelve(build.slot))
    }

    /// Books a run; `false` when its slot is not leased any more.
    pub(super) fn start(&mut self, build: Build, waiting: Waiting) -> bool {
        let Some(row) = self.leased(build) else {
            return false;
        };
        row.entry = Entry::Running(waiting);
        true
    }

    /// The row of a lease that is still good: another building of the slot may be somebody else's.
    fn leased(&mut self, build: Build) -> Option<&mut Row> {
        let row = self.rows.get_mut(usize::from(build.slot))?;
        match (&row.entry, row.build == build) {
            (Entry::Leased, true) => Some(row),
            (Entry::Leased, false)
            | (Entry::Idle | Entry::Running(_) | Entry::Sweeping { .. } | Entry::Quarantined, _) => {
                None
            }
        }
    }

    /// Books one report.
    pub(super) fn book(&mut self, report: Report, now: Moment) -> Booked {
        match report {
            Report::Ready { .. } => Booked::Surprise("that it is ready, a second time"),
            Report::Started { slot, run, stages } => match self.entry(slot) {
                Some(Entry::Running(waiting)) if waiting.run == run => {
                    waiting.start = Some(Start { at: now, stages });
                    Booked::Nothing
                }
                Some(_) | None => Booked::Surprise("the start of a run that nobody asked for"),
            },
            Report::Ended {
                slot,
                run,
                evidence,
            } => {
                let Some(entry) = self.entry(slot) else {
                    return Booked::Surprise("the end of a run in no slot of ours");
                };
                match std::mem::replace(entry, Entry::Sweeping { since: now }) {
                    Entry::Running(waiting) if waiting.run == run => {
                        Booked::Ended { waiting, evidence }
                    }
                    other @ (Entry::Idle
                    | Entry::Leased
                    | Entry::Running(_)
                    | Entry::Sweeping { .. }
                    | Entry::Quarantined) => {
                        *entry = other;
                        Booked::Surprise("the end of a run that nobody waits for")
                    }
                }
            }
            Report::Refused {
                slot,
                run,
                refusal: Refusal::OtherBuilding,
            } => self.refused(slot, run),
            Report::Idle { build } => self.idle(build, now),
            Report::Quarantined { build, residue } => self.quarantined(build, residue),
        }
    }

    fn entry(&mut self, slot: u16) -> Option<&mut Entry> {
        let row = self.rows.get_mut(usize::from(slot))?;
        Some(&mut row.entry)
    }

    /// A run met another building than it was ordered for: the quarantine of that one was told before, and with
    /// it whoever waited for the run.
    fn refused(&mut self, slot: u16, run: u64) -> Booked {
        match self.entry(slot) {
            Some(Entry::Running(waiting)) if waiting.run == run => Booked::Surprise(
                "the refusal of a run in a slot that still stands as it was ordered for",
            ),
            Some(
                Entry::Idle
                | Entry::Leased
                | Entry::Running(_)
                | Entry::Sweeping { .. }
                | Entry::Quarantined,
            ) => Booked::Nothing,
            None => Booked::Surprise("the refusal of a run in no slot of ours"),
        }
    }

    fn idle(&mut self, build: Build, now: Moment) -> Booked {
        let slot = build.slot;
        let Some(row) = self.rows.get_mut(usize::from(slot)) else {
            return Booked::Surprise("an idle slot that is none of ours");
        };
        match (&row.entry, row.build == build) {
            (_, true) => {}
            // Whatever it is that stands there, nobody knows anything of it.
            (Entry::Quarantined, false) => {
                row.build = build;
                row.proven = None;
            }
            (Entry::Idle | Entry::Leased | Entry::Running(_) | Entry::Sweeping { .. }, false) => {
                return Booked::Surprise("an idle slot of another building than it told of");
            }
        }
        let entry = &mut row.entry;
        let since = match entry {
            Entry::Quarantined => None,
            Entry::Sweeping { since } => Some(*since),
            Entry::Idle => return Booked::Nothing,
            // A lease is ours: the warden cannot give it back.
            Entry::Leased | Entry::Running(_) => {
                return Booked::Surprise("that a slot in use is idle");
            }
        };
        *entry = Entry::Idle;
        let whose = self.shelve(slot);
        match since {
            None => Booked::Rebuilt { slot, whose },
            Some(since) => {
                let swept = now.saturating_sub(since);
                Booked::Idle { swept, whose }
            }
        }
    }

    fn quarantined(&mut self, build: Build, residue: Residue) -> Booked {
        let slot = build.slot;
        let Some(row) = self.rows.get_mut(usize::from(slot)) else {
            return Booked::Surprise("a quarantined slot that is none of ours");
        };
        // What is built next has other walls than those that were tried.
        row.build = build.next();
        row.proven = None;
        row.on_trial = false;
        let lost = match std::mem::replace(&mut row.entry, Entry::Quarantined) {
            Entry::Running(waiting) => Some(waiting),
            Entry::Quarantined => return Booked::Nothing,
            Entry::Idle | Entry::Leased | Entry::Sweeping { .. } => None,
        };
        Booked::Quarantined {
            slot,
            residue,
            lost,
            idle_before: self.unshelve(slot),
        }
    }

    /// The warden is gone: nothing can be leased any more. Answers with everybody who waits.
    pub(super) fn lose_everything(&mut self) -> Vec<Waiting> {
        self.gone = true;
        self.idle.clear();
        self.unproven.clear();
        let entries = self.rows.iter_mut().map(|row| &mut row.entry);
        entries
            .filter_map(|entry| match std::mem::replace(entry, Entry::Quarantined) {
                Entry::Running(waiting) => Some(waiting),
                Entry::Idle | Entry::Leased | Entry::Sweeping { .. } | Entry::Quarantined => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
