//! What may not stand where a limit does, tried on every limit that there is.

use super::decode;
use super::refusals::{refusal, with};
use crate::rejection::RejectionCode::BadLimit;
use std::collections::BTreeSet;

/// Every limit, with the least number that has a meaning.
const LIMITS: [(&str, u64); 11] = [
    ("cpu_ms", 1),
    ("wall_ms", 1),
    ("memory_bytes", 1),
    ("address_space_bytes", 1),
    ("file_bytes", 0),
    ("disk_bytes", 1),
    ("disk_files", 1),
    ("processes", 1),
    ("open_files", 1),
    ("output_bytes", 1),
    ("stack_bytes", 1),
];

/// What is no limit, as it stands in the body, and how the refusal shows it.
const BAD: [(&str, &str); 19] = [
    ("-1", "-1"),
    ("-0.0", "-0.0"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("1.5", "1.5"),
    ("1.0", "1.0"),
    ("1e3", "1000.0"),
    ("0.1e-400", "0.0"),
    ("NaN", "NaN"),
    ("Infinity", "Infinity"),
    ("-Infinity", "-Infinity"),
    ("1e400", "1e400"),
    ("18446744073709551616", "1.8446744073709552e+19"),
    ("\"7\"", "7"),
    ("\"unlimited\"", "unlimited"),
    ("null", "null"),
    ("true", "true"),
    ("false", "false"),
    ("[7]", "an array"),
    ("{}", "an object"),
];

fn asking_for(field: &str, value: &str) -> String {
    with(&format!(r#""limits":{{"{field}":{value}}}"#))
}

#[test]
fn whatever_is_no_whole_number_is_refused_in_every_limit_with_field_value_and_range() {
    for (field, least) in LIMITS {
        let range = format!("from {least} up to");
        let zero = (least > 0).then_some(("0", "0"));
        for (value, shown) in BAD.into_iter().chain(zero) {
            let rejection = refusal(&asking_for(field, value));
            assert_eq!(rejection.code, BadLimit, "{field}, {value}: {rejection}");
            for word in [&format!("limits.{field}: "), shown, &range] {
                assert!(
                    rejection.message.contains(word),
                    "{word} is not in {rejection}"
                );
            }
        }
    }
}

#[test]
fn the_least_and_the_largest_whole_number_are_read_in_every_limit() {
    for (field, least) in LIMITS {
        for value in [least, u64::MAX] {
            // Whether that much is granted is the ceiling's to say.
            let job = decode(&asking_for(field, &value.to_string()));
            let job = job.unwrap_or_else(|refused| panic!("{field}, {value}: {refused}"));
            let read = serde_json::to_value(job.limits).expect("numbers");
            assert_eq!(read, serde_json::json!({ field: value }));
        }
    }
}

#[test]
fn no_limit_of_the_schema_is_left_out_here() {
    let schema = include_str!("../../../docs/schema/job.v1.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).expect("a schema is JSON");
    let limits = schema.pointer("/$defs/Limits/properties");
    let limits = limits.and_then(|limits| limits.as_object());
    let named: BTreeSet<_> = limits
        .expect("a job has limits")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(named, BTreeSet::from(LIMITS.map(|(field, _)| field)));
}
