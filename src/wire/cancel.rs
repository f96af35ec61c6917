//! The cancel message: as it travels, from text to a valid cancel, and back.

use super::given::{Given, Object};
use super::refuse::{self, Unread};
use super::{MINOR, VERSION, scan};
use crate::cancel::{Cancel, MOST_JOBS, Target};
use crate::job::{EpochMs, JobId, Name};
use crate::rejection::{Rejection, RejectionCode};

/// The most bytes that a cancel has: [`MOST_JOBS`] ids of full length, and room for the rest.
pub const CANCEL_BYTES: usize = 64 << 10;
/// An object that holds a list.
const DEEPEST: usize = 2;

/// A cancel: which jobs, published before which moment, are wanted no more.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(title = "jailfleet cancel, version 1", rename = "Cancel")
)]
pub(super) struct CancelMessage {
    /// The version of the format: 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    v: u64,
    /// The minor version that the sender speaks; 0 where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    minor: Given<u64>,
    /// When it was sent, in milliseconds since the epoch: only jobs published until then are hit.
    sent_ms: u64,
    /// The ids of the jobs. Either these or a batch.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 400)))]
    job_ids: Given<Vec<String>>,
    /// The batch whose jobs are all cancelled.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    batch: Given<String>,
    /// Only jobs of this pool; of all pools where it is left out.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^[a-z][a-z0-9_-]{0,63}$"))
    )]
    pool: Given<String>,
}

/// Reads a cancel.
///
/// # Errors
/// The first mistake found. Nobody is answered: a cancel has no reply queue.
pub fn decode_cancel(body: &[u8]) -> Result<Cancel, Rejection> {
    if body.len() > CANCEL_BYTES {
        let message = format!(
            "the body has {} bytes; send at most {CANCEL_BYTES}",
            body.len()
        );
        return Err(Rejection::new(RejectionCode::TooLarge, message));
    }
    if scan::shape(body).depth > DEEPEST {
        let message = format!("the body is nested too deep; send at most {DEEPEST}");
        return Err(Rejection::new(RejectionCode::TooDeep, message));
    }
    let Object(message) =
        refuse::read::<Object<CancelMessage>>(body).map_err(|unread| match unread {
            Unread::Data(rejection) => rejection,
            Unread::Syntax(complaint) => {
                let message = format!("the body is no JSON: {complaint}; send one object in UTF-8");
                Rejection::new(RejectionCode::NotJson, message)
            }
        })?;
    understood(&message)?;
    let pool = match &message.pool.0 {
        Some(name) => Some(Name::parse(name).map_err(|rejection| rejection.in_field("pool"))?),
        None => None,
    };
    Ok(Cancel {
        targets: targets(message.job_ids.0, message.batch.0)?,
        pool,
        sent: EpochMs(message.sent_ms),
    })
}

/// Writes a cancel.
///
/// # Panics
/// Never: the message is made of texts and numbers.
#[must_use]
pub fn encode_cancel(cancel: &Cancel) -> Vec<u8> {
    let mut job_ids = Vec::new();
    let mut batch = None;
    for target in &cancel.targets {
        match target {
            Target::Job(id) => job_ids.push(id.as_str().to_owned()),
            Target::Batch(name) => batch = Some(name.clone()),
        }
    }
    let message = CancelMessage {
        v: VERSION,
        minor: Given::default(),
        sent_ms: cancel.sent.0,
        job_ids: Some(job_ids).filter(|ids| !ids.is_empty()).into(),
        batch: batch.into(),
        pool: cancel
            .pool
            .as_ref()
            .map(|pool| pool.as_str().to_owned())
            .into(),
    };
    serde_json::to_vec(&message).expect("texts and numbers are JSON")
}

fn understood(message: &CancelMessage) -> Result<(), Rejection> {
    if message.v != VERSION {
        let text = format!("v: {} is not spoken here; send {VERSION}", message.v);
        return Err(Rejection::new(RejectionCode::WrongVersion, text));
    }
    match message.minor.0 {
        Some(minor) if minor > MINOR => {
            let text = format!("minor: {minor} is newer than this worker's {MINOR}");
            Err(Rejection::new(RejectionCode::UnsupportedMinor, text))
        }
        Some(_) | None => Ok(()),
    }
}

fn targets(job_ids: Option<Vec<String>>, batch: Option<String>) -> Result<Vec<Target>, Rejection> {
    match (job_ids, batch) {
        (Some(_), Some(_)) => {
            let text = "batch: is there beside job_ids; send one of the two";
            Err(Rejection::new(RejectionCode::DuplicateField, text))
        }
        (None, None) => {
            let text = "job_ids: nothing is named to cancel; send ids, or a batch";
            Err(Rejection::new(RejectionCode::MissingField, text))
        }
        (None, Some(name)) => {
            let target = Target::batch(&name).map_err(|rejection| rejection.in_field("batch"))?;
            Ok(vec![target])
        }
        (Some(ids), None) => {
            if ids.is_empty() || ids.len() > MOST_JOBS {
                let text = format!("job_ids: has {}; send 1 to {MOST_JOBS}", ids.len());
                return Err(Rejection::new(RejectionCode::TooLarge, text));
            }
            ids.iter()
                .map(|id| JobId::parse(id).map(Target::Job))
                .collect::<Result<_, _>>()
                .map_err(|rejection| rejection.in_field("job_ids"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cancel() -> impl Strategy<Value = Cancel> {
        let ids = proptest::collection::vec("[A-Za-z0-9._:-]{1,128}", 1..=MOST_JOBS);
        let ids = ids.prop_map(|ids| {
            let parsed = ids.iter().map(|id| JobId::parse(id).expect("an id"));
            parsed.map(Target::Job).collect()
        });
        let batch = "\\PC{1,60}".prop_map(|name| vec![Target::Batch(name)]);
        let pool = proptest::option::of("[a-z][a-z0-9_-]{0,63}");
        (prop_oneof![ids, batch], pool, any::<u64>()).prop_map(|(targets, pool, sent)| Cancel {
            targets,
            pool: pool.map(|pool| Name::parse(&pool).expect("a name")),
            sent: EpochMs(sent),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_cancel_comes_back_as_it_was_written_and_fits_its_bound(cancel in cancel()) {
            let body = encode_cancel(&cancel);
            prop_assert!(body.len() <= CANCEL_BYTES);
            prop_assert_eq!(decode_cancel(&body), Ok(cancel));
        }

        #[test]
        fn no_bytes_make_the_reader_of_cancels_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let refused = decode_cancel(&body);
            prop_assert!(refused.is_err());
        }
    }

    #[rustfmt::skip]
    const MISTAKES: &[(&str, RejectionCode)] = &[
        ("", RejectionCode::NotJson),
        ("{\"v\":1", RejectionCode::NotJson),
        ("[1,2]", RejectionCode::WrongType),
        (r#"{"v":2,"sent_ms":1,"batch":"b"}"#, RejectionCode::WrongVersion),
        (r#"{"v":1,"minor":9,"sent_ms":1,"batch":"b"}"#, RejectionCode::UnsupportedMinor),
        (r#"{"v":1,"batch":"b"}"#, RejectionCode::MissingField),
        (r#"{"v":1,"sent_ms":1}"#, RejectionCode::MissingField),
        (r#"{"v":1,"sent_ms":1,"batch":"b","sudo":true}"#, RejectionCode::UnknownField),
        (r#"{"v":1,"sent_ms":1,"batch":"b","batch":"c"}"#, RejectionCode::DuplicateField),
        (r#"{"v":1,"sent_ms":1,"batch":"b","job_ids":["a"]}"#, RejectionCode::DuplicateField),
        (r#"{"v":1,"sent_ms":1,"job_ids":[]}"#, RejectionCode::TooLarge),
        (r#"{"v":1,"sent_ms":1,"job_ids":["a b"]}"#, RejectionCode::BadId),
        (r#"{"v":1,"sent_ms":1,"job_ids":null}"#, RejectionCode::WrongType),
        (r#"{"v":1,"sent_ms":1.5,"batch":"b"}"#, RejectionCode::WrongType),
        (r#"{"v":1,"sent_ms":-1,"batch":"b"}"#, RejectionCode::WrongType),
        (r#"{"v":1,"sent_ms":1,"batch":""}"#, RejectionCode::BadLabel),
        (r#"{"v":1,"sent_ms":1,"batch":"a\u0007"}"#, RejectionCode::BadLabel),
        (r#"{"v":1,"sent_ms":1,"batch":"b","pool":"A"}"#, RejectionCode::BadName),
    ];

    #[test]
    fn every_mistake_in_a_cancel_has_its_code() {
        let many: Vec<String> = (0..=MOST_JOBS).map(|id| format!("\"{id}\"")).collect();
        let many = format!(r#"{{"v":1,"sent_ms":1,"job_ids":[{}]}}"#, many.join(","));
        let large = format!(
            r#"{{"v":1,"sent_ms":1,"batch":"{}"}}"#,
            "x".repeat(CANCEL_BYTES)
        );
        let deep = "[".repeat(100_000);
        let made = [
            (deep.as_str(), RejectionCode::TooLarge),
            (&deep[..10_000], RejectionCode::TooDeep),
            (&large, RejectionCode::TooLarge),
            (&many, RejectionCode::TooLarge),
        ];
        for (body, code) in made.iter().chain(MISTAKES) {
            let refused = decode_cancel(body.as_bytes()).expect_err("a mistake");
            let start = body.get(..60).unwrap_or(body);
            assert_eq!(refused.code, *code, "{start}: {refused:?}");
        }
    }
}
