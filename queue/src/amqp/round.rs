//! What waits to be published, how much of it goes between two barriers, and who is suspected when a session breaks
//! over it. Pure.

use std::collections::{HashSet, VecDeque};

use super::address::{Addressed, Mark, Post};
use crate::outbox::{Order, Parcel};

/// The most messages between two barriers.
pub(super) const BATCH: usize = 64;
/// The most bytes between two barriers, unless a single message is larger.
const BATCH_BYTES: usize = 4 << 20;
/// How often a message may close the channel, alone, before it is given up.
const TRIES: u32 = 3;

/// An order that is not done yet.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) order: Order,
    /// On the wire at least once, in a session that ended before its confirm.
    pub(super) again: bool,
    /// How often the broker closed the channel while it was under way.
    pub(super) suspicion: u32,
}

impl Item {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            again: false,
            suspicion: 0,
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        match &self.order.parcel {
            Parcel::Result(reply) => &reply.result.body,
            Parcel::Dead(letter) => &letter.body_head,
            Parcel::Retry { job, .. }
            | Parcel::Newer { job, .. }
            | Parcel::Suspect(job)
            | Parcel::Back(job) => &job.body,
            Parcel::Park(letter) => &letter.body,
            Parcel::Stray(job) => &job.body,
            Parcel::Job(job) => &job.body,
            Parcel::Note(note) => &note.body,
        }
    }

    /// Whether it is still to be published. Whoever stops to wait for it does not ack what it answers or
    /// moves: that delivery comes again, and what he sent would be one message too many.
    pub(super) fn is_wanted(&self) -> bool {
        !self.order.done.is_closed()
    }
}

/// A batch under construction.
#[derive(Default)]
pub(super) struct Round {
    pub(super) items: Vec<(Item, Addressed)>,
    marks: HashSet<Mark>,
}

impl Round {
    /// Takes the next batch out of the backlog, in order. It is empty where nothing is wanted.
    pub(super) fn next(backlog: &mut VecDeque<Item>, post: &Post) -> Self {
        let mut round = Self::default();
        let mut bytes = 0_usize;
        while let Some(item) = backlog.front() {
            if !item.is_wanted() {
                backlog.pop_front();
                continue;
            }
            let alone = item.suspicion > 0;
            let addressed = post.address(&item.order.parcel, item.again);
            let mark = addressed.mark();
            bytes = bytes.saturating_add(item.order.parcel.weight());
            let full = round.items.len() >= BATCH || bytes > BATCH_BYTES || alone;
            if !round.items.is_empty() && (full || round.marks.contains(&mark)) {
                break;
            }
            let Some(item) = backlog.pop_front() else {
                break;
            };
            round.marks.insert(mark);
            round.items.push((item, addressed));
            if alone {
                break;
            }
        }
        round
    }

    /// Puts the batch back in front of what waits, until it is judged: a cancelled future must not lose it. Answers
    /// with where each of its messages goes.
    pub(super) fn put_back(self, backlog: &mut VecDeque<Item>) -> Vec<Addressed> {
        let mut addressed = Vec::with_capacity(self.items.len());
        for (item, address) in self.items.into_iter().rev() {
            backlog.push_front(item);
            addressed.push(address);
        }
        addressed.reverse();
        addressed
    }
}

/// Over what a session broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The broker closed it because of something that was sent over it.
    AMessage,
    /// The same, since its user may not write to an exchange at all.
    ARight,
    /// Anything else.
    NoMessage,
}

/// After a session that broke while so many at the backlog's front were on the wire without a verdict: they may have
/// been published. If the broker closed it over one of them, each goes alone from now on, so that the guilty one
/// stops nobody else; and one that does it again, alone, is given up, which is the answer. But for a result that may
/// not pass its exchange: that right is missing for every result, and no job's matter. It waits for the right as it
/// would for a broker that is away, and the worker takes no further job meanwhile.
pub(super) fn broken(backlog: &mut VecDeque<Item>, under_way: usize, blame: Blame) -> Option<Item> {
    for item in backlog.iter_mut().take(under_way) {
        item.again = true;
        item.suspicion = item.suspicion.saturating_add(match blame {
            Blame::AMessage | Blame::ARight => 1,
            Blame::NoMessage => 0,
        });
    }
    let front = backlog.front()?;
    let waits = blame == Blame::ARight && front.order.parcel.is_result();
    if under_way == 1 && front.suspicion > TRIES && !waits {
        backlog.pop_front()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
