//! What a query asks for, and that the description of the interface is that of the router and the
//! schemas.

use super::*;
use crate::api::route::ROUTES;
use serde_json::{Map, Value, json};
use std::path::Path;

#[test]
fn a_wait_is_bounded_and_whatever_is_no_number_is_refused() {
    let most = Duration::from_secs(60);
    let wait = |query| wait_of(query, most).map_err(|no| (no.status.as_u16(), no.field));
    for none in [None, Some(""), Some("x=1"), Some("wait_ms=0")] {
        assert_eq!(wait(none), Ok(None), "{none:?}");
    }
    assert_eq!(
        wait(Some("a=b&wait_ms=250")),
        Ok(Some(Duration::from_millis(250)))
    );
    assert_eq!(wait(Some("wait_ms=600000000")), Ok(Some(most)));
    for wrong in [
        "wait_ms=",
        "wait_ms=-1",
        "wait_ms=1.5",
        "wait_ms=1&wait_ms=1",
    ] {
        let told = Err((400, Some("wait_ms".to_owned())));
        assert_eq!(wait(Some(wrong)), told, "{wrong}");
    }
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("JSON")
}

#[test]
fn the_description_has_exactly_the_routers_paths_and_methods() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    let mut described: Vec<(String, Vec<String>)> = Vec::new();
    for (path, item) in paths {
        let methods = item.as_object().expect("methods").keys();
        let methods = methods.filter(|key| *key != "parameters");
        described.push((
            path.clone(),
            methods.map(|key| key.to_uppercase()).collect(),
        ));
    }
    let routed = ROUTES.iter().map(|(path, methods)| {
        let methods = methods.iter().map(|method| (*method).to_owned());
        ((*path).to_owned(), methods.collect())
    });
    let routed: Vec<(String, Vec<String>)> = routed.collect();
    assert_eq!(described, routed);
}

#[test]
fn every_answer_that_a_refusal_has_is_described_for_every_path_with_a_token() {
    let document = document();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            if method == "parameters" || path.ends_with("openapi.json") {
                continue;
            }
            for status in ["401", "429", "503"] {
                let answer = &operation["responses"][status];
                assert!(answer.is_object(), "{method} {path}: {status}");
            }
        }
    }
}

/// The schemas of the messages, as they stand in the description: references lead to the document's
/// own list. To bring it up to date: `JAILFLEET_BLESS=1 cargo test -p jailfleet-producer --lib`.
#[test]
fn the_description_holds_the_schemas_of_the_wire_format() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let mut document = document();
    let mut schemas = Map::new();
    for (name, file) in [("Job", "job"), ("Result", "result")] {
        let text = std::fs::read_to_string(folder.join(format!("{file}.v1.schema.json")));
        let mut schema: Value = serde_json::from_str(&text.expect("it is there")).expect("JSON");
        let own = schema.as_object_mut().expect("an object");
        own.remove("$schema");
        let defs = own.remove("$defs").unwrap_or_default();
        for (def, mut schema) in defs.as_object().cloned().unwrap_or_default() {
            point_elsewhere(&mut schema, name);
            schemas.insert(format!("{name}{def}"), schema);
        }
        point_elsewhere(&mut schema, name);
        schemas.insert(name.to_owned(), schema);
    }
    // Tenants name less than the wire format does: their own name stands before.
    for (name, field) in [("Job", "id"), ("Job", "batch")] {
        let pattern = json!("^[A-Za-z0-9._:-]{1,95}$");
        schemas[name]["properties"][field]["pattern"] = pattern;
    }
    let there = document["components"]["schemas"]
        .as_object_mut()
        .expect("schemas");
    if std::env::var_os("JAILFLEET_BLESS").is_some() {
        there.extend(schemas);
        let text = format!("{document:#}\n");
        std::fs::write(folder.join("openapi.json"), text).expect("it can be written");
        return;
    }
    for (name, schema) in schemas {
        assert_eq!(
            there.get(&name),
            Some(&schema),
            "{name}: see this test's comment"
        );
    }
}

fn point_elsewhere(schema: &mut Value, owner: &str) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(def) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/components/schemas/{owner}{def}");
            }
            fields
                .values_mut()
                .for_each(|value| point_elsewhere(value, owner));
        }
        Value::Array(values) => {
            values
                .iter_mut()
                .for_each(|value| point_elsewhere(value, owner));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
