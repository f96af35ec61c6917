//! Which of a tenant's jobs are wanted no more.
//!
//! One book holds both sides: the cancels that are remembered, and the jobs that are here now. A job
//! that comes looks for its cancel, a cancel that comes looks for its jobs, under one lock: neither
//! can miss the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jailfleet::cancel::{Cancel, Entered, Register, Subject};
use jailfleet::job::{EpochMs, Job, Name};
use jailfleet::outcome::{ErrorCode, ErrorDetail, Outcome};
use jailfleet::result::JobResult;
use jailfleet::wire::decode_cancel;
use jailfleet_program::Clock;
use jailfleet_queue::{CancelIntake, CancelNews};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::events::CancelHeard;
use crate::metrics::{Heard, Metrics};
use crate::tenancy::TenantIndex;

/// The most ids and batches that are remembered: a few MiB, whoever sends what.
const MOST: usize = 10_000;
/// How long the first jobs wait for the cancels of the past. A broker that cannot tell them must not
/// stop the worker: a cancel that comes late still ends what runs.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(10);

/// The book.
#[derive(Debug)]
pub(crate) struct Cancels {
    tenant: TenantIndex,
    pool: Name,
    clock: Clock,
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
    caught_up: CancellationToken,
}

#[derive(Debug)]
struct Book {
    register: Register,
    /// The jobs that are here, by a number of their own: two may have one id.
    here: HashMap<u64, (Subject, CancellationToken)>,
    next: u64,
}

/// A job's place in the book, for as long as it is here.
#[derive(Debug)]
pub(crate) struct Wanted {
    cancels: Arc<Cancels>,
    number: u64,
    cancel: CancellationToken,
}

impl Cancels {
    pub(crate) fn new(
        tenant: TenantIndex,
        pool: Name,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let book = Book {
            register: Register::new(MOST),
            here: HashMap::new(),
            next: 0,
        };
        Self {
            tenant,
            pool,
            clock,
            metrics,
            book: Mutex::new(book),
            caught_up: CancellationToken::new(),
        }
    }

    /// Waits until the cancels of the past are known, or were waited for long enough.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn caught_up(&self) {
        self.caught_up.cancelled().await;
    }

    /// Enters a job that came.
    pub(crate) fn enter(self: &Arc<Self>, job: &Job, published_ms: Option<u64>) -> Wanted {
        let subject = Subject::of(job, published_ms.map(EpochMs));
        let cancel = CancellationToken::new();
        let mut book = self.book();
        if book.register.hits(&subject) {
            cancel.cancel();
        }
        let number = book.next;
        book.next += 1;
        book.here.insert(number, (subject, cancel.clone()));
        drop(book);
        Wanted {
            cancels: Arc::clone(self),
            number,
            cancel,
        }
    }

    /// Takes what comes from the door, until it closes. Jobs wait for the past for `patience`.
    pub(crate) async fn listen(self: Arc<Self>, intake: Option<CancelIntake>, patience: Duration) {
        // However this ends, nobody waits for the past any longer.
        let _caught_up = self.caught_up.clone().drop_guard();
        let Some(mut intake) = intake else { return };
        let mut enough = std::pin::pin!(sleep(patience));
        loop {
            tokio::select! {
                news = intake.next() => match news {
                    Some(CancelNews::CaughtUp) => self.caught_up.cancel(),
                    Some(CancelNews::Asked(body)) => self.hear(&body),
                    None => return,
                },
                () = &mut enough, if !self.caught_up.is_cancelled() => {
                    tracing::warn!(
                        waited_ms = patience.as_millis(),
                        "the cancels of the past are not known yet; jobs are taken all the same, \
                         and ended if a cancel comes late"
                    );
                    self.caught_up.cancel();
                }
            }
        }
    }

    fn hear(&self, body: &[u8]) {
        let now = self.clock.epoch_ms();
        let (heard, why) = match decode_cancel(body) {
            Ok(cancel) if cancel.pool.as_ref().is_some_and(|pool| *pool != self.pool) => {
                (Heard::OtherPool, None)
            }
            Ok(cancel) => (self.take(&cancel, now), None),
            Err(refused) => (Heard::Refused, Some(refused.message)),
        };
        let remembered = self.book().register.len();
        CancelHeard {
            tenant: self.tenant,
            heard,
            why: why.as_deref(),
            remembered,
        }
        .emit(&self.metrics);
    }

    fn take(&self, cancel: &Cancel, now: EpochMs) -> Heard {
        let mut book = self.book();
        let entered = book.register.enter(cancel, now);
        match entered {
            Entered::Taken { forgotten } => {
                book.strike();
                self.metrics.cancels_forgotten(forgotten);
                Heard::Taken
            }
            Entered::Known => Heard::Known,
            Entered::Old => Heard::Old,
            Entered::Ahead => Heard::Ahead,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it holds the lock; and if it did, the book would still be whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Tells the jobs that are here and wanted no more. They are few: slots, and some that wait.
    fn strike(&self) {
        for (subject, cancel) in self.here.values() {
            if self.register.hits(subject) {
                cancel.cancel();
            }
        }
    }
}

impl Wanted {
    /// Whether it is wanted no more.
    pub(crate) fn no_more(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Cancelled when the job is wanted no more.
    pub(crate) const fn token(&self) -> &CancellationToken {
        &self.cancel
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.cancels.book().here.remove(&self.number);
    }
}

/// The result of a job that failed by trouble of ours and that nobody wants to be tried again.
pub(crate) fn instead_of_another_try(result: JobResult) -> JobResult {
    let failed = result.error.map(|error| error.message);
    let message = format!(
        "the job was cancelled, and is not tried again after a fault of ours: {}",
        failed.as_deref().unwrap_or("nothing more is known")
    );
    JobResult {
        outcome: Outcome::Cancelled,
        error: Some(ErrorDetail::new(ErrorCode::Cancelled, message)),
        ..result
    }
}

#[cfg(test)]
mod tests;
