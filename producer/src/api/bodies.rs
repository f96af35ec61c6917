//! Results of late, in memory and within a bound. Pure.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// The newest messages, as many as fit.
#[derive(Debug)]
pub(super) struct Bodies {
    most: usize,
    bytes: usize,
    by_number: HashMap<u64, Bytes>,
    order: VecDeque<u64>,
}

impl Bodies {
    /// Room for `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            bytes: 0,
            by_number: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps a message; the oldest ones go for it. One that does not fit at all is not kept.
    pub(super) fn keep(&mut self, number: u64, body: Bytes) {
        if body.len() > self.most || self.by_number.contains_key(&number) {
            return;
        }
        self.bytes += body.len();
        self.by_number.insert(number, body);
        self.order.push_back(number);
        while self.bytes > self.most {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(gone) = self.by_number.remove(&oldest) {
                self.bytes -= gone.len();
            }
        }
    }

    /// A message that is still here.
    pub(super) fn get(&self, number: u64) -> Option<Bytes> {
        self.by_number.get(&number).cloned()
    }

    /// The bytes of all of them.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_fit_are_kept() {
        let mut bodies = Bodies::new(10);
        for number in 0..4 {
            bodies.keep(number, Bytes::from(vec![0; 4]));
        }
        bodies.keep(4, Bytes::from(vec![0; 11]));
        let kept: Vec<u64> = (0..5).filter(|n| bodies.get(*n).is_some()).collect();
        assert_eq!((kept, bodies.bytes()), (vec![2, 3], 8));
        bodies.keep(3, Bytes::from(vec![0; 4]));
        assert_eq!(bodies.bytes(), 8);
        bodies.clear();
        assert_eq!((bodies.get(3), bodies.bytes()), (None, 0));
    }
}
