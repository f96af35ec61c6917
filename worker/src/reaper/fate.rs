//! What becomes of a dead letter, and what its requester is told. Pure.

use jailfleet::job::{Lane, Name};
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::rejection::{Rejection, RejectionCode};
use jailfleet_queue::Source;
use jailfleet_queue::dead::Cause;
use jailfleet_queue::topology::most_deliveries;

use crate::metrics::Reaped;

/// How often the reaper may fail on one letter before it leaves the body alone.
const TRIES: u64 = 3;

/// What becomes of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is tried once more.
    SendAgain,
    /// It goes back to this lane, where an upgraded worker may take it.
    SendBack(Name, Lane),
    /// Its requester is told this; then it is parked.
    Answer(Word),
    /// It is parked without a word.
    Park(Reaped),
}

/// What a requester is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) outcome: Outcome,
    pub(super) detail: ErrorDetail,
    pub(super) reading: Reading,
}

impl Word {
    /// How a letter that was answered so is counted.
    pub(super) const fn end(&self) -> Reaped {
        match self.reading {
            Reading::Whole => Reaped::Answered(self.outcome),
            Reading::Envelope => Reaped::Unread,
        }
    }
}

/// How much of a letter is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The body too.
    Whole,
    /// The properties and headers, which the broker has parsed before us.
    Envelope,
}

/// Whether anybody waits for a word at a reply queue that may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    Somebody,
    Nobody,
}

/// Whether so many failures on one letter are too many.
pub(super) fn has_failed(cause: &Cause, failures: u64) -> bool {
    let tries = match cause {
        // It only goes on, and its body is not looked at: what failed was the way out, or the reaper's host.
        Cause::Stray | Cause::HandedOn(..) => return false,
        // RabbitMQ 4 lets the count of the queue that gave a letter up stand at the letter's first
        // delivery, and counts anew from the second one on.
        Cause::TooManyDeliveries(Source::Suspect) => {
            u64::from(most_deliveries(Source::Suspect)).saturating_add(1)
        }
        // Out of a lane that is more deliveries than any reaper should die of: there the envelope will do.
        Cause::TooManyDeliveries(Source::Interactive | Source::Bulk)
        | Cause::Expired
        | Cause::Refused
        | Cause::Overflow
        | Cause::NewerMinor
        | Cause::Unrouted
        | Cause::Worker(_)
        | Cause::Unknown => TRIES,
    };
    failures >= tries
}

/// Decides. The same letter has the same fate, whoever decides and how often.
pub(super) fn fate(cause: &Cause, failures: u64, waits: Waits) -> Fate {
    match cause {
        Cause::Stray => return Fate::SendAgain,
        Cause::HandedOn(pool, lane) => return Fate::SendBack(pool.clone(), *lane),
        Cause::TooManyDeliveries(_)
        | Cause::Expired
        | Cause::Refused
        | Cause::Overflow
        | Cause::NewerMinor
        | Cause::Unrouted
        | Cause::Worker(_)
        | Cause::Unknown => {}
    }
    if has_failed(cause, failures) {
        return match waits {
            Waits::Nobody => Fate::Park(Reaped::Unread),
            Waits::Somebody => Fate::Answer(unread()),
        };
    }
    match waits {
        Waits::Nobody => Fate::Park(Reaped::Unanswered),
        Waits::Somebody => {
            let (outcome, code) = verdict(cause);
            Fate::Answer(Word {
                outcome,
                detail: ErrorDetail::new(code, reason(cause)),
                reading: Reading::Whole,
            })
        }
    }
}

/// The word on a letter that nobody could read. A provisional one: a reaper before us may have said
/// more, and clients then keep that.
fn unread() -> Word {
    let reason = format!("given up unread: the reaper failed on it {TRIES} times");
    Word {
        outcome: Outcome::WorkerLost,
        detail: ErrorDetail::new(ErrorCode::WorkerLost, reason),
        reading: Reading::Envelope,
    }
}

/// What a requester is told of it.
fn verdict(cause: &Cause) -> (Outcome, ErrorCode) {
    match cause {
        Cause::TooManyDeliveries(_) => (Outcome::WorkerLost, ErrorCode::TooManyDeliveries),
        // Whoever refused it or gave it up said nothing of the program; it may still have run.
        Cause::Refused | Cause::Unknown => (Outcome::WorkerLost, ErrorCode::WorkerLost),
        Cause::Expired => (Outcome::Expired, ErrorCode::DeadlinePassed),
        Cause::NewerMinor | Cause::HandedOn(..) => {
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
pub(super) fn reason(cause: &Cause) -> String {
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
        Cause::HandedOn(..) => "the worker that took it does not speak its minor version",
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
