//! The worker's one loop: one event at a time in, the supervisor's effects out.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jailfleet::job::{Lane, Name};
use jailfleet_program::Clock;
use jailfleet_queue::Delivery;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::counter::{Counter, next_wanted};
use crate::admin::Health;
use crate::attempt::{attempt, leave};
use crate::events::{Consuming, DrainBegan};
use crate::labelled::Labelled;
use crate::metrics::Metrics;
use crate::slots::Slots;
use crate::station::Station;
use crate::supervisor::{Bounds, Effect, Ending, Event, Phase, Supervisor};
use crate::tenancy::{TenantIndex, span};

/// How long cancelling the consumers may take, and then giving back what they had brought.
const INTAKE_STOP: Duration = Duration::from_secs(3);

/// The loop's own things.
pub(super) struct Floor {
    supervisor: Supervisor,
    whole: Whole,
    /// By their tenants' numbers; whose intake is looked at first is the number beside.
    counters: Vec<Counter>,
    first: usize,
    attempts: Labelled<(TenantIndex, Lane), ()>,
    health: watch::Sender<Health>,
}

/// What the loop needs of the worker itself.
pub(super) struct Whole {
    pub(super) pool: Name,
    pub(super) slots: Slots,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) hand_back: CancellationToken,
    pub(super) kill: CancellationToken,
}

impl Floor {
    pub(super) fn new(
        bounds: Bounds,
        whole: Whole,
        counters: Vec<Counter>,
        health: watch::Sender<Health>,
    ) -> Self {
        Self {
            supervisor: Supervisor::new(bounds),
            whole,
            counters,
            first: 0,
            attempts: Labelled::default(),
            health,
        }
    }

    /// Works until it is time to leave; attempts that are still under way then are given up, and
    /// their deliveries go back.
    pub(super) async fn work(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut doors: mpsc::Receiver<Event>,
        mut stop: mpsc::Receiver<()>,
    ) -> Ending {
        let mut slots = self.whole.slots.counts();
        let mut pending = vec![Event::WardenReady(*slots.borrow_and_update())];
        Consuming {
            pool: &self.whole.pool,
        }
        .emit();
        loop {
            for event in pending.drain(..) {
                if let Some(ending) = self.step(event).await {
                    self.attempts.shutdown().await;
                    return ending;
                }
            }
            for counter in &mut self.counters {
                counter.want(&self.supervisor);
            }
            let wake = self.supervisor.wake_at();
            let nap = wake.map(|at| at.saturating_sub(self.whole.clock.now()));
            tokio::select! {
                Some(event) = events.recv() => pending.push(event),
                // Whoever counts is ours, and lives as long as this loop.
                Ok(()) = slots.changed() => {
                    pending.push(Event::Slots(*slots.borrow_and_update()));
                }
                Some(()) = stop.recv() => pending.push(Event::StopAsked),
                Some(event) = doors.recv() => pending.push(event),
                Some(((tenant, lane), joined)) = self.attempts.next() => {
                    pending.push(ended(tenant, lane, joined));
                }
                (tenant, delivery) = next_wanted(&mut self.counters, &mut self.first) => {
                    pending.push(self.taken(tenant, delivery));
                }
                () = sleep(nap.unwrap_or_default()), if nap.is_some() => pending.push(Event::Tick),
            }
        }
    }

    async fn step(&mut self, event: Event) -> Option<Ending> {
        let effects = self.supervisor.step(self.whole.clock.now(), event);
        self.report(event);
        let mut leave = None;
        for effect in effects {
            match effect {
                Effect::StopIntake => {
                    let running = self.supervisor.in_flight();
                    DrainBegan {
                        why: why(event),
                        running,
                    }
                    .emit(&self.whole.metrics);
                    self.stop_intake().await;
                }
                Effect::HandBackUnstarted => self.whole.hand_back.cancel(),
                Effect::KillRunning => self.whole.kill.cancel(),
                Effect::Leave(ending) => leave = Some(ending),
            }
        }
        leave
    }

    /// Cancels the consumers, of all tenants at one time, and gives back what nobody has looked at yet.
    async fn stop_intake(&mut self) {
        let stopping = self.counters.iter_mut().map(stop_one);
        let leaving = join_all(stopping).await.into_iter().flatten();
        let mut leaves = JoinSet::new();
        for (station, delivery, span) in leaving {
            leaves.spawn(leave(station, delivery).instrument(span));
        }
        all_left(leaves, INTAKE_STOP).await;
    }

    fn report(&self, event: Event) {
        let (unready, without) = self.readiness();
        let stopped = matches!(self.supervisor.phase(), Phase::Stopped(Ending::WardenGone));
        let alive = !stopped && event != Event::WardenGone;
        self.health.send_if_modified(|health| {
            let now = Health {
                unready,
                without,
                alive: health.alive && alive,
            };
            let changed = *health != now;
            *health = now;
            changed
        });
    }

    /// Why nobody is served; or, where somebody is, who is not. A tenant's broker must not make a worker
    /// look useless that serves others.
    fn readiness(&self) -> (Option<Cow<'static, str>>, Option<String>) {
        if let Some(why) = self.supervisor.unready() {
            return (Some(why.into()), None);
        }
        let counters = self.counters.iter();
        let unserved: Vec<String> = counters
            .filter_map(|counter| counter.unserved(&self.supervisor))
            .collect();
        match unserved.len() {
            0 => (None, None),
            all if all == self.counters.len() => (Some(unserved.join("; ").into()), None),
            _ => (None, Some(unserved.join("; "))),
        }
    }

    fn taken(&mut self, tenant: TenantIndex, delivery: Option<Delivery>) -> Event {
        let counter = self.counters.get(tenant.0);
        let (Some(counter), Some(delivery)) = (counter, delivery) else {
            return Event::IntakeEnded;
        };
        let lane = delivery.origin.lane;
        let attempt = attempt(Arc::clone(&counter.station), delivery);
        let attempt = attempt.instrument(span(counter.name.as_ref()));
        self.attempts.spawn((tenant, lane), attempt);
        Event::JobTaken(tenant, lane)
    }
}

/// Cancels a tenant's consumers, and says what they had brought.
async fn stop_one(counter: &mut Counter) -> Vec<(Arc<Station>, Delivery, Span)> {
    let mut waiting = Vec::new();
    let span = span(counter.name.as_ref());
    let stopping = counter.intake.stop(&mut waiting).instrument(span.clone());
    if timeout(INTAKE_STOP, stopping).await.is_err() {
        let _entered = span.enter();
        tracing::warn!("the consumers could not be cancelled in time");
    }
    let station = &counter.station;
    let deliveries = waiting.into_iter();
    deliveries
        .map(|delivery| (Arc::clone(station), delivery, span.clone()))
        .collect()
}

/// Waits until all have left, but not for a broker that does not let them.
async fn all_left(mut leaving: JoinSet<()>, within: Duration) {
    let all = async {
        while let Some(left) = leaving.join_next().await {
            if let Err(error) = left {
                tracing::error!(%error, "a delivery was not given back; it goes back by itself");
            }
        }
    };
    if timeout(within, all).await.is_err() {
        tracing::warn!(
            "not all deliveries could be given back in time; they go back by themselves"
        );
    }
}

fn ended(tenant: TenantIndex, lane: Lane, joined: Result<(), JoinError>) -> Event {
    if let Err(error) = joined {
        tracing::error!(%error, "an attempt broke off; its delivery goes back");
    }
    Event::JobEnded(tenant, lane)
}

const fn why(event: Event) -> &'static str {
    match event {
        Event::StopAsked => "asked to stop",
        Event::WardenGone => "the warden is gone",
        Event::IntakeEnded => "no more jobs come",
        Event::Escaped => "a canary got out",
        Event::CanariesEnded => "nobody proves the walls any more",
        Event::WardenReady(_)
        | Event::Slots(_)
        | Event::Door { .. }
        | Event::JobTaken(..)
        | Event::JobEnded(..)
        | Event::Tick => "it is time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn a_worker_does_not_wait_for_ever_for_what_cannot_be_given_back() {
        let mut leaving = JoinSet::new();
        leaving.spawn(pending());
        leaving.spawn(ready(()));
        let left = all_left(leaving, Duration::from_millis(20));
        let ended = timeout(Duration::from_secs(20), left).await;
        assert!(ended.is_ok(), "it goes on without");
    }
}
