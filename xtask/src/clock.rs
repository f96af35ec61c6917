//! The one place of xtask that reads a clock.

use std::time::{Duration, Instant};

/// A stopwatch that runs from its making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since then.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// What is left of `whole`; zero when it is over.
    pub(crate) fn left_of(self, whole: Duration) -> Duration {
        whole.saturating_sub(self.elapsed())
    }
}
