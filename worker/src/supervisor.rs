//! What the worker does next: a pure state machine, `step(now, event) -> effects`.
//!
//! The loop in `serve.rs` feeds it and performs what it answers. It reads no clock and owns no
//! task, so that every order of events can be tried with plain calls.

use std::time::Duration;

use jailfleet::job::Lane;
use jailfleet::settings::LaneShares;
use jailfleet_program::Moment;

use crate::tenancy::TenantIndex;

/// How long killed runs may take to come back before the worker leaves without them. Their
/// deliveries are requeued by the broker when the connection closes, so nothing is lost.
pub const KILL_GRACE: Duration = Duration::from_secs(10);

/// Where the worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The warden has not yet said that its slots are there.
    Starting,
    /// Taking jobs.
    Consuming,
    /// Taking none; running jobs may end by themselves until then.
    Draining {
        /// When patience ends.
        until: Moment,
    },
    /// Running jobs were told to end.
    Killing {
        /// When the worker leaves without them.
        until: Moment,
    },
    /// A canary got out: no job runs here any more, and whoever looks is told so.
    Breached,
    /// Nothing more will happen.
    Stopped(Ending),
}

/// Why the worker stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to, and every job that it had taken was settled.
    Clean,
    /// It was asked to, and had to hand back running jobs.
    HandedBack,
    /// The warden went away: its supervisor should start the worker again.
    WardenGone,
    /// A canary got out of its jail.
    Breached,
    /// A part of the worker without which it must take no jobs broke off.
    Broken,
}

/// A door's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoorLink {
    /// Not connected.
    Down,
    /// Connected, but the broker stopped reading from us.
    Blocked,
    /// Connected.
    Up,
}

/// Which of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Jobs come in.
    Consume,
    /// Results go out.
    Publish,
    /// Dead letters come in.
    Reap,
    /// Cancels come in.
    Control,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Consume, Self::Publish, Self::Reap, Self::Control];

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
            Self::Reap => "reap",
            Self::Control => "control",
        }
    }
}

/// How many slots there are of each kind, whether something runs in them or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotCounts {
    /// Jobs may have them: a canary came back from each as it stands.
    pub proven: u16,
    /// They stand, and no canary has come back from them yet: no job gets one.
    pub unproven: u16,
    /// The warden is rebuilding them.
    pub quarantined: u16,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The warden's handshake was accepted, and its slots were tried.
    WardenReady(SlotCounts),
    /// The warden's socket closed.
    WardenGone,
    /// Slots were taken out, rebuilt, proven or put in doubt.
    Slots(SlotCounts),
    /// A connection changed.
    Door {
        /// Whose.
        tenant: TenantIndex,
        /// Which.
        role: Role,
        /// What it is now.
        link: DoorLink,
    },
    /// A tenant's intake gave a job of this lane, and a task was started for it.
    JobTaken(TenantIndex, Lane),
    /// A job's task ended, its delivery settled.
    JobEnded(TenantIndex, Lane),
    /// A canary got out of its jail.
    Escaped,
    /// Nobody lets canaries fly any more: the task that did has broken off.
    CanariesEnded,
    /// An intake has nothing more to give.
    IntakeEnded,
    /// Somebody asked the worker to stop (SIGTERM, SIGINT); asked again, it stops at once.
    StopAsked,
    /// Time passed.
    Tick,
}

/// What the loop shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Cancel the consumers and hand back what is buffered.
    StopIntake,
    /// Requeue every job that has no slot yet.
    HandBackUnstarted,
    /// End every run (`Acted::Drain`) and requeue its job.
    KillRunning,
    /// Leave the loop.
    Leave(Ending),
}

/// How large the supervisor's world is.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long running jobs may take after the first request to stop.
    pub drain: Duration,
    /// How many tenants there are.
    pub tenants: usize,
    /// How many slots each lane may fill.
    pub shares: LaneShares,
    /// Jobs that a tenant's lane takes beyond that: decoded and waiting, or publishing their result.
    pub ahead: usize,
    /// What becomes of a worker whose canary got out.
    pub breached: AfterBreach,
}

/// What becomes of a worker whose canary got out of its jail. Either way no job runs in it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterBreach {
    /// It stays until it is told to stop, and tells everybody who asks.
    Stay,
    /// It ends.
    Leave,
}

/// The worker's state.
#[derive(Debug, Clone)]
pub struct Supervisor {
    bounds: Bounds,
    phase: Phase,
    slots: SlotCounts,
    tenants: Vec<Served>,
    ending: Ending,
}

/// What there is of one tenant. Its jobs in hand are counted apart from those of others: where its broker
/// takes no results, its jobs pile up here, and must not take the others' places.
#[derive(Debug, Clone, Copy)]
struct Served {
    in_flight: LaneShares,
    consume: DoorLink,
    publish: DoorLink,
}

impl Served {
    const NOT_YET: Self = Self {
        in_flight: LaneShares {
            interactive: 0,
            bulk: 0,
        },
        consume: DoorLink::Down,
        publish: DoorLink::Down,
    };

    const fn door(&mut self, role: Role, link: DoorLink) {
        match role {
            Role::Consume => self.consume = link,
            Role::Publish => self.publish = link,
            // No job waits for it, and another worker's reaper does the same work.
            Role::Reap => {}
            // Without it jobs run on, and what was cancelled meanwhile is heard later.
            Role::Control => {}
        }
    }
}

impl Supervisor {
    /// A worker whose warden is just starting.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            phase: Phase::Starting,
            slots: SlotCounts {
                proven: 0,
                unproven: 0,
                quarantined: 0,
            },
            tenants: vec![Served::NOT_YET; bounds.tenants],
            ending: Ending::Clean,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the loop should ask a tenant's intake for another job of `lane`. Not while nobody would take
    /// its result: that would only pile results up here, and hand jobs back that had their run.
    #[must_use]
    pub fn wants(&self, tenant: TenantIndex, lane: Lane) -> bool {
        let Some(served) = self.tenants.get(tenant.0) else {
            return false;
        };
        let share = of(&self.bounds.shares, lane).min(self.usable_slots());
        let in_flight = of(&served.in_flight, lane);
        let working = self.phase == Phase::Consuming && served.publish == DoorLink::Up;
        working && share > 0 && in_flight < share + self.bounds.ahead
    }

    /// The same of a suspect. Suspects share the bulk lane's room; where that lane has none, the other's, or
    /// this worker would hold one and never run it.
    #[must_use]
    pub fn wants_suspect(&self, tenant: TenantIndex) -> bool {
        match self.bounds.shares.bulk {
            0 => self.wants(tenant, Lane::Interactive),
            _ => self.wants(tenant, Lane::Bulk),
        }
    }

    /// Jobs taken and not yet settled.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let jobs = |served: &Served| served.in_flight.interactive + served.in_flight.bulk;
        self.tenants.iter().map(jobs).sum()
    }

    /// Why the worker is not ready for work of anybody; `None` when it is, or when only connections are
    /// missing ([`Supervisor::unserved`]).
    #[must_use]
    pub fn unready(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Starting => Some("the warden is starting"),
            Phase::Breached => Some("a canary escaped"),
            Phase::Draining { .. } => Some("draining"),
            Phase::Killing { .. } | Phase::Stopped(_) => Some("stopping"),
            Phase::Consuming if self.usable_slots() == 0 && self.slots.unproven > 0 => {
                Some("no proven slot")
            }
            Phase::Consuming if self.usable_slots() == 0 => Some("no usable slot"),
            Phase::Consuming => None,
        }
    }

    /// Why a tenant's jobs are not taken, or its results not given away; `None` when they are.
    #[must_use]
    pub fn unserved(&self, tenant: TenantIndex) -> Option<&'static str> {
        let served = self.tenants.get(tenant.0)?;
        match (served.consume, served.publish) {
            (DoorLink::Up, DoorLink::Up) => None,
            (DoorLink::Up, DoorLink::Blocked) => Some("the broker blocks publishing"),
            (DoorLink::Up, DoorLink::Down) => Some("not connected for publishing"),
            (DoorLink::Blocked | DoorLink::Down, _) => Some("not connected for consuming"),
        }
    }

    /// When the next [`Event::Tick`] matters.
    #[must_use]
    pub const fn wake_at(&self) -> Option<Moment> {
        match self.phase {
            Phase::Draining { until } | Phase::Killing { until } => Some(until),
            Phase::Starting | Phase::Consuming | Phase::Breached | Phase::Stopped(_) => None,
        }
    }

    /// Takes one event and says what follows from it.
    #[must_use]
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        if let Phase::Stopped(_) = self.phase {
            return Vec::new();
        }
        match event {
            Event::WardenReady(slots) => {
                self.slots = slots;
                if self.phase == Phase::Starting {
                    self.phase = Phase::Consuming;
                }
                Vec::new()
            }
            Event::Slots(slots) => {
                self.slots = slots;
                Vec::new()
            }
            Event::Door { tenant, role, link } => {
                if let Some(served) = self.tenants.get_mut(tenant.0) {
                    served.door(role, link);
                }
                Vec::new()
            }
            Event::JobTaken(tenant, lane) => {
                if let Some(served) = self.tenants.get_mut(tenant.0) {
                    *of_mut(&mut served.in_flight, lane) += 1;
                }
                Vec::new()
            }
            Event::JobEnded(tenant, lane) => {
                if let Some(served) = self.tenants.get_mut(tenant.0) {
                    let in_flight = of_mut(&mut served.in_flight, lane);
                    *in_flight = in_flight.saturating_sub(1);
                }
                self.leave_if_empty()
            }
            Event::Escaped => self.breach(now),
            Event::CanariesEnded => self.canaries_ended(now),
            Event::IntakeEnded => self.drain(now),
            Event::StopAsked => self.stop_asked(now),
            Event::WardenGone => self.warden_gone(now),
            Event::Tick => self.tick(now),
        }
    }

    fn usable_slots(&self) -> usize {
        usize::from(self.slots.proven)
    }

    fn stop_asked(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Starting | Phase::Consuming => self.drain(now),
            Phase::Draining { .. } => self.kill(now),
            // A third request: whoever asks has no patience left.
            Phase::Killing { .. } | Phase::Breached => self.leave(self.ending),
            Phase::Stopped(_) => Vec::new(),
        }
    }

    fn drain(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Starting | Phase::Consuming => {
                self.phase = Phase::Draining {
                    until: now + self.bounds.drain,
                };
                let mut effects = vec![Effect::StopIntake, Effect::HandBackUnstarted];
                effects.extend(self.leave_if_empty());
                effects
            }
            Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Breached
            | Phase::Stopped(_) => Vec::new(),
        }
    }

    /// Nothing that runs is trusted any more: it may be on its way out, too.
    fn breach(&mut self, now: Moment) -> Vec<Effect> {
        self.ending = Ending::Breached;
        match self.phase {
            Phase::Starting | Phase::Consuming => {
                self.phase = Phase::Breached;
                let mut effects = vec![
                    Effect::StopIntake,
                    Effect::HandBackUnstarted,
                    Effect::KillRunning,
                ];
                effects.extend(self.leave_if_empty());
                effects
            }
            // It was on its way out anyway.
            Phase::Draining { .. } => self.kill(now),
            Phase::Killing { .. } | Phase::Breached | Phase::Stopped(_) => Vec::new(),
        }
    }

    /// What runs was let in by a proof and may end; nothing proves the slots from now on, so nothing
    /// more is let in, and the worker's supervisor starts it anew.
    fn canaries_ended(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Starting | Phase::Consuming => {
                self.ending = Ending::Broken;
                self.drain(now)
            }
            Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Breached
            | Phase::Stopped(_) => Vec::new(),
        }
    }

    fn kill(&mut self, now: Moment) -> Vec<Effect> {
        if self.ending == Ending::Clean {
            self.ending = Ending::HandedBack;
        }
        self.phase = Phase::Killing {
            until: now + KILL_GRACE,
        };
        vec![Effect::KillRunning]
    }

    fn warden_gone(&mut self, now: Moment) -> Vec<Effect> {
        let mut effects = match self.phase {
            Phase::Starting | Phase::Consuming => {
                vec![Effect::StopIntake, Effect::HandBackUnstarted]
            }
            Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Breached
            | Phase::Stopped(_) => Vec::new(),
        };
        if self.ending != Ending::Breached {
            self.ending = Ending::WardenGone;
        }
        self.phase = Phase::Killing {
            until: now + KILL_GRACE,
        };
        effects.extend(self.leave_if_empty());
        effects
    }

    fn tick(&mut self, now: Moment) -> Vec<Effect> {
        match self.phase {
            Phase::Draining { until } if now >= until => self.kill(now),
            Phase::Killing { until } if now >= until => self.leave(self.ending),
            Phase::Starting
            | Phase::Consuming
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Breached
            | Phase::Stopped(_) => Vec::new(),
        }
    }

    fn leave_if_empty(&mut self) -> Vec<Effect> {
        match self.phase {
            Phase::Draining { .. } | Phase::Killing { .. } if self.in_flight() == 0 => {
                self.leave(self.ending)
            }
            Phase::Breached
                if self.in_flight() == 0 && self.bounds.breached == AfterBreach::Leave =>
            {
                self.leave(self.ending)
            }
            Phase::Starting
            | Phase::Consuming
            | Phase::Draining { .. }
            | Phase::Killing { .. }
            | Phase::Breached
            | Phase::Stopped(_) => Vec::new(),
        }
    }

    fn leave(&mut self, ending: Ending) -> Vec<Effect> {
        self.phase = Phase::Stopped(ending);
        vec![Effect::Leave(ending)]
    }
}

const fn of(shares: &LaneShares, lane: Lane) -> usize {
    match lane {
        Lane::Interactive => shares.interactive,
        Lane::Bulk => shares.bulk,
    }
}

const fn of_mut(shares: &mut LaneShares, lane: Lane) -> &mut usize {
    match lane {
        Lane::Interactive => &mut shares.interactive,
        Lane::Bulk => &mut shares.bulk,
    }
}

#[cfg(test)]
mod tests;
