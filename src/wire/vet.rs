//! From a message that reads to a job that is valid.

use super::blob::BlobMessage;
use super::given::{Given, Object};
use super::message::JobMessage;
use super::python_json::python_object;
use super::refuse::bad_limit;
use super::{DecodeHint, MINOR_OF_ARTIFACTS, WireCaps, env, files};
use crate::artifact::ArtifactPath;
use crate::blob::Blob;
use crate::job::is_label;
use crate::job::{EpochMs, Job, JobFile, JobId, Lane, Name, ProfileName, RelativePath};
use crate::limits::LimitsRequest;
use crate::rejection::{Rejection, RejectionCode};

/// The job that a message means.
pub(super) fn job(
    message: JobMessage,
    hint: &DecodeHint<'_>,
    caps: &WireCaps,
) -> Result<Job, Rejection> {
    if message.grade.0.is_some() {
        let text = "grade: grading is not built yet: leave it out";
        return Err(Rejection::new(RejectionCode::GradeUnsupported, text));
    }
    let id = id(message.id, hint)?;
    let runtime = in_field("runtime", Name::parse(&message.runtime))?;
    let pool = pool(message.pool, hint)?;
    let lane = lane(message.lane, hint)?;
    let limit_profile = match message.limit_profile.0 {
        None => None,
        Some(name) => Some(in_field("limit_profile", ProfileName::parse(&name))?),
    };
    let limits = match message.limits.0 {
        None => LimitsRequest::default(),
        Some(Object(limits)) => limits.request().map_err(|mistake| bad_limit(&mistake))?,
    };
    let files = files::vet(message.files.0.unwrap_or_default(), caps)?;
    let argv = env::argv(message.argv.0.unwrap_or_default(), caps)?;
    let env = env::variables(message.env.0.unwrap_or_default(), &argv, caps)?;
    let code = blob("code", message.code)?;
    let globals = globals(message.globals, code.as_ref(), caps)?;
    if code.is_none() && argv.is_empty() {
        let text = "code: there is nothing to run; send code, or an argv that names a file";
        return Err(Rejection::new(RejectionCode::NoCode, text));
    }
    let python_path = python_path(message.python_path.0.unwrap_or_default(), &files, caps)?;
    let artifacts = artifacts(message.artifacts, message.minor, caps)?;
    Ok(Job {
        id,
        runtime,
        code,
        files,
        argv,
        env,
        stdin: blob("stdin", message.stdin)?,
        globals,
        python_path,
        artifacts,
        limits,
        limit_profile,
        slug: label("slug", message.slug)?,
        pool,
        lane,
        batch: label("batch", message.batch)?,
        deadline: deadline(message.deadline)?,
        grade: None,
    })
}

fn in_field<T>(field: &str, value: Result<T, Rejection>) -> Result<T, Rejection> {
    value.map_err(|rejection| rejection.in_field(field))
}

/// The body's id and the message's are one and the same; a missing one is taken from the other.
fn id(body: Given<String>, hint: &DecodeHint<'_>) -> Result<JobId, Rejection> {
    match (body.0, hint.message_id) {
        (None, None) => Err(Rejection::new(
            RejectionCode::MissingField,
            "id: neither the body nor the message has one; send a UUID, say",
        )),
        (Some(body), None) => in_field("id", JobId::parse(&body)),
        (None, Some(carried)) => in_field("message_id", JobId::parse(carried)),
        (Some(body), Some(carried)) => {
            let id = in_field("id", JobId::parse(&body))?;
            if body == carried {
                return Ok(id);
            }
            let complaint = "is not the message's message_id; send the same, or leave one out";
            Err(Rejection::about(RejectionCode::IdMismatch, &body, complaint).in_field("id"))
        }
    }
}

fn wrong_queue(field: &str, body: &str, queue: &str) -> Rejection {
    let complaint = format!("is not the queue's, {queue}; publish to the queue that you mean");
    Rejection::about(RejectionCode::WrongQueue, body, &complaint).in_field(field)
}

fn pool(body: Given<String>, hint: &DecodeHint<'_>) -> Result<Name, Rejection> {
    let body = match body.0 {
        Some(body) => Some(in_field("pool", Name::parse(&body))?),
        None => None,
    };
    match (body, hint.pool) {
        (Some(body), Some(queue)) if body != *queue => {
            Err(wrong_queue("pool", body.as_str(), queue.as_str()))
        }
        (Some(pool), _) => Ok(pool),
        (None, Some(queue)) => Ok(queue.clone()),
        (None, None) => Name::parse("default"),
    }
}

fn lane(body: Given<String>, hint: &DecodeHint<'_>) -> Result<Lane, Rejection> {
    let body = match body.0 {
        Some(body) => Some(in_field("lane", Lane::parse(&body))?),
        None => None,
    };
    match (body, hint.lane) {
        (Some(body), Some(queue)) if body != queue => {
            Err(wrong_queue("lane", body.as_str(), queue.as_str()))
        }
        (Some(lane), _) | (None, Some(lane)) => Ok(lane),
        (None, None) => Ok(Lane::Bulk),
    }
}

/// A blob's bytes.
fn blob(field: &str, message: Given<BlobMessage>) -> Result<Option<Blob>, Rejection> {
    message.0.map(|message| decoded(field, message)).transpose()
}

/// The bytes of a blob that is there.
pub(super) fn decoded(field: &str, message: BlobMessage) -> Result<Blob, Rejection> {
    message.into_blob().ok_or_else(|| {
        let text = format!("{field}: the base64 is not valid; use the standard alphabet, padded");
        Rejection::new(RejectionCode::BadBase64, text)
    })
}

/// What the text holds is between the producer and its code. That it is an object is looked at here,
/// by Python's rules: a NaN, which is no JSON, is no mistake.
fn globals(
    message: Given<String>,
    code: Option<&Blob>,
    caps: &WireCaps,
) -> Result<Option<String>, Rejection> {
    let Some(text) = message.0 else {
        return Ok(None);
    };
    if text.len() > caps.globals_bytes {
        let (bytes, most) = (text.len(), caps.globals_bytes);
        let text = format!("globals: {bytes} bytes; send at most {most}, or a file instead");
        return Err(Rejection::new(RejectionCode::TooLarge, text));
    }
    if let Err(wrong) = python_object(&text) {
        let complaint = format!(
            "is not the text of a JSON object, see {wrong}; send what Python's json.dumps makes of \
             a dict, \"{{}}\" say"
        );
        let refusal = Rejection::about(RejectionCode::BadGlobals, &text, &complaint);
        return Err(refusal.in_field("globals"));
    }
    if code.is_none() {
        let text = "globals: there is no code to run with them; send code";
        return Err(Rejection::new(RejectionCode::NoCode, text));
    }
    Ok(Some(text))
}

fn python_path(
    entries: Vec<String>,
    files: &[JobFile],
    caps: &WireCaps,
) -> Result<Vec<RelativePath>, Rejection> {
    within("python_path", entries.len(), caps.python_path)?;
    let vetted = entries.into_iter().enumerate().map(|(place, entry)| {
        let field = format!("python_path[{place}]");
        let path = in_field(
            &field,
            RelativePath::parse(entry.strip_suffix('/').unwrap_or(&entry)),
        )?;
        if files
            .iter()
            .any(|file| files::is_at_or_below(file.path.as_str(), path.as_str()))
        {
            return Ok(path);
        }
        let complaint = "is not among the files; send the folder or zip file too";
        Err(Rejection::about(RejectionCode::BadPythonPath, &entry, complaint).in_field(&field))
    });
    vetted.collect()
}

/// What the requester wants of what the run leaves. No two of them can name one file, so that an answer
/// has each path once.
fn artifacts(
    entries: Given<Vec<String>>,
    minor: Given<u64>,
    caps: &WireCaps,
) -> Result<Vec<ArtifactPath>, Rejection> {
    let Some(entries) = entries.0 else {
        return Ok(Vec::new());
    };
    if minor.0.unwrap_or(0) < MINOR_OF_ARTIFACTS {
        // An older worker would refuse it in the same word.
        let text = format!(
            "artifacts: unknown field in a job of minor version 0; say \"minor\": {MINOR_OF_ARTIFACTS}"
        );
        return Err(Rejection::new(RejectionCode::UnknownField, text));
    }
    within("artifacts", entries.len(), caps.artifacts)?;
    let mut vetted: Vec<ArtifactPath> = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        let field = format!("artifacts[{place}]");
        let path = in_field(&field, ArtifactPath::parse(entry))?;
        if vetted.iter().any(|other| other.meets(&path)) {
            let complaint = "is there twice, or one of two lies below the other: leave one out";
            let refusal = Rejection::about(RejectionCode::DuplicatePath, entry, complaint);
            return Err(refusal.in_field(&field));
        }
        vetted.push(path);
    }
    Ok(vetted)
}

/// Refuses a list of more entries than allowed.
pub(super) fn within(field: &str, entries: usize, allowed: usize) -> Result<(), Rejection> {
    if entries <= allowed {
        return Ok(());
    }
    let text = format!("{field}: {entries} entries; send at most {allowed}");
    Err(Rejection::new(RejectionCode::TooLarge, text))
}

fn label(field: &str, message: Given<String>) -> Result<Option<String>, Rejection> {
    match message.0 {
        Some(text) if !is_label(&text) => {
            let complaint = "is no label; use 1 to 256 bytes without control characters";
            Err(Rejection::about(RejectionCode::BadLabel, &text, complaint).in_field(field))
        }
        label => Ok(label),
    }
}

fn deadline(message: Given<String>) -> Result<Option<EpochMs>, Rejection> {
    let Some(text) = message.0 else {
        return Ok(None);
    };
    // jiff also reads annotations that RFC 3339 does not have.
    let moment = if text.contains('[') {
        None
    } else {
        text.parse::<jiff::Timestamp>().ok()
    };
    let Some(moment) = moment else {
        let complaint = "is no RFC 3339 moment; write 2026-11-23T18:00:00Z, say";
        let refusal = Rejection::about(RejectionCode::BadDeadline, &text, complaint);
        return Err(refusal.in_field("deadline"));
    };
    // Whatever lies before 1970 has passed.
    Ok(Some(EpochMs(
        u64::try_from(moment.as_millisecond()).unwrap_or(0),
    )))
}
