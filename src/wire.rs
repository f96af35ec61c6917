//! The wire format, version 1: jobs, results and cancels as JSON messages.

mod given;
mod blob;
mod limits;
mod message;
mod scan;
mod python_json;
mod refuse;
mod decode;
mod vet;
mod files;
mod env;
mod encode;
mod decimal;
mod result;
mod cancel;
#[cfg(feature = "schema")]
mod schema;

pub use cancel::{CANCEL_BYTES, decode_cancel, encode_cancel};
pub use decode::decode_job;
pub use encode::{encode_job, moment};
pub use env::is_steering;
pub use python_json::{NotAnObject, python_object};
pub use result::{decode_result, encode_result, encode_without_payloads, result_digest};
#[cfg(feature = "schema")]
pub use schema::schemas;

use crate::job::{JobId, Lane, Name};
use crate::rejection::Rejection;

/// AMQP `type` of a job.
pub const JOB_TYPE: &str = "jailfleet.job.v1";
/// AMQP `type` of a result.
pub const RESULT_TYPE: &str = "jailfleet.result.v1";
/// AMQP `type` of a cancel.
pub const CANCEL_TYPE: &str = "jailfleet.cancel.v1";
/// AMQP `content_type` of all of them.
pub const CONTENT_TYPE: &str = "application/json";
/// Header of a job: when it was published, in epoch milliseconds.
pub const HEADER_PUBLISHED_MS: &str = "jailfleet-published-ms";
/// Header of a result: hex SHA-256 over what of it does not vary between honest attempts.
pub const HEADER_DIGEST: &str = "jailfleet-result-digest";
/// The version that is spoken here.
pub const VERSION: u64 = 1;
/// The newest minor version that is understood here.
pub const MINOR: u64 = 1;
/// The minor version that brought `artifacts`: a job that has them must say it, or a newer one.
pub(crate) const MINOR_OF_ARTIFACTS: u64 = 1;

/// What a message may at most hold. Checked before, while and after it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireCaps {
    /// Bytes of the whole body.
    pub body_bytes: usize,
    /// How deep arrays and objects may be nested.
    pub depth: usize,
    /// Entries of `files`.
    pub files: usize,
    /// Entries of `argv`.
    pub argv: usize,
    /// Entries of `env`.
    pub env: usize,
    /// Entries of `python_path`.
    pub python_path: usize,
    /// Entries of `artifacts`.
    pub artifacts: usize,
    /// Bytes of `globals`.
    pub globals_bytes: usize,
    /// Bytes of all of `argv` and `env` together, as the kernel counts them.
    pub argument_bytes: usize,
}

impl Default for WireCaps {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            depth: 16,
            files: 1024,
            argv: 1024,
            env: 256,
            python_path: 64,
            artifacts: 64,
            globals_bytes: 1 << 20,
            argument_bytes: 128 << 10,
        }
    }
}

/// What the message around a body says.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecodeHint<'a> {
    /// The AMQP `message_id`.
    pub message_id: Option<&'a str>,
    /// The pool of the queue that it came from.
    pub pool: Option<&'a Name>,
    /// The lane of the queue that it came from.
    pub lane: Option<Lane>,
}

/// A job that was refused, with as much of it as its answer needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rejection}")]
pub struct Refused {
    /// Why.
    pub rejection: Rejection,
    /// Its id, where the body or the message had a valid one.
    pub job_id: Option<JobId>,
    /// Its slug, where it could be read.
    pub slug: Option<String>,
    /// Its batch, where it could be read.
    pub batch: Option<String>,
    /// Whether it is of a newer minor version: an upgraded worker may understand it.
    pub newer: bool,
}

/// A result that is ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedResult {
    /// The AMQP `message_id`: `<job_id>.<attempt>`.
    pub message_id: String,
    /// The JSON.
    pub body: Vec<u8>,
    /// Hex SHA-256 for [`HEADER_DIGEST`].
    pub digest: String,
}

/// Why a result could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the result: {message}")]
pub struct WireError {
    /// What is wrong with it.
    pub message: String,
}

#[cfg(test)]
mod tests;
