//! The worker's one loop: one event at a time in, the supervisor's effects out.

use std::sync::Arc;
use std::time::Duration;

use jailfleet::job::Lane;
use jailfleet_queue::{Delivery, DoorState, Intake, Link, Source};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::admin::Health;
use crate::attempt::{attempt, leave};
use crate::events::{Consuming, DrainBegan};
use crate::labelled::Labelled;
use crate::station::Station;
use crate::supervisor::{Bounds, DoorLink, Effect, Ending, Event, Phase, Role, Supervisor};

/// How long cancelling the consumers may take, and then giving back what they had brought.
const INTAKE_STOP: Duration = Duration::from_secs(3);

/// The loop's own things.
pub(super) struct Floor {
    supervisor: Supervisor,
    station: Arc<Station>,
    intake: Intake,
    /// By their lanes.
    attempts: Labelled<Lane, ()>,
    health: watch::Sender<Health>,
}

impl Floor {
    pub(super) fn new(
        bounds: Bounds,
        station: Arc<Station>,
        intake: Intake,
        health: watch::Sender<Health>,
    ) -> Self {
        Self {
            supervisor: Supervisor::new(bounds),
            station,
            intake,
            attempts: Labelled::default(),
            health,
        }
    }

    /// Works until it is time to leave; attempts that are still under way then are given up, and
    /// their deliveries go back.
    pub(super) async fn work(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut doors: watch::Receiver<DoorState>,
        mut stop: mpsc::Receiver<()>,
    ) -> Ending {
        let mut slots = self.station.slots.counts();
        let mut pending = vec![Event::WardenReady(*slots.borrow_and_update())];
        pending.extend(self.door_events(&doors.borrow_and_update()));
        Consuming {
            pool: &self.station.settings.worker.pool,
        }
        .emit();
        let mut doors_open = true;
        let mut asked = wanted(&self.supervisor);
        loop {
            for event in pending.drain(..) {
                if let Some(ending) = self.step(event).await {
                    self.attempts.shutdown().await;
                    return ending;
                }
            }
            let wanted = wanted(&self.supervisor);
            if wanted != asked {
                asked = wanted;
                self.station.hands.touch(self.station.clock.now());
            }
            let wake = self.supervisor.wake_at();
            let nap = wake.map(|at| at.saturating_sub(self.station.clock.now()));
            tokio::select! {
                Some(event) = events.recv() => pending.push(event),
                // Whoever counts is the station's, which lives as long as this loop.
                Ok(()) = slots.changed() => {
                    pending.push(Event::Slots(*slots.borrow_and_update()));
                }
                Some(()) = stop.recv() => pending.push(Event::StopAsked),
                changed = doors.changed(), if doors_open => {
                    doors_open = changed.is_ok();
                    pending.extend(self.door_events(&doors.borrow_and_update()));
                }
                Some((lane, joined)) = self.attempts.next() => pending.push(ended(lane, joined)),
                delivery = self.intake.next_among(wanted), if !wanted.is_empty() => {
                    pending.push(self.taken(delivery));
                }
                () = sleep(nap.unwrap_or_default()), if nap.is_some() => pending.push(Event::Tick),
            }
        }
    }

    async fn step(&mut self, event: Event) -> Option<Ending> {
        let effects = self.supervisor.step(self.station.clock.now(), event);
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
                    .emit(&self.station.metrics);
                    self.stop_intake().await;
                }
                Effect::HandBackUnstarted => self.station.hand_back.cancel(),
                Effect::KillRunning => self.station.kill.cancel(),
                Effect::Leave(ending) => leave = Some(ending),
            }
        }
        leave
    }

    /// Cancels the consumers and gives back what nobody has looked at yet.
    async fn stop_intake(&mut self) {
        let mut waiting = Vec::new();
        let stopping = self.intake.stop(&mut waiting);
        if timeout(INTAKE_STOP, stopping).await.is_err() {
            tracing::warn!("the consumers could not be cancelled in time");
        }
        let leave = |delivery| leave(Arc::clone(&self.station), delivery);
        all_left(waiting.into_iter().map(leave).collect(), INTAKE_STOP).await;
    }

    fn report(&self, event: Event) {
        let unready = self.supervisor.unready();
        let stopped = matches!(self.supervisor.phase(), Phase::Stopped(Ending::WardenGone));
        let alive = !stopped && event != Event::WardenGone;
        self.health.send_if_modified(|health| {
            let now = Health {
                unready,
                alive: health.alive && alive,
            };
            let changed = *health != now;
            *health = now;
            changed
        });
    }

    fn taken(&mut self, delivery: Option<Delivery>) -> Event {
        let Some(delivery) = delivery else {
            return Event::IntakeEnded;
        };
        let lane = delivery.origin.lane;
        let attempt = attempt(Arc::clone(&self.station), delivery);
        self.attempts.spawn(lane, attempt);
        Event::JobTaken(lane)
    }

    fn door_events(&self, state: &DoorState) -> Vec<Event> {
        let links = [
            (Role::Consume, state.consume),
            (Role::Publish, state.publish),
            (Role::Reap, state.reap),
            (Role::Control, state.control),
        ];
        let event = |(role, link)| {
            let metrics = &self.station.metrics;
            let link = door_link(link);
            metrics.door(role, link);
            Event::Door { role, link }
        };
        links.into_iter().map(event).collect()
    }
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

const fn door_link(link: Link) -> DoorLink {
    match link {
        Link::Up => DoorLink::Up,
        Link::Blocked => DoorLink::Blocked,
        Link::Down | Link::Closed => DoorLink::Down,
    }
}

fn ended(lane: Lane, joined: Result<(), JoinError>) -> Event {
    if let Err(error) = joined {
        tracing::error!(%error, "an attempt broke off; its delivery goes back");
    }
    Event::JobEnded(lane)
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
        | Event::JobTaken(_)
        | Event::JobEnded(_)
        | Event::Tick => "it is time",
    }
}

/// The queues to ask for a job now. Suspects run one at a time and share the bulk lane's room.
fn wanted(supervisor: &Supervisor) -> &'static [Source] {
    match (
        supervisor.wants(Lane::Interactive),
        supervisor.wants(Lane::Bulk),
    ) {
        (true, true) => &Source::ALL,
        (true, false) => &[Source::Interactive],
        (false, true) => &[Source::Bulk, Source::Suspect],
        (false, false) => &[],
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
