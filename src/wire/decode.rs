//! Reading a job that a stranger sent.

use super::given::{Given, Object};
use super::message::JobMessage;
use super::refuse::{self, Unread};
use super::scan::Shape;
use super::{DecodeHint, MINOR, Refused, VERSION, WireCaps, scan, vet};
use crate::job::{Job, JobId, is_label};
use crate::rejection::{Rejection, RejectionCode};
use serde::Deserialize;
use serde_json::Value;

/// The parser recurses; below this depth it cannot run out of stack, whatever the configuration.
const DEEPEST: usize = 100;

/// Reads a job.
///
/// # Errors
/// [`Refused`] with the first mistake found, and whatever names the job.
pub fn decode_job(body: &[u8], hint: &DecodeHint<'_>, caps: &WireCaps) -> Result<Job, Refused> {
    if let Err(rejection) = fits(body, caps) {
        return Err(Names::default().refused(hint, rejection));
    }
    let message = match refuse::read_job(body) {
        Ok(message) => message,
        Err(rejection) => return Err(refused_unread(body, hint, rejection)),
    };
    let names = Names::of(&message);
    if let Err(refusal) = understood(message.v, message.minor.0) {
        return Err(names.refused_version(hint, refusal));
    }
    vet::job(message, hint, caps).map_err(|rejection| names.refused(hint, rejection))
}

/// Checks what costs nothing to check, before anything is parsed.
fn fits(body: &[u8], caps: &WireCaps) -> Result<(), Rejection> {
    if body.len() > caps.body_bytes {
        let message = format!(
            "the body has {} bytes; send at most {}",
            body.len(),
            caps.body_bytes,
        );
        return Err(Rejection::new(RejectionCode::TooLarge, message));
    }
    let allowed = caps.depth.min(DEEPEST);
    let Shape { depth, entries } = scan::shape(body);
    if depth > allowed {
        let message = format!("the body is nested {depth} deep; send at most {allowed}");
        return Err(Rejection::new(RejectionCode::TooDeep, message));
    }
    let allowed = entries_allowed(caps);
    if entries > allowed {
        let message = format!("the body has {entries} entries; send at most {allowed}");
        return Err(Rejection::new(RejectionCode::TooLarge, message));
    }
    Ok(())
}

/// How many entries a body may have over all: what its lists may, and room for the fields
/// themselves and for what a newer minor version may add.
fn entries_allowed(caps: &WireCaps) -> usize {
    /// A file has four fields.
    const FILE_ENTRIES: usize = 4;
    const ROOM: usize = 16_384;
    caps.files
        .saturating_mul(FILE_ENTRIES)
        .saturating_add(caps.argv)
        .saturating_add(caps.env)
        .saturating_add(caps.python_path)
        .saturating_add(caps.artifacts)
        .saturating_add(ROOM)
}

fn understood(v: u64, minor: Option<u64>) -> Result<(), Rejection> {
    if v != VERSION {
        let message = format!("v: {v} is not spoken here; send {VERSION}");
        return Err(Rejection::new(RejectionCode::WrongVersion, message));
    }
    match minor {
        Some(minor) if minor > MINOR => {
            let message = format!(
                "minor: {minor} is newer than this worker's {MINOR}; upgrade the workers, or leave \
                 out what is new"
            );
            Err(Rejection::new(RejectionCode::UnsupportedMinor, message))
        }
        Some(_) | None => Ok(()),
    }
}

/// What names a job in its answer, each only where it is valid.
#[derive(Debug, Default)]
struct Names {
    job_id: Option<JobId>,
    slug: Option<String>,
    batch: Option<String>,
}

impl Names {
    fn of(message: &JobMessage) -> Self {
        let label = |label: &Given<String>| label.0.clone().filter(|text| is_label(text));
        Self {
            job_id: message.id.0.as_deref().and_then(|id| JobId::parse(id).ok()),
            slug: label(&message.slug),
            batch: label(&message.batch),
        }
    }

    fn refused(self, hint: &DecodeHint<'_>, rejection: Rejection) -> Refused {
        let carried = || hint.message_id.and_then(|id| JobId::parse(id).ok());
        Refused {
            rejection,
            job_id: self.job_id.or_else(carried),
            slug: self.slug,
            batch: self.batch,
            newer: false,
        }
    }

    fn refused_version(self, hint: &DecodeHint<'_>, rejection: Rejection) -> Refused {
        let newer = rejection.code == RejectionCode::UnsupportedMinor;
        Refused {
            newer,
            ..self.refused(hint, rejection)
        }
    }
}

/// The few fields that are looked for in a body that is no job of this version.
#[derive(Debug, Deserialize)]
struct Head {
    #[serde(default)]
    v: Value,
    #[serde(default)]
    minor: Value,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    slug: Value,
    #[serde(default)]
    batch: Value,
}

/// A refusal of a body that does not read: of another version, where it says so (what is unknown
/// here may well be known there), else for the mistake found.
fn refused_unread(body: &[u8], hint: &DecodeHint<'_>, rejection: Rejection) -> Refused {
    let head = match refuse::read::<Object<Head>>(body) {
        Ok(Object(head)) => head,
        Err(Unread::Syntax(_) | Unread::Data(_)) => {
            return Names::default().refused(hint, rejection);
        }
    };
    let label = |value: &Value| {
        value
            .as_str()
            .filter(|text| is_label(text))
            .map(str::to_owned)
    };
    let names = Names {
        job_id: head.id.as_str().and_then(|id| JobId::parse(id).ok()),
        slug: label(&head.slug),
        batch: label(&head.batch),
    };
    let version = head.v.as_u64().map(|v| understood(v, head.minor.as_u64()));
    match version {
        Some(Err(version)) => names.refused_version(hint, version),
        Some(Ok(())) | None => names.refused(hint, rejection),
    }
}
