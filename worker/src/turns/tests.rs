//! That turns are shared by weight, whoever comes and goes.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// The turns of so many rounds, with everybody waiting.
fn given(turns: &mut Turns, rounds: usize) -> Vec<usize> {
    (0..rounds).filter_map(|_| turns.next()).collect()
}

fn all_waiting(weights: &[u32]) -> Turns {
    let mut turns = Turns::new(weights);
    (0..weights.len()).for_each(|tenant| turns.comes(tenant));
    turns
}

#[test]
fn three_to_one_is_three_turns_for_each_one() {
    let turns = given(&mut all_waiting(&[3, 1]), 12);
    assert_eq!(turns, [0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_tenant_alone_has_every_turn_and_saves_up_nothing_while_it_has_no_work() {
    let mut turns = Turns::new(&[1, 1]);
    assert_eq!(turns.next(), None);
    turns.comes(0);
    assert_eq!(given(&mut turns, 1000), [0; 1000]);
    turns.comes(1);
    let both = given(&mut turns, 6);
    assert_eq!(both.iter().filter(|tenant| **tenant == 1).count(), 3);
    turns.goes(0);
    assert_eq!(given(&mut turns, 3), [1; 3]);
    turns.goes(1);
    assert_eq!(turns.next(), None);
}

#[test]
fn one_who_is_always_back_in_time_takes_no_more_than_its_share() {
    // It never has two jobs waiting: each time it had its turn, it goes and comes back before the next.
    let mut turns = all_waiting(&[1, 1]);
    let mut hers = 0;
    for _ in 0..1000 {
        if turns.next() == Some(0) {
            hers += 1;
            turns.goes(0);
            turns.comes(0);
        }
    }
    assert_eq!(hers, 500);
}

/// How far off its share anybody may be, in thousandths of a turn.
fn furthest(counts: &[u64], weights: &[u32], rounds: u64) -> u64 {
    let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let off = |(count, weight): (&u64, &u32)| {
        (count * 1000).abs_diff(rounds * u64::from(*weight) * 1000 / all)
    };
    counts.iter().zip(weights).map(off).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn while_the_same_tenants_wait_each_is_within_one_turn_of_its_share(
        weights in vec(1_u32..=1000, 1..=12),
        rounds in 1_u64..3000,
    ) {
        let mut turns = all_waiting(&weights);
        let mut counts = vec![0; weights.len()];
        for round in 1..=rounds {
            let tenant = turns.next().expect("somebody waits");
            counts[tenant] += 1;
            prop_assert!(furthest(&counts, &weights, round) <= 1000, "{:?} after {}", counts, round);
        }
    }

    /// Whatever happened before: tenants that come, go and come back at any time.
    #[test]
    fn nobody_starves_and_nobody_is_favoured_whoever_came_and_went_before(
        weights in vec(1_u32..=20, 2..=6),
        before in vec((0_usize..6, any::<bool>(), 0_usize..5), 0..200),
        rounds in 1_u64..500,
    ) {
        let mut turns = Turns::new(&weights);
        for (tenant, comes, rounds) in before {
            if comes { turns.comes(tenant) } else { turns.goes(tenant) }
            given(&mut turns, rounds);
        }
        (0..weights.len()).for_each(|tenant| turns.comes(tenant));
        let mut counts = vec![0; weights.len()];
        for round in 1..=rounds {
            let tenant = turns.next().expect("somebody waits");
            counts[tenant] += 1;
            prop_assert!(furthest(&counts, &weights, round) <= 2000, "{:?} after {}", counts, round);
        }
    }

    /// As of one whose next job comes only after the last one has begun.
    #[test]
    fn going_and_coming_back_after_each_turn_brings_nobody_more_than_its_share(
        weights in vec(1_u32..=20, 2..=6),
        rounds in 1_u64..500,
    ) {
        let mut turns = all_waiting(&weights);
        let (mut its, all) = (0, weights.iter().map(|weight| u64::from(*weight)).sum::<u64>());
        for round in 1..=rounds {
            if turns.next() == Some(0) {
                its += 1;
                turns.goes(0);
                turns.comes(0);
            }
            let most = round * u64::from(weights[0]) + all;
            prop_assert!(its * all <= most, "{} of {}", its, round);
        }
    }

    /// No turn goes to somebody who does not wait, and none is left out while somebody does.
    #[test]
    fn a_turn_goes_to_whoever_waits(steps in vec((0_usize..4, 0_u8..3), 0..300)) {
        let mut turns = Turns::new(&[5, 1, 1, 2]);
        let mut waiting = [false; 4];
        for (tenant, step) in steps {
            match step {
                0 => { turns.comes(tenant); waiting[tenant] = true; }
                1 => { turns.goes(tenant); waiting[tenant] = false; }
                _ => match turns.next() {
                    Some(tenant) => prop_assert!(waiting[tenant]),
                    None => prop_assert_eq!(waiting, [false; 4]),
                },
            }
        }
    }
}
