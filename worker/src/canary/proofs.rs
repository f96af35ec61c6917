//! What canaries have proven of each slot. Pure: time comes in as an argument.

use jailfleet_program::Moment;

use super::Sang;

/// Canaries without an answer after which a slot is taken out: one may be the host's trouble.
pub(super) const MOST_MISSES: u8 = 3;

/// What is known of each slot.
#[derive(Debug)]
pub(super) struct Proofs {
    slots: Vec<Proof>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Proof {
    good: Option<Moment>,
    misses: u8,
}

/// What follows from a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(super) enum Next {
    /// The slot's walls hold.
    Trust,
    /// Another one must fly in the same slot.
    Again,
    /// The slot gives no answer: it is to be replaced.
    TakeOut,
    /// There is a way out: no more jobs.
    Stop(String),
}

impl Proofs {
    /// Nothing is proven yet.
    pub(super) fn of(slots: u16) -> Self {
        Self {
            slots: vec![Proof::default(); usize::from(slots)],
        }
    }

    /// A canary came back from `slot`, or did not.
    pub(super) fn note(&mut self, slot: u16, sang: Sang, now: Moment) -> Next {
        let Some(proof) = self.slots.get_mut(usize::from(slot)) else {
            return Next::Trust;
        };
        match sang {
            Sang::Held => {
                *proof = Proof {
                    good: Some(now),
                    misses: 0,
                };
                Next::Trust
            }
            Sang::Escaped(way) => Next::Stop(way),
            Sang::Silent(_) => {
                proof.misses = proof.misses.saturating_add(1);
                if proof.misses < MOST_MISSES {
                    return Next::Again;
                }
                *proof = Proof::default();
                Next::TakeOut
            }
        }
    }

    /// The slots in the order in which canaries are due: those in doubt first, then those whose last
    /// proof is the oldest.
    pub(super) fn due(&self) -> Vec<u16> {
        let mut numbered: Vec<(u16, Proof)> = (0..).zip(self.slots.iter().copied()).collect();
        numbered.sort_by_key(|(slot, proof)| (proof.misses == 0, proof.good, *slot));
        numbered.into_iter().map(|(slot, _)| slot).collect()
    }

    /// Whether some slot is in doubt.
    pub(super) fn doubt(&self) -> bool {
        self.slots.iter().any(|proof| proof.misses > 0)
    }

    /// Whether every slot is proven.
    pub(super) fn complete(&self) -> bool {
        self.slots.iter().all(|proof| proof.good.is_some())
    }

    /// Whether `slot` is proven.
    pub(super) fn holds(&self, slot: u16) -> bool {
        let proof = self.slots.get(usize::from(slot));
        proof.is_some_and(|proof| proof.good.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn silent() -> Sang {
        Sang::Silent("no answer".to_owned())
    }

    #[test]
    fn a_way_out_stops_everything_at_the_first_word_of_it() {
        let mut proofs = Proofs::of(2);
        let next = proofs.note(1, Sang::Escaped("reads".to_owned()), at(1));
        assert_eq!(next, Next::Stop("reads".to_owned()));
    }

    #[test]
    fn a_slot_without_an_answer_is_asked_again_and_then_taken_out_alone() {
        let mut proofs = Proofs::of(2);
        assert_eq!(proofs.note(0, Sang::Held, at(1)), Next::Trust);
        assert_eq!(proofs.note(1, silent(), at(2)), Next::Again);
        assert!(proofs.doubt());
        assert_eq!(proofs.due(), [1, 0], "the slot in doubt comes first");
        assert_eq!(proofs.note(1, silent(), at(3)), Next::Again);
        assert_eq!(proofs.note(1, silent(), at(4)), Next::TakeOut);
        assert!(!proofs.doubt() && !proofs.holds(1) && proofs.holds(0));
    }

    #[test]
    fn a_good_canary_ends_the_doubt() {
        let mut proofs = Proofs::of(1);
        assert_eq!(proofs.note(0, silent(), at(1)), Next::Again);
        assert_eq!(proofs.note(0, Sang::Held, at(2)), Next::Trust);
        assert_eq!(proofs.note(0, silent(), at(3)), Next::Again, "counted anew");
        assert!(proofs.complete());
    }

    #[test]
    fn the_slot_that_was_proven_longest_ago_is_due_and_an_unproven_one_before_it() {
        let mut proofs = Proofs::of(3);
        assert_eq!(proofs.note(0, Sang::Held, at(9)), Next::Trust);
        assert_eq!(proofs.note(1, Sang::Held, at(5)), Next::Trust);
        assert!(!proofs.complete());
        assert_eq!(proofs.due(), [2, 1, 0]);
    }
}
