//! Messages that the broker delivers again although they were dealt with, or still are, here.
//!
//! When a session breaks, the broker takes back whatever was not acked and hands it out anew, often to
//! the same worker: a job whose run goes on, or whose result was confirmed and whose ack was lost.
//! Such a delivery is not run a second time: it waits for its twin's end and shares it. Only the
//! very same message counts, and only one that the broker says it delivered before; the same id with
//! anything else is a job of its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jailfleet_queue::{Disposition, Envelope, Origin};
use tokio::sync::watch;

/// How many finished messages are remembered, and how many ids: more than any prefetch, and less than two
/// hundred bytes each.
const FINISHED: usize = 4096;

/// What makes a message that message: a digest of its tenant, place, body, and of every property that a
/// worker acts on. Retries and moves are messages of their own, by their counts and their queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    digest: [u8; 32],
    /// Whether it says when it was published: without that two messages can be equal, and the end of one
    /// says nothing of the other (docs/decisions/0016).
    dated: bool,
    /// A digest of its tenant and its id, where its envelope has one.
    id: Option<u64>,
    /// A digest of its body and the queue that waits for its result: one id should mean one of these.
    content: u64,
}

impl Key {
    pub(crate) fn of(origin: &Origin, envelope: &Envelope, body: &[u8]) -> Self {
        let content = digest_of(|digest| {
            digest.text(envelope.reply_to.as_deref());
            digest.bytes(body);
        });
        let id = envelope.message_id.as_deref().map(|id| {
            digest_of(|digest| {
                digest.text(Some(&origin.tenant));
                digest.text(Some(id));
            })
        });
        let mut digest = Digester::default();
        digest.text(Some(&origin.tenant));
        digest.text(Some(origin.pool.as_str()));
        digest.text(Some(origin.lane.as_str()));
        digest.text(origin.suspect.then_some("suspect"));
        digest.text(envelope.message_id.as_deref());
        digest.text(envelope.correlation_id.as_deref());
        let published = envelope.published_ms.map(|ms| ms.to_string());
        digest.text(published.as_deref());
        digest.text(Some(&envelope.faults.to_string()));
        digest.text(Some(&envelope.handed_on.to_string()));
        digest.bytes(&content);
        Self {
            digest: digest.finish(),
            dated: envelope.published_ms.is_some(),
            id: id.map(short),
            content: short(content),
        }
    }
}

fn digest_of(feed: impl FnOnce(&mut Digester)) -> [u8; 32] {
    let mut digest = Digester::default();
    feed(&mut digest);
    digest.finish()
}

/// Its first bytes, for what is only counted.
fn short(digest: [u8; 32]) -> u64 {
    digest
        .first_chunk()
        .map_or(0, |head| u64::from_be_bytes(*head))
}

/// Texts and bytes, each with its length, so that no two lists of them look the same.
#[derive(Default)]
struct Digester(sha2::Sha256);

impl Digester {
    fn text(&mut self, text: Option<&str>) {
        use sha2::Digest;
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.0.update([0]),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        use sha2::Digest;
        self.0.update([1]);
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        use sha2::Digest;
        self.0.finalize().into()
    }
}

/// What is under way here, and what was.
#[derive(Debug, Default)]
pub(crate) struct Twins(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    running: HashMap<Key, watch::Receiver<Option<Disposition>>>,
    finished: HashSet<Key>,
    /// The same, the oldest first.
    by_age: VecDeque<Key>,
    /// What came last under each id.
    contents: HashMap<u64, u64>,
    /// Its ids, the oldest first.
    ids_by_age: VecDeque<u64>,
}

/// What a delivery is to this worker.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is the only one of its message here: carry it through.
    First(Place),
    /// It has a twin that is under way.
    Twin(watch::Receiver<Option<Disposition>>),
    /// It was dealt with, and whoever must know of it was told.
    Finished,
}

/// The duty to say how a message ended. Dropped without a word, its twins carry it through themselves.
#[derive(Debug)]
pub(crate) struct Place {
    twins: Arc<Twins>,
    key: Key,
    end: watch::Sender<Option<Disposition>>,
    /// A second one of a key that is taken is told to nobody.
    booked: bool,
    id: IdUse,
}

/// What came under a message's id before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdUse {
    /// Nothing that is remembered, or the same.
    Its,
    /// Another body, or one for another reply queue.
    AnothersToo,
}

impl Twins {
    /// Enters a delivery; `again` is the broker's word that it delivered the message before.
    pub(crate) fn enter(self: &Arc<Self>, key: Key, again: Again) -> Arrival {
        let mut book = self.book();
        if again == Again::Redelivered && key.dated {
            if let Some(twin) = book.running.get(&key) {
                return Arrival::Twin(twin.clone());
            }
            if book.finished.contains(&key) {
                return Arrival::Finished;
            }
        }
        let id = book.note(&key);
        let (end, seen) = watch::channel(None);
        let booked = key.dated && !book.running.contains_key(&key);
        if booked {
            book.running.insert(key, seen);
        }
        Arrival::First(Place {
            twins: Arc::clone(self),
            key,
            end,
            booked,
            id,
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it holds the lock; and if it did, the book would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the broker delivered a message before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Not that it knows.
    New,
    /// It did.
    Redelivered,
}

impl Again {
    pub(crate) const fn of(envelope: &Envelope) -> Self {
        if envelope.redelivered {
            Self::Redelivered
        } else {
            Self::New
        }
    }
}

impl Place {
    /// Whether something else came under the message's id.
    pub(crate) const fn id(&self) -> IdUse {
        self.id
    }

    /// Says how the message ended.
    pub(crate) fn end(self, disposition: Disposition) {
        if disposition == Disposition::Ack && self.key.dated {
            self.twins.book().finish(self.key);
        }
        // Kept in the channel, also where nobody has asked yet.
        self.end.send_replace(Some(disposition));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.booked {
            self.twins.book().running.remove(&self.key);
        }
    }
}

impl Book {
    /// Remembers what came under the message's id.
    fn note(&mut self, key: &Key) -> IdUse {
        let Some(id) = key.id else {
            return IdUse::Its;
        };
        match self.contents.insert(id, key.content) {
            Some(before) if before != key.content => return IdUse::AnothersToo,
            Some(_) => return IdUse::Its,
            None => {}
        }
        self.ids_by_age.push_back(id);
        if self.ids_by_age.len() > FINISHED
            && let Some(oldest) = self.ids_by_age.pop_front()
        {
            self.contents.remove(&oldest);
        }
        IdUse::Its
    }

    fn finish(&mut self, key: Key) {
        if !self.finished.insert(key) {
            return;
        }
        self.by_age.push_back(key);
        if self.by_age.len() > FINISHED
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.finished.remove(&oldest);
        }
    }
}

/// Waits for the twin's end; `None` where it broke off.
pub(crate) async fn end_of(mut twin: watch::Receiver<Option<Disposition>>) -> Option<Disposition> {
    // An error says that the place is gone; what it said before that still counts.
    match twin.wait_for(Option::is_some).await {
        Ok(end) => *end,
        Err(_gone) => None,
    }
}

#[cfg(test)]
mod tests;
