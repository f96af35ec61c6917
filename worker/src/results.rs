//! The results that a worker makes: of a job that ran, and of one that did not.

use std::time::Duration;

use jailfleet::artifact::LeftOutReason;
use jailfleet::blob::Blob;
use jailfleet::clocks;
use jailfleet::job::{EpochMs, Job, JobId};
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::rejection::Rejection;
use jailfleet::result::{JobResult, LimitsInForce, Stream, Timing, Usage};
use jailfleet::runtime::Runtime;
use jailfleet::verdict::Judged;
use jailfleet::wire::Refused;
use jailfleet_program::Moment;
use jailfleet_sandbox::artifacts::Gathered;

use crate::globals;
use crate::message::Message;
use crate::run::RunEnded;
use crate::slots::Place;
use crate::station::{Station, walls_of};

/// What a job's result needs of a refusal that came after decoding.
pub(crate) fn refused(job: &Job, rejection: Rejection) -> Refused {
    Refused {
        rejection,
        job_id: Some(job.id.clone()),
        slug: job.slug.clone(),
        batch: job.batch.clone(),
        newer: false,
    }
}

/// The result of a job that came too late.
pub(crate) fn expired(station: &Station, message: &Message, job: &Job) -> JobResult {
    let detail = ErrorDetail::new(
        ErrorCode::DeadlinePassed,
        "the job's deadline passed before it could be started",
    );
    without_run(station, message, job, None, Outcome::Expired, detail)
}

/// The result of a job that is wanted no more and did not run.
pub(crate) fn cancelled(station: &Station, message: &Message, job: &Job) -> JobResult {
    let detail = ErrorDetail::new(
        ErrorCode::Cancelled,
        "the job was cancelled before it was started",
    );
    without_run(station, message, job, None, Outcome::Cancelled, detail)
}

/// The result of a job that was there too often when workers died.
pub(crate) fn given_up(station: &Station, message: &Message) -> JobResult {
    let attempt = message.history.attempt(&station.settings.retry);
    let detail = ErrorDetail::new(
        ErrorCode::TooManyDeliveries,
        format!(
            "given up after {} attempts: each time its worker died",
            attempt.saturating_sub(1)
        ),
    );
    let job_id = message.id().and_then(|id| JobId::parse(id).ok());
    let stamp = station.stamp(None, attempt);
    JobResult::without_run(job_id, Outcome::WorkerLost, Some(detail), stamp)
}

/// The result of a job that did not run.
pub(crate) fn without_run(
    station: &Station,
    message: &Message,
    job: &Job,
    place: Option<Place>,
    outcome: Outcome,
    detail: ErrorDetail,
) -> JobResult {
    let stamp = station.stamp(place, message.history.attempt(&station.settings.retry));
    JobResult {
        slug: job.slug.clone(),
        batch: job.batch.clone(),
        artifacts_left_out: Gathered::nothing(&job.artifacts, LeftOutReason::NoRun).left_out,
        timing: Some(times_without_run(station, message)),
        ..JobResult::without_run(Some(job.id.clone()), outcome, Some(detail), stamp)
    }
}

/// The result of a job that ran.
pub(crate) fn ran(
    station: &Station,
    message: &Message,
    job: &Job,
    place: Place,
    ran: RunEnded,
    plan: (&Runtime, LimitsInForce),
    judged: Judged,
) -> JobResult {
    let (runtime, in_force) = plan;
    let RunEnded {
        start,
        evidence,
        stdout,
        stderr,
        answer,
        gathered,
        leased: _,
        ended: _,
    } = ran;
    let started = start.map(|start| start.at);
    let cut = [
        (Stream::Stdout, stdout.truncated),
        (Stream::Stderr, stderr.truncated),
    ];
    let Judged {
        outcome,
        exit_code,
        signal,
        error,
    } = judged;
    let (globals, no_globals) = match answer.map(|(came, most)| globals::left(came, most)) {
        Some(Ok(globals)) => (Some(globals), None),
        Some(Err(none)) => (None, Some(none)),
        None => (None, None),
    };
    JobResult {
        job_id: Some(job.id.clone()),
        slug: job.slug.clone(),
        batch: job.batch.clone(),
        outcome,
        exit_code,
        signal,
        stdout: Some(Blob::new(stdout.bytes)),
        stderr: Some(Blob::new(stderr.bytes)),
        truncated: cut
            .iter()
            .filter(|(_, cut)| *cut)
            .map(|(stream, _)| *stream)
            .collect(),
        globals,
        artifacts: gathered.artifacts,
        artifacts_left_out: gathered.left_out,
        // What stopped the run says more than that it therefore left nothing.
        error: error.or(no_globals),
        usage: Some(Usage {
            cpu: evidence.cpu.into(),
            user: evidence.user.into(),
            system: evidence.system.into(),
            wall: evidence.wall.into(),
            peak_memory_bytes: evidence.peak_memory_bytes,
            processes_peak: evidence.processes_peak,
        }),
        limits: Some(in_force),
        timing: Some(timing(station, message, started, evidence.wall)),
        walls: walls_of(&station.held, runtime),
        worker: station.stamp(
            Some(place),
            message.history.attempt(&station.settings.retry),
        ),
        grade: None,
    }
}

/// The times of a message that no job ran for.
pub(crate) fn times_without_run(station: &Station, message: &Message) -> Timing {
    timing(station, message, None, Duration::ZERO)
}

fn timing(station: &Station, message: &Message, started: Option<Moment>, run: Duration) -> Timing {
    let total = station.clock.now().saturating_sub(message.received);
    let setup = started.map_or(total, |started| started.saturating_sub(message.received));
    let published = message.envelope.published_ms.map(EpochMs);
    let queued = published.map(|published| clocks::queued(published, message.received_at).into());
    Timing {
        queued,
        setup: setup.into(),
        run: run.into(),
        total: total.into(),
    }
}
