//! What a producer's clock and a worker's say together: how long a job was queued, and how far the two are
//! apart. Pure.
//!
//! A job says when it was published, by its producer's clock; the worker reads its own when the job comes. A
//! wrong clock on either side shows in the difference, and no other clock is there to ask.

use std::time::Duration;

use crate::job::EpochMs;

/// The longest that a job is told to have been queued: as long as results and cancels are kept. What is more
/// comes from a clock that nobody set.
pub const LONGEST_QUEUED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether a job may have waited in its queue before it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// It came to a worker that had nothing to do and had asked for jobs: the queue was empty before it.
    No,
    /// Nobody knows.
    Perhaps,
}

/// How far a producer's clock is from ours, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// The job was published after it came.
    Ahead(Duration),
    /// The job was published that long before it came, and did not wait.
    Behind(Duration),
}

/// How long a job was queued: never less than nothing, never more than [`LONGEST_QUEUED`].
#[must_use]
pub fn queued(published: EpochMs, received: EpochMs) -> Duration {
    let waited = received.0.saturating_sub(published.0);
    Duration::from_millis(waited).min(LONGEST_QUEUED)
}

/// How far the two clocks are apart, as far as this job tells.
#[must_use]
pub fn skew(published: EpochMs, received: EpochMs, waited: Waited) -> Option<Skew> {
    let ahead = published.0.saturating_sub(received.0);
    let behind = received.0.saturating_sub(published.0);
    match waited {
        _ if ahead > 0 => Some(Skew::Ahead(Duration::from_millis(ahead))),
        Waited::No => Some(Skew::Behind(Duration::from_millis(behind))),
        Waited::Perhaps => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_456_800_000;
    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_time_in_the_queue_is_neither_negative_nor_endless() {
        let queued = |published| queued(EpochMs(published), EpochMs(NOON));
        assert_eq!(queued(NOON - 12), Duration::from_millis(12));
        assert_eq!(queued(NOON + HOUR), Duration::ZERO);
        assert_eq!(queued(0), LONGEST_QUEUED);
        assert_eq!(queued(u64::MAX), Duration::ZERO);
    }

    #[test]
    fn a_clock_ahead_shows_at_once_and_one_behind_only_where_the_job_did_not_wait() {
        let skew = |published, waited| skew(EpochMs(published), EpochMs(NOON), waited);
        let hour = Duration::from_millis(HOUR);
        for waited in [Waited::No, Waited::Perhaps] {
            assert_eq!(skew(NOON + HOUR, waited), Some(Skew::Ahead(hour)));
        }
        assert_eq!(skew(NOON - HOUR, Waited::No), Some(Skew::Behind(hour)));
        assert_eq!(skew(NOON - HOUR, Waited::Perhaps), None);
    }
}
