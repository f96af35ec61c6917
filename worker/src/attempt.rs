//! One job's story, from its delivery to its ack.
//!
//! [`story`] is the whole of it, in order. Everything that it calls either goes on or ends the
//! story with what becomes of the delivery, and nothing is acked before whoever must know of it
//! was told: the requester by a confirmed result, people by the dead queue.

use std::sync::Arc;

use jailfleet::evidence::Acted;
use jailfleet::job::{Job, Lane};
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::rejection::Rejection;
use jailfleet::reply::{self, ReplyTo};
use jailfleet::result::JobResult;
use jailfleet::retry::{self, Admission, History, RetryDecision};
use jailfleet::verdict::judge;
use jailfleet::wire::{self, DecodeHint, Refused};
use jailfleet_queue::{Delivery, Disposition};

use crate::answer::{self, Message, Requester};
use crate::events::{JobReceived, ProgramRan, SettleFailed};
use crate::metrics::{Ran, SetAside};
use crate::plan::{self, NoPlan, Plan};
use crate::run::{self, RunEnded};
use crate::slots::{Lease, Place, SlotError};
use crate::station::{Station, jitter};

/// Carries one delivery through and settles it. Answers with its lane.
pub(crate) async fn attempt(station: Arc<Station>, delivery: Delivery) -> Lane {
    JobReceived {
        delivery: &delivery,
        now: station.clock.epoch_ms(),
    }
    .emit(&station.metrics);
    let (received, received_at) = (station.clock.now(), station.clock.epoch_ms());
    let Delivery {
        body,
        envelope,
        origin,
        ticket,
    } = delivery;
    let history = History {
        faults: envelope.faults,
        delivery_count: envelope.delivery_count,
        suspect: origin.suspect,
    };
    let message = Message {
        body,
        envelope,
        origin,
        history,
        received,
        received_at,
    };
    let disposition = story(&station, &message).await;
    if let Err(error) = ticket.settle(disposition).await {
        let job_id = message.envelope.message_id.as_deref();
        SettleFailed {
            job_id,
            error: &error,
        }
        .emit(&station.metrics);
    }
    let total = station.clock.now().saturating_sub(received);
    station.metrics.job_settled(message.origin.lane, total);
    message.origin.lane
}

/// The story: vet the reply queue, admit, decode, plan, lease a slot, run, judge, answer.
async fn story(station: &Station, message: &Message) -> Disposition {
    let reply_to = match vet(station, message) {
        Ok(reply_to) => reply_to,
        Err(rejection) => return answer::bury(station, message, &rejection).await,
    };
    let requester = Requester { reply_to };

    match retry::admit(&message.history, &station.settings.retry) {
        Admission::Run => {}
        Admission::Suspect => return answer::suspect(station, message).await,
        Admission::GiveUp => {
            let result = answer::given_up(station, message);
            return answer::answer(station, message, &requester, result).await;
        }
    }

    let job = match decode(station, message) {
        Ok(job) => job,
        Err(refused) if refused.newer => {
            return answer::newer(station, message, &requester, refused).await;
        }
        Err(refused) => return answer::reject(station, message, &requester, refused).await,
    };
    if plan::expired(&job, message.received_at) {
        let result = answer::expired(station, message, &job);
        return answer::answer(station, message, &requester, result).await;
    }
    let plan = match plan::plan(&job, &station.settings, &station.offer, &station.digest) {
        Ok(plan) => plan,
        Err(NoPlan::Rejected(rejection)) => {
            let refused = answer::refused(&job, rejection);
            return answer::reject(station, message, &requester, refused).await;
        }
        Err(NoPlan::Memfd(error)) => {
            return fault(station, message, &requester, &job, None, &error).await;
        }
    };

    let lease = tokio::select! {
        lease = station.slots.lease(message.origin.lane) => lease,
        () = station.hand_back.cancelled() => return answer::hand_back(station, message, &"stopping"),
    };
    let lease = match lease {
        Ok(lease) => lease,
        Err(error) => return answer::hand_back(station, message, &error),
    };
    // It may have waited for the slot for longer than its requester wants to wait.
    if plan::expired(&job, station.clock.epoch_ms()) {
        drop(lease);
        let result = answer::expired(station, message, &job);
        return answer::answer(station, message, &requester, result).await;
    }
    execute(station, message, &requester, &job, plan, lease).await
}

/// The second half of the story: run, judge, answer.
async fn execute(
    station: &Station,
    message: &Message,
    requester: &Requester,
    job: &Job,
    plan: Plan<'_>,
    mut lease: Lease,
) -> Disposition {
    let Plan {
        runtime,
        in_force,
        order,
    } = plan;
    let place = lease.place();
    let ran = run::run(&mut lease, order, &station.kill).await;
    drop(lease);
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return fault(station, message, requester, job, Some(place), &error).await,
    };
    if ran.evidence.acted == Some(Acted::Drain) {
        return answer::hand_back(
            station,
            message,
            &"it was still running when the worker stopped",
        );
    }
    measure(station, message, &ran);
    let judged = judge(&ran.evidence, &in_force.limits, &runtime.program);
    let result = answer::ran(
        station,
        message,
        job,
        place,
        ran,
        (runtime, in_force),
        judged,
    );
    if result.outcome == Outcome::EngineFault {
        return retry_or_answer(station, message, requester, result).await;
    }
    answer::answer(station, message, requester, result).await
}

/// The reply queue, if the job names one that it may name.
fn vet(station: &Station, message: &Message) -> Result<Option<ReplyTo>, Rejection> {
    let name = message.envelope.reply_to.as_deref();
    name.map(|name| reply::vet(name, &station.settings.amqp.prefix))
        .transpose()
}

fn decode(station: &Station, message: &Message) -> Result<Job, Refused> {
    let hint = DecodeHint {
        message_id: message.envelope.message_id.as_deref(),
        pool: Some(&message.origin.pool),
        lane: Some(message.origin.lane),
    };
    wire::decode_job(&message.body, &hint, &station.caps)
}

fn measure(station: &Station, message: &Message, ran: &RunEnded) {
    let Some(start) = ran.start else { return };
    let ran = Ran {
        wait: ran.leased.saturating_sub(message.received),
        // What the jail does not account for: pipes, datagrams, and being woken by them.
        order: start
            .at
            .saturating_sub(ran.leased)
            .saturating_sub(start.stages.total()),
        stages: start.stages,
        setup: start.at.saturating_sub(message.received),
        run: ran.evidence.wall,
        report: ran
            .ended
            .saturating_sub(start.at)
            .saturating_sub(ran.evidence.wall),
        unknown_calls: ran.evidence.unknown_calls,
        cpu: ran.evidence.cpu,
        peak_memory_bytes: ran.evidence.peak_memory_bytes,
    };
    ProgramRan {
        lane: message.origin.lane,
        ran,
    }
    .emit(&station.metrics);
}

/// Trouble of ours before there was any evidence.
async fn fault(
    station: &Station,
    message: &Message,
    requester: &Requester,
    job: &Job,
    place: Option<Place>,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Disposition {
    tracing::error!(
        job_id = job.id.as_str(),
        slot = place.map(|place| place.slot),
        error = error as &(dyn std::error::Error + 'static),
        "a run failed by trouble of ours"
    );
    let detail = ErrorDetail::new(
        ErrorCode::SlotFault,
        format!("the worker failed to {error}"),
    );
    let result = answer::without_run(station, message, job, place, Outcome::EngineFault, detail);
    retry_or_answer(station, message, requester, result).await
}

/// A fault of ours is tried again a few times, elsewhere if possible, and then answered.
async fn retry_or_answer(
    station: &Station,
    message: &Message,
    requester: &Requester,
    result: JobResult,
) -> Disposition {
    // This worker is about to end: whoever takes the job next has not failed it yet.
    if station.slots.gone() || station.kill.is_cancelled() {
        return answer::hand_back(station, message, &SlotError::WardenGone);
    }
    match retry::decide(&message.history, &station.settings.retry, jitter()) {
        RetryDecision::Retry { delay, faults } => {
            answer::retry(station, message, delay, faults, SetAside::Retried).await
        }
        RetryDecision::Answer => answer::answer(station, message, requester, result).await,
    }
}
