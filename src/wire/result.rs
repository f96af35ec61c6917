//! Writing and reading results.

mod artifacts;
mod message;

pub(super) use message::ResultMessage;

use super::given::Object;
use super::refuse::{self, Unread};
use super::{EncodedResult, VERSION, WireError, scan};
use crate::artifact::{LeftOut, LeftOutReason};
use crate::job::JobId;
use crate::outcome::{ErrorCode, ErrorDetail};
use crate::result::{JobResult, Stream};
use sha2::{Digest, Sha256};

/// How deep a result may be nested: grades are the deepest part.
const DEEPEST: usize = 32;

/// How many entries all lists and objects of a result may have together.
const MOST_ENTRIES: usize = 65_536;

/// What honest attempts at the same job may differ in, and so does not count for the digest.
const CIRCUMSTANCES: [&str; 4] = ["usage", "timing", "worker", "walls"];

/// Writes a result of at most `max_bytes`. One that is larger loses its artifacts first, each with its
/// reason. Where that is not enough it loses its payloads (`stdout`, `stderr`, `globals`, `artifacts`,
/// `artifacts_left_out`, `grade`) and says `result_too_large`; what is left is small and fixed.
///
/// # Panics
/// Never: a message of strings and numbers always encodes.
#[must_use]
pub fn encode_result(result: &JobResult, max_bytes: usize) -> EncodedResult {
    let message = ResultMessage::from(result);
    let encoded = encode(result, message);
    if encoded.body.len() <= max_bytes {
        return encoded;
    }
    let whole_bytes = encoded.body.len();
    if !result.artifacts.is_empty() {
        let lighter = without_artifacts(result);
        let encoded = encode(&lighter, ResultMessage::from(&lighter));
        if encoded.body.len() <= max_bytes {
            return encoded;
        }
    }
    encode_without_payloads(
        result,
        &format!("the result has {whole_bytes} bytes, allowed are {max_bytes}"),
    )
}

/// Writes a result as [`encode_result`] writes one that is too large, whatever its size; `why` says for
/// people who did not take it with its payloads.
///
/// # Panics
/// As [`encode_result`].
#[must_use]
pub fn encode_without_payloads(result: &JobResult, why: &str) -> EncodedResult {
    let lighter = without_payloads(result, why.to_owned());
    let message = ResultMessage::from(&lighter);
    encode(&lighter, message)
}

/// Output and globals say how the run went; artifacts are what it was asked for on top.
fn without_artifacts(result: &JobResult) -> JobResult {
    let left_out = result.artifacts.iter().map(|artifact| LeftOut {
        path: artifact.path.clone().into(),
        reason: LeftOutReason::ResultTooLarge,
    });
    let artifacts_left_out = left_out.chain(result.artifacts_left_out.iter().cloned());
    JobResult {
        artifacts_left_out: artifacts_left_out.collect(),
        artifacts: Vec::new(),
        ..result.clone()
    }
}

fn encode(result: &JobResult, message: ResultMessage) -> EncodedResult {
    let written = "strings, numbers and lists of them always encode";
    let body = serde_json::to_vec(&message).expect(written);
    let lasting = serde_json::to_vec(&message.without_circumstances()).expect(written);
    let digest = hex(&Sha256::digest(lasting));
    let id = result.job_id.as_ref().map_or("unidentified", JobId::as_str);
    EncodedResult {
        message_id: format!("{id}.{}", result.worker.attempt),
        body,
        digest,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn without_payloads(result: &JobResult, why: String) -> JobResult {
    let mut message = why;
    if let Some(error) = &result.error {
        message = format!(
            "{message}; it said {}: {}",
            error.code.as_str(),
            error.message
        );
    }
    let streams = [
        (Stream::Stdout, &result.stdout),
        (Stream::Stderr, &result.stderr),
    ];
    let cut = streams
        .into_iter()
        .filter(|(_, blob)| blob.is_some())
        .map(|(stream, _)| stream);
    JobResult {
        truncated: cut.collect(),
        stdout: None,
        stderr: None,
        globals: None,
        artifacts: Vec::new(),
        artifacts_left_out: Vec::new(),
        grade: None,
        error: Some(ErrorDetail::new(ErrorCode::ResultTooLarge, message)),
        ..result.clone()
    }
}

/// The digest of a result as it came, fields of a newer worker included: what [`HEADER_DIGEST`]
/// should say.
///
/// # Errors
/// [`WireError`] for a body that [`decode_result`] does not read either.
///
/// # Panics
/// Never: an object that was read can be written.
///
/// [`HEADER_DIGEST`]: super::HEADER_DIGEST
pub fn result_digest(body: &[u8]) -> Result<String, WireError> {
    decode_result(body)?;
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)
        .map_err(|error| WireError {
            message: error.to_string(),
        })?;
    for circumstance in CIRCUMSTANCES {
        object.shift_remove(circumstance);
    }
    let lasting = serde_json::to_vec(&object).expect("an object that was read can be written");
    Ok(hex(&Sha256::digest(lasting)))
}

/// Reads a result. Unknown fields are passed over: they are a newer worker's.
///
/// # Errors
/// [`WireError`] for a body that is no result of version 1.
pub fn decode_result(body: &[u8]) -> Result<JobResult, WireError> {
    let error = |message: String| WireError { message };
    let shape = scan::shape(body);
    if shape.depth > DEEPEST || shape.entries > MOST_ENTRIES {
        return Err(error(format!(
            "the body is nested deeper than {DEEPEST}, or has more than {MOST_ENTRIES} entries"
        )));
    }
    let Object(message) = refuse::read::<Object<ResultMessage>>(body).map_err(|unread| {
        error(match unread {
            Unread::Syntax(complaint) => complaint,
            Unread::Data(rejection) => rejection.message,
        })
    })?;
    if message.v != VERSION {
        return Err(error(format!("v: {} is not spoken here", message.v)));
    }
    message
        .typed()
        .map_err(|field| error(format!("{field}: the value means nothing here")))
}
