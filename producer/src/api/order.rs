//! What a request to run jobs asks for: read, and vetted against what its tenant may do. Pure.
//!
//! All or nothing: the first mistake in any of the jobs refuses all of them.

use std::collections::HashMap;

use hyper::StatusCode;
use jailfleet::job::{Job, JobId, Name};
use jailfleet::limits::LimitsRequest;
use jailfleet::rejection::Rejection;
use jailfleet::wire::{self, DecodeHint, WireCaps};
use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::answer::Failure;
use super::tenants::{OwnLimits, Tenant};

/// The longest id, and the longest name of a batch: behind the longest tenant's name and a colon
/// they still are one.
const ID_BYTES: usize = 95;

/// What a request may ask for.
#[derive(Debug)]
pub(super) struct Bounds<'a> {
    /// The pool that jobs go to.
    pub(super) pool: &'a Name,
    /// The most jobs.
    pub(super) jobs: usize,
    /// What one of them may hold.
    pub(super) caps: WireCaps,
}

/// A request that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Whether it was an object or an array: the answer is the same.
    pub(super) shape: Shape,
    /// The jobs, under the ids by which they travel.
    pub(super) jobs: Vec<Job>,
}

/// How jobs are named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One object.
    One,
    /// An array of them.
    Many,
}

/// Reads a body.
///
/// # Errors
/// What is wrong, with the place of the job and the field.
pub(super) fn read(
    body: &[u8],
    tenant: &Tenant,
    bounds: &Bounds<'_>,
    mut fresh: impl FnMut() -> String,
) -> Result<Order, Failure> {
    let (shape, texts) = split(body, bounds.jobs)?;
    let mut jobs = Vec::with_capacity(texts.len());
    let mut seen: HashMap<JobId, usize> = HashMap::new();
    for (index, text) in texts.into_iter().enumerate() {
        let job = job(text, tenant, bounds, &mut fresh).map_err(|no| no.at(index))?;
        if let Some(first) = seen.insert(job.id.clone(), index) {
            let message = format!("id: that of job {first} of this request: give each its own");
            return Err(
                Failure::new(StatusCode::BAD_REQUEST, "duplicate_id", message)
                    .in_field("id")
                    .at(index),
            );
        }
        jobs.push(job);
    }
    Ok(Order { shape, jobs })
}

/// `<tenant>:<name>`, where a caller may use that name.
pub(super) fn key(tenant: &Tenant, name: &str) -> Option<JobId> {
    if name.len() > ID_BYTES {
        return None;
    }
    // The name itself must be one, or ":" alone would be.
    JobId::parse(name).ok()?;
    JobId::parse(&format!("{}:{name}", tenant.name)).ok()
}

/// The name behind the tenant's.
pub(super) fn name<'a>(tenant: &Tenant, key: &'a str) -> &'a str {
    let own = key.strip_prefix(tenant.name.as_str());
    own.and_then(|rest| rest.strip_prefix(':')).unwrap_or(key)
}

fn split(body: &[u8], most: usize) -> Result<(Shape, Vec<&[u8]>), Failure> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'{') => Ok((Shape::One, vec![body])),
        Some(b'[') => {
            let texts: Texts<'_> = serde_json::from_slice(body).map_err(|error| {
                let message = format!("the body is no JSON: {error}");
                Failure::new(StatusCode::BAD_REQUEST, "not_json", message)
            })?;
            if texts.more || texts.taken.is_empty() {
                let message = format!("the array must hold 1 to {most} jobs");
                let code = if texts.more { "too_many" } else { "no_jobs" };
                return Err(Failure::new(StatusCode::BAD_REQUEST, code, message));
            }
            if texts.taken.len() > most {
                let message = format!("the array must hold 1 to {most} jobs");
                return Err(Failure::new(StatusCode::BAD_REQUEST, "too_many", message));
            }
            Ok((Shape::Many, texts.taken))
        }
        Some(_) | None => {
            let message = "the body is neither a job, which is a JSON object, nor an array of them";
            Err(Failure::new(StatusCode::BAD_REQUEST, "not_json", message))
        }
    }
}

/// The elements of an array as they stand there, up to a number that no setting allows.
struct Texts<'a> {
    taken: Vec<&'a [u8]>,
    more: bool,
}

/// More than `api.jobs` can be.
const MOST_TEXTS: usize = 10_000;

impl<'de> Deserialize<'de> for Texts<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of jobs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut taken = Vec::new();
                while taken.len() < MOST_TEXTS {
                    match seq.next_element::<&RawValue>()? {
                        Some(text) => taken.push(text.get().as_bytes()),
                        None => return Ok(Texts { taken, more: false }),
                    }
                }
                let mut more = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Texts { taken, more })
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// The fields whose absence is made up for, or which are ours to look at first.
#[derive(Deserialize)]
struct Peek {
    id: Option<IgnoredAny>,
    lane: Option<IgnoredAny>,
}

fn job(
    text: &[u8],
    tenant: &Tenant,
    bounds: &Bounds<'_>,
    fresh: &mut impl FnMut() -> String,
) -> Result<Job, Failure> {
    // A text that does not even read this far is the decoder's to complain about.
    let peek = serde_json::from_slice(text).unwrap_or(Peek {
        id: None,
        lane: None,
    });
    let made = peek.id.is_none().then(fresh);
    let hint = DecodeHint {
        message_id: made.as_deref(),
        pool: Some(bounds.pool),
        lane: peek
            .lane
            .is_none()
            .then(|| tenant.lanes.first().copied())
            .flatten(),
    };
    let read = wire::decode_job(text, &hint, &bounds.caps);
    let mut job = read.map_err(|refused| of_rejection(&refused.rejection))?;
    let complaint = format!("use 1 to {ID_BYTES} characters of A-Z a-z 0-9 . _ : -");
    let own = |field: &'static str, name: &str| {
        let message = format!("{field}: {complaint}");
        key(tenant, name).ok_or_else(|| bad(field, "bad_id", message))
    };
    job.id = own("id", job.id.as_str())?;
    if let Some(batch) = &job.batch {
        job.batch = Some(own("batch", batch)?.as_str().to_owned());
    }
    permitted(&mut job, tenant)?;
    let bytes = wire::encode_job(&job).len();
    if bytes > bounds.caps.body_bytes {
        let most = bounds.caps.body_bytes;
        let message = format!("the job has {bytes} bytes as a message; {most} are allowed");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "too_large", message));
    }
    Ok(job)
}

/// Sees that the tenant may ask for that, and gives the job its tenant's profile.
fn permitted(job: &mut Job, tenant: &Tenant) -> Result<(), Failure> {
    let denied = |field: &'static str, message: String| {
        Failure::new(StatusCode::FORBIDDEN, "not_allowed", message).in_field(field)
    };
    if !tenant.lanes.contains(&job.lane) {
        let lanes: Vec<_> = tenant.lanes.iter().map(|lane| lane.as_str()).collect();
        let message = format!("lane: this token may use {}", lanes.join(", "));
        return Err(denied("lane", message));
    }
    match &job.limit_profile {
        None => job.limit_profile.clone_from(&tenant.profile),
        Some(named) if tenant.profile.as_ref() == Some(named) => {}
        Some(named) if tenant.profiles.contains(named) => {}
        Some(_) => {
            let message = "limit_profile: this token may not use it".to_owned();
            return Err(denied("limit_profile", message));
        }
    }
    if job.limits != LimitsRequest::default() && tenant.limits == OwnLimits::Refused {
        let message = "limits: this token's jobs get those of their profile".to_owned();
        return Err(denied("limits", message));
    }
    Ok(())
}

fn bad(field: &str, code: &'static str, message: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, code, message).in_field(field)
}

/// A rejection's message names the field in front.
fn of_rejection(rejection: &Rejection) -> Failure {
    let failure = Failure::new(
        StatusCode::BAD_REQUEST,
        rejection.code.as_str(),
        rejection.message.clone(),
    );
    let field = rejection.message.split_once(": ").map(|(field, _)| field);
    let is_field = |field: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte);
        field.len() <= 64 && field.bytes().all(allowed)
    };
    match field.filter(is_field) {
        Some(field) => failure.in_field(field),
        None => failure,
    }
}

#[cfg(test)]
mod tests;
