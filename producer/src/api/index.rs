//! What the logbook says, as far as it is remembered: of each job who accepted it and where it
//! stands. Pure: the same messages in the same order make the same index in every gateway.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jailfleet_program::Moment;

use super::note::{Accepted, Note};
use crate::dedupe::PROVISIONAL_GRACE;

/// `<tenant>:<id>`, or `<tenant>:<batch>`.
pub(super) type Key = Arc<str>;

/// A job as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Who accepted it.
    pub(super) nonce: Box<str>,
    /// What it is.
    pub(super) content: Box<str>,
    secret: Box<str>,
    /// Its batch.
    pub(super) batch: Option<Key>,
    /// When it was accepted, by that gateway's clock.
    pub(super) at_ms: u64,
    /// Where it stands.
    pub(super) standing: Standing,
    /// Results that say something else than the one that counts.
    pub(super) conflicts: u32,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// A gateway will publish it, or died before it said that it has.
    Accepted,
    /// The broker has it: it waits, or it runs.
    Sent,
    /// Somebody says that its worker is lost; a better word may come.
    Lost {
        /// The message that says so.
        body: u64,
        /// Since when, here.
        since: Moment,
    },
    /// It is answered.
    Done {
        /// The message that made it so: the place in the order of events.
        event: u64,
        /// The message that holds the result.
        body: u64,
        /// Hex SHA-256 of what does not vary between honest attempts; empty for a lost worker's.
        digest: Box<str>,
    },
}

/// What a result was to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// The job's result.
    First,
    /// The word that a worker is lost.
    Provisional,
    /// Nothing new.
    Duplicate,
    /// It differs from the one that counts.
    Conflict,
    /// Not of a job that is known.
    Stranger,
}

/// What a result says that matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    /// The job that it names.
    pub(super) id: &'a str,
    /// The hash of the message's correlation id.
    pub(super) secret: &'a str,
    /// Hex SHA-256 over what does not vary between honest attempts.
    pub(super) digest: &'a str,
    /// Whether it only says that a worker is lost.
    pub(super) word: Word,
}

/// How much a result's word is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It is the result.
    Final,
    /// A better one may come.
    Provisional,
}

/// A batch, as far as its jobs are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Its jobs.
    pub(super) jobs: usize,
    /// Those that are answered, by the message that made them so.
    pub(super) done: BTreeMap<u64, Key>,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Index {
    most: usize,
    jobs: HashMap<Key, Known>,
    /// In the order of acceptance; may name jobs that were withdrawn.
    order: VecDeque<(Key, Box<str>)>,
    batches: HashMap<Key, Batch>,
    /// Those that stand at lost, in the order of their words; may name others.
    lost: VecDeque<Key>,
}

impl Index {
    /// Knows nothing, and will know of at most so many jobs.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            jobs: HashMap::new(),
            order: VecDeque::new(),
            batches: HashMap::new(),
            lost: VecDeque::new(),
        }
    }

    /// A job.
    pub(super) fn job(&self, key: &str) -> Option<&Known> {
        self.jobs.get(key)
    }

    /// A batch.
    pub(super) fn batch(&self, key: &str) -> Option<&Batch> {
        self.batches.get(key)
    }

    /// How many jobs are known.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// How many of them are not answered.
    pub(super) fn unanswered(&self) -> usize {
        let standings = self.jobs.values().map(|known| &known.standing);
        standings
            .filter(|standing| !matches!(standing, Standing::Done { .. }))
            .count()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most);
    }

    /// Takes a note in, the message `number`.
    pub(super) fn note(&mut self, number: u64, note: Note) {
        match note {
            Note::Accepted { nonce, at_ms, jobs } => {
                for job in jobs {
                    self.accept(&nonce, at_ms, job);
                }
            }
            Note::Sent { nonce, ids } => {
                for id in ids {
                    if let Some(known) = self.own(&id, &nonce)
                        && known.standing == Standing::Accepted
                    {
                        known.standing = Standing::Sent;
                    }
                }
            }
            Note::Withdrawn { nonce, ids } => {
                for id in ids {
                    let accepted = self.own(&id, &nonce);
                    if accepted.is_some_and(|known| known.standing == Standing::Accepted) {
                        self.forget(&id);
                    }
                }
            }
            Note::GivenUp { id } => self.give_up(number, &id),
        }
    }

    /// The job, if it still is that note's.
    fn own(&mut self, id: &str, nonce: &str) -> Option<&mut Known> {
        self.jobs
            .get_mut(id)
            .filter(|known| known.nonce.as_ref() == nonce)
    }

    fn accept(&mut self, nonce: &str, at_ms: u64, job: Accepted) {
        let key: Key = job.id.as_str().into();
        if let Some(known) = self.jobs.get(&key) {
            // The first note counts, unless its gateway died over it.
            let instead = job.instead_of.as_deref() == Some(&*known.nonce);
            if !instead || known.standing != Standing::Accepted {
                return;
            }
            self.forget(&key);
        }
        let batch: Option<Key> = job.batch.map(Into::into);
        if let Some(batch) = &batch {
            self.batches.entry(Arc::clone(batch)).or_default().jobs += 1;
        }
        let nonce: Box<str> = nonce.into();
        self.order.push_back((Arc::clone(&key), nonce.clone()));
        let known = Known {
            nonce,
            content: job.content.into(),
            secret: job.secret.into(),
            batch,
            at_ms,
            standing: Standing::Accepted,
            conflicts: 0,
        };
        self.jobs.insert(key, known);
        while self.jobs.len() > self.most && self.forget_oldest() {}
        // What was withdrawn stays in the queue until its turn; that must not grow either.
        while self.order.len() > self.most.saturating_mul(2) && self.forget_oldest() {}
    }

    /// Forgets what was accepted before that moment.
    pub(super) fn forget_before(&mut self, at_ms: u64) {
        while let Some((key, nonce)) = self.order.front() {
            let known = self.jobs.get(key).filter(|known| known.nonce == *nonce);
            if known.is_some_and(|known| known.at_ms >= at_ms) {
                return;
            }
            self.forget_oldest();
        }
    }

    /// False when there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some((key, nonce)) = self.order.pop_front() else {
            return false;
        };
        if self
            .jobs
            .get(&key)
            .is_some_and(|known| known.nonce == nonce)
        {
            self.forget(&key);
        }
        true
    }

    fn forget(&mut self, key: &str) {
        let Some(known) = self.jobs.remove(key) else {
            return;
        };
        let Some(batch) = known.batch else { return };
        let Some(left) = self.batches.get_mut(&batch) else {
            return;
        };
        left.jobs = left.jobs.saturating_sub(1);
        if let Standing::Done { event, .. } = known.standing {
            left.done.remove(&event);
        }
        if left.jobs == 0 {
            self.batches.remove(&batch);
        }
    }

    /// Takes a result in, the message `number`.
    pub(super) fn result(&mut self, number: u64, claim: &Claim<'_>, now: Moment) -> Came {
        let Some((key, known)) = self.jobs.get_key_value(claim.id) else {
            return Came::Stranger;
        };
        if *known.secret != *claim.secret {
            return Came::Stranger;
        }
        let key = Arc::clone(key);
        match (&known.standing, claim.word) {
            (Standing::Accepted | Standing::Sent, Word::Provisional) => {
                self.lost.push_back(Arc::clone(&key));
                let lost = Standing::Lost {
                    body: number,
                    since: now,
                };
                self.stand(&key, lost);
                Came::Provisional
            }
            (Standing::Accepted | Standing::Sent | Standing::Lost { .. }, Word::Final) => {
                self.done(number, &key, number, claim.digest);
                Came::First
            }
            // A provisional word never stands against another word, whatever it says.
            (Standing::Lost { .. } | Standing::Done { .. }, Word::Provisional) => Came::Duplicate,
            (Standing::Done { digest, .. }, Word::Final) if **digest == *claim.digest => {
                Came::Duplicate
            }
            (Standing::Done { .. }, Word::Final) => {
                if let Some(known) = self.jobs.get_mut(&key) {
                    known.conflicts = known.conflicts.saturating_add(1);
                }
                Came::Conflict
            }
        }
    }

    fn stand(&mut self, key: &str, standing: Standing) {
        if let Some(known) = self.jobs.get_mut(key) {
            known.standing = standing;
        }
    }

    fn done(&mut self, event: u64, key: &Key, body: u64, digest: &str) {
        let Some(known) = self.jobs.get_mut(key) else {
            return;
        };
        known.standing = Standing::Done {
            event,
            body,
            digest: digest.into(),
        };
        let batch = known.batch.as_ref();
        if let Some(batch) = batch.and_then(|batch| self.batches.get_mut(batch)) {
            batch.done.insert(event, Arc::clone(key));
        }
    }

    fn give_up(&mut self, number: u64, id: &str) {
        let Some((key, known)) = self.jobs.get_key_value(id) else {
            return;
        };
        if let Standing::Lost { body, .. } = known.standing {
            let key = Arc::clone(key);
            self.done(number, &key, body, "");
        }
    }

    /// The next job, one at a time, whose lost worker has been waited for long enough: it is to be
    /// given up by a note. Until that comes it is named again after as long a time.
    pub(super) fn due(&mut self, now: Moment) -> Option<Key> {
        while let Some(key) = self.lost.pop_front() {
            let Some(known) = self.jobs.get_mut(&key) else {
                continue;
            };
            let Standing::Lost { since, .. } = &mut known.standing else {
                continue;
            };
            if now.saturating_sub(*since) < PROVISIONAL_GRACE {
                self.lost.push_front(key);
                return None;
            }
            *since = now;
            self.lost.push_back(Arc::clone(&key));
            return Some(key);
        }
        None
    }

    /// The first event of a batch behind message `after`, and its job.
    pub(super) fn event(&self, batch: &str, after: Option<u64>) -> Option<(u64, Key)> {
        let done = &self.batches.get(batch)?.done;
        let from = after.map_or(0, |after| after.saturating_add(1));
        let (event, key) = done.range(from..).next()?;
        Some((*event, Arc::clone(key)))
    }
}

/// How long a note of acceptance is believed to be under way before its gateway is thought dead.
pub(super) fn is_orphan(known: &Known, now_ms: u64, confirm: Duration) -> bool {
    let confirm = u64::try_from(confirm.as_millis()).unwrap_or(u64::MAX);
    let patience = confirm.saturating_mul(2);
    known.standing == Standing::Accepted && known.at_ms.saturating_add(patience) < now_ms
}

#[cfg(test)]
mod tests;
