//! One job's story, from its delivery to its ack.
//!
//! [`story`] is the whole of it, in order. Everything that it calls either goes on or ends the
//! story with what becomes of the delivery, and nothing is acked before whoever must know of it
//! was told: the requester by a confirmed result, people by the dead queue.

use std::sync::Arc;

use jailfleet::evidence::Acted;
use jailfleet::job::{EpochMs, Job};
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::rejection::Rejection;
use jailfleet::reply::{self, ReplyTo};
use jailfleet::result::JobResult;
use jailfleet::retry::{self, Admission, History, RetryDecision};
use jailfleet::verdict::judge;
use jailfleet::wire::{self, DecodeHint, Refused};
use jailfleet_program::Moment;
use jailfleet_queue::{Delivery, Disposition, Ticket};

use crate::answer;
use crate::cancels::{self, Wanted};
use crate::events::{JobAdopted, JobCancelled, JobReceived, ProgramRan, SettleFailed};
use crate::halt::{self, Point};
use crate::message::{Message, Requester};
use crate::metrics::{Adopted, Met, Ran, SetAside};
use crate::plan::{self, NoPlan, Plan};
use crate::results;
use crate::run::{self, RunEnded, Stops};
use crate::slots::{Lease, Place, SlotError};
use crate::station::{Station, jitter};
use crate::twins::{self, Again, Arrival, IdUse, Key};

/// When a delivery came, by both clocks.
type Came = (Moment, EpochMs);

fn now(station: &Station) -> Came {
    (station.clock.now(), station.clock.epoch_ms())
}

/// Carries one delivery through and settles it.
pub(crate) async fn attempt(station: Arc<Station>, delivery: Delivery) {
    let came = now(&station);
    let (received, received_at) = came;
    let waited = station.hands.take(delivery.ticket.epoch(), received);
    JobReceived {
        delivery: &delivery,
        now: received_at,
        waited,
    }
    .emit(&station.metrics);
    let (message, ticket) = open(came, delivery);
    halt::at(Point::Received, &message.envelope).await;
    let disposition = once(&station, &message).await;
    settle(&station, &message, ticket, disposition).await;
    let settled = station.clock.now();
    station.hands.put_down(settled);
    let total = settled.saturating_sub(message.received);
    station.metrics.job_settled(message.origin.lane, total);
}

/// Gives a delivery back that this worker has not looked at, since it stops.
pub(crate) async fn leave(station: Arc<Station>, delivery: Delivery) {
    let (message, ticket) = open(now(&station), delivery);
    let disposition = answer::give_back(&station, &message, "stopping").await;
    settle(&station, &message, ticket, disposition).await;
}

/// A delivery as the story needs it, and the duty to settle it.
fn open((received, received_at): Came, delivery: Delivery) -> (Message, Ticket) {
    let Delivery {
        body,
        envelope,
        origin,
        ticket,
    } = delivery;
    let history = History {
        faults: envelope.faults,
        delivery_count: envelope.delivery_count,
        acquired: envelope.acquired,
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
    (message, ticket)
}

async fn settle(station: &Station, message: &Message, ticket: Ticket, disposition: Disposition) {
    if let Err(error) = ticket.settle(disposition).await {
        let job_id = message.envelope.message_id.as_deref();
        SettleFailed {
            job_id,
            error: &error,
        }
        .emit(&station.metrics);
    }
}

/// Carries the message through, unless the broker brings it again and it is under way here, or was.
async fn once(station: &Station, message: &Message) -> Disposition {
    let key = Key::of(&message.origin, &message.envelope, &message.body);
    let adopt = |adopted| {
        let job_id = message.envelope.message_id.as_deref();
        JobAdopted { job_id, adopted }.emit(&station.metrics);
    };
    loop {
        match station.twins.enter(key, Again::of(&message.envelope)) {
            Arrival::First(place) => {
                if place.id() == IdUse::AnothersToo {
                    adopt(Adopted::Stranger);
                }
                let disposition = story(station, message).await;
                place.end(disposition);
                return disposition;
            }
            Arrival::Finished => {
                adopt(Adopted::Finished);
                return Disposition::Ack;
            }
            Arrival::Twin(twin) => {
                adopt(Adopted::Running);
                if let Some(disposition) = twins::end_of(twin).await {
                    return disposition;
                }
            }
        }
    }
}

/// The story: vet the reply queue, admit, decode, see that it is still wanted, plan, lease a slot,
/// run, judge, answer.
async fn story(station: &Station, message: &Message) -> Disposition {
    let reply_to = match vet(station, message) {
        Ok(reply_to) => reply_to,
        Err(rejection) => return answer::bury(station, message, &rejection).await,
    };
    let requester = Requester { reply_to };

    match retry::admit(&message.history, &station.settings.retry) {
        Admission::Run => {}
        Admission::Suspect => return answer::suspect(station, message).await,
        Admission::Refuse => return answer::refuse(station, message),
        Admission::GiveUp if requester.reply_to.is_none() => {
            return answer::give_up_unheard(station, message);
        }
        Admission::GiveUp => {
            let result = results::given_up(station, message);
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
    let wanted = station.cancels.enter(&job, message.envelope.published_ms);
    tokio::select! {
        () = station.cancels.caught_up() => {}
        () = station.hand_back.cancelled() => return answer::give_back(station, message, "stopping").await,
    }
    if wanted.no_more() {
        return unwanted(station, message, &requester, &job).await;
    }
    if plan::expired(&job, message.received_at) {
        let result = results::expired(station, message, &job);
        return answer::answer(station, message, &requester, result).await;
    }
    let plan = match plan::plan(&job, &station.settings, &station.offer, &station.digest) {
        Ok(plan) => plan,
        Err(NoPlan::Rejected(rejection)) => {
            let refused = results::refused(&job, rejection);
            return answer::reject(station, message, &requester, refused).await;
        }
        Err(NoPlan::Memfd(error)) => {
            return fault(station, message, &requester, (&job, &wanted), None, &error).await;
        }
    };

    let lease = tokio::select! {
        biased;
        () = wanted.token().cancelled() => {
            return unwanted(station, message, &requester, &job).await;
        }
        () = station.hand_back.cancelled() => return answer::give_back(station, message, "stopping").await,
        lease = station.slots.lease(station.tenant, message.origin.lane) => lease,
    };
    let lease = match lease {
        Ok(lease) => lease,
        // The warden died: of what it ran, and this job did not run.
        Err(error) => return answer::give_back(station, message, &error.to_string()).await,
    };
    // It may have waited for the slot for longer than its requester wants to wait.
    if plan::expired(&job, station.clock.epoch_ms()) {
        drop(lease);
        let result = results::expired(station, message, &job);
        return answer::answer(station, message, &requester, result).await;
    }
    execute(station, message, &requester, (&job, &wanted), plan, lease).await
}

/// The second half of the story: run, judge, answer.
async fn execute(
    station: &Station,
    message: &Message,
    requester: &Requester,
    (job, wanted): (&Job, &Wanted),
    plan: Plan<'_>,
    mut lease: Lease,
) -> Disposition {
    let Plan {
        runtime,
        in_force,
        order,
    } = plan;
    let place = lease.place();
    let stops = Stops::by(&station.kill).or_cancelled_by(wanted.token());
    let ran = run::run(&mut lease, order, stops).await;
    drop(lease);
    halt::at(Point::Exited, &message.envelope).await;
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => {
            let wanted = (job, wanted);
            return fault(station, message, requester, wanted, Some(place), &error).await;
        }
    };
    if ran.evidence.acted == Some(Acted::Drain) {
        let why = "it was still running when the worker stopped";
        return answer::give_back(station, message, why).await;
    }
    measure(station, message, &ran);
    let judged = judge(&ran.evidence, &in_force.limits, &runtime.program);
    let result = results::ran(
        station,
        message,
        job,
        place,
        ran,
        (runtime, in_force),
        judged,
    );
    if result.outcome == Outcome::EngineFault {
        return retry_or_answer(station, message, requester, (result, wanted)).await;
    }
    if result.outcome == Outcome::Cancelled {
        let (job_id, met) = (&job.id, Met::Running);
        JobCancelled { job_id, met }.emit(&station.metrics);
    }
    halt::at(Point::Judged, &message.envelope).await;
    answer::answer(station, message, requester, result).await
}

/// Answers a job that is wanted no more before it began to run.
async fn unwanted(
    station: &Station,
    message: &Message,
    requester: &Requester,
    job: &Job,
) -> Disposition {
    let (job_id, met) = (&job.id, Met::Waiting);
    JobCancelled { job_id, met }.emit(&station.metrics);
    let result = results::cancelled(station, message, job);
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
    (job, wanted): (&Job, &Wanted),
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
    let result = results::without_run(station, message, job, place, Outcome::EngineFault, detail);
    retry_or_answer(station, message, requester, (result, wanted)).await
}

/// A fault of ours is tried again a few times, elsewhere if possible, and then answered; at once
/// where nobody wants the job any more.
async fn retry_or_answer(
    station: &Station,
    message: &Message,
    requester: &Requester,
    (result, wanted): (JobResult, &Wanted),
) -> Disposition {
    if wanted.no_more() {
        if let Some(job_id) = &result.job_id {
            let met = Met::Waiting;
            JobCancelled { job_id, met }.emit(&station.metrics);
        }
        let result = cancels::instead_of_another_try(result);
        return answer::answer(station, message, requester, result).await;
    }
    // This worker is about to end: whoever takes the job next has not failed it yet. The warden may have
    // died of this very job.
    if station.slots.gone() {
        return answer::hand_back(station, message, &SlotError::WardenGone);
    }
    if station.kill.is_cancelled() {
        let why = "it met a fault of ours while the worker stopped";
        return answer::give_back(station, message, why).await;
    }
    match retry::decide(&message.history, &station.settings.retry, jitter()) {
        RetryDecision::Retry { delay, faults } => {
            answer::retry(station, message, delay, faults, SetAside::Retried).await
        }
        RetryDecision::Answer => answer::answer(station, message, requester, result).await,
    }
}

#[cfg(test)]
mod tests;
