//! JSON Schemas of the messages, from the very types that read and write them.

use super::cancel::CancelMessage;
use super::message::JobMessage;
use super::result::ResultMessage;

/// The schemas, as `(file name, JSON text)`, for `docs/schema/`.
///
/// # Panics
/// Never: a schema is JSON.
#[must_use]
pub fn schemas() -> Vec<(String, String)> {
    let cancel = schemars::schema_for!(CancelMessage);
    let job = schemars::schema_for!(JobMessage);
    let result = schemars::schema_for!(ResultMessage);
    [
        ("cancel.v1.schema.json", cancel),
        ("job.v1.schema.json", job),
        ("result.v1.schema.json", result),
    ]
    .into_iter()
    .map(|(name, schema)| {
        let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        (name.to_owned(), text + "\n")
    })
    .collect()
}
