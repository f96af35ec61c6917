//! What this gateway has read of the logbook, and who waits for more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jailfleet::outcome::Outcome;
use jailfleet_program::Clock;
use jailfleet_queue::ResultMessage;
use jailfleet_queue::amqp::logbook::{LogbookDesk, LogbookDoor, LogbookNews, Unanswered};
use jailfleet_queue::topology::LOGBOOK_DAYS;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::bodies::Bodies;
use super::index::{Came, Claim, Index, Word};
use super::metrics::Seen;
use super::note::{self, Note};
use crate::client::Content;
use crate::correlation::CorrelationId;
use crate::serve::Metrics;

/// From one look for lost workers and old jobs to the next.
const TICK: Duration = Duration::from_secs(1);
/// How long a goodbye to the broker may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// The index and what belongs to it, for all requests.
#[derive(Debug)]
pub(super) struct Book {
    kept: Mutex<Kept>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
    caught_up: watch::Sender<bool>,
    desk: LogbookDesk,
    result_bytes: usize,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug)]
struct Kept {
    index: Index,
    bodies: Bodies,
}

/// The bounds of a book.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Jobs that are known.
    pub(super) jobs: usize,
    /// Bytes of results in memory.
    pub(super) cache_bytes: usize,
    /// Bytes of one result.
    pub(super) result_bytes: usize,
}

impl Book {
    /// An empty one.
    pub(super) fn new(
        desk: LogbookDesk,
        bounds: Bounds,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self {
            kept: Mutex::new(Kept {
                index: Index::new(bounds.jobs),
                bodies: Bodies::new(bounds.cache_bytes),
            }),
            changes: watch::Sender::new(0),
            caught_up: watch::Sender::new(false),
            desk,
            result_bytes: bounds.result_bytes,
            metrics,
            clock,
        }
    }

    /// Where notes, jobs and questions go.
    pub(super) const fn desk(&self) -> &LogbookDesk {
        &self.desk
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing that is done under the lock can panic half-way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.lock().index)
    }

    /// Whether the past was read.
    pub(super) fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Waits until `found` finds something.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn until<T>(&self, mut found: impl FnMut(&Index) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = self.look(&mut found) {
                return found;
            }
            if changes.changed().await.is_err() {
                // The sender is ours: it cannot be.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The message with that number; `None` where it is kept no longer.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub(super) async fn body(&self, number: u64) -> Result<Option<Bytes>, Unanswered> {
        if let Some(body) = self.lock().bodies.get(number) {
            return Ok(Some(body));
        }
        self.desk.read(number).await
    }

    /// Takes in what comes until `stop`, or until the door is closed under our hands.
    pub(super) async fn keep(self: Arc<Self>, mut door: LogbookDoor, stop: CancellationToken) {
        loop {
            let news = tokio::select! {
                () = stop.cancelled() => break,
                news = door.next() => news,
            };
            let Some(news) = news else { break };
            self.take_in(news);
        }
        door.close(GOODBYE).await;
    }

    fn take_in(&self, news: LogbookNews) {
        match news {
            LogbookNews::Anew => self.forget_all(),
            LogbookNews::Note { number, body } => match Note::decode(&body) {
                Some(note) => self.lock().index.note(number, note),
                None => tracing::warn!(number, "a note of another version is passed over"),
            },
            LogbookNews::Result { number, message } => {
                let seen = self.take_result(number, &message);
                self.metrics.api().result(seen);
            }
            LogbookNews::CaughtUp => self.say_caught_up(true),
            LogbookNews::Mark(waiting) => {
                for done in waiting {
                    if done.send(()).is_err() {
                        tracing::debug!("whoever asked has gone");
                    }
                }
                return;
            }
        }
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Somebody deleted the logbook, and with it what was accepted.
    fn forget_all(&self) {
        // First, so that nobody takes what is forgotten here for what nobody has accepted.
        self.say_caught_up(false);
        let (jobs, unanswered) = {
            let mut kept = self.lock();
            let counted = (kept.index.len(), kept.index.unanswered());
            kept.index.clear();
            kept.bodies.clear();
            counted
        };
        self.metrics.api().lost_logbook();
        let logbook = self.desk.reply_to();
        tracing::error!(
            logbook,
            jobs,
            unanswered,
            "the logbook was deleted: its jobs are forgotten; post those that are unanswered again"
        );
    }

    fn say_caught_up(&self, caught_up: bool) {
        self.caught_up.send_replace(caught_up);
        self.metrics.api().caught_up(caught_up);
    }

    fn take_result(&self, number: u64, message: &ResultMessage) -> Seen {
        let content = match Content::read(&message.body, self.result_bytes) {
            Ok(content) => content,
            Err(what) => {
                let id = message.message_id.as_deref();
                tracing::warn!(
                    number,
                    id,
                    what,
                    "a message in the logbook that is no result"
                );
                return Seen::Unreadable;
            }
        };
        let correlation = message.correlation_id.as_deref();
        let secret = correlation.and_then(CorrelationId::parse).map(note::secret);
        let id = content.result.job_id.as_ref();
        let (Some(secret), Some(id)) = (secret, id) else {
            return Seen::Came(Came::Stranger);
        };
        let claim = Claim {
            id: id.as_str(),
            secret: &secret,
            digest: &content.digest,
            word: match content.result.outcome {
                Outcome::WorkerLost => Word::Provisional,
                Outcome::Exited
                | Outcome::Signaled
                | Outcome::CpuLimit
                | Outcome::WallLimit
                | Outcome::MemoryLimit
                | Outcome::OutputLimit
                | Outcome::Rejected
                | Outcome::Expired
                | Outcome::Cancelled
                | Outcome::EngineFault
                | Outcome::Other => Word::Final,
            },
        };
        let mut kept = self.lock();
        let came = kept.index.result(number, &claim, self.clock.now());
        match came {
            Came::First | Came::Provisional => kept.bodies.keep(number, message.body.clone()),
            Came::Conflict => {
                let id = id.as_str();
                tracing::warn!(id, number, "a result differs from the one that counts");
            }
            Came::Duplicate | Came::Stranger => {}
        }
        Seen::Came(came)
    }

    /// Gives up what waited for a lost worker in vain, and forgets what is too old, until `stop`.
    pub(super) async fn tidy(self: Arc<Self>, stop: CancellationToken) {
        let days = u64::from(LOGBOOK_DAYS);
        let age_ms = days.saturating_mul(24 * 3_600_000);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(TICK) => {}
            }
            let oldest = self.clock.epoch_ms().0.saturating_sub(age_ms);
            let (known, cached) = {
                let mut kept = self.lock();
                kept.index.forget_before(oldest);
                (kept.index.len(), kept.bodies.bytes())
            };
            self.metrics.api().kept(known, cached);
            // Of the past another gateway may have given up what we have not read yet.
            while self.is_caught_up()
                && let Some(key) = self.due()
            {
                let note = Note::GivenUp {
                    id: key.to_string(),
                };
                let written = self
                    .desk
                    .note(format!("{key}.given-up"), note.encode().into());
                match timeout(TICK, written).await {
                    Ok(Ok(())) => tracing::info!(id = &*key, "a lost worker's job is given up"),
                    Ok(Err(error)) => {
                        tracing::warn!(id = &*key, %error, "a job could not be given up");
                    }
                    // It goes out when it can.
                    Err(_elapsed) => break,
                }
            }
        }
    }

    fn due(&self) -> Option<super::index::Key> {
        self.lock().index.due(self.clock.now())
    }
}
