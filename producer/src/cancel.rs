//! `cancel`: says that jobs are wanted no more.

use std::io;

use jailfleet::cancel::{Cancel, MOST_JOBS, Target};
use jailfleet::job::{EpochMs, JobId, Name};
use jailfleet::rejection::Rejection;
use jailfleet::settings::ProducerSettings;
use jailfleet::wire::moment;
use jailfleet_program::{Clock, output};
use jailfleet_queue::amqp::canceller::{self, CancelError as SendError};
use serde_json::{Value, json};

use crate::cli::{CancelArgs, Exit};
use crate::progress::say;

/// Why nothing was cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// What was named cannot be the name of a job, a batch or a pool.
    #[error("read what to cancel")]
    Named(#[from] Rejection),
    /// The broker says no.
    #[error(transparent)]
    Send(#[from] SendError),
    /// What we print cannot be written.
    #[error("write to stdout")]
    Print(#[source] io::Error),
}

impl CancelError {
    /// The exit code that says so.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Named(_) | Self::Send(SendError::BadUri { .. }) => Exit::BadInput,
            Self::Send(SendError::Broker { .. } | SendError::NotKept { .. }) | Self::Print(_) => {
                Exit::Failed
            }
        }
    }
}

/// Sends the cancels that the arguments describe, and says what they hit.
///
/// # Errors
/// When the arguments name nothing, or the broker does not take the cancels.
pub async fn run(settings: &ProducerSettings, args: &CancelArgs) -> Result<Exit, CancelError> {
    let sent = Clock::start().epoch_ms();
    let cancels = cancels(args, sent)?;
    canceller::send(&settings.amqp, &cancels).await?;
    let what = match &args.batch {
        Some(batch) => format!("the batch {batch:?}"),
        None if args.jobs.len() == 1 => "1 named job".to_owned(),
        None => format!("{} named jobs", args.jobs.len()),
    };
    say(&format!(
        "jailfleet-producer: cancelled: {what}, as far as published before {} and not done",
        moment(sent)
    ));
    if args.json {
        let facts = facts(args, sent);
        output::print(format!("{facts}\n").as_bytes()).map_err(CancelError::Print)?;
    }
    Ok(Exit::Done)
}

fn facts(args: &CancelArgs, sent: EpochMs) -> Value {
    let named = match &args.batch {
        Some(batch) => ("batch", json!(batch)),
        None => ("job_ids", json!(args.jobs)),
    };
    let pool = args.pool.as_ref().map(|pool| ("pool", json!(pool)));
    let facts = [("sent_ms", json!(sent.0)), named].into_iter().chain(pool);
    facts
        .map(|(name, value)| (name.to_owned(), value))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// As many cancels as it takes to name everything, all of one moment.
fn cancels(args: &CancelArgs, sent: EpochMs) -> Result<Vec<Cancel>, Rejection> {
    let pool = args.pool.as_deref().map(Name::parse).transpose()?;
    let targets = match &args.batch {
        Some(name) => vec![Target::batch(name)?],
        None => args
            .jobs
            .iter()
            .map(|id| JobId::parse(id).map(Target::Job))
            .collect::<Result<_, _>>()?,
    };
    let cancel = |targets: &[Target]| Cancel {
        targets: targets.to_vec(),
        pool: pool.clone(),
        sent,
    };
    Ok(targets.chunks(MOST_JOBS).map(cancel).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::wire::{decode_cancel, encode_cancel};

    fn args(jobs: &[String], batch: Option<&str>, pool: Option<&str>) -> CancelArgs {
        CancelArgs {
            jobs: jobs.to_vec(),
            batch: batch.map(ToOwned::to_owned),
            pool: pool.map(ToOwned::to_owned),
            json: false,
        }
    }

    #[test]
    fn any_number_of_ids_is_sent_in_cancels_that_a_worker_reads() {
        let ids: Vec<String> = (0..2 * MOST_JOBS + 1)
            .map(|number| format!("{number}-{}", "x".repeat(100)))
            .collect();
        let sent = EpochMs(7);
        let cancels = cancels(&args(&ids, None, Some("gpu")), sent).expect("good ids");
        let mut named = Vec::new();
        for cancel in cancels {
            let read = decode_cancel(&encode_cancel(&cancel)).expect("a worker reads it");
            assert_eq!(
                (read.sent, read.pool.as_ref().map(Name::as_str)),
                (sent, Some("gpu"))
            );
            named.extend(read.targets);
        }
        let all = ids.iter().map(|id| JobId::parse(id).expect("an id"));
        assert_eq!(named, all.map(Target::Job).collect::<Vec<_>>());
    }

    #[test]
    fn what_can_be_no_name_is_wrong_input_and_is_not_sent() {
        let ids = ["a b".to_owned()];
        for wrong in [
            args(&ids, None, None),
            args(&[], Some(""), None),
            args(&[], Some("a\u{7}"), None),
            args(&[], Some("exam"), Some("GPU")),
        ] {
            let refused = cancels(&wrong, EpochMs(7)).expect_err("a mistake");
            assert_eq!(
                CancelError::from(refused).exit(),
                Exit::BadInput,
                "{wrong:?}"
            );
        }
    }
}
