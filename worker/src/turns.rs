//! Whose turn it is: the pure choice of a tenant when there is room for one more job.
//!
//! Each turn moves a clock on by one share of all who wait, and each tenant's next turn has a window on
//! that clock, from where its share so far begins to where it ends. Of those whose window has begun, the
//! one goes first whose window ends first (worst-case fair weighted fair queueing, with jobs as the unit).
//! So over a stretch in which the same tenants wait, nobody is a whole job ahead of its share or behind it.
//! Who has nothing to do saves nothing up: his next window begins when he comes back.
//!
//! # Source
//! J. Bennett and H. Zhang, *WF2Q: Worst-case Fair Weighted Fair Queueing*, INFOCOM 1996.

/// One share of weight 1 on the clock. Windows are cut to whole numbers of far less than could matter.
const ONE: u128 = 1 << 80;

/// The weights of tenants, by their numbers, and how far each of them has come.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    clock: u128,
    tenants: Vec<Standing>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    weight: u128,
    /// Where its next window begins.
    begins: u128,
    waits: Waits,
}

/// Whether a tenant has something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Yes,
    No,
}

impl Standing {
    const fn ends(&self) -> u128 {
        self.begins + ONE / self.weight
    }
}

impl Turns {
    /// Tenants of these weights, none of which waits. A weight of 0 counts as 1.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let standing = |weight: &u32| Standing {
            weight: u128::from((*weight).max(1)),
            begins: 0,
            waits: Waits::No,
        };
        Self {
            clock: 0,
            tenants: weights.iter().map(standing).collect(),
        }
    }

    /// This tenant has something to do from now on.
    pub(crate) fn comes(&mut self, tenant: usize) {
        let clock = self.clock;
        let Some(standing) = self.tenants.get_mut(tenant) else {
            return;
        };
        if standing.waits == Waits::No {
            standing.waits = Waits::Yes;
            // The time without work is gone; a turn that was taken early still counts.
            standing.begins = standing.begins.max(clock);
        }
    }

    /// This tenant has nothing to do any more.
    pub(crate) fn goes(&mut self, tenant: usize) {
        if let Some(standing) = self.tenants.get_mut(tenant) {
            standing.waits = Waits::No;
        }
    }

    /// Gives the next turn to one of those who wait.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let waiting = || self.tenants.iter().filter(|one| one.waits == Waits::Yes);
        let earliest = waiting().map(|one| one.begins).min()?;
        let weights: u128 = waiting().map(|one| one.weight).sum();
        // Where all who wait are ahead of their shares, the others' are shared out among them.
        self.clock = self.clock.max(earliest);
        let open = |one: &&mut Standing| one.waits == Waits::Yes && one.begins <= self.clock;
        let tenants = self.tenants.iter_mut().enumerate();
        let (tenant, standing) = tenants
            .filter(|(_, one)| open(one))
            .min_by_key(|(_, one)| one.ends())?;
        standing.begins = standing.ends();
        // Rounded up, so that a window that ends now has ended.
        self.clock += ONE.div_ceil(weights);
        Some(tenant)
    }
}

#[cfg(test)]
mod tests;
