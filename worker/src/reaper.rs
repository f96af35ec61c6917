//! The reaper: one dead letter's story, from the queue that it was found in to its rest.
//!
//! A job that no worker answered ends in the dead queue: the broker gave it up, or a worker did.
//! [`story`] is the whole of what happens to it then. Its requester is told first, by the same way
//! as of any result; then the letter is parked where people may look at it; only then is it acked.
//! A reaper that dies in between says the same word again: what it says depends on the letter
//! alone. A letter on which three reapers ended is not read any more: its requester is told
//! `worker_lost`, by the envelope, and it is parked as it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jailfleet::job::{JobId, Lane, Name};
use jailfleet::outcome::Outcome;
use jailfleet::reply::{self, ReplyTo};
use jailfleet::result::JobResult;
use jailfleet::wire::{self, DecodeHint};
use jailfleet_queue::dead::{Autopsy, Cause};
use jailfleet_queue::topology::Names;
use jailfleet_queue::{
    DeadDelivery, DeadIntake, Death, Disposition, Envelope, Move, Origin, OutboxError, Parked,
    Published, Reply, Sight, Stray,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::Instrument;

use crate::events::{LetterReaped, ResultPublished, SettleFailed};
use crate::metrics::{PublishEnd, Reaped};
use crate::station::Station;

mod fate;

use fate::{Fate, Reading, Waits, Word, fate, has_failed, reason};

/// The pause after a failure, so that a letter that goes back does not come again at once.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the letter in hand may take once the worker stops.
const LAST_LETTER: Duration = Duration::from_secs(2);
/// Letters whose requesters were told and that could not be parked yet. One at a time is in hand.
const SPOKEN: usize = 8;

/// Takes dead letters, one at a time, until the worker stops. Not every door has some.
pub(crate) async fn reap(station: Arc<Station>, letters: Option<DeadIntake>) {
    let Some(mut letters) = letters else { return };
    let sight = letters.sight();
    let mut watching = JoinSet::new();
    watching.spawn(watch(Arc::clone(&station), sight).in_current_span());
    let mut spoken = VecDeque::new();
    loop {
        let letter = tokio::select! {
            () = station.hand_back.cancelled() => break,
            letter = letters.next() => letter,
        };
        let Some(letter) = letter else { return };
        // A task of its own: a letter that makes us panic drops its ticket, goes back, and counts
        // as failed.
        let mut one = JoinSet::new();
        let said = Said::of(&letter);
        let heard = if spoken.contains(&said) {
            Heard::Already
        } else {
            Heard::NotYet
        };
        one.spawn(lay_to_rest(Arc::clone(&station), letter, heard).in_current_span());
        match one.join_next().await {
            Some(Ok((Disposition::Ack, _))) => {
                spoken.retain(|earlier| *earlier != said);
                continue;
            }
            Some(Ok((Disposition::Requeue | Disposition::DeadLetter, Heard::Already))) => {
                spoken.retain(|earlier| *earlier != said);
                spoken.push_front(said);
                spoken.truncate(SPOKEN);
            }
            Some(Ok((Disposition::Requeue | Disposition::DeadLetter, Heard::NotYet))) | None => {}
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

/// What makes two looks at a letter the same letter. A requester who heard of it once need not hear
/// it again at each attempt to park it.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    message_id: Option<String>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    body: Bytes,
}

impl Said {
    fn of(letter: &DeadDelivery) -> Self {
        Self {
            message_id: letter.envelope.message_id.clone(),
            correlation_id: letter.envelope.correlation_id.clone(),
            reply_to: letter.envelope.reply_to.clone(),
            body: letter.body.clone(),
        }
    }
}

/// Whether a letter's requester has heard of it, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Already,
    NotYet,
}

/// Carries one letter through and settles it.
async fn lay_to_rest(
    station: Arc<Station>,
    letter: DeadDelivery,
    mut heard: Heard,
) -> (Disposition, Heard) {
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
        disposition = story(&station, &letter, &mut heard) => disposition,
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
    (disposition, heard)
}

/// A dead letter without its ticket.
struct Letter {
    body: Bytes,
    envelope: Envelope,
    death: Death,
}

/// The story: find out who gave it up, decide, tell its requester, park it.
async fn story(station: &Station, letter: &Letter, heard: &mut Heard) -> Disposition {
    let prefix = &station.settings.amqp.prefix;
    let autopsy = letter.death.autopsy(&Names::new(prefix));
    let asked = letter.envelope.reply_to.as_deref();
    let requester = asked.and_then(|name| reply::vet(name, prefix).ok());
    let waits = match &requester {
        Some(_) => Waits::Somebody,
        None => Waits::Nobody,
    };
    let failures = letter.envelope.delivery_count;
    let reason = if has_failed(&autopsy.cause, failures) {
        format!("unread: {}", reason(&autopsy.cause))
    } else {
        reason(&autopsy.cause)
    };

    let (end, answered) = match fate(&autopsy.cause, failures, waits) {
        Fate::SendAgain => {
            let stray = Stray {
                body: letter.body.clone(),
                envelope: letter.envelope.clone(),
                key: letter.death.key.clone(),
            };
            let sending = station.outbox.send_again(stray);
            return kept(station, letter, Reaped::SentAgain, &reason, sending).await;
        }
        Fate::SendBack(pool, lane) => {
            let sending = send_back(station, letter, pool, lane);
            return kept(station, letter, Reaped::SentBack, &reason, sending).await;
        }
        Fate::Park(end) => (end, None),
        Fate::Answer(word) => {
            // Only whoever waits is answered: `fate` knows.
            let Some(reply_to) = requester else {
                return Disposition::Requeue;
            };
            if *heard == Heard::NotYet {
                let result = last_word(station, letter, &autopsy, &word);
                if let Err(error) = tell(station, letter, reply_to, &result).await {
                    return hand_back(station, letter, &error);
                }
                *heard = Heard::Already;
            }
            (word.end(), Some(word.outcome))
        }
    };

    let parked = Parked {
        body: letter.body.clone(),
        envelope: letter.envelope.clone(),
        queue: autopsy.queue,
        lane_key: autopsy.lane_key,
        reason: reason.clone(),
        answered: answered.map(Outcome::as_str),
        kept: autopsy.kept,
        parked_ms: station.clock.epoch_ms().0,
    };
    kept(station, letter, end, &reason, station.outbox.park(parked)).await
}

/// Puts a job of a newer minor version back into its lane, by the way of a retry: what workers noted
/// of it is believed there.
async fn send_back(
    station: &Station,
    letter: &Letter,
    pool: Name,
    lane: Lane,
) -> Result<(), OutboxError> {
    let job = Move {
        body: letter.body.clone(),
        envelope: letter.envelope.clone(),
        origin: Origin {
            // It stays in the vhost that the letter came from.
            tenant: "".into(),
            pool,
            lane,
            suspect: false,
        },
    };
    station.outbox.retry(job, 1).await
}

/// The result that the requester gets. Of a letter that the reaper failed on nothing but the
/// envelope is used: whatever it failed on may be in the body.
fn last_word(station: &Station, letter: &Letter, autopsy: &Autopsy, word: &Word) -> JobResult {
    let message_id = letter.envelope.message_id.as_deref();
    let (job_id, slug, batch) = match word.reading {
        Reading::Envelope => {
            let job_id = message_id.and_then(|id| JobId::parse(id).ok());
            (job_id, None, None)
        }
        Reading::Whole => {
            let hint = DecodeHint {
                message_id,
                pool: None,
                lane: None,
            };
            match wire::decode_job(&letter.body, &hint, &station.caps) {
                Ok(job) => (Some(job.id), job.slug, job.batch),
                Err(refused) => (refused.job_id, refused.slug, refused.batch),
            }
        }
    };
    let before = match autopsy.cause {
        Cause::TooManyDeliveries(source) => jailfleet_queue::topology::most_deliveries(source),
        Cause::Expired
        | Cause::Refused
        | Cause::Overflow
        | Cause::NewerMinor
        | Cause::HandedOn(..)
        | Cause::Stray
        | Cause::Unrouted
        | Cause::Worker(_)
        | Cause::Unknown => 1,
    };
    let stamp = station.stamp(None, before);
    JobResult {
        slug,
        batch,
        ..JobResult::without_run(job_id, word.outcome, Some(word.detail.clone()), stamp)
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
    let published = match station.while_up(station.outbox.publish(reply)).await {
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
    match station.while_up(keeping).await {
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

/// Shows how full the queues are that keep things for people, and whether the broker is as it
/// should be.
async fn watch(station: Arc<Station>, mut sight: watch::Receiver<Sight>) {
    while sight.changed().await.is_ok() {
        let seen = *sight.borrow_and_update();
        for (queue, depth) in seen.depths.iter() {
            station.metrics.kept(station.tenant, queue, depth);
        }
        station.metrics.drift(station.tenant, seen.drift);
    }
}

#[cfg(test)]
mod tests;
