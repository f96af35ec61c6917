//! A worker from its warden's greeting to the last word to its doors. The loop in between is in
//! `serve/floor.rs`.
//!
//! `run` is the same for the AMQP door, the embedded door and the tests: whoever calls it brings
//! the doors, the warden's socket and a way to say stop.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use jailfleet::settings::{LaneShares, WorkerSettings};
use jailfleet_program::Clock;
use jailfleet_queue::{Doors, Sessions};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

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
use crate::slots::{Ready, SlotError, Slots};
use crate::station::Station;
use crate::supervisor::{AfterBreach, Bounds, Ending, Event};

mod crew;
mod floor;

use crew::{Crew, Part};
use floor::Floor;

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
        warden,
        metrics,
        clock,
    } = parts;
    let digest = settings.digest();
    let raw = digest_bytes(&digest).ok_or(ServeError::Digest)?;
    let greeting = Slots::greet(warden, raw, shares, clock, Arc::clone(&metrics));
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
        canaries,
        events,
        tell,
        mut crew,
    } = standing;

    let Doors {
        intake,
        outbox,
        dead,
        cancels: asked,
        state,
        counters,
        sessions,
    } = doors;
    metrics.watch_doors(counters);
    let (health, health_seen) = watch::channel(Health {
        unready: Some("starting"),
        alive: true,
    });
    let bounds = bounds(&settings, shares, admin.as_ref());
    let pool = settings.worker.pool.clone();
    let cancels = Arc::new(Cancels::new(pool, clock, Arc::clone(&metrics)));
    crew.spawn(Part::Cancels, Arc::clone(&cancels).listen(asked, CATCH_UP));
    let station = Arc::new(Station {
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
        doors: state.clone(),
        cancels,
        twins: Arc::default(),
        hands: Hands::default(),
        clock,
    });
    crew.spawn(Part::Reaper, reap(Arc::clone(&station), dead));
    let floor = Floor::new(bounds, station, intake, health);
    let (admin_stop, no_more_canaries) = (CancellationToken::new(), CancellationToken::new());
    if canaries.can_fly() {
        let stop = no_more_canaries.clone();
        crew.spawn(Part::Canaries, canaries.watch(tell.clone(), stop));
    }
    if let Some(admin) = admin {
        let serving = admin.serve(metrics, health_seen, admin_stop.clone());
        crew.spawn(Part::Admin, serving);
    }
    let working = floor.work(events, state, stop);
    let ending = crew.beside(working, &slots, &tell).await;
    no_more_canaries.cancel();
    close(&mut crew, sessions, slots).await;
    admin_stop.cancel();
    crew.dismiss().await;
    ending
}

fn bounds(settings: &WorkerSettings, shares: LaneShares, admin: Option<&Admin>) -> Bounds {
    Bounds {
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
async fn close(crew: &mut Crew, sessions: Sessions, slots: Slots) {
    // It was told to stop when the jobs were.
    let reaper = crew.end_of(Part::Reaper);
    if timeout(DOORS_CLOSE, reaper).await.is_err() {
        tracing::warn!("the reaper did not stop in time; the broker takes its letter back");
    }
    if !sessions.close(DOORS_CLOSE).await {
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
