//! The names of exchanges and queues.

use jailfleet::job::{Lane, Name};

use super::Kept;
use crate::envelope::Source;

/// The names of everything under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// `<prefix>.<rest>`.
    #[must_use]
    pub fn of(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// The exchange that producers write to.
    #[must_use]
    pub fn jobs(&self) -> String {
        self.of("jobs")
    }

    /// The exchange for replies in mode `exchange`.
    #[must_use]
    pub fn results(&self) -> String {
        self.of("results")
    }

    /// The exchange and the queue that keep results without a home.
    #[must_use]
    pub fn results_lost(&self) -> String {
        self.of("results.lost")
    }

    /// The exchange and the queue for jobs that no pool queue took.
    #[must_use]
    pub fn jobs_unrouted(&self) -> String {
        self.of("jobs.unrouted")
    }

    /// The queue for jobs of a newer minor version.
    #[must_use]
    pub fn jobs_newer(&self) -> String {
        self.of("jobs.newer")
    }

    /// The exchange that only workers and the reaper write to.
    #[must_use]
    pub fn internal(&self) -> String {
        self.of("internal")
    }

    /// The exchange and the queue for what cannot be delivered any more.
    #[must_use]
    pub fn dead(&self) -> String {
        self.of("dead")
    }

    /// The queue where the reaper puts what people may look at.
    #[must_use]
    pub fn dead_parked(&self) -> String {
        self.of("dead.parked")
    }

    /// The exchange and the queue where a job that no queue took waits for its second try.
    #[must_use]
    pub fn retry_unrouted(&self) -> String {
        self.of("retry.unrouted")
    }

    /// A queue that keeps messages for people.
    #[must_use]
    pub fn kept(&self, kept: Kept) -> String {
        self.of(kept.as_str())
    }

    /// A client's or batch's reply queue.
    #[must_use]
    pub fn reply(&self, id: &str) -> String {
        self.of(&format!("reply.{id}"))
    }

    /// A lane's queue.
    #[must_use]
    pub fn lane(&self, pool: &Name, lane: Lane) -> String {
        self.of(&format!("jobs.{pool}.{lane}"))
    }

    /// The queue of a pool's suspects.
    #[must_use]
    pub fn suspect(&self, pool: &Name) -> String {
        self.of(&format!("suspect.{pool}"))
    }

    /// The queue where a lane's jobs wait before a retry.
    #[must_use]
    pub fn retry(&self, pool: &Name, lane: Lane) -> String {
        self.of(&format!("retry.{pool}.{lane}"))
    }

    /// The queue of a source.
    #[must_use]
    pub fn source(&self, pool: &Name, source: Source) -> String {
        match source {
            Source::Interactive => self.lane(pool, Lane::Interactive),
            Source::Bulk => self.lane(pool, Lane::Bulk),
            Source::Suspect => self.suspect(pool),
        }
    }
}
