//! Token buckets: how often somebody may do something. Pure.

use std::time::Duration;

use jailfleet_program::Moment;

/// What is left of a rate. It fills up to what one second grants, and may be overdrawn by one large
/// order: whoever asks for more than a second's worth at once waits the longer afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    left: f64,
    filled: Moment,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(per_s: u32, now: Moment) -> Self {
        Self {
            left: f64::from(per_s),
            filled: now,
        }
    }

    /// Takes `count` out at this rate.
    ///
    /// # Errors
    /// How long to wait before it is worth while to ask again.
    pub(super) fn take(&mut self, count: u32, per_s: u32, now: Moment) -> Result<(), Duration> {
        let rate = f64::from(per_s.max(1));
        let since = now.saturating_sub(self.filled).as_secs_f64();
        self.left = (self.left + since * rate).min(rate);
        self.filled = now;
        let needed = f64::from(count).min(rate);
        if self.left >= needed {
            self.left -= f64::from(count);
            return Ok(());
        }
        Err(Duration::from_secs_f64((needed - self.left) / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_second_grants_its_rate_and_no_more_and_the_wait_it_tells_is_enough() {
        let mut bucket = Bucket::full(10, Duration::ZERO);
        for _ in 0..10 {
            bucket.take(1, 10, Duration::ZERO).expect("within the rate");
        }
        let wait = bucket.take(1, 10, Duration::ZERO).expect_err("too many");
        assert!(wait <= Duration::from_millis(101), "{wait:?}");
        bucket.take(1, 10, wait).expect("after the wait");
        bucket.take(1, 10, wait).expect_err("only one more");
    }

    #[test]
    fn an_order_of_more_than_a_second_is_granted_once_and_paid_for_afterwards() {
        let mut bucket = Bucket::full(10, Duration::ZERO);
        bucket.take(35, 10, Duration::ZERO).expect("a full bucket");
        let wait = bucket.take(35, 10, SECOND).expect_err("overdrawn");
        assert!((wait.as_secs_f64() - 2.5).abs() < 0.01, "{wait:?}");
        bucket.take(1, 10, SECOND * 2).expect_err("still overdrawn");
        bucket.take(10, 10, SECOND + wait).expect("paid");
    }

    #[test]
    fn nobody_saves_more_than_a_second() {
        let mut bucket = Bucket::full(2, Duration::ZERO);
        let later = Duration::from_secs(3600);
        bucket.take(2, 2, later).expect("a second's worth");
        bucket.take(1, 2, later).expect_err("no more");
    }
}
