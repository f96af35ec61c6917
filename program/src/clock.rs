//! The only place of worker and producer that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jailfleet::job::EpochMs;

/// Time since the program's start, by the monotonic clock. Pure code takes it as an argument.
pub type Moment = Duration;

/// Reads the monotonic and the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Time since [`Clock::start`].
    #[must_use]
    pub fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// The wall clock, for what others measure by theirs: deadlines, and time in a queue.
    #[must_use]
    pub fn epoch_ms(&self) -> EpochMs {
        // A clock before 1970 counts as 1970: no deadline has come then, and waits look long.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        EpochMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
