//! What every attempt of this worker shares: its settings, slots, outbox and name.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jailfleet::result::WorkerStamp;
use jailfleet::settings::WorkerSettings;
use jailfleet::wall::HeldWall;
use jailfleet::wire::WireCaps;
use jailfleet_program::Clock;
use jailfleet_queue::Outbox;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::programs::Offer;
use crate::slots::Slots;

/// How long a result may wait for its confirm. The broker may be away for a while, and a run is
/// worth keeping; but past this its delivery has long gone to somebody else.
pub(crate) const PUBLISH_DEADLINE: Duration = Duration::from_secs(120);

/// What the attempts of one worker share.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) settings: Arc<WorkerSettings>,
    /// Hex SHA-256 of the settings.
    pub(crate) digest: String,
    pub(crate) host: String,
    pub(crate) caps: WireCaps,
    pub(crate) offer: Offer,
    pub(crate) held: Vec<HeldWall>,
    pub(crate) slots: Slots,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// Cancelled when jobs that have no slot yet shall go back.
    pub(crate) hand_back: CancellationToken,
    /// Cancelled when running jobs shall end.
    pub(crate) kill: CancellationToken,
}

impl Station {
    /// The stamp of this worker on the result of one attempt.
    pub(crate) fn stamp(&self, slot: Option<u16>, attempt: u32) -> WorkerStamp {
        WorkerStamp {
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slot,
            attempt,
            last_canary: None,
        }
    }
}

/// A random number in `0.0..1.0`, good enough to spread retries: the standard library seeds its
/// hashers from the kernel.
pub(crate) fn jitter() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish() >> 32;
    u32::try_from(bits).map_or(0.5, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn jitter_is_a_fraction_and_not_a_constant() {
        let drawn: Vec<f64> = (0..20).map(|_| super::jitter()).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(drawn.windows(2).any(|pair| pair.first() != pair.last()));
    }
}
