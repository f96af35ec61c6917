//! The reaper: one dead letter's story, from the queue that it was found in to its rest.
//!
//! A job that no worker answered ends in the dead queue: the broker gave it up, or a worker did.
//! [`story`] is the whole of what happens to it then. Its requester is told first, by the same way
//! as of any result; then the letter is parked where people may look at it; only then is it acked.
//! A reaper that dies in between says the same word again: what it says depends on the letter
//! alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::rejection::{Rejection, RejectionCode};
use jailfleet::reply::{self, ReplyTo};
use jailfleet::result::JobResult;
use jailfleet::wire::{self, DecodeHint};
use jailfleet_queue::dead::{Autopsy, Cause};
use jailfleet_queue::topology::Names;
use jailfleet_queue::{
    DeadDelivery, DeadIntake, Death, Depths, Disposition, Envelope, OutboxError, Parked, Published,
    Reply, Source, Stray,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::events::{LetterReaped, ResultPublished, SettleFailed};
use crate::metrics::{PublishEnd, Reaped};
use crate::station::{PUBLISH_DEADLINE, Station};

/// How often the reaper may fail on one letter before it parks it without a further look.
const TRIES: u64 = 3;
/// The pause after a failure, so that a letter that goes back does not come again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the letter in hand may take once the worker stops.
const LAST_LETTER: Duration = Duration::from_secs(2);

/// Takes dead letters, one at a time, until the worker stops. Not every door has some.
pub(crate) async fn reap(station: Arc<Station>, letters: Option<DeadIntake>) {
    let Some(mut letters) = letters else { return };
    let depths = letters.depths();
    let mut watching = JoinSet::new();
    watching.spawn(watch_depths(Arc::clone(&station), depths));
    loop {
        let letter = tokio::select! {
            () = station.hand_back.cancelled() => break,
            letter = letters.next() => letter,
        };
        let Some(letter) = letter else { return };
        // A task of its own: a letter that makes us panic drops its ticket, goes back, and counts
        // as failed.
        let mut one = JoinSet::new();
        one.spawn(lay_to_rest(Arc::clone(&station), letter));
        match one.join_next().await {
            Some(Ok(Disposition::Ack)) => continue,
            Some(Ok(Disposition::Requeue | Disposition::DeadLetter)) | None => {}
            Some(Err(error)) => {
                tracing::error!(%error, "the reaper broke off over a dead letter; it goes back");
            }
        }
        tokio::select! {
            () = station.hand_back.cancelled() => break,
            () = sleep(PAUSE) => {}
        }
    }
    letters.stop().await;
}

/// Carries one letter through and settles it.
async fn lay_to_rest(station: Arc<Station>, letter: DeadDelivery) -> Disposition {
    let DeadDelivery {
        body,
        envelope,
        death,
        ticket,
    } = letter;
    let letter = Letter {
        body,
        envelope,
        death,
    };
    let stopping = async {
        station.hand_back.cancelled().await;
        sleep(LAST_LETTER).await;
    };
    let disposition = tokio::select! {
        disposition = story(&station, &letter) => disposition,
        () = stopping => Disposition::Requeue,
    };
    if let Err(error) = ticket.settle(disposition).await {
        let job_id = letter.envelope.message_id.as_deref();
        SettleFailed {
            job_id,
            error: &error,
        }
        .emit(&station.metrics);
    }
    disposition
}

/// A dead letter without its ticket.
struct Letter {
    body: Bytes,
    envelope: Envelope,
    death: Death,
}

/// The story: find out who gave it up, decide, tell its requester, park it.
async fn story(station: &Station, letter: &Letter) -> Disposition {
    let prefix = &station.settings.amqp.prefix;
    let autopsy = letter.death.autopsy(&Names::new(prefix));
    let asked = letter.envelope.reply_to.as_deref();
    let requester = asked.and_then(|name| reply::vet(name, prefix).ok());
    let waits = match &requester {
        Some(_) => Waits::Somebody,
        None => Waits::Nobody,
    };
    let reason = reason(&autopsy.cause);

    let end = match fate(&autopsy.cause, letter.envelope.delivery_count, waits) {
        Fate::SendAgain => {
            let stray = Stray {
                body: letter.body.clone(),
                envelope: letter.envelope.clone(),
                key: letter.death.key.clone(),
            };
            let sending = station.outbox.send_again(stray);
            return kept(station, letter, Reaped::SentAgain, &reason, sending).await;
        }
        Fate::Park(end) => end,
        Fate::Answer(outcome, detail) => {
            // Only whoever waits is answered: `fate` knows.
            let Some(reply_to) = requester else {
                return Disposition::Requeue;
            };
            let result = last_word(station, letter, &autopsy, outcome, detail);
            if let Err(error) = tell(station, letter, reply_to, &result).await {
                return hand_back(station, letter, &error);
            }
            Reaped::Answered(outcome)
        }
    };

    let parked = Parked {
        body: letter.body.clone(),
        envelope: letter.envelope.clone(),
        queue: autopsy.queue,
        lane_key: autopsy.lane_key,
        reason: reason.clone(),
        answered: end.answer().map(Outcome::as_str),
        kept: autopsy.kept,
        parked_ms: station.clock.epoch_ms().0,
    };
    kept(station, letter, end, &reason, station.outbox.park(parked)).await
}

/// What becomes of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It is tried once more.
    SendAgain,
    /// Its requester is told this; then it is parked.
    Answer(Outcome, ErrorDetail),
    /// It is parked without a word.
    Park(Reaped),
}

/// Whether anybody waits for a word at a reply queue that may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Somebody,
    Nobody,
}

/// Decides. Pure: the same letter has the same fate, whoever decides and how often.
fn fate(cause: &Cause, failures: u64, waits: Waits) -> Fate {
    if failures >= TRIES {
        return Fate::Park(Reaped::Unread);
    }
    if *cause == Cause::Stray {
        return Fate::SendAgain;
    }
    match waits {
        Waits::Nobody => Fate::Park(Reaped::Unanswered),
        Waits::Somebody => {
            let (outcome, code) = verdict(cause);
            Fate::Answer(outcome, ErrorDetail::new(code, reason(cause)))
        }
    }
}

/// What a requester is told.
fn verdict(cause: &Cause) -> (Outcome, ErrorCode) {
    match cause {
        Cause::TooManyDeliveries(_) => (Outcome::WorkerLost, ErrorCode::TooManyDeliveries),
        // Whoever refused it or gave it up said nothing of the program; it may still have run.
        Cause::Refused | Cause::Unknown => (Outcome::WorkerLost, ErrorCode::WorkerLost),
        Cause::Expired => (Outcome::Expired, ErrorCode::DeadlinePassed),
        Cause::NewerMinor => {
            let code = RejectionCode::UnsupportedMinor;
            (Outcome::Rejected, ErrorCode::Rejected(code))
        }
        Cause::Stray | Cause::Unrouted => (Outcome::Rejected, ErrorCode::Unrouted),
        Cause::Overflow => (Outcome::EngineFault, ErrorCode::Unrouted),
        Cause::Worker(reason) => match rejection(reason) {
            Some(rejection) => (Outcome::Rejected, ErrorCode::Rejected(rejection.code)),
            // It ran, and the broker took its result in no form.
            None => (Outcome::EngineFault, ErrorCode::ResultTooLarge),
        },
    }
}

/// Why it is dead, for people.
fn reason(cause: &Cause) -> String {
    match cause {
        Cause::TooManyDeliveries(Source::Suspect) => {
            "given up by the broker: each time that it ran alone its worker died"
        }
        Cause::TooManyDeliveries(Source::Interactive | Source::Bulk) => {
            "given up by the broker: none of its deliveries came to an end"
        }
        Cause::Expired => "its time to live was over before a worker took it",
        Cause::Refused => "a consumer refused it without a word",
        Cause::Overflow => "its queue was full",
        Cause::NewerMinor => "no worker was upgraded to its minor version within a day",
        Cause::Stray | Cause::Unrouted => "no queue takes jobs of its pool and lane",
        Cause::Worker(reason) => match rejection(reason) {
            Some(rejection) => return rejection.to_string(),
            None => return format!("its worker could not answer: {reason}"),
        },
        Cause::Unknown => "given up, and nothing says why",
    }
    .to_owned()
}

/// A worker's reason, where that is a rejection: `code: message`.
fn rejection(reason: &str) -> Option<Rejection> {
    let (code, message) = reason.split_once(": ")?;
    Some(Rejection::new(RejectionCode::parse(code)?, message))
}

/// The result that the requester gets.
fn last_word(
    station: &Station,
    letter: &Letter,
    autopsy: &Autopsy,
    outcome: Outcome,
    detail: ErrorDetail,
) -> JobResult {
    let hint = DecodeHint {
        message_id: letter.envelope.message_id.as_deref(),
        pool: None,
        lane: None,
    };
    let (job_id, slug, batch) = match wire::decode_job(&letter.body, &hint, &station.caps) {
        Ok(job) => (Some(job.id), job.slug, job.batch),
        Err(refused) => (refused.job_id, refused.slug, refused.batch),
    };
    let before = match autopsy.cause {
        Cause::TooManyDeliveries(source) => jailfleet_queue::topology::most_deliveries(source),
        Cause::Expired
        | Cause::Refused
        | Cause::Overflow
        | Cause::NewerMinor
        | Cause::Stray
        | Cause::Unrouted
        | Cause::Worker(_)
        | Cause::Unknown => 1,
    };
    JobResult {
        slug,
        batch,
        ..JobResult::without_run(job_id, outcome, Some(detail), station.stamp(None, before))
    }
}

/// Tells the requester, and returns once the broker has confirmed that: at its reply queue, or, if
/// that is gone, among the lost results.
async fn tell(
    station: &Station,
    letter: &Letter,
    reply_to: ReplyTo,
    result: &JobResult,
) -> Result<(), OutboxError> {
    let encoded = wire::encode_result(result, station.settings.caps.result_bytes);
    let bytes = encoded.body.len();
    let reply = Reply {
        reply_to,
        correlation_id: letter.envelope.correlation_id.clone(),
        traceparent: letter.envelope.traceparent.clone(),
        result: encoded,
    };
    let before = station.clock.now();
    let published = match timeout(PUBLISH_DEADLINE, station.outbox.publish(reply)).await {
        Ok(published) => published,
        Err(_elapsed) => Err(OutboxError::Closed),
    };
    let end = match &published {
        Ok(Published::Delivered) => PublishEnd::Confirmed,
        Ok(Published::Lost) => PublishEnd::Lost,
        Err(_) => PublishEnd::Failed,
    };
    ResultPublished {
        job_id: result.job_id.as_ref(),
        end,
        bytes,
        took: station.clock.now().saturating_sub(before),
    }
    .emit(&station.metrics);
    published.map(drop)
}

/// Acks a letter that the broker has safe elsewhere.
async fn kept(
    station: &Station,
    letter: &Letter,
    end: Reaped,
    why: &str,
    keeping: impl Future<Output = Result<(), OutboxError>>,
) -> Disposition {
    match timeout(PUBLISH_DEADLINE, keeping).await {
        Ok(Ok(())) => {
            told(station, letter, end, why);
            Disposition::Ack
        }
        Ok(Err(error)) => hand_back(station, letter, &error),
        Err(_elapsed) => hand_back(station, letter, &OutboxError::Closed),
    }
}

fn hand_back(station: &Station, letter: &Letter, error: &OutboxError) -> Disposition {
    told(station, letter, Reaped::HandedBack, &error.to_string());
    Disposition::Requeue
}

fn told(station: &Station, letter: &Letter, end: Reaped, why: &str) {
    LetterReaped {
        job_id: letter.envelope.message_id.as_deref(),
        end,
        why,
    }
    .emit(&station.metrics);
}

/// Shows how full the queues are that keep things for people.
async fn watch_depths(station: Arc<Station>, mut depths: watch::Receiver<Depths>) {
    while depths.changed().await.is_ok() {
        let seen = *depths.borrow_and_update();
        for (queue, depth) in seen.iter() {
            if let Some(depth) = depth {
                station.metrics.kept(queue, depth);
            }
        }
    }
}

#[cfg(test)]
mod tests;
