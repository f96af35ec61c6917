//! From a valid job to the order of its run: runtime, limits, payload. What cannot be carried out
//! is the producer's mistake, and says how to mend it.

use std::io;

use jailfleet::job::{EpochMs, Job, JobFileKind};
use jailfleet::limits::LimitsRequest;
use jailfleet::rejection::{Rejection, RejectionCode};
use jailfleet::result::LimitsInForce;
use jailfleet::runtime::{Runtime, UnknownProfile};
use jailfleet::settings::WorkerSettings;
use jailfleet_sandbox::client::sealed_memfd;
use jailfleet_sandbox::payload::{self, Payload, PayloadError};
use thiserror::Error;

use crate::artifacts;
use crate::globals;
use crate::programs::Offer;
use crate::run::RunOrder;

/// Why there is no order.
#[derive(Debug, Error)]
pub(crate) enum NoPlan {
    /// The producer's mistake.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Trouble of ours.
    #[error("keep the job's files for its run")]
    Memfd(#[source] io::Error),
}

/// A job's run, planned.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) in_force: LimitsInForce,
    pub(crate) order: RunOrder,
}

/// Whether the job must not be started any more.
pub(crate) fn expired(job: &Job, now: EpochMs) -> bool {
    job.deadline.is_some_and(|deadline| now > deadline)
}

/// Plans the run of `job`.
pub(crate) fn plan<'a>(
    job: &Job,
    settings: &'a WorkerSettings,
    offer: &Offer,
    digest: &str,
) -> Result<Plan<'a>, NoPlan> {
    let (index, runtime) = runtime_of(job, settings, offer)?;
    refuse_what_is_not_built(job)?;
    globals::check(job, runtime, &settings.runtimes, offer)?;
    refuse_a_second_main_file(job, runtime)?;
    let profile = profile_of(job, settings, runtime)?;
    let limits = runtime.limits_for(profile, &job.limits)?;
    let payload = Payload {
        main: globals::main_of(job),
        files: &job.files,
        argv: &job.argv,
        env: &job.env,
    };
    let payload = payload::encode(&payload).map_err(|error| refused_payload(&error))?;
    let stdin = job.stdin.as_ref().map_or(&[][..], |stdin| stdin.as_bytes());
    let order = RunOrder {
        runtime: index,
        limits,
        payload: sealed_memfd("jailfleet-payload", &payload).map_err(NoPlan::Memfd)?,
        stdin: sealed_memfd("jailfleet-stdin", stdin).map_err(NoPlan::Memfd)?,
        artifacts: artifacts::order(job, settings.caps.artifacts()).map_err(NoPlan::Memfd)?,
        globals: globals::order(job, settings.caps.globals_bytes).map_err(NoPlan::Memfd)?,
    };
    let profile = profile.and(job.limit_profile.clone());
    let in_force = LimitsInForce {
        limits,
        profile,
        config_digest: digest.to_owned(),
    };
    Ok(Plan {
        runtime,
        in_force,
        order,
    })
}

fn runtime_of<'a>(
    job: &Job,
    settings: &'a WorkerSettings,
    offer: &Offer,
) -> Result<(u16, &'a Runtime), Rejection> {
    let found = settings
        .runtimes
        .iter()
        .position(|runtime| runtime.name == job.runtime);
    let found = found
        .filter(|index| offer.has(*index))
        .and_then(|index| Some((u16::try_from(index).ok()?, settings.runtimes.get(index)?)));
    found.ok_or_else(|| {
        let known: Vec<_> = offer.names(settings).collect();
        let complaint = format!("is no runtime of this worker: it has {}", known.join(", "));
        Rejection::about(
            RejectionCode::UnknownRuntime,
            job.runtime.as_str(),
            &complaint,
        )
        .in_field("runtime")
    })
}

fn refuse_what_is_not_built(job: &Job) -> Result<(), Rejection> {
    if job.grade.is_some() {
        let message = "grade: this worker does not grade yet";
        return Err(Rejection::new(RejectionCode::GradeUnsupported, message));
    }
    Ok(())
}

fn refuse_a_second_main_file(job: &Job, runtime: &Runtime) -> Result<(), Rejection> {
    let clash = job.code.is_some()
        && job.files.iter().any(|file| {
            let path = file.path.as_str();
            match file.kind {
                JobFileKind::Directory | JobFileKind::File { .. } => {
                    path == runtime.main_file
                        || path.starts_with(&format!("{}/", runtime.main_file))
                }
            }
        });
    if clash {
        let complaint = "is where the code goes: rename that file, or leave out the code";
        return Err(
            Rejection::about(RejectionCode::DuplicatePath, &runtime.main_file, complaint)
                .in_field("files"),
        );
    }
    Ok(())
}

fn profile_of<'a>(
    job: &Job,
    settings: &'a WorkerSettings,
    runtime: &Runtime,
) -> Result<Option<&'a LimitsRequest>, Rejection> {
    let Some(name) = &job.limit_profile else {
        return Ok(None);
    };
    match (settings.profiles.get(name), runtime.unknown_profile) {
        (Some(profile), _) => Ok(Some(profile)),
        (None, UnknownProfile::Default) => Ok(None),
        (None, UnknownProfile::Reject) => {
            let known: Vec<_> = settings.profiles.keys().map(|name| name.as_str()).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            let complaint = format!("is no limit profile of this worker: it has {known}");
            let code = RejectionCode::UnknownProfile;
            Err(Rejection::about(code, name.as_str(), &complaint).in_field("limit_profile"))
        }
    }
}

/// The decoder has looked at all of this before; the payload's own bounds are the second line.
fn refused_payload(error: &PayloadError) -> Rejection {
    let code = match error {
        PayloadError::Nul(_) => RejectionCode::BadArgv,
        PayloadError::BadName => RejectionCode::BadEnv,
        PayloadError::TooMany { .. } | PayloadError::Malformed { .. } => RejectionCode::TooLarge,
    };
    Rejection::new(code, error.to_string())
}
