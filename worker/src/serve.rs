//! The worker's one loop: events in, the supervisor's effects out.
//!
//! `run` is the same for the AMQP door, the embedded door and the tests: whoever calls it brings
//! the doors, the warden's socket and a way to say stop.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use jailfleet::job::Lane;
use jailfleet::settings::{LaneShares, WorkerSettings};
use jailfleet_queue::{Delivery, DoorState, Doors, Intake, Link, Sessions, Source};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Health};
use crate::attempt::attempt;
use crate::events::{Consuming, DrainBegan, WardenReady};
use crate::fitness::{self, Unfit};
use crate::metrics::Metrics;
use crate::programs::Offer;
use crate::slots::{Ready, SlotError, Slots};
use crate::station::Station;
use crate::supervisor::{Bounds, DoorLink, Effect, Ending, Event, Phase, Role, Supervisor};
use jailfleet_program::Clock;

/// How long the warden may take until all slots stand.
const WARDEN_START: Duration = Duration::from_secs(60);
/// How long cancelling the consumers may take.
const INTAKE_STOP: Duration = Duration::from_secs(5);
/// How long closing the doors may take; what is not settled by then goes back by itself.
const DOORS_CLOSE: Duration = Duration::from_secs(5);
/// Events of the slots that wait for the loop.
const EVENT_ROOM: usize = 64;

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// The settings.
    pub settings: Arc<WorkerSettings>,
    /// The runtimes that this host offers.
    pub offer: Offer,
    /// How many slots each lane may fill.
    pub shares: LaneShares,
    /// The worker's end of the warden's socket.
    pub warden: OwnedFd,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// What it reads the time from.
    pub clock: Clock,
}

/// Why a worker could not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The warden did not come up as it should.
    #[error(transparent)]
    Slots(#[from] SlotError),
    /// It did not come up in time.
    #[error("see the warden's slots stand within {} s; its log says what it waits for", WARDEN_START.as_secs())]
    WardenSlow,
    /// The host does not offer what is required.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The digest of the settings is not one.
    #[error("compute the digest of the settings")]
    Digest,
}

/// A worker whose walls stand. Only this can be given doors: no job is fetched before.
#[derive(Debug)]
pub struct Standing {
    settings: Arc<WorkerSettings>,
    digest: String,
    offer: Offer,
    shares: LaneShares,
    slots: Slots,
    ready: Ready,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// Greets the warden and holds the walls that stand against those that are required.
///
/// # Errors
/// When the warden does not come up, or a required wall is missing.
pub async fn stand(parts: Parts) -> Result<Standing, ServeError> {
    let Parts {
        settings,
        offer,
        shares,
        warden,
        metrics,
        clock,
    } = parts;
    let digest = settings.digest();
    let raw = digest_bytes(&digest).ok_or(ServeError::Digest)?;
    let greeting = Slots::greet(warden, raw, shares, clock, Arc::clone(&metrics));
    let (slots, ready) = match timeout(WARDEN_START, greeting).await {
        Ok(greeted) => greeted?,
        Err(_elapsed) => return Err(ServeError::WardenSlow),
    };
    let set = settings.worker.walls;
    WardenReady {
        slots: ready.slots,
        held: &ready.held,
        set,
    }
    .emit(&metrics);
    fitness::check_walls(set, &ready.held)?;
    Ok(Standing {
        settings,
        digest,
        offer,
        shares,
        slots,
        ready,
        metrics,
        clock,
    })
}

/// Runs a worker until it is told to stop (each message on `stop` is one request) or its warden
/// goes away.
pub async fn run(
    standing: Standing,
    doors: Doors,
    admin: Option<Admin>,
    stop: mpsc::Receiver<()>,
) -> Ending {
    let Standing {
        settings,
        digest,
        offer,
        shares,
        slots,
        ready,
        metrics,
        clock,
    } = standing;

    let Doors {
        intake,
        outbox,
        state,
        counters,
        sessions,
    } = doors;
    metrics.watch_doors(counters);
    let (health, health_seen) = watch::channel(Health {
        unready: Some("starting"),
        alive: true,
    });
    let bounds = Bounds {
        drain: settings.worker.drain_ms.duration(),
        shares,
        ahead: usize::from(settings.amqp.prefetch_extra),
    };
    let station = Station {
        host: host_name(&settings),
        caps: settings.caps.wire(),
        slots: slots.clone(),
        metrics: Arc::clone(&metrics),
        hand_back: CancellationToken::new(),
        kill: CancellationToken::new(),
        settings,
        digest,
        offer,
        held: ready.held,
        outbox,
        clock,
    };
    let floor = Floor::new(bounds, station, intake, health);
    let (slot_events, events) = mpsc::channel(EVENT_ROOM);
    let admin_stop = CancellationToken::new();
    let mut owned = JoinSet::new();
    let routed = slots.clone();
    owned.spawn(async move { routed.route(slot_events).await });
    if let Some(admin) = admin {
        owned.spawn(admin.serve(metrics, health_seen, admin_stop.clone()));
    }
    let ending = floor.work(ready.slots, events, state, stop).await;
    close(sessions, slots).await;
    admin_stop.cancel();
    owned.shutdown().await;
    ending
}

/// Leaves both sides in peace; what they do not do in time they do by themselves.
async fn close(sessions: Sessions, slots: Slots) {
    if !sessions.close(DOORS_CLOSE).await {
        tracing::warn!("the doors did not close in time; the broker takes back what was open");
    }
    if let Err(error) = slots.stop().await {
        tracing::debug!(%error, "the warden could not be asked to end");
    }
}

/// The loop's own things.
struct Floor {
    supervisor: Supervisor,
    station: Arc<Station>,
    intake: Intake,
    attempts: JoinSet<Lane>,
    /// The lane of each attempt, also of one that panicked.
    lanes: HashMap<Id, Lane>,
    health: watch::Sender<Health>,
}

impl Floor {
    fn new(
        bounds: Bounds,
        station: Station,
        intake: Intake,
        health: watch::Sender<Health>,
    ) -> Self {
        Self {
            supervisor: Supervisor::new(bounds),
            station: Arc::new(station),
            intake,
            attempts: JoinSet::new(),
            lanes: HashMap::new(),
            health,
        }
    }

    /// Works until it is time to leave; attempts that are still under way then are given up, and
    /// their deliveries go back.
    async fn work(
        mut self,
        slots: u16,
        mut slot_events: mpsc::Receiver<Event>,
        mut doors: watch::Receiver<DoorState>,
        mut stop: mpsc::Receiver<()>,
    ) -> Ending {
        let mut pending = vec![Event::WardenReady { slots }];
        pending.extend(self.door_events(&doors.borrow_and_update()));
        Consuming {
            pool: &self.station.settings.worker.pool,
        }
        .emit();
        let mut doors_open = true;
        loop {
            for event in pending.drain(..) {
                if let Some(ending) = self.step(event).await {
                    self.attempts.shutdown().await;
                    return ending;
                }
            }
            let wanted = wanted(&self.supervisor);
            let wake = self.supervisor.wake_at();
            let nap = wake.map(|at| at.saturating_sub(self.station.clock.now()));
            tokio::select! {
                Some(event) = slot_events.recv() => pending.push(event),
                Some(()) = stop.recv() => pending.push(Event::StopAsked),
                changed = doors.changed(), if doors_open => {
                    doors_open = changed.is_ok();
                    pending.extend(self.door_events(&doors.borrow_and_update()));
                }
                Some(joined) = self.attempts.join_next_with_id() => {
                    pending.extend(self.ended(joined));
                }
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
                    if timeout(INTAKE_STOP, self.intake.stop()).await.is_err() {
                        tracing::warn!("the consumers could not be cancelled in time");
                    }
                }
                Effect::HandBackUnstarted => self.station.hand_back.cancel(),
                Effect::KillRunning => self.station.kill.cancel(),
                Effect::Leave(ending) => leave = Some(ending),
            }
        }
        leave
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
        let task = self
            .attempts
            .spawn(attempt(Arc::clone(&self.station), delivery));
        self.lanes.insert(task.id(), lane);
        Event::JobTaken(lane)
    }

    fn ended(&mut self, joined: Result<(Id, Lane), JoinError>) -> Option<Event> {
        let id = match joined {
            Ok((id, _)) => id,
            Err(error) => {
                tracing::error!(%error, "an attempt broke off; its delivery goes back");
                error.id()
            }
        };
        self.lanes.remove(&id).map(Event::JobEnded)
    }

    fn door_events(&self, state: &DoorState) -> [Event; 2] {
        let metrics = &self.station.metrics;
        metrics.door(
            Role::Consume,
            state.consume == Link::Up,
            state.consume == Link::Blocked,
        );
        metrics.door(
            Role::Publish,
            state.publish == Link::Up,
            state.publish == Link::Blocked,
        );
        [
            Event::Door {
                role: Role::Consume,
                link: door_link(state.consume),
            },
            Event::Door {
                role: Role::Publish,
                link: door_link(state.publish),
            },
        ]
    }
}

const fn door_link(link: Link) -> DoorLink {
    match link {
        Link::Up => DoorLink::Up,
        Link::Blocked => DoorLink::Blocked,
        Link::Down | Link::Closed => DoorLink::Down,
    }
}

const fn why(event: Event) -> &'static str {
    match event {
        Event::StopAsked => "asked to stop",
        Event::WardenGone => "the warden is gone",
        Event::IntakeEnded => "no more jobs come",
        Event::WardenReady { .. }
        | Event::Slot { .. }
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

fn host_name(settings: &WorkerSettings) -> String {
    if let Some(host) = &settings.worker.host {
        return host.clone();
    }
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(error) => {
            tracing::warn!(%error, "the host has no name; results say \"unknown\"");
            "unknown".to_owned()
        }
    }
}

fn digest_bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_back_from_its_hexadecimal_form() {
        let hex = "00ff10".to_owned() + &"ab".repeat(29);
        let bytes = digest_bytes(&hex).expect("64 hexadecimal digits");
        assert_eq!(bytes.first_chunk::<4>(), Some(&[0x00, 0xff, 0x10, 0xab]));
        assert_eq!(digest_bytes("ab"), None);
        assert_eq!(digest_bytes(&"zz".repeat(32)), None);
    }
}
