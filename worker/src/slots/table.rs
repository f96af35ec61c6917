//! What each slot is up to, as far as the worker knows: booked from reports, without any I/O.

use jailfleet::evidence::Evidence;
use jailfleet_program::Moment;
use jailfleet_sandbox::protocol::{Report, Residue};
use std::time::Duration;
use tokio::sync::oneshot;

use super::{Ended, Start};

/// The slots of one warden.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    idle: Vec<u16>,
    gone: bool,
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

/// The attempt that waits for a run's end.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) run: u64,
    pub(super) leased: Moment,
    pub(super) start: Option<Start>,
    pub(super) ended: oneshot::Sender<Ended>,
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
    },
    /// One more slot can be leased, and this one was out of use.
    Rebuilt { slot: u16 },
    /// A slot is out of use.
    Quarantined {
        slot: u16,
        residue: Residue,
        /// Who waited for a run in it.
        lost: Option<Waiting>,
        /// Whether it could have been leased until now.
        idle_before: bool,
    },
    /// The warden said something that does not fit what it said before.
    Surprise(&'static str),
}

impl Waiting {
    /// Wakes the attempt.
    pub(super) fn end(self, evidence: Evidence, at: Moment) {
        let Self {
            run,
            leased,
            start,
            ended,
        } = self;
        let told = Ended {
            leased,
            start,
            at,
            evidence,
        };
        if ended.send(told).is_err() {
            tracing::debug!(run, "nobody waited for the end of a run");
        }
    }
}

impl Table {
    pub(super) fn of_idle(slots: u16) -> Self {
        Self {
            entries: (0..slots).map(|_| Entry::Idle).collect(),
            idle: (0..slots).rev().collect(),
            gone: false,
        }
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Takes an idle slot: the one that was used last, whose pages are still warm.
    pub(super) fn lease(&mut self) -> Option<u16> {
        let slot = self.idle.pop()?;
        *self.entries.get_mut(usize::from(slot))? = Entry::Leased;
        Some(slot)
    }

    /// Takes the first of `slots` that is idle.
    pub(super) fn lease_among(&mut self, slots: &[u16]) -> Option<u16> {
        let wanted = slots.iter().find(|slot| self.idle.contains(slot))?;
        self.idle.retain(|idle| idle != wanted);
        *self.entries.get_mut(usize::from(*wanted))? = Entry::Leased;
        Some(*wanted)
    }

    /// Gives back a lease that was not used; says whether the slot can be leased again.
    pub(super) fn give_back(&mut self, slot: u16) -> bool {
        match self.entries.get_mut(usize::from(slot)) {
            Some(entry @ Entry::Leased) => {
                *entry = Entry::Idle;
                self.idle.push(slot);
                true
            }
            Some(Entry::Idle | Entry::Running(_) | Entry::Sweeping { .. } | Entry::Quarantined)
            | None => false,
        }
    }

    /// Books a run; `false` when its slot is not leased any more.
    pub(super) fn start(&mut self, slot: u16, waiting: Waiting) -> bool {
        match self.entries.get_mut(usize::from(slot)) {
            Some(entry @ Entry::Leased) => {
                *entry = Entry::Running(waiting);
                true
            }
            Some(Entry::Idle | Entry::Running(_) | Entry::Sweeping { .. } | Entry::Quarantined)
            | None => false,
        }
    }

    /// Books one report.
    pub(super) fn book(&mut self, report: Report, now: Moment) -> Booked {
        match report {
            Report::Ready { .. } => Booked::Surprise("that it is ready, a second time"),
            Report::Started { slot, run, stages } => {
                match self.entries.get_mut(usize::from(slot)) {
                    Some(Entry::Running(waiting)) if waiting.run == run => {
                        waiting.start = Some(Start { at: now, stages });
                        Booked::Nothing
                    }
                    Some(_) | None => Booked::Surprise("the start of a run that nobody asked for"),
                }
            }
            Report::Ended {
                slot,
                run,
                evidence,
            } => {
                let Some(entry) = self.entries.get_mut(usize::from(slot)) else {
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
            Report::Idle { slot } => self.idle(slot, now),
            Report::Quarantined { slot, residue } => self.quarantined(slot, residue),
        }
    }

    fn idle(&mut self, slot: u16, now: Moment) -> Booked {
        let Some(entry) = self.entries.get_mut(usize::from(slot)) else {
            return Booked::Surprise("an idle slot that is none of ours");
        };
        let booked = match entry {
            Entry::Quarantined => Booked::Rebuilt { slot },
            Entry::Sweeping { since } => Booked::Idle {
                swept: now.saturating_sub(*since),
            },
            Entry::Idle => return Booked::Nothing,
            // A lease is ours: the warden cannot give it back.
            Entry::Leased | Entry::Running(_) => {
                return Booked::Surprise("that a slot in use is idle");
            }
        };
        *entry = Entry::Idle;
        self.idle.push(slot);
        booked
    }

    fn quarantined(&mut self, slot: u16, residue: Residue) -> Booked {
        let Some(entry) = self.entries.get_mut(usize::from(slot)) else {
            return Booked::Surprise("a quarantined slot that is none of ours");
        };
        let lost = match std::mem::replace(entry, Entry::Quarantined) {
            Entry::Running(waiting) => Some(waiting),
            Entry::Quarantined => return Booked::Nothing,
            Entry::Idle | Entry::Leased | Entry::Sweeping { .. } => None,
        };
        let before = self.idle.len();
        self.idle.retain(|idle| *idle != slot);
        Booked::Quarantined {
            slot,
            residue,
            lost,
            idle_before: self.idle.len() < before,
        }
    }

    /// The warden is gone: nothing can be leased any more. Answers with everybody who waits.
    pub(super) fn lose_everything(&mut self) -> Vec<Waiting> {
        self.gone = true;
        self.idle.clear();
        self.entries
            .iter_mut()
            .filter_map(|entry| match std::mem::replace(entry, Entry::Quarantined) {
                Entry::Running(waiting) => Some(waiting),
                Entry::Idle | Entry::Leased | Entry::Sweeping { .. } | Entry::Quarantined => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::evidence::StageTimes;

    const NOW: Moment = Duration::from_secs(1);

    fn waiting(run: u64) -> (Waiting, oneshot::Receiver<Ended>) {
        let (ended, receiver) = oneshot::channel();
        (
            Waiting {
                run,
                leased: NOW,
                start: None,
                ended,
            },
            receiver,
        )
    }

    fn running(run: u64) -> (Table, oneshot::Receiver<Ended>) {
        let mut table = Table::of_idle(1);
        assert_eq!(table.lease(), Some(0));
        let (waiting, receiver) = waiting(run);
        assert!(table.start(0, waiting));
        (table, receiver)
    }

    #[test]
    fn a_run_is_routed_to_whoever_waits_for_it_and_its_slot_waits_for_the_sweep() {
        let (mut table, mut receiver) = running(7);
        let stages = StageTimes::default();
        let report = Report::Started {
            slot: 0,
            run: 7,
            stages,
        };
        assert!(matches!(table.book(report, NOW), Booked::Nothing));
        let report = Report::Ended {
            slot: 0,
            run: 7,
            evidence: Evidence::LOST,
        };
        let Booked::Ended { waiting, evidence } = table.book(report, NOW) else {
            panic!("the end of a run that somebody waits for");
        };
        waiting.end(evidence, NOW);
        let ended = receiver.try_recv().expect("it was told");
        assert_eq!(ended.start, Some(Start { at: NOW, stages }));
        assert_eq!(table.lease(), None, "not clean yet");
        let later = NOW + Duration::from_millis(3);
        let Booked::Idle { swept } = table.book(Report::Idle { slot: 0 }, later) else {
            panic!("an idle slot");
        };
        assert_eq!(swept, Duration::from_millis(3));
        assert_eq!(table.lease(), Some(0));
    }

    #[test]
    fn the_report_of_another_run_wakes_nobody() {
        let (mut table, mut receiver) = running(7);
        let report = Report::Ended {
            slot: 0,
            run: 6,
            evidence: Evidence::LOST,
        };
        assert!(matches!(table.book(report, NOW), Booked::Surprise(_)));
        let report = Report::Ended {
            slot: 9,
            run: 7,
            evidence: Evidence::LOST,
        };
        assert!(matches!(table.book(report, NOW), Booked::Surprise(_)));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn the_first_idle_one_of_those_that_are_wanted_is_leased() {
        let mut table = Table::of_idle(3);
        assert_eq!(table.lease_among(&[2, 1]), Some(2));
        assert_eq!(table.lease_among(&[2, 1]), Some(1));
        assert_eq!(table.lease_among(&[2, 1]), None);
        assert_eq!(table.lease(), Some(0));
    }

    #[test]
    fn a_slot_in_use_cannot_be_declared_idle() {
        let (mut table, _receiver) = running(7);
        assert!(matches!(
            table.book(Report::Idle { slot: 0 }, NOW),
            Booked::Surprise(_)
        ));
        assert_eq!(table.lease(), None);
    }

    #[test]
    fn an_unused_lease_goes_back_and_a_quarantined_one_does_not() {
        let mut table = Table::of_idle(1);
        assert_eq!(table.lease(), Some(0));
        assert!(table.give_back(0));
        assert_eq!(table.lease(), Some(0));
        let report = Report::Quarantined {
            slot: 0,
            residue: Residue::InitLost,
        };
        let booked = table.book(report, NOW);
        assert!(matches!(
            booked,
            Booked::Quarantined {
                idle_before: false,
                lost: None,
                ..
            }
        ));
        assert!(!table.give_back(0));
        assert!(
            !table.start(0, waiting(1).0),
            "its lease is worth nothing now"
        );
        assert!(matches!(
            table.book(Report::Idle { slot: 0 }, NOW),
            Booked::Rebuilt { slot: 0 }
        ));
        assert_eq!(table.lease(), Some(0));
    }

    #[test]
    fn an_idle_slot_that_breaks_is_not_leased() {
        let mut table = Table::of_idle(2);
        let report = Report::Quarantined {
            slot: 0,
            residue: Residue::InitLost,
        };
        let booked = table.book(report, NOW);
        assert!(matches!(
            booked,
            Booked::Quarantined {
                idle_before: true,
                ..
            }
        ));
        assert_eq!((table.lease(), table.lease()), (Some(1), None));
    }

    #[test]
    fn when_the_warden_goes_everybody_who_waits_is_told() {
        let (mut table, _receiver) = running(7);
        assert_eq!(table.lose_everything().len(), 1);
        assert!(table.is_gone());
        assert_eq!(table.lease(), None);
    }
}
