//! What every attempt of one tenant shares: the worker's settings, slots and name, and the tenant's outbox.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use jailfleet::result::WorkerStamp;
use jailfleet::runtime::Runtime;
use jailfleet::settings::WorkerSettings;
use jailfleet::wall::{HeldWall, Wall};
use jailfleet::wire::{WireCaps, moment};
use jailfleet_program::Clock;
use jailfleet_queue::{DoorState, Outbox};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cancels::Cancels;
use crate::clocks::Hands;
use crate::metrics::Metrics;
use crate::patience::{self, TooLong};
use crate::programs::Offer;
use crate::slots::{Place, Slots};
use crate::tenancy::TenantIndex;
use crate::twins::Twins;

/// What the attempts of one tenant share. Whatever remembers jobs is the tenant's own: an id of somebody
/// else's means nothing here.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) tenant: TenantIndex,
    pub(crate) settings: Arc<WorkerSettings>,
    /// Hex SHA-256 of the settings.
    pub(crate) digest: String,
    pub(crate) host: String,
    pub(crate) caps: WireCaps,
    pub(crate) offer: Offer,
    pub(crate) held: Vec<HeldWall>,
    pub(crate) slots: Slots,
    pub(crate) outbox: Outbox,
    /// How the connections are.
    pub(crate) doors: watch::Receiver<DoorState>,
    /// What is wanted no more.
    pub(crate) cancels: Arc<Cancels>,
    /// What is under way here, and what was lately.
    pub(crate) twins: Arc<Twins>,
    /// What is in hand, for the clocks of producers.
    pub(crate) hands: Hands,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// Cancelled when jobs that have no slot yet shall go back.
    pub(crate) hand_back: CancellationToken,
    /// Cancelled when running jobs shall end.
    pub(crate) kill: CancellationToken,
}

impl Station {
    /// Waits for what was handed to the outbox. The time that this may take runs only while what is
    /// published gets through: a run is worth keeping for as long as the broker is away or takes nothing.
    pub(crate) async fn while_up<T>(
        &self,
        publishing: impl Future<Output = T>,
    ) -> Result<T, TooLong> {
        let within = self.settings.worker.publish_timeout_ms.duration();
        patience::while_up(publishing, within, self.doors.clone()).await
    }

    /// The stamp of this worker on the result of one attempt.
    pub(crate) fn stamp(&self, place: Option<Place>, attempt: u32) -> WorkerStamp {
        WorkerStamp {
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slot: place.map(|place| place.slot),
            attempt,
            last_canary: place.and_then(|place| place.proven).map(moment),
        }
    }
}

/// The walls that held for a program of `runtime`: AppArmor by the name of its profile, and not at all
/// where it has none.
pub(crate) fn walls_of(held: &[HeldWall], runtime: &Runtime) -> Vec<HeldWall> {
    let named = |held: &HeldWall| {
        if held.wall != Wall::Apparmor {
            return Some(held.clone());
        }
        let profile = runtime.apparmor.as_deref()?;
        let stacked = held.detail.as_deref().unwrap_or_default();
        Some(HeldWall::detailed(
            Wall::Apparmor,
            format!("{stacked}{profile}"),
        ))
    };
    held.iter().filter_map(named).collect()
}

/// A random number in `0.0..1.0`, good enough to spread retries: the standard library seeds its
/// hashers from the kernel.
pub(crate) fn jitter() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish() >> 32;
    u32::try_from(bits).map_or(0.5, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::walls_of;
    use jailfleet::settings::worker_settings;
    use jailfleet::wall::{HeldWall, Wall};

    #[test]
    fn a_result_names_the_profile_of_its_runtime_and_none_where_there_is_none() {
        let mut settings = worker_settings(None, &[], &[]).expect("the defaults are good");
        let runtime = settings.runtimes.first_mut().expect("there are some");
        let named = |held: HeldWall, runtime: &_| {
            let walls = walls_of(&[HeldWall::plain(Wall::Netns), held], runtime);
            walls.iter().map(HeldWall::to_string).collect::<Vec<_>>()
        };
        runtime.apparmor = Some("jailfleet-bash".to_owned());
        let changed = named(HeldWall::plain(Wall::Apparmor), runtime);
        assert_eq!(changed, ["netns", "apparmor:jailfleet-bash"]);
        let stacked = named(HeldWall::detailed(Wall::Apparmor, "&"), runtime);
        assert_eq!(stacked, ["netns", "apparmor:&jailfleet-bash"]);
        runtime.apparmor = None;
        assert_eq!(named(HeldWall::plain(Wall::Apparmor), runtime), ["netns"]);
    }

    #[test]
    fn jitter_is_a_fraction_and_not_a_constant() {
        let drawn: Vec<f64> = (0..20).map(|_| super::jitter()).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(drawn.windows(2).any(|pair| pair.first() != pair.last()));
    }
}
