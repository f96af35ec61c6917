//! Which of the arriving results count: pure bookkeeping of one batch.
//!
//! Delivery is at least once, queues can be written to by neighbours, and a reaper may say
//! `worker_lost` of a job that a slow worker still answers. So a result counts only with the
//! correlation id that we made for its job; equal ones after the first are dropped; different ones
//! are a conflict that somebody must see; and `worker_lost` waits a while for something better.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jailfleet::job::JobId;
use jailfleet::outcome::Outcome;
use jailfleet_program::Moment;

use crate::correlation::CorrelationId;

/// How long a `worker_lost` waits for the real result of the same job.
pub const PROVISIONAL_GRACE: Duration = Duration::from_secs(60);

/// What a result says that matters here.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The message's correlation id.
    pub correlation: Option<CorrelationId>,
    /// The job that the result says it is of.
    pub job_id: Option<&'a JobId>,
    /// What it says.
    pub outcome: Outcome,
    /// Hex SHA-256 over what does not vary between honest attempts.
    pub digest: &'a str,
}

/// What to do with a result. `job` is the number that [`Ledger::expect`] gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// The job's first real result: store it.
    Accepted {
        /// The job.
        job: usize,
    },
    /// `worker_lost`: hold it back until [`Ledger::expire`] names the job, or a better one comes.
    Held {
        /// The job.
        job: usize,
    },
    /// The real result of a job whose `worker_lost` is held: store this one, drop that one.
    Replaces {
        /// The job.
        job: usize,
    },
    /// Says nothing new: drop it.
    Duplicate {
        /// The job.
        job: usize,
    },
    /// Differs from the result that was stored: keep both in view.
    Conflict {
        /// The job.
        job: usize,
    },
    /// Not an answer to a job of ours: drop it, and count it.
    Stranger,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Waiting,
    Held { until: Moment },
    Stored { digest: String },
}

#[derive(Debug)]
struct Place {
    id: JobId,
    standing: Standing,
}

/// The books of one batch.
#[derive(Debug)]
pub struct Ledger {
    places: Vec<Place>,
    by_correlation: HashMap<CorrelationId, usize>,
    // In the order of arrival, which is the order of expiry; may name jobs that were replaced.
    held: VecDeque<usize>,
    held_now: usize,
    stored: usize,
    grace: Duration,
}

impl Ledger {
    /// Empty books. A held `worker_lost` waits for `grace`.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            places: Vec::new(),
            by_correlation: HashMap::new(),
            held: VecDeque::new(),
            held_now: 0,
            stored: 0,
            grace,
        }
    }

    /// Enters a job that a result is expected for, and returns its number, counted from 0.
    pub fn expect(&mut self, id: JobId, correlation: CorrelationId) -> usize {
        let job = self.places.len();
        self.places.push(Place {
            id,
            standing: Standing::Waiting,
        });
        self.by_correlation.insert(correlation, job);
        job
    }

    /// Notes that an earlier run stored the job's result already.
    pub fn restore(&mut self, job: usize, digest: &str) {
        self.store(job, digest);
    }

    /// Takes notice of a result and says what to do with it.
    pub fn receive(&mut self, claim: &Claim<'_>, now: Moment) -> Reception {
        let Some(job) = self.job_of(claim.correlation) else {
            return Reception::Stranger;
        };
        let Some(place) = self.places.get_mut(job) else {
            return Reception::Stranger;
        };
        if claim.job_id.is_some_and(|id| *id != place.id) {
            return Reception::Stranger;
        }
        let lost = claim.outcome == Outcome::WorkerLost;
        match (&place.standing, lost) {
            (Standing::Waiting, true) => {
                place.standing = Standing::Held {
                    until: now.saturating_add(self.grace),
                };
                self.held.push_back(job);
                self.held_now += 1;
                Reception::Held { job }
            }
            (Standing::Waiting, false) => {
                self.store(job, claim.digest);
                Reception::Accepted { job }
            }
            (Standing::Held { .. }, false) => {
                self.store(job, claim.digest);
                Reception::Replaces { job }
            }
            // A provisional word never stands against another word, whatever it says.
            (Standing::Held { .. } | Standing::Stored { .. }, true) => Reception::Duplicate { job },
            (Standing::Stored { digest }, false) if digest == claim.digest => {
                Reception::Duplicate { job }
            }
            (Standing::Stored { .. }, false) => Reception::Conflict { job },
        }
    }

    /// The jobs whose `worker_lost` waited long enough: from now on that is their result, and it
    /// must be stored. With more than `room` of them waiting, the oldest do not wait any longer.
    pub fn expire(&mut self, now: Moment, room: usize) -> Vec<usize> {
        let mut expired = Vec::new();
        while let Some(&job) = self.held.front() {
            match self.places.get(job).map(|place| &place.standing) {
                Some(Standing::Held { until }) if *until > now && self.held_now <= room => break,
                Some(Standing::Held { .. }) => {
                    self.store(job, "");
                    expired.push(job);
                }
                Some(Standing::Waiting | Standing::Stored { .. }) | None => {}
            }
            self.held.pop_front();
        }
        expired
    }

    /// Whether the job's result is stored.
    #[must_use]
    pub fn is_stored(&self, job: usize) -> bool {
        matches!(
            self.places.get(job),
            Some(Place {
                standing: Standing::Stored { .. },
                ..
            })
        )
    }

    /// The job that carries that secret.
    #[must_use]
    pub fn job_of(&self, correlation: Option<CorrelationId>) -> Option<usize> {
        correlation.and_then(|id| self.by_correlation.get(&id).copied())
    }

    /// The jobs whose result is stored.
    #[must_use]
    pub const fn stored(&self) -> usize {
        self.stored
    }

    /// The jobs whose `worker_lost` is held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held_now
    }

    /// All jobs that were entered.
    #[must_use]
    pub fn expected(&self) -> usize {
        self.places.len()
    }

    fn store(&mut self, job: usize, digest: &str) {
        let Some(place) = self.places.get_mut(job) else {
            return;
        };
        match place.standing {
            Standing::Held { .. } => self.held_now -= 1,
            Standing::Waiting => {}
            Standing::Stored { .. } => return,
        }
        place.standing = Standing::Stored {
            digest: digest.to_owned(),
        };
        self.stored += 1;
    }
}

#[cfg(test)]
mod tests;
