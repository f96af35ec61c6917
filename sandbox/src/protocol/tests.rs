//! Properties of the protocol: what is written is read back, and nothing else is accepted.

use super::{Build, DATAGRAM_BYTES, Extras, JailPlan, Order, Refusal, Report, Residue, Walls};
use jailfleet::evidence::{Acted, End, Evidence, Stage, StageTimes, UnknownCalls};
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Count, FileBytes, Millis};
use jailfleet::wall::Wall;
use proptest::prelude::*;
use std::time::Duration;

fn limits() -> impl Strategy<Value = Limits> {
    (proptest::array::uniform10(1..u64::MAX), any::<u64>()).prop_map(|(numbers, zero_allowed)| {
        let [
            cpu,
            wall,
            memory,
            space,
            disk,
            files,
            processes,
            open,
            output,
            stack,
        ] = numbers;
        let bytes = |number| ByteCount::new(number).expect("drawn from 1");
        let count = |number| Count::new(number).expect("drawn from 1");
        Limits {
            cpu_ms: Millis::new(cpu).expect("drawn from 1"),
            wall_ms: Millis::new(wall).expect("drawn from 1"),
            memory_bytes: bytes(memory),
            address_space_bytes: (space % 2 == 0).then(|| bytes(space)),
            file_bytes: FileBytes::new(zero_allowed),
            disk_bytes: bytes(disk),
            disk_files: count(files),
            processes: count(processes),
            open_files: count(open),
            output_bytes: bytes(output),
            stack_bytes: bytes(stack),
        }
    })
}

fn acted() -> impl Strategy<Value = Acted> {
    prop_oneof![
        Just(Acted::Cpu),
        Just(Acted::Wall),
        Just(Acted::Output),
        Just(Acted::Cancel),
        Just(Acted::Drain)
    ]
}

fn build() -> impl Strategy<Value = Build> {
    (any::<u16>(), any::<u32>()).prop_map(|(slot, number)| Build { slot, number })
}

fn extras() -> impl Strategy<Value = Extras> {
    (0..4_u16).prop_map(|number| Extras::from(number).expect("one of four"))
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|digest| Order::Hello { digest }),
        (any::<u64>(), build(), any::<u16>(), limits(), extras()).prop_map(
            |(run, build, runtime, limits, extras)| Order::Run(JailPlan {
                run,
                build,
                runtime,
                limits,
                extras,
            })
        ),
        (any::<u16>(), any::<u64>(), acted()).prop_map(|(slot, run, why)| Order::Kill {
            slot,
            run,
            why
        }),
        build().prop_map(|build| Order::Replace { build }),
        Just(Order::Stop),
    ]
}

fn stages() -> impl Strategy<Value = StageTimes> {
    proptest::collection::vec(any::<u64>(), Stage::ALL.len()).prop_map(|nanos| {
        let mut stages = StageTimes::default();
        for (stage, nanos) in Stage::ALL.iter().zip(nanos) {
            stages.note(*stage, Duration::from_nanos(nanos));
        }
        stages
    })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        (0..=255).prop_map(End::Exited),
        (1..=64).prop_map(End::Signaled),
        any::<i32>().prop_map(|errno| End::StageFailed {
            stage: Stage::Unpack,
            errno
        }),
        Just(End::Lost),
        Just(End::Unstarted),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let spans = proptest::array::uniform4(any::<u64>());
    let seen = proptest::array::uniform4(any::<Option<u64>>());
    (
        end(),
        proptest::option::of(acted()),
        any::<u64>(),
        spans,
        seen,
        proptest::collection::vec(any::<u32>(), 0..12),
    )
        .prop_map(
            |(end, acted, oom_kills, [cpu, user, system, wall], seen, calls)| {
                let [memory_refusals, peak, tasks, pressure] = seen;
                let mut unknown_calls = UnknownCalls::NONE;
                calls
                    .into_iter()
                    .for_each(|number| unknown_calls.note(number));
                Evidence {
                    end,
                    acted,
                    oom_kills,
                    memory_refusals,
                    cpu: Duration::from_nanos(cpu),
                    user: Duration::from_nanos(user),
                    system: Duration::from_nanos(system),
                    wall: Duration::from_nanos(wall),
                    peak_memory_bytes: peak,
                    processes_peak: tasks,
                    pressure_full: pressure.map(Duration::from_nanos),
                    unknown_calls,
                }
            },
        )
}

fn report() -> impl Strategy<Value = Report> {
    prop_oneof![
        (any::<u16>(), any::<u16>(), any::<[u8; 32]>()).prop_map(
            |(slot_count, abi, config_digest)| {
                let walls = Walls::default().with_landlock(abi).with(Wall::Seccomp);
                Report::Ready {
                    slot_count,
                    walls,
                    config_digest,
                }
            }
        ),
        (any::<u16>(), any::<u64>(), stages()).prop_map(|(slot, run, stages)| Report::Started {
            slot,
            run,
            stages
        }),
        (any::<u16>(), any::<u64>(), evidence()).prop_map(|(slot, run, evidence)| Report::Ended {
            slot,
            run,
            evidence
        }),
        build().prop_map(|build| Report::Idle { build }),
        build().prop_map(|build| Report::Quarantined {
            build,
            residue: Residue::Processes
        }),
        (any::<u16>(), any::<u64>()).prop_map(|(slot, run)| Report::Refused {
            slot,
            run,
            refusal: Refusal::OtherBuilding
        }),
    ]
}

proptest! {
    #[test]
    fn an_order_is_read_back_as_it_was_written(order in order()) {
        prop_assert_eq!(Order::decode(&order.encode()), Ok(order));
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written(report in report()) {
        prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
    }

    #[test]
    fn bytes_that_decode_are_the_bytes_that_encode_would_write(
        order in order(), at in 0..DATAGRAM_BYTES, flip in 1..=255_u8,
    ) {
        let mut bytes = order.encode();
        bytes[at] ^= flip;
        if let Ok(other) = Order::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn a_datagram_of_another_size_is_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        prop_assume!(bytes.len() != DATAGRAM_BYTES);
        prop_assert!(Order::decode(&bytes).is_err());
        prop_assert!(Report::decode(&bytes).is_err());
    }
}

#[test]
fn a_shorter_or_longer_spelling_of_an_order_is_refused() {
    let bytes = Order::Stop.encode();
    assert!(Order::decode(&bytes).is_ok());
    assert!(Order::decode(&bytes[..DATAGRAM_BYTES - 1]).is_err());
    assert!(Order::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_report_is_not_taken_for_an_order() {
    let build = Build::first(1);
    assert!(Order::decode(&Report::Idle { build }.encode()).is_err());
}

#[test]
fn held_walls_carry_the_landlock_version() {
    let walls = Walls::default().with(Wall::Pidns).with_landlock(7);
    let words: Vec<_> = walls
        .held()
        .iter()
        .map(|held| (held.wall, held.detail.clone()))
        .collect();
    assert_eq!(
        words,
        [(Wall::Pidns, None), (Wall::Landlock, Some("7".to_owned()))]
    );
}
