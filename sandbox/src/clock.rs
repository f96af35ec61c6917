//! The only place that reads a clock: everything else takes `now` as an argument.

use std::time::Instant;

/// This moment on the monotonic clock, which no change of the host's date moves.
#[must_use]
pub fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    Instant::now()
}
