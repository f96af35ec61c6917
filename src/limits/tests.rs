//! Layering of limits: nothing ever exceeds the ceiling, and refusals say what is allowed.

use super::*;
use proptest::prelude::*;

/// Limits that all have the same number.
fn all(number: u64) -> Limits {
    let request = LimitsRequest {
        cpu_ms: Some(number),
        wall_ms: Some(number),
        memory_bytes: Some(number),
        address_space_bytes: None,
        file_bytes: Some(number),
        disk_bytes: Some(number),
        disk_files: Some(number),
        processes: Some(number),
        open_files: Some(number),
        output_bytes: Some(number),
        stack_bytes: Some(number),
    };
    request
        .complete()
        .expect("every field is named and not zero")
}

fn any_request() -> impl Strategy<Value = LimitsRequest> {
    let number = || proptest::option::of(prop_oneof![0..20_u64, any::<u64>()]);
    (
        (number(), number(), number(), number(), number(), number()),
        (number(), number(), number(), number(), number()),
    )
        .prop_map(|(first, second)| LimitsRequest {
            cpu_ms: first.0,
            wall_ms: first.1,
            memory_bytes: first.2,
            address_space_bytes: first.3,
            file_bytes: first.4,
            disk_bytes: first.5,
            disk_files: second.0,
            processes: second.1,
            open_files: second.2,
            output_bytes: second.3,
            stack_bytes: second.4,
        })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (any_request(), 1..20_u64).prop_map(|(request, fallback)| {
        let ceiling = Ceiling(all(u64::MAX));
        // A zero means nothing where it is not `file_bytes`; such a sample falls back.
        request
            .over(&all(fallback), &ceiling)
            .unwrap_or_else(|_| all(fallback))
    })
}

proptest! {
    #[test]
    fn layers_never_exceed_the_ceiling(
        job in any_request(), profile in any_request(), below in any_limits(), top in any_limits(),
    ) {
        let ceiling = Ceiling(top);
        if let Ok(middle) = profile.over(&below, &ceiling) {
            prop_assert!(middle.within(&ceiling));
            if let Ok(limits) = job.over(&middle, &ceiling) {
                prop_assert!(limits.within(&ceiling));
            }
        }
    }

    #[test]
    fn a_granted_request_is_granted_as_asked(job in any_request(), top in any_limits()) {
        if let Ok(limits) = job.over(&top, &Ceiling(top)) {
            let granted = LimitsRequest::from(limits);
            prop_assert_eq!(job.cpu_ms.or(granted.cpu_ms), granted.cpu_ms);
            prop_assert_eq!(job.file_bytes.or(granted.file_bytes), granted.file_bytes);
            prop_assert_eq!(job.stack_bytes.or(granted.stack_bytes), granted.stack_bytes);
            let asked = job.address_space_bytes;
            prop_assert_eq!(asked.or(granted.address_space_bytes), granted.address_space_bytes);
        }
    }

    #[test]
    fn complete_limits_survive_a_round_trip(limits in any_limits()) {
        prop_assert_eq!(LimitsRequest::from(limits).complete(), Ok(limits));
    }
}

#[test]
fn a_request_above_the_ceiling_is_refused_with_field_value_and_range() {
    let job = LimitsRequest {
        memory_bytes: Some(101),
        ..LimitsRequest::default()
    };
    let refusal = job
        .over(&all(10), &Ceiling(all(100)))
        .expect_err("101 is above 100");
    assert_eq!(refusal.code, RejectionCode::AboveCeiling);
    for part in ["limits.memory_bytes", "101", "1 to 100"] {
        assert!(
            refusal.message.contains(part),
            "{part} is not in {}",
            refusal.message
        );
    }
}

#[test]
fn zero_is_refused_but_for_file_bytes() {
    let job = LimitsRequest {
        processes: Some(0),
        ..LimitsRequest::default()
    };
    let refusal = job
        .over(&all(10), &Ceiling(all(100)))
        .expect_err("zero processes");
    assert_eq!(refusal.code, RejectionCode::BadLimit);
    let job = LimitsRequest {
        file_bytes: Some(0),
        ..LimitsRequest::default()
    };
    let limits = job
        .over(&all(10), &Ceiling(all(100)))
        .expect("no file may grow");
    assert_eq!(limits.file_bytes, FileBytes::new(0));
}

#[test]
fn an_unlimited_address_space_is_cut_where_the_ceiling_names_one() {
    let mut top = all(100);
    top.address_space_bytes = ByteCount::new(50);
    let limits = LimitsRequest::default()
        .over(&all(10), &Ceiling(top))
        .expect("nothing is asked");
    assert_eq!(limits.address_space_bytes, ByteCount::new(50));
}
