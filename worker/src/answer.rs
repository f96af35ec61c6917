//! The ends of a job's story: what is told to whom, and what then becomes of the delivery.
//!
//! Every function here answers with the [`Disposition`] that is right after what it did: `Ack` once
//! the broker has confirmed it, `Requeue` where it has not.

use std::fmt::Display;
use std::time::Duration;

use jailfleet::outcome::{ErrorDetail, Outcome};
use jailfleet::rejection::Rejection;
use jailfleet::reply::ReplyTo;
use jailfleet::result::JobResult;
use jailfleet::retry::{self, GiveBack, HandOn};
use jailfleet::wire::{self, EncodedResult, Refused};
use jailfleet_queue::outbox::DEAD_HEAD_BYTES;
use jailfleet_queue::{DeadLetter, Disposition, Link, OutboxError, Published, Reply};
use tokio::time::timeout;

use crate::events::{JobFinished, JobSetAside, ResultPublished, Told};
use crate::message::{Message, Requester};
use crate::metrics::{PublishEnd, SetAside};
use crate::patience::TooLong;
use crate::results;
use crate::station::Station;

/// How long a worker that stops waits for the confirm of a job that it sends anew.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Publishes a result, and acks its job once that was confirmed.
pub(crate) async fn answer(
    station: &Station,
    message: &Message,
    requester: &Requester,
    result: JobResult,
) -> Disposition {
    JobFinished {
        result: &result,
        lane: message.origin.lane,
    }
    .emit(&station.metrics);
    let Some(reply_to) = &requester.reply_to else {
        let why = result.outcome;
        set_aside(station, message, SetAside::NoReply, &why);
        return Disposition::Ack;
    };
    let whole = wire::encode_result(&result, station.settings.caps.result_bytes);
    let bytes = whole.body.len();
    let mut published = publish(station, message, reply_to, &result, whole).await;
    if let Ok(Err(OutboxError::Refused { .. } | OutboxError::TooLarge { .. })) = &published {
        // This broker takes less than we may send; what is left without the output it takes. What it said
        // has sizes in it that no two attempts share, and stands in the log.
        let why = "the broker refuses the result with its output; see caps.result_bytes";
        let light = wire::encode_without_payloads(&result, why);
        if light.body.len() < bytes {
            published = publish(station, message, reply_to, &result, light).await;
        }
    }
    match published {
        Ok(Ok(Published::Delivered | Published::Lost)) => Disposition::Ack,
        // The same message would fail the same way for ever: people have to look at it.
        Ok(Err(error @ (OutboxError::Refused { .. } | OutboxError::TooLarge { .. }))) => {
            bury_because(station, message, &error).await
        }
        Ok(Err(
            error @ (OutboxError::Closed
            | OutboxError::Forbidden { .. }
            | OutboxError::Homeless { .. }
            | OutboxError::Full { .. }),
        )) => hand_back(station, message, &error),
        Err(too_long) => hand_back(station, message, &too_long),
    }
}

/// Publishes one form of a result, waits for its confirm, and tells how that went.
async fn publish(
    station: &Station,
    message: &Message,
    reply_to: &ReplyTo,
    result: &JobResult,
    encoded: EncodedResult,
) -> Result<Result<Published, OutboxError>, TooLong> {
    let bytes = encoded.body.len();
    let reply = Reply {
        reply_to: reply_to.clone(),
        correlation_id: message.envelope.correlation_id.clone(),
        traceparent: message.envelope.traceparent.clone(),
        result: encoded,
    };
    let before = station.clock.now();
    let published = station.while_up(station.outbox.publish(reply)).await;
    let end = match &published {
        Ok(Ok(Published::Delivered)) => PublishEnd::Confirmed,
        Ok(Ok(Published::Lost)) => PublishEnd::Lost,
        Ok(Err(_)) | Err(_) => PublishEnd::Failed,
    };
    ResultPublished {
        job_id: result.job_id.as_ref(),
        end,
        bytes,
        took: station.clock.now().saturating_sub(before),
    }
    .emit(&station.metrics);
    published
}

/// Answers a message that is no job; without anybody to answer it goes into the dead queue.
pub(crate) async fn reject(
    station: &Station,
    message: &Message,
    requester: &Requester,
    refused: Refused,
) -> Disposition {
    let Refused {
        rejection,
        job_id,
        slug,
        batch,
        newer: _,
    } = refused;
    let stamp = station.stamp(None, message.history.attempt(&station.settings.retry));
    let detail = ErrorDetail::from(rejection.clone());
    let result = JobResult {
        slug,
        batch,
        timing: Some(results::times_without_run(station, message)),
        ..JobResult::without_run(job_id, Outcome::Rejected, Some(detail), stamp)
    };
    if requester.reply_to.is_none() {
        JobFinished {
            result: &result,
            lane: message.origin.lane,
        }
        .emit(&station.metrics);
        return bury_because(station, message, &rejection).await;
    }
    answer(station, message, requester, result).await
}

/// Keeps the head of a message whose reply queue must not be written to.
pub(crate) async fn bury(
    station: &Station,
    message: &Message,
    rejection: &Rejection,
) -> Disposition {
    let stamp = station.stamp(None, message.history.attempt(&station.settings.retry));
    let detail = ErrorDetail::from(rejection.clone());
    let result = JobResult::without_run(None, Outcome::Rejected, Some(detail), stamp);
    JobFinished {
        result: &result,
        lane: message.origin.lane,
    }
    .emit(&station.metrics);
    bury_because(station, message, rejection).await
}

async fn bury_because(
    station: &Station,
    message: &Message,
    why: &(dyn Display + Sync),
) -> Disposition {
    set_aside(station, message, SetAside::Dead, why);
    let letter = DeadLetter {
        reason: why.to_string(),
        body_head: message
            .body
            .slice(..message.body.len().min(DEAD_HEAD_BYTES)),
        origin: message.origin.clone(),
        envelope: message.envelope.clone(),
    };
    ack_if_kept(station, message, station.outbox.dead(letter)).await
}

/// Puts a job of a newer minor version aside, for a worker that was upgraded meanwhile; after a day,
/// or where there is no such queue (the embedded door), says that it is not understood.
pub(crate) async fn newer(
    station: &Station,
    message: &Message,
    requester: &Requester,
    refused: Refused,
) -> Disposition {
    let mut job = message.to_move();
    let pause = match retry::hand_on(job.envelope.handed_on) {
        HandOn::Wait { pause, times } => {
            job.envelope.handed_on = times;
            pause
        }
        HandOn::Answer => return reject(station, message, requester, refused).await,
    };
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let handing_on = station.outbox.newer(job, pause_ms);
    match station.while_up(handing_on).await {
        Ok(Ok(())) => {
            let event = JobSetAside {
                job_id: message.id(),
                reason: SetAside::Newer,
                why: &refused.rejection,
                heard: match message.envelope.handed_on {
                    0 => Told::New,
                    _ => Told::Again,
                },
            };
            event.emit(&station.metrics);
            Disposition::Ack
        }
        Ok(Err(OutboxError::Homeless { .. })) => reject(station, message, requester, refused).await,
        Ok(Err(
            error @ (OutboxError::Closed
            | OutboxError::Refused { .. }
            | OutboxError::Forbidden { .. }
            | OutboxError::Full { .. }
            | OutboxError::TooLarge { .. }),
        )) => hand_back(station, message, &error),
        Err(too_long) => hand_back(station, message, &too_long),
    }
}

/// Moves a job that was there when workers died to where it runs alone.
pub(crate) async fn suspect(station: &Station, message: &Message) -> Disposition {
    let why = format!("{} deliveries before", message.history.delivery_count);
    set_aside(station, message, SetAside::Suspect, &why);
    ack_if_kept(station, message, station.outbox.suspect(message.to_move())).await
}

/// Refuses a job that its queue has handed out too often without counting: the reaper answers it.
pub(crate) fn refuse(station: &Station, message: &Message) -> Disposition {
    let why = format!(
        "taken {} times, and each time given back",
        message.history.acquired
    );
    set_aside(station, message, SetAside::Dead, &why);
    Disposition::DeadLetter
}

/// Gives up what was there too often when workers died, and of which nobody waits to hear: it may not even
/// be a job. The reaper parks it, whole, where people see it.
pub(crate) fn give_up_unheard(station: &Station, message: &Message) -> Disposition {
    let attempt = message.history.attempt(&station.settings.retry);
    let why = format!("given up after {} attempts", attempt.saturating_sub(1));
    set_aside(station, message, SetAside::Dead, &why);
    Disposition::DeadLetter
}

/// Tries a job again after `delay`, with its faults counted.
pub(crate) async fn retry(
    station: &Station,
    message: &Message,
    delay: Duration,
    faults: u32,
    reason: SetAside,
) -> Disposition {
    set_aside(station, message, reason, &format!("fault {faults}"));
    let mut job = message.to_move();
    job.envelope.faults = faults;
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    ack_if_kept(station, message, station.outbox.retry(job, delay_ms)).await
}

async fn ack_if_kept(
    station: &Station,
    message: &Message,
    keeping: impl Future<Output = Result<(), OutboxError>>,
) -> Disposition {
    match station.while_up(keeping).await {
        Ok(Ok(())) => Disposition::Ack,
        Ok(Err(error)) => hand_back(station, message, &error),
        Err(too_long) => hand_back(station, message, &too_long),
    }
}

/// Puts a job back that this worker does not carry through because it stops: that must not speak against
/// the job, however often workers stop.
pub(crate) async fn give_back(station: &Station, message: &Message, why: &str) -> Disposition {
    set_aside(station, message, SetAside::HandedBack, &why);
    let anew = match retry::give_back(&message.history, &station.settings.retry) {
        GiveBack::InPlace => false,
        // Where nothing goes out, what is sent would wait here and go out after the job went back.
        GiveBack::Anew => station.doors.borrow().publish == Link::Up,
    };
    if !anew {
        return Disposition::Requeue;
    }
    let sending = station.outbox.give_back(message.to_move());
    match timeout(GIVE_BACK, sending).await {
        Ok(Ok(())) => Disposition::Ack,
        // Better one more count than no job.
        Ok(Err(_)) | Err(_) => Disposition::Requeue,
    }
}

/// Puts a job back into its queue, which counts as one more delivery that failed.
pub(crate) fn hand_back(
    station: &Station,
    message: &Message,
    why: &(dyn Display + Sync),
) -> Disposition {
    set_aside(station, message, SetAside::HandedBack, why);
    Disposition::Requeue
}

fn set_aside(station: &Station, message: &Message, reason: SetAside, why: &(dyn Display + Sync)) {
    JobSetAside {
        job_id: message.id(),
        reason,
        why,
        heard: Told::New,
    }
    .emit(&station.metrics);
}
