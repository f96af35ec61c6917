//! The reaping role: a session of its own that takes dead letters, one at a time, and looks from
//! time to time at how full the queues are that keep things for people.

use jailfleet::job::{Lane, Name};
use jailfleet::settings::AmqpSection;
use lapin::Connection;
use lapin::message::Delivery as Received;
use lapin::types::{AMQPValue, FieldTable};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::consume::Line;
use super::{Backroom, ConsumePlan, properties};
use crate::clock;
use crate::connection::{Role, SessionError};
use crate::dead::{DeadDelivery, DeadIntake, Death, DeathRecord, Depths, Found, Sight};
use crate::doors::{DoorState, Link};
use crate::intake::Epoch;
use crate::ticket::Ticket;
use crate::topology::{Drift, Kept, NEWER_KEY, Names, Topology, Verifier};

/// Letters that wait in this process: one of each queue.
const WAITING: usize = 2;
/// One at a time: whatever else a dying reaper had in hand would count as failed too.
const PREFETCH: u16 = 1;
/// Entries of `x-death` that are read.
const RECORDS: usize = 16;
/// The longest name or reason that is read out of a header.
const WORDS_BYTES: usize = 1024;
/// The deadline of a comparison: two calls an object, of which there are about fifty.
const COMPARE: Duration = Duration::from_secs(120);
/// How long the first comparison of a session waits for the session that makes what cancels need.
const CONTROL: Duration = Duration::from_secs(5);
/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(60);

pub(super) fn start(room: &Backroom, amqp: &AmqpSection, plan: &ConsumePlan) -> DeadIntake {
    let names = Names::new(&amqp.prefix);
    let topology = Topology::new(&names, std::slice::from_ref(&plan.pool));
    let (out, letters) = mpsc::channel(WAITING);
    let line = |queue: String, found: Found| Line {
        queue,
        prefetch: PREFETCH,
        out: out.clone(),
        open: Box::new(move |received, ticket| open(received, ticket, found)),
    };
    let lines = vec![
        line(names.dead(), Found::Dead),
        line(names.jobs_unrouted(), Found::Unrouted),
    ];
    let (sight, seen) = watch::channel(Sight::default());
    let look = Look {
        queues: Kept::ALL.map(|kept| names.kept(kept)),
        due: clock::now(),
        control: room.state.subscribe(),
        topology: topology.clone().with_cancels(&names),
        verifier: Verifier::default(),
        compare_every: amqp.topology_check_ms.duration(),
        compare_due: clock::now(),
        sight,
    };
    let epoch = Epoch::default();
    let orders = room.consume(Role::Reap, lines, topology, &epoch, Some(look));
    DeadIntake {
        letters,
        orders,
        epoch,
        counters: Arc::clone(&room.counters),
        sight: seen,
    }
}

fn open(received: Received, ticket: Ticket, found: Found) -> DeadDelivery {
    let headers = received.properties.headers().as_ref();
    let text = |key| properties::header_text(headers, key, WORDS_BYTES);
    // Only workers write under this key, and what they noted of a job holds for the next ones.
    let ours = found == Found::Dead && received.routing_key.as_str() == NEWER_KEY;
    let mut envelope = properties::envelope(&received, ours);
    let death = Death {
        found,
        key: received.routing_key.to_string(),
        records: records(headers),
        reason: text(properties::HEADER_REASON),
        pool: text(properties::HEADER_POOL).and_then(|pool| Name::parse(&pool).ok()),
        lane: text(properties::HEADER_LANE).and_then(|lane| Lane::parse(&lane).ok()),
        handed_on: envelope.handed_on,
    };
    let asked = text(properties::HEADER_REPLY_TO);
    // A worker moves a reply queue that it may not name into a header; whoever vets it again
    // comes to the same end, and people see what was asked for.
    if envelope.reply_to.is_none() && death.key.starts_with("bad.") {
        envelope.reply_to = asked;
    }
    DeadDelivery {
        body: received.data.into(),
        envelope,
        death,
        ticket,
    }
}

fn records(headers: Option<&FieldTable>) -> Vec<DeathRecord> {
    let list = headers.and_then(|table| table.inner().get(properties::DEATHS)?.as_array());
    let entries = list.map(|list| list.as_slice()).unwrap_or_default();
    let tables = entries.iter().filter_map(AMQPValue::as_field_table);
    tables.take(RECORDS).filter_map(record).collect()
}

fn record(table: &FieldTable) -> Option<DeathRecord> {
    let text = |key| properties::header_text(Some(table), key, WORDS_BYTES);
    let keys = table
        .inner()
        .get("routing-keys")
        .and_then(AMQPValue::as_array);
    let key = keys.and_then(|keys| keys.as_slice().first()?.as_long_string());
    Some(DeathRecord {
        queue: text("queue")?,
        reason: text("reason")?,
        key: key.map(ToString::to_string),
    })
}

/// A look, from time to time, at the queues that keep things for people, and at whether the broker
/// is as the table says.
pub(super) struct Look {
    queues: [String; Kept::ALL.len()],
    due: Instant,
    control: watch::Receiver<DoorState>,
    /// With what cancels need, which another session makes.
    topology: Topology,
    verifier: Verifier,
    compare_every: Duration,
    compare_due: Instant,
    sight: watch::Sender<Sight>,
}

/// Waits until it is time for a look; for ever where there is none to take.
pub(super) async fn due(look: Option<&Look>) {
    match look {
        Some(look) => tokio::time::sleep_until(look.due.min(look.compare_due)).await,
        None => std::future::pending().await,
    }
}

/// Takes the look, where there is one to take.
pub(super) async fn look(
    look: &mut Option<Look>,
    connection: &Connection,
) -> Result<(), SessionError> {
    let Some(look) = look else { return Ok(()) };
    if look.compare_due <= clock::now() {
        look.compare(connection).await?;
    }
    if look.due <= clock::now() {
        look.take(connection).await?;
    }
    Ok(())
}

impl Look {
    /// Without a session nothing is seen: what was seen in the last one holds no longer.
    pub(super) fn blind(&mut self) {
        self.due = clock::now();
        self.sight.send_modify(|sight| *sight = Sight::default());
    }

    /// The first comparison of a session. The session that makes what cancels need comes up at the
    /// same time: it gets a moment, and what is missing even so is looked for again soon.
    pub(super) async fn begin(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let up = self.control.wait_for(|state| state.control != Link::Down);
        if timeout(CONTROL, up).await.is_err() {
            tracing::debug!("the topology is compared before the session for cancels is up");
        }
        let drift = self.compare(connection).await?;
        if drift.missing > 0 {
            self.compare_due = self.compare_due.min(clock::now() + LOOK_EVERY);
        }
        Ok(())
    }

    /// Compares the broker with the table.
    async fn compare(&mut self, connection: &Connection) -> Result<Drift, SessionError> {
        let comparing = self.verifier.verify(connection, &self.topology);
        let drift = match timeout(COMPARE, comparing).await {
            Ok(drift) => drift?,
            Err(_elapsed) => {
                return Err(SessionError::Deadline {
                    what: "compare the topology",
                    within: COMPARE,
                });
            }
        };
        self.compare_due = clock::now() + self.compare_every;
        self.sight.send_modify(|sight| sight.drift = Some(drift));
        Ok(drift)
    }

    /// Counts what waits. A queue that may not be seen costs its own channel and nothing else.
    async fn take(&mut self, connection: &Connection) -> Result<(), SessionError> {
        let mut depths = Depths::default();
        for (queue, depth) in self.queues.iter().zip(&mut depths.0) {
            *depth = super::depth::depth(connection, queue).await?;
        }
        self.due = clock::now() + LOOK_EVERY;
        self.sight.send_modify(|sight| sight.depths = depths);
        Ok(())
    }
}
