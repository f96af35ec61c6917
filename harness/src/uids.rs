//! The uids that tests lease, in one place: families of tests keep out of each other's, and whoever
//! looks for leftovers knows all of them.

use std::ops::Range;

/// How many test processes of one family get uids of their own before the numbers come again.
const PLACES: u32 = 20_000;

/// A family of tests that leases uids from one range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestUids {
    /// Leases and sweeps without any jail.
    Parts,
    /// Programs in jails.
    Jails,
}

impl TestUids {
    /// Every family.
    pub const ALL: [Self; 2] = [Self::Parts, Self::Jails];

    const fn first(self) -> u32 {
        match self {
            Self::Parts => 600_000,
            Self::Jails => 1_000_000,
        }
    }

    /// How many uids one test process may lease.
    #[must_use]
    pub const fn count(self) -> u32 {
        match self {
            Self::Parts => 4,
            Self::Jails => 16,
        }
    }

    /// The first of the uids that this very process may lease.
    ///
    /// Several checkouts may run their tests at one time, each with locks in a folder of its own, so
    /// that no lock keeps them apart. Their pids do.
    #[must_use]
    pub fn base(self) -> u32 {
        self.first() + (std::process::id() % PLACES) * self.count()
    }

    /// Every uid that some process of this family may lease.
    #[must_use]
    pub const fn range(self) -> Range<u32> {
        self.first()..self.first() + PLACES * self.count()
    }
}

#[cfg(test)]
mod tests {
    use super::TestUids;

    #[test]
    fn no_family_of_tests_leases_a_uid_of_another_or_of_the_defaults() {
        let mut ranges = TestUids::ALL.map(TestUids::range);
        ranges.sort_unstable_by_key(|range| range.start);
        for pair in ranges.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?}");
        }
        // The embedded configuration leases from 70,000 on; subordinate uids begin at 100,000.
        assert!(ranges[0].start >= 165_536, "{ranges:?}");
        for family in TestUids::ALL {
            let last = family.base() + family.count() - 1;
            assert!(family.range().contains(&last), "{family:?}");
        }
    }
}
