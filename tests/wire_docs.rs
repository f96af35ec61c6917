//! docs/wire.md and docs/schema say what the decoder does: every example goes through both.

use jailfleet::outcome::{ErrorCode, Outcome};
use jailfleet::rejection::RejectionCode;
use jailfleet::wire::{
    DecodeHint, WireCaps, decode_cancel, decode_job, decode_result, encode_cancel, encode_result,
    is_steering,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced examples of the page whose info string begins with `kind`: what follows it, and the
/// text.
fn examples(kind: &str) -> Vec<(String, String)> {
    let page = read("docs/wire.md");
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix(&format!("```json {kind}")) {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((rest.trim().to_owned(), text.join("\n")));
        }
    }
    assert!(!found.is_empty(), "docs/wire.md has no example of a {kind}");
    found
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&read(&format!("docs/schema/{name}"))).expect("a schema is JSON")
}

/// The place of every field that a schema knows, as in `files[].path`. The names in an object that
/// may hold any are nobody's fields.
fn places(schema: &Value, root: &Value, place: &str, found: &mut BTreeSet<String>) {
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target = path.strip_prefix('#').and_then(|path| root.pointer(path));
        let target = target.expect("a reference of ours leads somewhere");
        return places(target, root, place, found);
    }
    for one in schema
        .get("oneOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        places(one, root, place, found);
    }
    if let Some(items) = schema.get("items") {
        places(items, root, &format!("{place}[]"), found);
    }
    let own = schema.get("properties").and_then(Value::as_object);
    for (name, member) in own.into_iter().flatten() {
        let place = below(place, name);
        places(member, root, &place, found);
        found.insert(place);
    }
}

/// The place of every field of an example, in the same words.
fn shown_places(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, member) in map {
                let place = below(place, name);
                shown_places(member, &place, found);
                found.insert(place);
            }
        }
        Value::Array(entries) => {
            let place = format!("{place}[]");
            for entry in entries {
                shown_places(entry, &place, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}

/// What the page says of an object: the rows of the tables that begin with its name, and its section.
fn words_about(page: &str, object: &str) -> String {
    let row = format!("| `{object}`");
    let rows = page.lines().filter(|line| line.starts_with(&row));
    let section = page.split(&format!("\n### {object}\n")).nth(1);
    let section = section.and_then(|rest| rest.split("\n## ").next());
    let section = section.and_then(|rest| rest.split("\n### ").next());
    rows.chain(section).collect::<Vec<_>>().join("\n")
}

/// Whether `value` is what `schema` says, by the keywords that our schemas use; patterns and
/// formats are the decoder's to check.
fn conforms(value: &Value, schema: &Value, root: &Value) -> bool {
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target = path.strip_prefix('#').and_then(|path| root.pointer(path));
        return conforms(
            value,
            target.expect("a reference of ours leads somewhere"),
            root,
        );
    }
    if let Some(any) = schema.get("oneOf").and_then(Value::as_array) {
        return any.iter().filter(|one| conforms(value, one, root)).count() == 1;
    }
    let typed = match schema.get("type").and_then(Value::as_str) {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some(other) => panic!("the type {other} is not used by our schemas"),
    };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let number = value.as_f64().unwrap_or(0.0);
    let in_range = !value.is_number()
        || (bound("minimum").is_none_or(|least| number >= least)
            && bound("maximum").is_none_or(|most| number <= most));
    let named = schema
        .get("enum")
        .and_then(Value::as_array)
        .is_none_or(|names| names.contains(value));
    typed && in_range && named && members_conform(value, schema, root)
}

fn members_conform(value: &Value, schema: &Value, root: &Value) -> bool {
    if let (Value::Array(entries), Some(items)) = (value, schema.get("items")) {
        return entries.iter().all(|entry| conforms(entry, items, root));
    }
    let Value::Object(map) = value else {
        return true;
    };
    let required = schema.get("required").and_then(Value::as_array);
    let complete = required
        .into_iter()
        .flatten()
        .all(|name| name.as_str().is_some_and(|name| map.contains_key(name)));
    complete
        && map.iter().all(|(name, member)| {
            match (
                schema.pointer(&format!("/properties/{name}")),
                schema.get("additionalProperties"),
            ) {
                (Some(known), _) => conforms(member, known, root),
                (None, Some(Value::Bool(allowed))) => *allowed,
                (None, Some(other)) => conforms(member, other, root),
                (None, None) => true,
            }
        })
}

#[test]
fn every_example_of_a_job_is_taken_by_decoder_and_schema() {
    let schema = schema("job.v1.schema.json");
    for (_, text) in examples("job") {
        let decoded = decode_job(
            text.as_bytes(),
            &DecodeHint::default(),
            &WireCaps::default(),
        );
        decoded.unwrap_or_else(|refused| panic!("{refused}\n{text}"));
        let value: Value = serde_json::from_str(&text).expect("the decoder read it");
        assert!(
            conforms(&value, &schema, &schema),
            "the schema refuses {text}"
        );
    }
}

#[test]
fn every_example_of_a_refusal_is_refused_with_its_code() {
    let schema = schema("job.v1.schema.json");
    for (code, text) in examples("refused") {
        let decoded = decode_job(
            text.as_bytes(),
            &DecodeHint::default(),
            &WireCaps::default(),
        );
        let refused = decoded.expect_err(&text);
        assert_eq!(refused.rejection.code.as_str(), code, "{refused}\n{text}");
        let value: Value = serde_json::from_str(&text).expect("all of them are JSON");
        let by_shape = [
            "wrong_version",
            "unknown_field",
            "missing_field",
            "wrong_type",
            "bad_limit",
        ];
        assert_eq!(
            conforms(&value, &schema, &schema),
            !by_shape.contains(&code.as_str()),
            "of what is refused, the schema sees the shape and no more: {text}"
        );
    }
}

#[test]
fn every_example_of_a_result_reads_and_is_written_again_in_the_same_words() {
    let schema = schema("result.v1.schema.json");
    for (_, text) in examples("result") {
        let result =
            decode_result(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let value: Value = serde_json::from_str(&text).expect("the decoder read it");
        assert!(
            conforms(&value, &schema, &schema),
            "the schema refuses {text}"
        );
        let again = encode_result(&result, 1 << 20).body;
        let again: Value = serde_json::from_slice(&again).expect("just written");
        assert_eq!(again, value);
    }
}

#[test]
fn every_example_of_a_cancel_reads_and_is_written_again_in_the_same_words() {
    let schema = schema("cancel.v1.schema.json");
    for (_, text) in examples("cancel") {
        let cancel = decode_cancel(text.as_bytes());
        let cancel = cancel.unwrap_or_else(|refused| panic!("{refused}\n{text}"));
        let mut value: Value = serde_json::from_str(&text).expect("the decoder read it");
        assert!(
            conforms(&value, &schema, &schema),
            "the schema refuses {text}"
        );
        let again: Value = serde_json::from_slice(&encode_cancel(&cancel)).expect("just written");
        // The minor version 0 is the one that is left out.
        value.as_object_mut().map(|map| map.remove("minor"));
        assert_eq!(again, value);
    }
}

#[test]
fn the_digest_is_what_the_page_tells_other_languages_to_compute() {
    use sha2::{Digest, Sha256};
    for (_, text) in examples("result") {
        let result = decode_result(text.as_bytes()).expect("an example");
        let encoded = encode_result(&result, 1 << 20);
        let read = serde_json::from_slice(&encoded.body).expect("just written");
        let Value::Object(mut map) = read else {
            panic!("a result is an object");
        };
        for circumstance in ["usage", "timing", "worker", "walls"] {
            map.shift_remove(circumstance);
        }
        // In Python: json.dumps(result, ensure_ascii=False, separators=(",", ":")).
        let rest = serde_json::to_string(&map).expect("strings and numbers");
        let digest = Sha256::digest(rest);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(encoded.digest, digest);
    }
}

#[test]
fn every_field_at_every_depth_has_an_example_in_its_own_place() {
    for (name, kind) in [
        ("job.v1.schema.json", "job"),
        ("result.v1.schema.json", "result"),
        ("cancel.v1.schema.json", "cancel"),
    ] {
        let schema = schema(name);
        let mut known = BTreeSet::new();
        places(&schema, &schema, "", &mut known);
        let mut shown = BTreeSet::new();
        let mut note = |text: &str| {
            let value = serde_json::from_str(text).expect("an example is JSON");
            shown_places(&value, "", &mut shown);
        };
        for (_, text) in examples(kind) {
            note(&text);
        }
        // Grading is refused until it is built: what a job says of it stands with the refusals.
        let refused = examples("refused").into_iter();
        for (_, text) in refused.filter(|(code, _)| kind == "job" && code == "grade_unsupported") {
            note(&text);
        }
        let missing: Vec<_> = known.difference(&shown).collect();
        assert!(
            missing.is_empty(),
            "docs/wire.md shows no {kind} with {missing:?}"
        );
        let free = ["env.", "grade."];
        shown.retain(|place| !free.iter().any(|object| place.starts_with(object)));
        let unknown: Vec<_> = shown.difference(&known).collect();
        assert!(
            unknown.is_empty(),
            "{name} does not know {unknown:?} of docs/wire.md"
        );
    }
}

#[test]
fn every_field_at_every_depth_is_described_where_its_object_is() {
    let page = read("docs/wire.md");
    let (job, result) = page
        .split_once("\n## A result\n")
        .expect("the page has both");
    let (result, cancel) = result
        .split_once("\n## A cancel\n")
        .expect("the page has all three");
    for (name, own) in [
        ("job.v1.schema.json", job),
        ("result.v1.schema.json", result),
        ("cancel.v1.schema.json", cancel),
    ] {
        let schema = schema(name);
        let mut known = BTreeSet::new();
        places(&schema, &schema, "", &mut known);
        for place in known {
            let (object, field) = place.rsplit_once('.').unwrap_or(("", &place));
            let words = match (object.trim_end_matches("[]"), field) {
                ("", _) => own.to_owned(),
                // A blob is the same everywhere, and described once.
                (_, "base64") => page.clone(),
                // The limits of a result are those of a job, and two fields more.
                ("limits", _) => words_about(&page, "limits"),
                (object, _) => words_about(own, object),
            };
            assert!(
                words.contains(&format!("`{field}`")),
                "docs/wire.md does not describe {place} where it speaks of its object"
            );
        }
    }
}

#[test]
fn every_outcome_and_code_is_described() {
    let page = read("docs/wire.md");
    let outcomes = Outcome::ALL.iter().map(|outcome| outcome.as_str());
    let own = ErrorCode::OWN.iter().map(|code| code.as_str());
    let rejections = RejectionCode::ALL.iter().map(|code| code.as_str());
    for word in outcomes.chain(own).chain(rejections) {
        assert!(
            page.contains(&format!("`{word}`")),
            "docs/wire.md does not describe {word}"
        );
    }
}

#[test]
fn every_variable_that_the_page_calls_refused_is() {
    let page = read("docs/wire.md");
    let section = page
        .split("### env")
        .nth(1)
        .and_then(|rest| rest.split("This keeps").next());
    let names = section
        .expect("the page has the section")
        .split('`')
        .skip(1)
        .step_by(2);
    let mut count = 0;
    for name in names {
        // A prefix is written with its last underscore.
        assert!(
            is_steering(name) || is_steering(&format!("{name}X")),
            "{name} is not refused"
        );
        count += 1;
    }
    assert!(count > 40, "only {count} names were found");
}

#[test]
fn the_schemas_are_up_to_date() {
    for (name, text) in jailfleet::wire::schemas() {
        let there = read(&format!("docs/schema/{name}"));
        assert!(
            there == text,
            "docs/schema/{name} is old: run cargo xtask schema"
        );
    }
}
