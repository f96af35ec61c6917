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

/// A request for so much of each limit in turn, with the limit's name.
fn each(number: u64) -> Vec<(String, LimitsRequest)> {
    let mut every = all(number.max(1));
    every.address_space_bytes = ByteCount::new(number.max(1));
    let every = serde_json::to_value(LimitsRequest::from(every)).expect("numbers");
    let fields = every.as_object().expect("an object").keys();
    let request = |field: &String| {
        let request = serde_json::json!({ field: number });
        serde_json::from_value(request).expect("a field of a request")
    };
    fields
        .map(|field| (field.clone(), request(field)))
        .collect()
}

#[test]
fn each_limit_above_its_ceiling_is_refused_with_field_value_and_range() {
    let mut top = all(100);
    top.address_space_bytes = ByteCount::new(100);
    for number in [101, u64::MAX] {
        for (field, job) in each(number) {
            let refusal = job
                .over(&all(10), &Ceiling(top))
                .expect_err("it is above 100");
            assert_eq!(refusal.code, RejectionCode::AboveCeiling, "{field}");
            let least = if field == "file_bytes" { 0 } else { 1 };
            for part in [
                format!("limits.{field}: {number} "),
                format!("{least} to 100"),
            ] {
                assert!(
                    refusal.message.contains(&part),
                    "{part} is not in {}",
                    refusal.message
                );
            }
        }
    }
    assert_eq!(each(100).len(), 11);
    for (field, job) in each(100) {
        let granted = job.over(&all(10), &Ceiling(top));
        granted.unwrap_or_else(|refusal| panic!("{field} is at its ceiling: {refusal}"));
    }
}

#[test]
fn zero_is_refused_in_each_limit_but_the_size_of_a_file() {
    let mut top = all(100);
    top.address_space_bytes = ByteCount::new(100);
    for (field, job) in each(0) {
        let layered = job.over(&all(10), &Ceiling(top));
        if field == "file_bytes" {
            let limits = layered.expect("no file may grow");
            assert_eq!(limits.file_bytes, FileBytes::new(0));
            continue;
        }
        let refusal = layered.expect_err("zero means nothing");
        assert_eq!(refusal.code, RejectionCode::BadLimit, "{field}");
        let part = format!("limits.{field}: 0 ");
        assert!(
            refusal.message.contains(&part),
            "{part} is not in {}",
            refusal.message
        );
    }
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
