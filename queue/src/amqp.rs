//! The door in front of RabbitMQ: one supervised connection a role, on threads of their own.

mod ledger;
mod properties;
mod address;
mod barrier;
mod round;
mod depth;
mod consume;
mod publish;
mod reap;
mod control;
pub mod producer;
pub mod logbook;
pub mod shelf;
pub mod canceller;

use jailfleet::job::{Lane, Name};
use jailfleet::settings::{AmqpSection, LaneShares};
use lapin::message::Delivery as Received;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::cancels::CancelIntake;
use crate::connection::{Board, Dialer, Role};
use crate::counters::DoorCounters;
use crate::dead::DeadIntake;
use crate::doors::{DoorState, Doors, Nudge, Sessions};
use crate::envelope::{Delivery, Origin, Source};
use crate::intake::{Epoch, Intake};
use crate::outbox::Outbox;
use crate::ticket::Ticket;
use crate::topology::{Names, Topology};
use address::Post;
pub(crate) use consume::answer;
use consume::{ConsumeRole, Desk, Line};
use publish::PublishRole;
use reap::Look;

/// The most bytes that wait in an outbox.
const OUTBOX_BYTES: usize = 64 << 20;
/// The most messages that wait in an outbox.
const OUTBOX_ORDERS: usize = 1024;
/// What a quorum queue's consumer may have in hand at most.
const PREFETCH_MOST: u16 = 2000;

/// What a worker reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumePlan {
    /// The pool.
    pub pool: Name,
    /// How many slots each lane has; a lane without one is not read.
    pub slots: LaneShares,
}

/// Why a door could not be opened at all. An absent broker is no reason: connecting goes on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URI cannot be read.
    #[error("read the broker's URI {uri}: {reason}")]
    BadUri {
        /// The URI without its password.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The threads for AMQP could not be started.
    #[error("start the threads that serve AMQP")]
    Runtime(#[source] std::io::Error),
}

/// Opens the door: from now on its sessions connect, and connect again, until it is closed.
///
/// # Errors
/// When the URI cannot be read or the threads cannot be started; never for an absent broker.
pub fn open(amqp: &AmqpSection, plan: &ConsumePlan) -> Result<Doors, OpenError> {
    Ok(doors(Backroom::new(amqp)?, amqp, plan, None, None))
}

/// Opens the door as [`open`] does, with two more sessions: one takes dead letters, one hears
/// cancels.
///
/// # Errors
/// As [`open`].
pub fn open_and_reap(amqp: &AmqpSection, plan: &ConsumePlan) -> Result<Doors, OpenError> {
    let room = Backroom::new(amqp)?;
    let dead = reap::start(&room, amqp, plan);
    let cancels = control::start(&room, amqp);
    Ok(doors(room, amqp, plan, Some(dead), Some(cancels)))
}

/// The vhost that is served: the URI's, unless the section has another one.
///
/// # Errors
/// When the URI cannot be read.
pub fn vhost(amqp: &AmqpSection) -> Result<String, OpenError> {
    let uri: Result<lapin::uri::AMQPUri, String> = amqp.uri.expose().parse();
    uri.map(|uri| amqp.vhost.clone().unwrap_or(uri.vhost))
        .map_err(|reason| OpenError::BadUri {
            uri: amqp.uri.redacted(),
            reason,
        })
}

fn doors(
    room: Backroom,
    amqp: &AmqpSection,
    plan: &ConsumePlan,
    dead: Option<DeadIntake>,
    cancels: Option<CancelIntake>,
) -> Doors {
    let names = Names::new(&amqp.prefix);
    let topology = Topology::new(&names, std::slice::from_ref(&plan.pool));
    let reading = reading(amqp.prefetch_extra, plan);
    let mut lines = Vec::new();
    let mut ends = Vec::new();
    for (source, prefetch) in reading {
        let (out, end) = mpsc::channel(usize::from(prefetch) * 2);
        let opener = Opener::new(&room.dialer, &names, plan, source);
        let open = Box::new(move |received, ticket| opener.open(received, ticket));
        let queue = names.source(&plan.pool, source);
        lines.push(Line {
            queue,
            prefetch,
            out,
            open,
        });
        ends.push((source, end));
    }
    let epoch = Epoch::default();
    let orders = room.consume(Role::Consume, lines, topology.clone(), &epoch, None);
    let outbox = room.publish(amqp, topology);
    let intake = Intake::new(ends, orders, epoch, Arc::clone(&room.counters));
    let (state, counters) = (room.state.subscribe(), Arc::clone(&room.counters));
    Doors {
        intake,
        outbox,
        dead,
        cancels,
        state,
        counters,
        sessions: room.into_sessions(),
    }
}

/// Which queues are read, with their prefetch: as many as there are slots, and a few more so that
/// a slot does not wait for the network between two short jobs. Suspects come one at a time.
fn reading(extra: u16, plan: &ConsumePlan) -> Vec<(Source, u16)> {
    let prefetch = |slots: usize| {
        let slots = u16::try_from(slots).unwrap_or(PREFETCH_MOST);
        slots.saturating_add(extra).clamp(1, PREFETCH_MOST)
    };
    let lanes = [
        (Source::Interactive, plan.slots.interactive),
        (Source::Bulk, plan.slots.bulk),
    ];
    let mut reading = Vec::with_capacity(3);
    for (source, slots) in lanes {
        if slots > 0 {
            reading.push((source, prefetch(slots)));
        }
    }
    reading.push((Source::Suspect, 1));
    reading
}

/// Turns what the broker delivers into a delivery of ours.
struct Opener {
    tenant: Arc<str>,
    pool: Name,
    source: Source,
    internal: String,
}

impl Opener {
    fn new(dialer: &Dialer, names: &Names, plan: &ConsumePlan, source: Source) -> Self {
        let (tenant, pool) = (dialer.vhost(), plan.pool.clone());
        Self {
            tenant,
            pool,
            source,
            internal: names.internal(),
        }
    }

    fn open(&self, received: Received, ticket: Ticket) -> Delivery {
        // Producers cannot write to the internal exchange: only what came through it speaks for us.
        let trusted = received.exchange.as_str() == self.internal;
        let lane = match self.source {
            Source::Interactive => Lane::Interactive,
            Source::Bulk => Lane::Bulk,
            Source::Suspect => properties::lane_header(&received)
                .filter(|_| trusted || received.redelivered)
                .unwrap_or(Lane::Bulk),
        };
        let origin = Origin {
            tenant: Arc::clone(&self.tenant),
            pool: self.pool.clone(),
            lane,
            suspect: self.source == Source::Suspect,
        };
        let envelope = properties::envelope(&received, trusted);
        Delivery {
            body: received.data.into(),
            envelope,
            origin,
            ticket,
        }
    }
}

/// What every AMQP door has behind it.
struct Backroom {
    runtime: Runtime,
    dialer: Dialer,
    tasks: TaskTracker,
    closing: CancellationToken,
    state: watch::Sender<DoorState>,
    counters: Arc<DoorCounters>,
    nudge: Nudge,
    /// What the sessions' log lines stand under: that of whoever opened the door.
    span: tracing::Span,
}

impl Backroom {
    fn new(amqp: &AmqpSection) -> Result<Self, OpenError> {
        // Heartbeats run on this runtime: nothing that blocks may ever share its threads.
        let runtime = Builder::new_multi_thread()
            .worker_threads(amqp.threads.max(1))
            .thread_name("jailfleet-amqp")
            .enable_all()
            .build()
            .map_err(OpenError::Runtime)?;
        let dialer = match Dialer::new(amqp, runtime.handle()) {
            Ok(dialer) => dialer,
            Err(reason) => {
                runtime.shutdown_background();
                return Err(OpenError::BadUri {
                    uri: amqp.uri.redacted(),
                    reason,
                });
            }
        };
        Ok(Self {
            runtime,
            dialer,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            state: watch::Sender::new(DoorState::default()),
            counters: Arc::new(DoorCounters::default()),
            nudge: Nudge::default(),
            span: tracing::Span::current(),
        })
    }

    /// Starts a role on the threads that serve AMQP.
    fn start(&self, role: impl Future<Output = ()> + Send + 'static) {
        let role = role.instrument(self.span.clone());
        self.tasks.spawn_on(role, self.runtime.handle());
    }

    fn board(&self, role: Role) -> Board {
        Board {
            role,
            state: self.state.clone(),
            counters: Arc::clone(&self.counters),
        }
    }

    /// Starts a role that consumes.
    fn consume<T: Send + 'static>(
        &self,
        role: Role,
        lines: Vec<Line<T>>,
        topology: Topology,
        epoch: &Epoch,
        look: Option<Look>,
    ) -> mpsc::Sender<crate::intake::IntakeOrder> {
        // Twice what can be out at one time: tickets of the session before may still be held.
        let most: usize = lines
            .iter()
            .map(|line| usize::from(line.prefetch) * 2)
            .sum();
        let (places, settlements) = crate::ticket::places(most);
        let (orders, inbox) = mpsc::channel(1);
        let desk = Desk {
            settlements,
            orders: inbox,
            closing: self.closing.clone(),
            stopped: false,
            board: self.board(role),
        };
        let role = ConsumeRole {
            dialer: self.dialer.clone(),
            topology,
            lines,
            places,
            desk,
            epoch: epoch.clone(),
            look,
            nudge: self.nudge.clone(),
            board: self.board(role),
        };
        self.start(role.run());
        orders
    }

    /// Starts the publishing role.
    fn publish(&self, amqp: &AmqpSection, topology: Topology) -> Outbox {
        let (orders, inbox) = mpsc::channel(OUTBOX_ORDERS);
        let role = PublishRole {
            dialer: self.dialer.clone(),
            topology,
            post: Post {
                names: Names::new(&amqp.prefix),
                prefix: amqp.prefix.clone(),
                reply_mode: amqp.reply_mode,
            },
            confirm_within: amqp.confirm_timeout_ms.duration(),
            orders: inbox,
            backlog: VecDeque::new(),
            under_way: 0,
            closing: self.closing.clone(),
            nudge: self.nudge.clone(),
            board: self.board(Role::Publish),
        };
        self.start(role.run());
        Outbox::new(orders, OUTBOX_BYTES)
    }

    fn into_sessions(self) -> Sessions {
        Sessions {
            tasks: self.tasks,
            closing: self.closing,
            nudge: self.nudge,
            runtime: Some(self.runtime),
        }
    }
}

#[cfg(test)]
mod tests;
