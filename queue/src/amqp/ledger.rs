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

    /// How many deliveries the broker has not heard of.
    pub(crate) fn count_out(&self) -> usize {
        self.out.len()
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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

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

    /// What may happen to a channel, the tag chosen among the first sixteen.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Deliver,
        Settle(u64, Disposition),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        let disposition = prop_oneof![Just(Ack), Just(Requeue), Just(DeadLetter)];
        prop_oneof![
            4 => Just(Step::Deliver),
            6 => (1..=16_u64, disposition).prop_map(|(tag, done)| Step::Settle(tag, done)),
            2 => Just(Step::Flush),
        ]
    }

    /// The broker's side: what it waits for, and what it was told of each tag.
    #[derive(Debug, Default)]
    struct Books {
        open: BTreeSet<u64>,
        told: BTreeMap<u64, Disposition>,
    }

    impl Books {
        fn hear(&mut self, frame: Frame) -> Result<(), TestCaseError> {
            let (tags, disposition): (Vec<u64>, _) = match frame {
                Frame::AckThrough(last) => (self.open.range(..=last).copied().collect(), Ack),
                Frame::Ack(tag) => (vec![tag], Ack),
                Frame::Requeue(tag) => (vec![tag], Requeue),
                Frame::DeadLetter(tag) => (vec![tag], DeadLetter),
            };
            for tag in tags {
                // A broker closes the channel over a tag that it does not know.
                prop_assert!(self.open.remove(&tag), "{frame:?} of a tag that is not out");
                self.told.insert(tag, disposition);
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn the_broker_hears_of_each_tag_once_what_was_first_said_and_nothing_before(
            steps in vec(step(), 0..60),
        ) {
            let (mut ledger, mut books) = (Ledger::default(), Books::default());
            let mut said: BTreeMap<u64, Disposition> = BTreeMap::new();
            let mut last = 0;
            for step in steps {
                match step {
                    Step::Deliver => {
                        last += 1;
                        ledger.handed_out(last);
                        books.open.insert(last);
                    }
                    Step::Settle(tag, disposition) => {
                        if tag <= last {
                            said.entry(tag).or_insert(disposition);
                        }
                        if let Some(frame) = ledger.settle(tag, disposition) {
                            books.hear(frame)?;
                        }
                    }
                    Step::Flush => {
                        for frame in ledger.flush() {
                            books.hear(frame)?;
                        }
                    }
                }
                for (tag, disposition) in &books.told {
                    prop_assert_eq!(said.get(tag), Some(disposition), "tag {}", tag);
                }
            }
            for frame in ledger.flush() {
                books.hear(frame)?;
            }
            prop_assert_eq!(books.told, said);
        }
    }
}
