//! Which delivery tags of a channel are out, and how few acks say what was settled. Pure.

use std::collections::BTreeSet;

use crate::ticket::Disposition;

/// One frame to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Acks every tag that is out, up to this one.
    AckThrough(u64),
    /// Acks one tag.
    Ack(u64),
    /// Gives one tag back.
    Requeue(u64),
    /// Refuses one tag for good.
    DeadLetter(u64),
}

/// The tags of one channel in one session.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    out: BTreeSet<u64>,
    acked: BTreeSet<u64>,
}

impl Ledger {
    /// A delivery came.
    pub(crate) fn handed_out(&mut self, tag: u64) {
        self.out.insert(tag);
    }

    /// A delivery was settled. `None`: it waits for [`Ledger::flush`], or is not out at all.
    pub(crate) fn settle(&mut self, tag: u64, disposition: Disposition) -> Option<Frame> {
        if !self.out.contains(&tag) || self.acked.contains(&tag) {
            return None;
        }
        match disposition {
            Disposition::Ack => {
                self.acked.insert(tag);
                None
            }
            Disposition::Requeue => {
                self.out.remove(&tag);
                Some(Frame::Requeue(tag))
            }
            Disposition::DeadLetter => {
                self.out.remove(&tag);
                Some(Frame::DeadLetter(tag))
            }
        }
    }

    /// The frames that ack everything settled since the last flush: one for the longest run of
    /// acked tags from the oldest on, one each for the rest.
    pub(crate) fn flush(&mut self) -> Vec<Frame> {
        let run = self
            .out
            .iter()
            .take_while(|tag| self.acked.contains(tag))
            .count();
        let mut frames = Vec::new();
        for (place, tag) in std::mem::take(&mut self.acked).into_iter().enumerate() {
            self.out.remove(&tag);
            // Within the run only the last tag needs a frame: it speaks for those before it.
            if place + 1 == run && run > 1 {
                frames.push(Frame::AckThrough(tag));
            } else if place + 1 >= run {
                frames.push(Frame::Ack(tag));
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Disposition::{Ack, DeadLetter, Requeue};

    fn ledger(tags: std::ops::RangeInclusive<u64>) -> Ledger {
        let mut ledger = Ledger::default();
        tags.for_each(|tag| ledger.handed_out(tag));
        ledger
    }

    #[test]
    fn a_run_from_the_oldest_tag_on_takes_one_frame_and_the_rest_one_each() {
        let mut ledger = ledger(1..=8);
        for tag in [3, 1, 2, 5, 8] {
            assert_eq!(ledger.settle(tag, Ack), None);
        }
        assert_eq!(
            ledger.flush(),
            [Frame::AckThrough(3), Frame::Ack(5), Frame::Ack(8)]
        );
        assert_eq!(ledger.flush(), []);
    }

    #[test]
    fn an_ack_never_covers_a_tag_that_is_still_out() {
        let mut ledger = ledger(1..=4);
        for tag in [2, 3, 4] {
            ledger.settle(tag, Ack);
        }
        assert_eq!(
            ledger.flush(),
            [Frame::Ack(2), Frame::Ack(3), Frame::Ack(4)]
        );
        ledger.settle(1, Ack);
        assert_eq!(ledger.flush(), [Frame::Ack(1)]);
    }

    #[test]
    fn a_tag_given_back_does_not_break_the_run() {
        let mut ledger = ledger(1..=3);
        assert_eq!(ledger.settle(1, Requeue), Some(Frame::Requeue(1)));
        ledger.settle(2, Ack);
        ledger.settle(3, Ack);
        assert_eq!(ledger.flush(), [Frame::AckThrough(3)]);
    }

    #[test]
    fn a_tag_is_settled_once() {
        let mut ledger = ledger(1..=1);
        assert_eq!(ledger.settle(1, DeadLetter), Some(Frame::DeadLetter(1)));
        assert_eq!(ledger.settle(1, Requeue), None);
        assert_eq!(ledger.settle(1, Ack), None);
        assert_eq!(ledger.flush(), []);
        assert_eq!(ledger.settle(7, Requeue), None);
    }
}
