//! Canaries that did not come back, and what follows from one more. Pure.

use std::collections::HashMap;

use super::Sang;
use crate::slots::Build;

/// Canaries without an answer after which a slot is replaced: one may be the host's trouble.
pub(super) const MOST_MISSES: u8 = 3;

/// In how many buildings of one slot canaries fly at the start: one that is replaced gets its own tries, but a
/// host on which none ever answers is to be heard of soon.
pub(super) const MOST_BUILDINGS: usize = 3;

/// How many canaries in a row brought no answer, for each slot as it stands.
#[derive(Debug)]
pub(super) struct Misses {
    slots: Vec<Missed>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Missed {
    /// The building of the slot that they flew in.
    build: u32,
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

impl Misses {
    /// None so far.
    pub(super) fn of(slots: u16) -> Self {
        Self {
            slots: vec![Missed::default(); usize::from(slots)],
        }
    }

    /// A canary came back from this building of a slot, or did not.
    pub(super) fn note(&mut self, build: Build, sang: &Sang) -> Next {
        let place = self.slots.get_mut(usize::from(build.slot));
        let mut missed = place
            .as_deref()
            .filter(|missed| missed.build == build.number)
            .map_or(0, |missed| missed.misses);
        let next = match sang {
            Sang::Escaped(way) => return Next::Stop(way.clone()),
            Sang::Held => {
                missed = 0;
                Next::Trust
            }
            Sang::Silent(_) if missed.saturating_add(1) < MOST_MISSES => {
                missed = missed.saturating_add(1);
                Next::Again
            }
            Sang::Silent(_) => {
                missed = 0;
                Next::TakeOut
            }
        };
        if let Some(place) = place {
            *place = Missed {
                build: build.number,
                misses: missed,
            };
        }
        next
    }
}

/// How many canaries flew in each building of the slots since the start.
#[derive(Debug, Default)]
pub(super) struct Tries(HashMap<Build, u8>);

impl Tries {
    /// Whether one more may fly in this building; it is counted then. Buildings in which none ever flew say
    /// nothing against the slot.
    pub(super) fn one_more(&mut self, build: Build) -> bool {
        let before = self.0.keys();
        let before = before.filter(|other| other.slot == build.slot && **other != build);
        if before.count() >= MOST_BUILDINGS {
            return false;
        }
        let tries = self.0.entry(build).or_default();
        if *tries >= MOST_MISSES {
            return false;
        }
        *tries = tries.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Sang {
        Sang::Silent("no answer".to_owned())
    }

    const fn build(slot: u16, number: u32) -> Build {
        Build { slot, number }
    }

    #[test]
    fn a_way_out_stops_everything_at_the_first_word_of_it() {
        let mut misses = Misses::of(2);
        let next = misses.note(build(1, 0), &Sang::Escaped("reads".to_owned()));
        assert_eq!(next, Next::Stop("reads".to_owned()));
    }

    #[test]
    fn a_slot_without_an_answer_is_asked_again_and_then_taken_out_alone() {
        let mut misses = Misses::of(2);
        assert_eq!(misses.note(build(1, 0), &silent()), Next::Again);
        assert_eq!(misses.note(build(0, 0), &silent()), Next::Again);
        assert_eq!(misses.note(build(1, 0), &silent()), Next::Again);
        assert_eq!(misses.note(build(1, 0), &silent()), Next::TakeOut);
        assert_eq!(misses.note(build(0, 0), &silent()), Next::Again);
    }

    #[test]
    fn a_good_canary_ends_the_doubt() {
        let mut misses = Misses::of(1);
        assert_eq!(misses.note(build(0, 0), &silent()), Next::Again);
        assert_eq!(misses.note(build(0, 0), &silent()), Next::Again);
        assert_eq!(misses.note(build(0, 0), &Sang::Held), Next::Trust);
        assert_eq!(misses.note(build(0, 0), &silent()), Next::Again, "anew");
    }

    #[test]
    fn a_slot_is_tried_in_so_many_buildings_that_stood_and_each_so_often() {
        let mut tries = Tries::default();
        // Of the others, nobody heard but that they could not be built.
        for number in [0, 5, 9] {
            for _ in 0..MOST_MISSES {
                assert!(tries.one_more(build(0, number)), "{number}");
            }
            assert!(!tries.one_more(build(0, number)), "{number}");
        }
        assert!(!tries.one_more(build(0, 10)), "it was tried often enough");
        assert!(tries.one_more(build(1, 10)), "another slot was not");
    }

    #[test]
    fn a_rebuilt_slot_is_not_blamed_for_what_stood_there_before() {
        let mut misses = Misses::of(1);
        assert_eq!(misses.note(build(0, 0), &silent()), Next::Again);
        assert_eq!(misses.note(build(0, 0), &silent()), Next::Again);
        assert_eq!(misses.note(build(0, 1), &silent()), Next::Again);
        assert_eq!(misses.note(build(0, 1), &silent()), Next::Again);
        assert_eq!(misses.note(build(0, 1), &silent()), Next::TakeOut);
    }
}
