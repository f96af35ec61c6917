//! What is allowed and yet seldom meant.

use std::time::Duration;

use super::sections::WorkerSettings;

/// How long RabbitMQ lets a delivery go unsettled unless it is told otherwise (`consumer_timeout`).
///
/// # Source
/// RabbitMQ's page on consumers, "Delivery Acknowledgement Timeout".
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl WorkerSettings {
    /// What a person should hear about settings that are right and may not work out, each a sentence.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        long_runs(self).into_iter().collect()
    }
}

/// A job may wait behind all those that a lane holds beyond its slots, where it has one slot, before its own
/// run begins; and all the while its delivery is not settled.
fn long_runs(settings: &WorkerSettings) -> Option<String> {
    let ceilings = settings
        .runtimes
        .iter()
        .map(|runtime| (&runtime.name, runtime.ceiling.0.wall_ms.duration()));
    let (name, longest) = ceilings.max_by_key(|(_, wall)| *wall)?;
    let runs = u32::from(settings.amqp.prefetch_extra).saturating_add(1);
    let held = longest.saturating_mul(runs);
    (held >= CONSUMER_TIMEOUT).then(|| {
        format!(
            "a job may be held for {} minutes: wall_ms of runtime {name}'s ceiling, for itself and for \
             the {} of amqp.prefetch_extra before it; RabbitMQ takes deliveries back after {} minutes \
             unless its consumer_timeout is longer, and counts that as failed deliveries",
            held.as_secs() / 60,
            settings.amqp.prefetch_extra,
            CONSUMER_TIMEOUT.as_secs() / 60,
        )
    })
}
