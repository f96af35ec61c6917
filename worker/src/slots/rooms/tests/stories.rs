//! Both lanes' rooms, with tenants that come, wait, leave and are called in every order that proptest can think of.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use std::collections::BTreeSet;

const TENANTS: usize = 3;

/// What may happen. A number picks one of those that there are.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody of a tenant comes for room in a lane.
    Comes(Lane, usize),
    /// Somebody looks whether he was called, and goes in.
    Looks(usize),
    /// Somebody leaves his place, called or not.
    GivesUp(usize),
    /// A run ends.
    Ends(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..64_usize;
    prop_oneof![
        8 => (prop::sample::select(Lane::ALL.to_vec()), 0..TENANTS)
            .prop_map(|(lane, tenant)| Step::Comes(lane, tenant)),
        8 => any().prop_map(Step::Looks),
        3 => any().prop_map(Step::GivesUp),
        5 => any().prop_map(Step::Ends),
    ]
}

struct Standing {
    lane: Lane,
    tenant: usize,
    number: u64,
    waiting: Waiting,
}

struct Story {
    rooms: Rooms,
    shares: LaneShares,
    standing: Vec<Standing>,
    inside: Vec<(Lane, Share)>,
}

impl Story {
    fn new(shares: LaneShares, weights: &[u32]) -> Self {
        Self {
            rooms: Rooms::new(shares, weights),
            shares,
            standing: Vec::new(),
            inside: Vec::new(),
        }
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Comes(lane, tenant) => self.comes(lane, tenant),
            Step::Looks(any) => {
                if let Some(place) = any.checked_rem(self.standing.len()) {
                    self.looks(place);
                }
            }
            Step::GivesUp(any) => {
                if let Some(place) = any.checked_rem(self.standing.len()) {
                    drop(self.standing.swap_remove(place));
                }
            }
            Step::Ends(any) => {
                if let Some(place) = any.checked_rem(self.inside.len()) {
                    drop(self.inside.swap_remove(place));
                }
            }
        }
    }

    fn comes(&mut self, lane: Lane, tenant: usize) {
        let room = Arc::clone(self.rooms.of(lane));
        let number = room.book().next;
        let mut waiting = async move { room.enter(TenantIndex(tenant)).await }.boxed();
        match inside(&mut waiting) {
            Some(share) => self.inside.push((lane, share)),
            None => self.standing.push(Standing {
                lane,
                tenant,
                number,
                waiting,
            }),
        }
    }

    fn looks(&mut self, place: usize) -> bool {
        let standing = &mut self.standing[place];
        let Some(share) = inside(&mut standing.waiting) else {
            return false;
        };
        self.inside.push((standing.lane, share));
        drop(self.standing.swap_remove(place));
        true
    }

    /// The lanes that share a room with this one: where one has no room of its own, all do.
    fn same_room(&self, lane: Lane) -> Vec<Lane> {
        if self.shares.interactive == 0 || self.shares.bulk == 0 {
            return Lane::ALL.to_vec();
        }
        vec![lane]
    }

    fn room_of(&self, lanes: &[Lane]) -> usize {
        let of = |lane: &Lane| match lane {
            Lane::Interactive => self.shares.interactive,
            Lane::Bulk => self.shares.bulk,
        };
        lanes.iter().map(of).sum()
    }

    /// A lane has the room that is its share, whatever happens in the other one; nobody waits beside room that is
    /// free; and of one tenant nobody was called before who came before him.
    fn holds(&self) -> TestCaseResult {
        for lane in Lane::ALL {
            let lanes = self.same_room(*lane);
            let book = self.rooms.of(*lane).book();
            let in_line: BTreeSet<u64> =
                book.lines.iter().flatten().map(|one| one.number).collect();
            let inside = self.inside.iter().filter(|(lane, _)| lanes.contains(lane));
            let here = || self.standing.iter().filter(|one| lanes.contains(&one.lane));
            let called = || here().filter(|one| !in_line.contains(&one.number));
            prop_assert_eq!(
                book.free + inside.count() + called().count(),
                self.room_of(&lanes),
                "room was lost or made"
            );
            prop_assert!(
                book.free == 0 || in_line.is_empty(),
                "somebody waits beside free room"
            );
            prop_assert_eq!(in_line.len() + called().count(), here().count());
            for tenant in 0..TENANTS {
                let called = called().filter(|one| one.tenant == tenant);
                let last_called = called.map(|one| one.number).max();
                let first_in_line = book.lines[tenant].front().map(|one| one.number);
                if let (Some(called), Some(in_line)) = (last_called, first_in_line) {
                    prop_assert!(called < in_line, "{} was called before {}", called, in_line);
                }
            }
        }
        Ok(())
    }

    /// Runs end one after the other, and everybody looks: nobody is left standing.
    fn comes_to_rest(mut self) -> TestCaseResult {
        while !self.standing.is_empty() {
            let before = self.standing.len();
            self.inside.clear();
            let mut place = 0;
            while place < self.standing.len() {
                if !self.looks(place) {
                    place += 1;
                }
            }
            prop_assert!(self.standing.len() < before, "nobody is called any more");
        }
        self.inside.clear();
        self.holds()
    }
}

fn shares() -> impl Strategy<Value = LaneShares> {
    (0..4_usize, 0..4_usize)
        .prop_filter("a worker has room for one", |(interactive, bulk)| {
            interactive + bulk > 0
        })
        .prop_map(|(interactive, bulk)| LaneShares { interactive, bulk })
}

proptest! {
    #[test]
    fn whoever_comes_and_goes_each_lane_keeps_its_room_and_nobody_waits_for_ever(
        shares in shares(),
        weights in vec(1..5_u32, TENANTS),
        steps in vec(step(), 0..120),
    ) {
        let mut story = Story::new(shares, &weights);
        for step in steps {
            story.perform(step);
            story.holds()?;
        }
        story.comes_to_rest()?;
    }
}
