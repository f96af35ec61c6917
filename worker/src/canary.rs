//! Canaries: escape attempts that run through the same path as a job, to prove again and again that the
//! walls hold.
//!
//! One flies in every slot before the first job is taken, then one every few minutes, in the slot that
//! was proven longest ago. A canary that says that it got out is believed, and the worker takes no more
//! jobs. One that says nothing of use may be the host's trouble: it is repeated, and then that slot alone
//! is replaced. Results carry the time of their slot's last good canary.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jailfleet::evidence::{End, Evidence};
use jailfleet::job::EpochMs;
use jailfleet::runtime::{Program, Runtime};
use jailfleet::settings::WorkerSettings;
use jailfleet::units::Millis;
use jailfleet_program::Clock;
use jailfleet_sandbox::client::sealed_memfd;
use jailfleet_sandbox::payload::{self, Payload};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::events::CanaryFlew;
use crate::metrics::Metrics;
use crate::programs::Offer;
use crate::run::{self, RunEnded, RunOrder};
use crate::slots::{Lease, SlotError, Slots};
use crate::supervisor::Event;

mod proofs;

use proofs::{MOST_MISSES, Next, Proofs};

const PYTHON: &str = include_str!("canary/escape.py");
const SHELL: &str = include_str!("canary/escape.sh");
/// A canary takes milliseconds; a host on which it takes longer than this tells us nothing.
const WALL: Duration = Duration::from_secs(10);
/// How long a slot in doubt waits for the next canary.
const AGAIN: Duration = Duration::from_secs(1);

/// What a canary told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sang {
    /// Every attempt failed.
    Held,
    /// This attempt succeeded.
    Escaped(String),
    /// Nothing of use, with the reason.
    Silent(String),
}

impl Sang {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Escaped(_) => "escaped",
            Self::Silent(_) => "silent",
        }
    }

    /// All the words.
    pub const WORDS: [&'static str; 3] = ["held", "escaped", "silent"];
}

/// Why a worker's walls could not be proven at its start.
#[derive(Debug, Error)]
pub enum CanaryError {
    /// A canary got out.
    #[error(
        "prove the walls: a canary {0}; keep jobs away from this host until somebody knows why"
    )]
    Escaped(String),
    /// No slot gave an answer.
    #[error("prove the walls: no canary came back; the log says what became of them")]
    Unproven,
    /// The warden went away meanwhile.
    #[error(transparent)]
    Slot(#[from] SlotError),
}

/// The last good canary of each slot, as results tell it.
#[derive(Debug)]
pub struct LastGood(Vec<AtomicU64>);

impl LastGood {
    fn of(slots: u16) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// When the walls of `slot` were last proven.
    #[must_use]
    pub fn of_slot(&self, slot: u16) -> Option<EpochMs> {
        let epoch_ms = self.0.get(usize::from(slot))?.load(Ordering::Relaxed);
        (epoch_ms > 0).then_some(EpochMs(epoch_ms))
    }

    fn note(&self, slot: u16, now: EpochMs) {
        if let Some(last) = self.0.get(usize::from(slot)) {
            last.store(now.0, Ordering::Relaxed);
        }
    }
}

/// One kind of canary: a runtime and the attempts in its language.
#[derive(Debug, Clone, Copy)]
struct Kind {
    runtime: u16,
    attempts: &'static str,
}

/// The canaries of one worker.
#[derive(Debug)]
pub struct Canaries {
    settings: Arc<WorkerSettings>,
    slots: Slots,
    metrics: Arc<Metrics>,
    clock: Clock,
    kinds: Vec<Kind>,
    proofs: Proofs,
    last_good: Arc<LastGood>,
    flown: usize,
}

impl Canaries {
    /// Those that fly in these slots, by the runtimes that are offered.
    #[must_use]
    pub fn new(
        settings: Arc<WorkerSettings>,
        offer: &Offer,
        (slots, count): (Slots, u16),
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let kinds = kinds(&settings, offer);
        if kinds.is_empty() {
            tracing::warn!(
                "no runtime is a python or a shell: no canary can fly, the walls go unproven"
            );
        }
        Self {
            settings,
            slots,
            metrics,
            clock,
            kinds,
            proofs: Proofs::of(count),
            last_good: Arc::new(LastGood::of(count)),
            flown: 0,
        }
    }

    /// For whoever stamps results.
    #[must_use]
    pub fn last_good(&self) -> Arc<LastGood> {
        Arc::clone(&self.last_good)
    }

    /// Proves every slot, before the first job is taken.
    ///
    /// # Errors
    /// [`CanaryError`] when one got out, or none came back: then no job may be taken.
    pub async fn prove_all(&mut self) -> Result<(), CanaryError> {
        if self.kinds.is_empty() {
            return Ok(());
        }
        for _ in 0..MOST_MISSES {
            let count = self.proofs.due().len();
            let mut leases = Vec::with_capacity(count);
            for _ in 0..count {
                leases.push(self.slots.lease_any().await?);
            }
            let mut flights = JoinSet::new();
            for lease in leases {
                if !self.proofs.holds(lease.slot()) {
                    flights.spawn(self.flight().fly(lease));
                }
            }
            while let Some(flown) = flights.join_next().await {
                let Ok((slot, sang)) = flown else { continue };
                match self.book(slot, sang).await {
                    Next::Trust | Next::Again | Next::TakeOut => {}
                    Next::Stop(way) => return Err(CanaryError::Escaped(way)),
                }
            }
            if self.proofs.complete() {
                return Ok(());
            }
        }
        let proven = self
            .proofs
            .due()
            .into_iter()
            .any(|slot| self.proofs.holds(slot));
        if proven {
            Ok(())
        } else {
            Err(CanaryError::Unproven)
        }
    }

    /// Lets one fly again and again, until told to stop; tells `events` when one got out.
    pub async fn watch(mut self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        if self.kinds.is_empty() {
            return;
        }
        let every = self.every();
        loop {
            let pause = if self.proofs.doubt() {
                AGAIN.min(every)
            } else {
                every
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            let due = self.proofs.due();
            // A slot with a job in it comes next time: jobs do not wait for canaries.
            let Some(lease) = self.slots.try_lease_among(&due) else {
                continue;
            };
            let (slot, sang) = self.flight().fly(lease).await;
            if let Next::Stop(way) = self.book(slot, sang).await {
                tracing::error!(
                    way,
                    slot,
                    "a canary got out of its jail: no more jobs are taken"
                );
                if events.send(Event::Escaped).await.is_err() {
                    tracing::debug!("the worker's loop had ended");
                }
                return;
            }
        }
    }

    /// Each slot once in the interval.
    fn every(&self) -> Duration {
        let slots = u32::try_from(self.proofs.due().len()).unwrap_or(1).max(1);
        Duration::from_secs(u64::from(self.settings.worker.canary_interval_s)) / slots
    }

    /// The next canary; the kinds take turns.
    fn flight(&mut self) -> Flight {
        let kind = self.flown.checked_rem(self.kinds.len()).unwrap_or(0);
        self.flown = self.flown.wrapping_add(1);
        Flight {
            settings: Arc::clone(&self.settings),
            kind: self.kinds.get(kind).copied(),
        }
    }

    async fn book(&mut self, slot: u16, sang: Sang) -> Next {
        let now = self.clock.epoch_ms();
        CanaryFlew {
            slot,
            sang: &sang,
            now,
        }
        .emit(&self.metrics);
        if sang == Sang::Held {
            self.last_good.note(slot, now);
        }
        let next = self.proofs.note(slot, sang, self.clock.now());
        if next == Next::TakeOut {
            tracing::warn!(slot, "no canary comes back from this slot: it is replaced");
            if let Err(error) = self.slots.replace(slot).await {
                tracing::warn!(slot, %error, "the slot could not be replaced");
            }
        }
        next
    }
}

/// One canary on its way.
struct Flight {
    settings: Arc<WorkerSettings>,
    kind: Option<Kind>,
}

impl Flight {
    async fn fly(self, mut lease: Lease) -> (u16, Sang) {
        let slot = lease.slot();
        let sang = match self.order() {
            Ok(order) => {
                // Nobody ends a canary early: its own wall limit is short.
                let never = CancellationToken::new();
                match run::run(&mut lease, order, &never).await {
                    Ok(ran) => heard(&ran),
                    Err(error) => Sang::Silent(error.to_string()),
                }
            }
            Err(why) => Sang::Silent(why),
        };
        (slot, sang)
    }

    fn order(&self) -> Result<RunOrder, String> {
        let kind = self.kind.ok_or("there is none")?;
        let runtime = self.settings.runtimes.get(usize::from(kind.runtime));
        let runtime = runtime.ok_or("its runtime is gone")?;
        let mut limits = runtime.limits;
        if let Some(wall) = Millis::new(u64::try_from(WALL.as_millis()).unwrap_or(u64::MAX)) {
            limits.wall_ms = wall.min(runtime.ceiling.0.wall_ms);
        }
        let payload = Payload {
            main: Some(kind.attempts.as_bytes()),
            files: &[],
            argv: &[],
            env: &[],
        };
        let payload = payload::encode(&payload).map_err(|error| error.to_string())?;
        let sealed = |name, bytes: &[u8]| {
            sealed_memfd(name, bytes).map_err(|error| format!("it could not be sealed: {error}"))
        };
        Ok(RunOrder {
            runtime: kind.runtime,
            limits,
            payload: sealed("jailfleet-payload", &payload)?,
            stdin: sealed("jailfleet-stdin", b"")?,
            globals: None,
        })
    }
}

/// What a canary's run says. Its output is believed: the program is ours.
fn heard(ran: &RunEnded) -> Sang {
    understand(&ran.evidence, &ran.stdout.bytes)
}

fn understand(evidence: &Evidence, stdout: &[u8]) -> Sang {
    let text = String::from_utf8_lossy(stdout);
    let mut ways = text.lines().filter_map(|line| line.strip_prefix("BROKEN "));
    if let Some(way) = ways.next() {
        return Sang::Escaped(way.to_owned());
    }
    match (evidence.end, evidence.acted, text.as_ref()) {
        (End::Exited(0), None, "done\n") => Sang::Held,
        (end, acted, _) => Sang::Silent(format!("it ended with {end:?}, acted on: {acted:?}")),
    }
}

/// One kind for each language that a runtime speaks.
fn kinds(settings: &WorkerSettings, offer: &Offer) -> Vec<Kind> {
    let offered = settings.runtimes.iter().enumerate();
    let speaking = offered
        .filter(|(index, _)| offer.has(*index))
        .filter_map(|(index, runtime)| {
            Some(Kind {
                runtime: u16::try_from(index).ok()?,
                attempts: attempts_for(runtime)?,
            })
        });
    let mut kinds: Vec<Kind> = Vec::new();
    for kind in speaking {
        if kinds.iter().all(|other| other.attempts != kind.attempts) {
            kinds.push(kind);
        }
    }
    kinds
}

fn attempts_for(runtime: &Runtime) -> Option<&'static str> {
    let Program::Path(path) = &runtime.program else {
        return None;
    };
    let name = Path::new(path).file_name()?.to_str()?;
    match name {
        "bash" => Some(SHELL),
        _ if name.starts_with("python") => Some(PYTHON),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::evidence::Acted;

    fn ended(end: End) -> Evidence {
        Evidence {
            end,
            ..Evidence::LOST
        }
    }

    #[test]
    fn only_a_canary_that_made_every_attempt_in_vain_proves_anything() {
        let good = ended(End::Exited(0));
        assert_eq!(understand(&good, b"done\n"), Sang::Held);
        for (evidence, stdout) in [
            (&good, &b""[..]),
            (&good, b"done"),
            (&ended(End::Exited(1)), b"done\n"),
            (&ended(End::Signaled(9)), b""),
            (&Evidence::LOST, b""),
        ] {
            assert!(matches!(understand(evidence, stdout), Sang::Silent(_)));
        }
        let cut = Evidence {
            acted: Some(Acted::Output),
            ..good
        };
        assert!(matches!(understand(&cut, b"done\n"), Sang::Silent(_)));
    }

    #[test]
    fn a_canary_that_got_out_is_believed_however_it_ended() {
        for end in [End::Exited(0), End::Exited(1), End::Signaled(9), End::Lost] {
            let sang = understand(&ended(end), b"BROKEN lists the root\ndone\n");
            assert_eq!(sang, Sang::Escaped("lists the root".to_owned()));
        }
    }

    #[test]
    fn a_slot_without_a_good_canary_has_no_time_of_one() {
        let last = LastGood::of(2);
        assert_eq!(last.of_slot(1), None);
        last.note(1, EpochMs(7));
        assert_eq!((last.of_slot(1), last.of_slot(0)), (Some(EpochMs(7)), None));
        assert_eq!(last.of_slot(2), None);
    }
}
