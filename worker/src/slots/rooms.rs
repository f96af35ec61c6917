//! How many runs of a lane there may be at one time, and whose is the next.
//!
//! Each lane has its own room, so that one lane's jobs never wait for the other's. Whoever waits in a lane
//! waits in the line of his tenant; room that becomes free goes to a tenant by its turn, and in its line to
//! whoever came first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jailfleet::job::Lane;
use jailfleet::settings::LaneShares;
use tokio::sync::oneshot;

use crate::tenancy::TenantIndex;
use crate::turns::Turns;

/// The rooms of both lanes.
#[derive(Debug)]
pub struct Rooms {
    interactive: Arc<Room>,
    bulk: Arc<Room>,
}

impl Rooms {
    /// Room for so many runs of each lane, shared by tenants of these weights.
    #[must_use]
    pub fn new(shares: LaneShares, weights: &[u32]) -> Self {
        let interactive = Arc::new(Room::new(shares.interactive, weights));
        let bulk = Arc::new(Room::new(shares.bulk, weights));
        // A suspect keeps the lane that it came from. Where that has no room of its own it takes the other's.
        let (interactive, bulk) = match (shares.interactive, shares.bulk) {
            (_, 0) => (Arc::clone(&interactive), interactive),
            (0, _) => (Arc::clone(&bulk), bulk),
            _ => (interactive, bulk),
        };
        Self { interactive, bulk }
    }

    pub(super) const fn of(&self, lane: Lane) -> &Arc<Room> {
        match lane {
            Lane::Interactive => &self.interactive,
            Lane::Bulk => &self.bulk,
        }
    }

    /// Nobody is let in any more, and nobody waits.
    pub(super) fn close(&self) {
        self.interactive.close();
        self.bulk.close();
    }
}

/// One lane's room.
#[derive(Debug)]
pub(super) struct Room(Mutex<Book>);

#[derive(Debug)]
struct Book {
    free: usize,
    turns: Turns,
    /// By tenants.
    lines: Vec<VecDeque<Waiter>>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    called: oneshot::Sender<()>,
}

impl Room {
    fn new(free: usize, weights: &[u32]) -> Self {
        Self(Mutex::new(Book {
            free,
            turns: Turns::new(weights),
            lines: weights.iter().map(|_| VecDeque::new()).collect(),
            next: 0,
            closed: false,
        }))
    }

    /// Waits for room; `None` once it is closed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line, and gives back what was given meanwhile.
    pub(super) async fn enter(self: &Arc<Self>, tenant: TenantIndex) -> Option<Share> {
        let (called, heard) = oneshot::channel();
        let number = self.book().queue(tenant, called)?;
        let mut place = Place {
            room: self,
            tenant,
            number,
            left: Left::No,
        };
        self.book().call();
        // Whoever closes the room drops the callers.
        heard.await.ok()?;
        place.left = Left::Inside;
        Some(Share(Arc::clone(self)))
    }

    fn close(&self) {
        let mut book = self.book();
        book.closed = true;
        book.lines.iter_mut().for_each(VecDeque::clear);
    }

    fn leave(&self) {
        let mut book = self.book();
        book.free += 1;
        book.call();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it holds the lock; and if it did, the book would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn queue(&mut self, tenant: TenantIndex, called: oneshot::Sender<()>) -> Option<u64> {
        if self.closed {
            return None;
        }
        let number = self.next;
        self.lines
            .get_mut(tenant.0)?
            .push_back(Waiter { number, called });
        self.next += 1;
        self.turns.comes(tenant.0);
        Some(number)
    }

    /// Calls in whoever is next, for as long as there is room.
    fn call(&mut self) {
        while self.free > 0 {
            let Some(tenant) = self.turns.next() else {
                return;
            };
            let Some(line) = self.lines.get_mut(tenant) else {
                return;
            };
            let next = line.pop_front();
            if line.is_empty() {
                self.turns.goes(tenant);
            }
            let Some(waiter) = next else { continue };
            self.free -= 1;
            if waiter.called.send(()).is_err() {
                tracing::trace!(
                    waiter.number,
                    "called somebody who is just leaving; he gives it back"
                );
            }
        }
    }

    /// Takes somebody out of his line; false where he was called already.
    fn strike(&mut self, tenant: TenantIndex, number: u64) -> bool {
        let Some(line) = self.lines.get_mut(tenant.0) else {
            return false;
        };
        let before = line.len();
        line.retain(|waiter| waiter.number != number);
        let struck = line.len() < before;
        if line.is_empty() {
            self.turns.goes(tenant.0);
        }
        struck
    }
}

/// A place in a line. Dropped before its owner is inside, it is given up.
struct Place<'a> {
    room: &'a Room,
    tenant: TenantIndex,
    number: u64,
    left: Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    No,
    Inside,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.left == Left::Inside {
            return;
        }
        let mut book = self.room.book();
        if book.strike(self.tenant, self.number) || book.closed {
            return;
        }
        // He was called in between, and does not come.
        book.free += 1;
        book.call();
    }
}

/// Room for one run. Dropped, it is somebody else's.
#[derive(Debug)]
pub(super) struct Share(Arc<Room>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests;
