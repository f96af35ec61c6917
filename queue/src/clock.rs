//! The only place of this crate that reads clocks and draws random numbers.

use std::hash::{BuildHasher, Hasher, RandomState};
use tokio::time::Instant;

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A number that differs each time and between processes: good for jitter, not for secrets.
pub(crate) fn dice() -> u64 {
    // Each `RandomState` is seeded by the operating system once and then counts up.
    RandomState::new().build_hasher().finish()
}
