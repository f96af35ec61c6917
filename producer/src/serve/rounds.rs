//! Rounds of safety checks through the fleet, as long as the gateway runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Service;
use super::checks::{Check, Gate, Told};
use crate::progress::with_causes;

/// How long a check may wait for a worker: one that was just started is not ready at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// From a round that did not pass to the next.
const AGAIN: Duration = Duration::from_secs(2);

/// Tries round after round and sets the gate, until `stop`.
pub(super) async fn keep(
    service: Arc<Service>,
    gate: watch::Sender<Gate>,
    stop: CancellationToken,
) {
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            told = round(&service) => told,
        };
        let before = *gate.borrow();
        let now = before.after(&told);
        match (&told, now == before) {
            (Told::Passed, true) => tracing::debug!("the safety checks passed again"),
            (Told::Passed, false) => tracing::info!("the safety checks passed: code is run"),
            (Told::Failed(why), _) => {
                tracing::error!(why, "a safety check failed: no code is run");
            }
            (Told::Nothing(why), _) => {
                tracing::warn!(
                    why,
                    "the safety checks were not answered; are workers running?"
                );
            }
        }
        service.metrics.gate(now);
        gate.send_replace(now);
        let pause = match told {
            Told::Passed => service.settings.serve.check_interval_ms.duration(),
            Told::Failed(_) | Told::Nothing(_) => AGAIN,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// All checks, as far as they pass.
async fn round(service: &Service) -> Told {
    for check in Check::ALL {
        let told = answer(service, check).await;
        let name = check.as_str();
        match told {
            Told::Passed => service.metrics.check(check, true),
            Told::Failed(why) => {
                service.metrics.check(check, false);
                return Told::Failed(format!("{name}: {why}"));
            }
            Told::Nothing(why) => return Told::Nothing(format!("{name}: {why}")),
        }
    }
    Told::Passed
}

async fn answer(service: &Service, check: Check) -> Told {
    let Some(fleet) = service.fleet.get() else {
        return Told::Nothing("there is no connection to the broker".to_owned());
    };
    let deadline = service.deadline(PATIENCE);
    let job = match check.call().job(&service.settings, deadline) {
        Ok(job) => job,
        Err(rejection) => return Told::Failed(rejection.to_string()),
    };
    match fleet.run(&job, PATIENCE).await {
        Ok(result) => check.judge(&result),
        Err(lost) => Told::Nothing(with_causes(&lost)),
    }
}
