//! How long to wait before connecting again: exponential, with full jitter. Pure.

use std::time::Duration;

/// A session that lasted this long ends the growth of the waits.
pub(crate) const HEALTHY: Duration = Duration::from_secs(60);

/// The waits between failed sessions.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max: max.max(min),
            failures: 0,
        }
    }

    /// The wait after a session that lasted `lasted`. `dice` is any random number: the wait lies
    /// between the minimum and a ceiling that doubles with each failure, so that a fleet that lost
    /// its broker does not come back as one.
    pub(crate) fn after(&mut self, lasted: Duration, dice: u64) -> Duration {
        if lasted >= HEALTHY {
            self.failures = 0;
        }
        let doubled = 1u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX);
        let ceiling = self
            .min
            .saturating_mul(2)
            .saturating_mul(doubled)
            .min(self.max);
        self.failures = self.failures.saturating_add(1);
        let spread = ceiling.saturating_sub(self.min);
        let nanos = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
        self.min + Duration::from_nanos(dice.checked_rem(nanos.saturating_add(1)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(200), Duration::from_secs(30))
    }

    #[test]
    fn the_wait_doubles_up_to_the_maximum_and_stays_there() {
        let mut backoff = backoff();
        let ceilings: Vec<u128> = (0..10)
            .map(|_| {
                let mut probe = backoff.clone();
                // The highest draw is the ceiling itself.
                let highest = (0..64).map(|bit| probe.clone().after(Duration::ZERO, 1 << bit));
                let highest = highest.max().expect("64 draws");
                backoff.after(Duration::ZERO, 0);
                probe.after(Duration::ZERO, 0);
                highest.as_millis()
            })
            .collect();
        assert!(
            ceilings
                .windows(2)
                .all(|pair| pair[0] <= pair[1].max(30_000)),
            "{ceilings:?}"
        );
        assert!(
            ceilings
                .iter()
                .all(|ceiling| (200..=30_000).contains(ceiling)),
            "{ceilings:?}"
        );
    }

    #[test]
    fn a_wait_is_never_under_the_minimum_nor_over_the_maximum() {
        let mut backoff = backoff();
        for round in 0..100 {
            let wait = backoff.after(Duration::ZERO, u64::MAX / (round + 1));
            assert!(wait >= Duration::from_millis(200) && wait <= Duration::from_secs(30));
        }
    }

    #[test]
    fn a_session_that_was_healthy_for_a_minute_starts_the_waits_anew() {
        let mut backoff = backoff();
        for _ in 0..8 {
            backoff.after(Duration::ZERO, 0);
        }
        assert!(backoff.after(HEALTHY, u64::MAX) <= Duration::from_millis(400));
    }
}
