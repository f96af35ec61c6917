//! Which queues are read, and how far ahead.

use super::{ConsumePlan, PREFETCH_MOST, Source, reading};
use jailfleet::job::Name;
use jailfleet::settings::LaneShares;

fn plan(interactive: usize, bulk: usize) -> ConsumePlan {
    ConsumePlan {
        pool: Name::parse("default").expect("a name"),
        slots: LaneShares { interactive, bulk },
    }
}

#[test]
fn a_lane_is_read_as_far_ahead_as_it_has_slots_and_a_few_more() {
    assert_eq!(
        reading(4, &plan(2, 14)),
        [
            (Source::Interactive, 6),
            (Source::Bulk, 18),
            (Source::Suspect, 1)
        ]
    );
    assert_eq!(
        reading(0, &plan(1, 3)),
        [
            (Source::Interactive, 1),
            (Source::Bulk, 3),
            (Source::Suspect, 1)
        ]
    );
}

#[test]
fn a_lane_without_slots_is_not_read() {
    let suspect = (Source::Suspect, 1);
    assert_eq!(reading(4, &plan(0, 1)), [(Source::Bulk, 5), suspect]);
    assert_eq!(reading(4, &plan(1, 0)), [(Source::Interactive, 5), suspect]);
}

#[test]
fn no_number_of_slots_reads_further_ahead_than_a_broker_takes() {
    for slots in [PREFETCH_MOST.into(), 1 << 16, usize::MAX] {
        let read = reading(u16::MAX, &plan(slots, slots));
        assert_eq!(read.first(), Some(&(Source::Interactive, PREFETCH_MOST)));
        assert_eq!(read.get(1), Some(&(Source::Bulk, PREFETCH_MOST)));
    }
}
