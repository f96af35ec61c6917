//! A worker from its warden's greeting to the last word to its doors. The loop in between is in
//! `serve/floor.rs`.
//!
//! `run` is the same for the AMQP door, the embedded door and the tests: whoever calls it brings
//! the doors, the warden's socket and a way to say stop.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jailfleet::job::Name;
use jailfleet::settings::{LaneShares, WorkerSettings};
use jailfleet::wall::HeldWall;
use jailfleet_program::Clock;
use jailfleet_queue::{Doors, Sessions};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::admin::{Admin, Health};
use crate::canary::{Canaries, CanaryError};
use crate::cancels::{CATCH_UP, Cancels};
use crate::clocks::Hands;
use crate::confine;
use crate::events::WardenReady;
use crate::fitness::{self, Unfit};
use crate::metrics::Metrics;
use crate::programs::Offer;
use crate::reaper::reap;
use crate::slots::{Ready, Rooms, SlotError, Slots};
use crate::station::Station;
use crate::supervisor::{AfterBreach, Bounds, Ending, Event};
use crate::tenancy::{TenantIndex, span};

mod crew;
mod counter;
mod floor;

use counter::{Counter, watch_doors};
use crew::{Crew, Part};
use floor::{Floor, Whole};

/// How long the warden may take until all slots stand.
const WARDEN_START: Duration = Duration::from_secs(60);
/// How long closing the doors may take; what is not settled by then goes back by itself.
const DOORS_CLOSE: Duration = Duration::from_secs(5);
/// What the tasks beside the loop have told it and it has not taken yet: each tells a few things in its life.
const EVENT_ROOM: usize = 8;

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// The settings.
    pub settings: Arc<WorkerSettings>,
    /// The runtimes that this host offers.
    pub offer: Offer,
    /// How many slots each lane may fill.
    pub shares: LaneShares,
    /// The weights by which its tenants share them, one a tenant.
    pub weights: Vec<u32>,
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
    /// Its walls stand and do not hold, or nobody can tell.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The digest of the settings is not one.
    #[error("compute the digest of the settings")]
    Digest,
}

/// A tenant's doors.
#[derive(Debug)]
pub struct Served {
    /// Its name, where the settings have tenants.
    pub name: Option<Name>,
    /// Its doors.
    pub doors: Doors,
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
    canaries: Canaries,
    /// What the tasks beside the loop tell it, from the greeting on.
    events: mpsc::Receiver<Event>,
    tell: mpsc::Sender<Event>,
    crew: Crew,
}

/// Greets the warden, holds the walls that stand against those that are required, and proves by escape
/// attempts that they hold.
///
/// # Errors
/// When the warden does not come up, a required wall is missing, or one does not hold.
pub async fn stand(parts: Parts) -> Result<Standing, ServeError> {
    let Parts {
        settings,
        offer,
        shares,
        weights,
        warden,
        metrics,
        clock,
    } = parts;
    let digest = settings.digest();
    let raw = digest_bytes(&digest).ok_or(ServeError::Digest)?;
    let rooms = Rooms::new(shares, &weights);
    let greeting = Slots::greet(warden, raw, rooms, clock, Arc::clone(&metrics));
    let (slots, mut ready) = match timeout(WARDEN_START, greeting).await {
        Ok(greeted) => greeted?,
        Err(_elapsed) => return Err(ServeError::WardenSlow),
    };
    ready.held = confine::honest(ready.held, &settings);
    let set = settings.worker.walls;
    WardenReady {
        slots: ready.slots,
        held: &ready.held,
        set,
    }
    .emit(&metrics);
    fitness::check_walls(set, &ready.held)?;
    let (tell, events) = mpsc::channel(EVENT_ROOM);
    let mut crew = Crew::default();
    let (routed, told) = (slots.clone(), tell.clone());
    crew.spawn(Part::Reports, async move { routed.route(told).await });
    let in_slots = (slots.clone(), ready.slots);
    let counted = Arc::clone(&metrics);
    let mut canaries = Canaries::new(Arc::clone(&settings), &offer, in_slots, counted, clock);
    if let Err(error) = canaries.prove_all().await {
        // Whoever routes holds the warden's socket, and the warden lives as long as somebody does.
        drop(canaries);
        crew.dismiss().await;
        return Err(error.into());
    }
    Ok(Standing {
        settings,
        digest,
        offer,
        shares,
        slots,
        ready,
        metrics,
        clock,
        canaries,
        events,
        tell,
        crew,
    })
}

/// Runs a worker for whoever has these doors, in the order of their weights, until it is told to stop (each
/// message on `stop` is one request) or its warden goes away.
pub async fn run(
    standing: Standing,
    served: Vec<Served>,
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
        canaries,
        events,
        tell,
        mut crew,
    } = standing;
    let (health, health_seen) = watch::channel(Health {
        unready: Some("starting".into()),
        without: None,
        alive: true,
    });
    let bounds = bounds(&settings, shares, served.len(), admin.as_ref());
    let whole = Whole {
        pool: settings.worker.pool.clone(),
        slots: slots.clone(),
        metrics: Arc::clone(&metrics),
        clock,
        hand_back: CancellationToken::new(),
        kill: CancellationToken::new(),
    };
    let common = Common {
        host: host_name(&settings),
        settings,
        digest,
        offer,
        held: ready.held,
    };
    let (doors_tell, doors_told) = mpsc::channel(EVENT_ROOM);
    let mut opening = Opening {
        whole: &whole,
        common: &common,
        crew: &mut crew,
        doors_tell,
    };
    let opened = served.into_iter().enumerate();
    let opened = opened.map(|(number, served)| opening.open(TenantIndex(number), served));
    let (counters, sessions): (Vec<Counter>, Vec<Sessions>) = opened.unzip();
    let floor = Floor::new(bounds, whole, counters, health);
    let (admin_stop, no_more_canaries) = (CancellationToken::new(), CancellationToken::new());
    if canaries.can_fly() {
        let stop = no_more_canaries.clone();
        crew.spawn(Part::Canaries, canaries.watch(tell.clone(), stop));
    }
    if let Some(admin) = admin {
        let serving = admin.serve(metrics, health_seen, admin_stop.clone());
        crew.spawn(Part::Admin, serving);
    }
    let working = floor.work(events, doors_told, stop);
    let ending = crew.beside(working, &slots, &tell).await;
    no_more_canaries.cancel();
    close(&mut crew, sessions, slots).await;
    admin_stop.cancel();
    crew.dismiss().await;
    ending
}

/// What is the same at every station.
struct Common {
    settings: Arc<WorkerSettings>,
    digest: String,
    host: String,
    offer: Offer,
    held: Vec<HeldWall>,
}

/// What it takes to open a tenant's place.
struct Opening<'a> {
    whole: &'a Whole,
    common: &'a Common,
    crew: &'a mut Crew,
    doors_tell: mpsc::Sender<Event>,
}

impl Opening<'_> {
    /// Makes a tenant's station, and starts what works beside the loop for it.
    fn open(&mut self, tenant: TenantIndex, served: Served) -> (Counter, Sessions) {
        let Served { name, doors } = served;
        let Doors {
            intake,
            outbox,
            dead,
            cancels: asked,
            state,
            counters,
            sessions,
        } = doors;
        let (whole, common) = (self.whole, self.common);
        let metrics = &whole.metrics;
        metrics.watch_doors(tenant, counters);
        let cancels = Cancels::new(tenant, whole.pool.clone(), whole.clock, Arc::clone(metrics));
        let station = Arc::new(Station {
            tenant,
            settings: Arc::clone(&common.settings),
            digest: common.digest.clone(),
            host: common.host.clone(),
            caps: common.settings.caps.wire(),
            offer: common.offer.clone(),
            held: common.held.clone(),
            slots: whole.slots.clone(),
            outbox,
            doors: state.clone(),
            cancels: Arc::new(cancels),
            twins: Arc::default(),
            hands: Hands::default(),
            metrics: Arc::clone(metrics),
            clock: whole.clock,
            hand_back: whole.hand_back.clone(),
            kill: whole.kill.clone(),
        });
        let span = span(name.as_ref());
        let hearing = Arc::clone(&station.cancels).listen(asked, CATCH_UP);
        self.crew
            .spawn(Part::Cancels, hearing.instrument(span.clone()));
        let reaping = reap(Arc::clone(&station), dead);
        self.crew.spawn(Part::Reaper, reaping.instrument(span));
        let watching = watch_doors(tenant, state, Arc::clone(metrics), self.doors_tell.clone());
        self.crew.spawn(Part::Doors, watching);
        (Counter::new(name, station, intake), sessions)
    }
}

fn bounds(
    settings: &WorkerSettings,
    shares: LaneShares,
    tenants: usize,
    admin: Option<&Admin>,
) -> Bounds {
    Bounds {
        tenants,
        drain: settings.worker.drain_ms.duration(),
        shares,
        ahead: usize::from(settings.amqp.prefetch_extra),
        // Whoever asks at the admin port shall hear of it; without one there is nobody to tell.
        breached: match admin {
            Some(_) => AfterBreach::Stay,
            None => AfterBreach::Leave,
        },
    }
}

/// Leaves both sides in peace; what they do not do in time they do by themselves.
async fn close(crew: &mut Crew, sessions: Vec<Sessions>, slots: Slots) {
    // It was told to stop when the jobs were.
    let reaper = crew.end_of(Part::Reaper);
    if timeout(DOORS_CLOSE, reaper).await.is_err() {
        tracing::warn!("the reaper did not stop in time; the broker takes its letter back");
    }
    let closing = sessions.into_iter().map(|door| door.close(DOORS_CLOSE));
    if !join_all(closing).await.into_iter().all(|clean| clean) {
        tracing::warn!("the doors did not close in time; the broker takes back what was open");
    }
    if let Err(error) = slots.stop().await {
        tracing::debug!(%error, "the warden could not be asked to end");
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
