//! How a job and a batch are shown to their tenant. Pure.

use serde_json::{Map, Value, json};

use super::index::{Batch, Known, Standing};
use super::order;
use super::tenants::Tenant;

/// A job's state in an answer.
pub(super) const fn state(standing: &Standing) -> &'static str {
    match standing {
        Standing::Accepted => "accepted",
        // A word that a worker is lost is no answer yet.
        Standing::Sent | Standing::Lost { .. } => "queued",
        Standing::Done { .. } => "done",
    }
}

/// The message that holds the job's result, once it is done.
pub(super) const fn body_of(known: &Known) -> Option<u64> {
    match known.standing {
        Standing::Done { body, .. } => Some(body),
        Standing::Accepted | Standing::Sent | Standing::Lost { .. } => None,
    }
}

/// A job, with its result where that is there.
pub(super) fn job(tenant: &Tenant, key: &str, known: &Known, result: Option<Value>) -> Value {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(order::name(tenant, key)));
    let batch = known.batch.as_deref();
    let batch = batch.map(|batch| order::name(tenant, batch));
    if let Some(batch) = batch {
        shown.insert("batch".to_owned(), json!(batch));
    }
    shown.insert("state".to_owned(), json!(state(&known.standing)));
    if known.conflicts > 0 {
        shown.insert("conflicts".to_owned(), json!(known.conflicts));
    }
    if let Some(result) = result {
        shown.insert("result".to_owned(), renamed(tenant, result));
    }
    Value::Object(shown)
}

/// A job in the answer to the request that brought it.
pub(super) fn receipt(tenant: &Tenant, key: &str, state: &str) -> Value {
    json!({ "id": order::name(tenant, key), "state": state })
}

/// A batch.
pub(super) fn batch(tenant: &Tenant, key: &str, batch: &Batch) -> Value {
    json!({
        "batch": order::name(tenant, key),
        "jobs": batch.jobs,
        "done": batch.done.len(),
    })
}

/// A result with the names that its tenant knows.
fn renamed(tenant: &Tenant, mut result: Value) -> Value {
    for field in ["job_id", "batch"] {
        if let Some(Value::String(name)) = result.get_mut(field) {
            *name = order::name(tenant, name).to_owned();
        }
    }
    result
}
