//! Cancels: which jobs somebody wants no more, and the bounded register that remembers it.
//!
//! A cancel names jobs by id, or a whole batch, and hits what was published before it was sent: a
//! later job of the same name is another job. Both times are the producers' own, so that what
//! their clocks differ by is what a cancel may miss, or hit too much.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::job::{EpochMs, Job, JobId, Name, is_label};
use crate::rejection::{Rejection, RejectionCode};

/// How long a cancel is remembered. A reply queue keeps results as long: past that nobody hears
/// the answer of a job that is still queued.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far the clock of whoever cancels may run ahead of ours. A cancel from further in the future
/// would hit everything until then.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(300);
/// The most jobs that one cancel names.
pub const MOST_JOBS: usize = 400;

/// What a cancel names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// One job.
    Job(JobId),
    /// Every job of a batch.
    Batch(String),
}

impl Target {
    /// Reads the name of a batch.
    ///
    /// # Errors
    /// [`RejectionCode::BadLabel`] for what can be no batch.
    pub fn batch(name: &str) -> Result<Self, Rejection> {
        if is_label(name) {
            return Ok(Self::Batch(name.to_owned()));
        }
        let complaint = "is no batch; use 1 to 256 bytes without control characters";
        Err(Rejection::about(RejectionCode::BadLabel, name, complaint))
    }
}

/// An order to cancel, as who sends it means it and who reads it found it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// What is cancelled: at least one, at most [`MOST_JOBS`] jobs.
    pub targets: Vec<Target>,
    /// Only jobs of this pool, where it names one.
    pub pool: Option<Name>,
    /// When it was sent, by the sender's clock.
    pub sent: EpochMs,
}

/// What of a job decides whether a cancel hits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its id.
    pub job: Target,
    /// Its batch.
    pub batch: Option<Target>,
    /// When it was published, where its message says so.
    pub published: Option<EpochMs>,
}

impl Subject {
    /// The subject that a job is.
    #[must_use]
    pub fn of(job: &Job, published: Option<EpochMs>) -> Self {
        Self {
            job: Target::Job(job.id.clone()),
            batch: job.batch.clone().map(Target::Batch),
            published,
        }
    }
}

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It said something new; so many older entries were forgotten for want of room.
    Taken {
        /// How many.
        forgotten: usize,
    },
    /// All of it was known.
    Known,
    /// It is older than anything that is remembered.
    Old,
    /// It comes from too far in the future.
    Ahead,
}

/// The cancels that are remembered: a bounded number, the newest ones.
#[derive(Debug, Clone)]
pub struct Register {
    most: usize,
    sent: HashMap<Target, EpochMs>,
    /// The same, the oldest first.
    by_age: BTreeSet<(EpochMs, Target)>,
}

impl Register {
    /// An empty register with room for `most` targets.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            sent: HashMap::new(),
            by_age: BTreeSet::new(),
        }
    }

    /// How many targets are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Takes a cancel in. The order in which cancels come does not matter.
    pub fn enter(&mut self, cancel: &Cancel, now: EpochMs) -> Entered {
        let oldest = back(now, REMEMBERED);
        self.forget_before(oldest);
        if cancel.sent < oldest {
            return Entered::Old;
        }
        if back(cancel.sent, CLOCKS_DIFFER) > now {
            return Entered::Ahead;
        }
        let mut news = false;
        for target in &cancel.targets {
            news |= self.enter_one(target, cancel.sent);
        }
        let forgotten = self.make_room();
        if news {
            Entered::Taken { forgotten }
        } else {
            Entered::Known
        }
    }

    /// Whether any cancel hits the job. One that does not say when it was published counts as
    /// published before all of them.
    #[must_use]
    pub fn hits(&self, subject: &Subject) -> bool {
        let hit = |target: &Target| {
            let sent = self.sent.get(target);
            sent.is_some_and(|sent| subject.published.is_none_or(|published| published <= *sent))
        };
        hit(&subject.job) || subject.batch.as_ref().is_some_and(hit)
    }

    /// Answers whether that was news.
    fn enter_one(&mut self, target: &Target, sent: EpochMs) -> bool {
        match self.sent.get(target) {
            Some(known) if *known >= sent => return false,
            Some(known) => {
                self.by_age.remove(&(*known, target.clone()));
            }
            None => {}
        }
        self.sent.insert(target.clone(), sent);
        self.by_age.insert((sent, target.clone()));
        true
    }

    fn forget_before(&mut self, oldest: EpochMs) {
        while self.by_age.first().is_some_and(|(sent, _)| *sent < oldest) {
            self.forget_first();
        }
    }

    fn make_room(&mut self) -> usize {
        let too_many = self.sent.len().saturating_sub(self.most);
        for _ in 0..too_many {
            self.forget_first();
        }
        too_many
    }

    fn forget_first(&mut self) {
        if let Some((_, target)) = self.by_age.pop_first() {
            self.sent.remove(&target);
        }
    }
}

fn back(moment: EpochMs, by: Duration) -> EpochMs {
    let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    EpochMs(moment.0.saturating_sub(ms))
}

#[cfg(test)]
mod tests;
