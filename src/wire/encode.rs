//! Writing a job.

use super::given::{Given, Object};
use super::limits::LimitsMessage;
use super::message::{EnvMessage, FileMessage, JobMessage};
use super::{MINOR_OF_ARTIFACTS, VERSION};
use crate::job::{EpochMs, Job, JobFile, JobFileKind};
use crate::limits::LimitsRequest;

/// Writes a job. What it does not say is left out.
///
/// # Panics
/// Never: a message of strings and numbers always encodes.
#[must_use]
pub fn encode_job(job: &Job) -> Vec<u8> {
    serde_json::to_vec(&message(job)).expect("strings, numbers and lists of them always encode")
}

fn message(job: &Job) -> JobMessage {
    let limits = (job.limits != LimitsRequest::default()).then(|| Object(job.limits.into()));
    JobMessage {
        v: VERSION,
        // The lowest that the job needs: an older worker takes what it can.
        minor: Given((!job.artifacts.is_empty()).then_some(MINOR_OF_ARTIFACTS)),
        id: Given(Some(job.id.as_str().to_owned())),
        runtime: job.runtime.as_str().to_owned(),
        code: Given(job.code.as_ref().map(Into::into)),
        files: list(job.files.iter().map(file).collect()),
        argv: list(job.argv.clone()),
        env: Given((!job.env.is_empty()).then(|| EnvMessage(job.env.clone()))),
        stdin: Given(job.stdin.as_ref().map(Into::into)),
        globals: Given(job.globals.clone()),
        python_path: list(job.python_path.iter().map(ToString::to_string).collect()),
        artifacts: list(job.artifacts.iter().map(ToString::to_string).collect()),
        limits: Given::<Object<LimitsMessage>>(limits),
        limit_profile: Given(job.limit_profile.as_ref().map(ToString::to_string)),
        slug: Given(job.slug.clone()),
        pool: Given(Some(job.pool.as_str().to_owned())),
        lane: Given(Some(job.lane.as_str().to_owned())),
        batch: Given(job.batch.clone()),
        deadline: Given(job.deadline.map(moment)),
        grade: Given(
            job.grade
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok()),
        ),
    }
}

fn list<T>(entries: Vec<T>) -> Given<Vec<T>> {
    Given((!entries.is_empty()).then_some(entries))
}

fn file(file: &JobFile) -> Object<FileMessage> {
    let path = file.path.as_str().to_owned();
    Object(match &file.kind {
        JobFileKind::Directory => FileMessage {
            path,
            content: Given(None),
            executable: Given(None),
            directory: Given(Some(true)),
        },
        JobFileKind::File {
            content,
            executable,
        } => FileMessage {
            path,
            content: Given(Some(content.into())),
            executable: Given(executable.then_some(true)),
            directory: Given(None),
        },
    })
}

/// A moment as RFC 3339, in UTC. One that lies beyond the calendar is its last one: as far away.
#[must_use]
pub fn moment(EpochMs(ms): EpochMs) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}
