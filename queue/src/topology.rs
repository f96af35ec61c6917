//! The broker's exchanges, queues and bindings, as one table.
//!
//! Arguments are only what correctness needs; operators tune the rest by policy. A queue that
//! exists is taken as it is; where its arguments are others, that is told.

mod cancels;
mod logbook;
mod names;
mod definitions;
mod rights;
mod declare;
mod verify;

pub(crate) use cancels::MARK_KEY;
pub(crate) use declare::{DeclareError, declare};
pub use definitions::arguments;
pub use logbook::LOGBOOK_DAYS;
pub use names::Names;
pub use rights::{Party, Rights};
pub(crate) use verify::Verifier;

use jailfleet::job::{Lane, Name};

use crate::envelope::Source;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const GIB: i64 = 1 << 30;

/// The most results that a reply queue holds; what is beyond goes to the lost queue.
const REPLY_LENGTH: i64 = 1_000_000;
/// The longest that a retried job is put aside; each message brings its own shorter time.
const RETRY_MS: i64 = 10 * 60_000;
/// How long a job that no queue took waits before it is tried once more: a pool may just be starting.
const UNROUTED_MS: i64 = 60_000;
/// The broker's backstop. Workers move a suspect out of the lane long before.
const LANE_DELIVERIES: u32 = 20;
const SUSPECT_DELIVERIES: u32 = 2;
/// More deliveries than will ever be. From RabbitMQ 4 on a queue without a limit has one of 20, and
/// before that one of -1 means none at all: the first message that goes back is dropped.
const NO_LIMIT: i64 = 1_000_000_000;

/// A queue that people must look at when it fills. All but the dead queue are bounded in bytes and in
/// messages; only the latter can be seen by a client of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Dead letters that no reaper has taken yet.
    Dead,
    /// Dead letters that the reaper has dealt with.
    DeadParked,
    /// Jobs of a newer minor version, put aside for a worker that was upgraded.
    JobsNewer,
    /// Jobs that no pool queue took.
    JobsUnrouted,
    /// Results without a reply queue.
    ResultsLost,
}

impl Kept {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Dead,
        Self::DeadParked,
        Self::JobsNewer,
        Self::JobsUnrouted,
        Self::ResultsLost,
    ];

    /// The queue's name after the prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::DeadParked => "dead.parked",
            Self::JobsNewer => "jobs.newer",
            Self::JobsUnrouted => "jobs.unrouted",
            Self::ResultsLost => "results.lost",
        }
    }

    /// The most messages that it holds, few enough that messages of 10 KiB reach it before the bound in
    /// bytes, which nobody sees. The dead queue holds any number, since nothing may be lost there; a reaper
    /// empties it within seconds, so that half of this is a reason to look.
    #[must_use]
    pub const fn bound(self) -> u32 {
        match self {
            Self::Dead => 2_000,
            Self::DeadParked | Self::JobsNewer | Self::JobsUnrouted | Self::ResultsLost => 100_000,
        }
    }
}

/// How often the broker delivers a job from a queue before it gives it up: a limit of N is N + 1
/// deliveries.
#[must_use]
pub const fn most_deliveries(source: Source) -> u32 {
    match source {
        Source::Interactive | Source::Bulk => LANE_DELIVERIES + 1,
        Source::Suspect => SUSPECT_DELIVERIES + 1,
    }
}

/// The routing key of a lane, on the jobs exchange.
#[must_use]
pub fn lane_key(pool: &Name, lane: Lane) -> String {
    format!("{pool}.{lane}")
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A word or a name.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

/// How long a reply queue is needed, and with that where the broker keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyLife {
    /// For a run that somebody goes on with, or a process that serves many: a quorum queue. While most of its
    /// nodes live, it takes results, and whoever reads it may come to any of them.
    Lasting,
    /// For one producer that waits and goes: a classic queue, on the node at which it was made. Cheap to make
    /// and to delete; each name of a quorum queue stays in the broker's memory until that is restarted.
    Passing,
}

/// The argument that names an exchange's alternate.
const ALTERNATE: &str = "alternate-exchange";

/// How the broker differs from the table, in objects: exchanges, queues and bindings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drift {
    /// Exist with other arguments or of another type; they are used as they are.
    pub differs: u32,
    /// Do not exist.
    pub missing: u32,
    /// Exist, and we lack the right to see more of them.
    pub unseen: u32,
}

/// How an exchange routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeType {
    /// By the whole key.
    Direct,
    /// To everybody.
    Fanout,
    /// By patterns.
    Topic,
}

/// One exchange, durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeType,
    /// Where it sends what it cannot route.
    pub alternate: Option<String>,
}

/// One queue, durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its arguments, `x-queue-type` among them.
    pub arguments: Vec<(&'static str, Argument)>,
}

/// One binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The queue.
    pub queue: String,
    /// The exchange.
    pub exchange: String,
    /// The key, or the pattern on a topic exchange.
    pub key: String,
}

/// Everything that a role needs on the broker, in the order of its making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Exchanges; an alternate exchange stands before its user.
    pub exchanges: Vec<Exchange>,
    /// Queues.
    pub queues: Vec<Queue>,
    /// Bindings.
    pub bindings: Vec<Binding>,
}

impl Topology {
    /// What everybody shares, and the queues of `pools`.
    #[must_use]
    pub fn new(names: &Names, pools: &[Name]) -> Self {
        let mut table = Self::default();
        table.shared(names);
        for pool in pools {
            table.pool(names, pool);
        }
        table
    }

    /// Adds the reply queue `name`, bound under its own name to the results exchange.
    #[must_use]
    pub fn with_reply_queue(mut self, names: &Names, name: &str, life: ReplyLife) -> Self {
        let mut arguments = match life {
            // A run that is stopped and goes on, again and again, hands results back each time.
            ReplyLife::Lasting => {
                let mut arguments = safe_dead_letters(&names.results_lost(), None);
                arguments.push(("x-delivery-limit", Argument::Number(NO_LIMIT)));
                arguments
            }
            ReplyLife::Passing => vec![
                ("x-queue-type", text("classic")),
                ("x-dead-letter-exchange", text(&names.results_lost())),
            ],
        };
        // Durable, and no `x-expires`: that would delete results unread.
        arguments.push(("x-message-ttl", Argument::Number(7 * DAY_MS)));
        arguments.push(("x-max-length", Argument::Number(REPLY_LENGTH)));
        self.queue(name, arguments);
        self.bind(name, &names.results(), name);
        self
    }

    fn shared(&mut self, names: &Names) {
        let (unrouted, lost) = (names.jobs_unrouted(), names.results_lost());
        self.exchange(&unrouted, ExchangeType::Fanout, None);
        self.exchange(&lost, ExchangeType::Fanout, None);
        self.exchange(&names.jobs(), ExchangeType::Direct, Some(&unrouted));
        self.exchange(&names.results(), ExchangeType::Direct, Some(&lost));
        self.exchange(&names.internal(), ExchangeType::Direct, None);
        self.exchange(&names.dead(), ExchangeType::Topic, None);
        for topic in ["cancel", "ops", "beat"] {
            self.exchange(&names.of(topic), ExchangeType::Topic, None);
        }

        // What nobody took out for a week is answered by the reaper, and no job is dropped unseen:
        // a full queue refuses, and the producer hears of it.
        let mut waiting = safe_dead_letters(&names.dead(), Some(UNROUTED_KEY));
        waiting.extend(bounds(Kept::JobsUnrouted, 7 * DAY_MS));
        self.queue(&unrouted, waiting);
        self.bind(&unrouted, &unrouted, "");
        // Fanout, so that a job keeps its own key there and comes back under it.
        let retry = names.retry_unrouted();
        self.exchange(&retry, ExchangeType::Fanout, None);
        let mut again = safe_dead_letters(&names.jobs(), None);
        again.push(("x-message-ttl", Argument::Number(UNROUTED_MS)));
        self.queue(&retry, again);
        self.bind(&retry, &retry, "");

        self.queue(&lost, kept_for(Kept::ResultsLost, 7 * DAY_MS));
        self.bind(&lost, &lost, "");

        // A day for somebody to upgrade a worker; then the reaper answers.
        let mut newer = safe_dead_letters(&names.dead(), Some(NEWER_KEY));
        newer.extend(bounds(Kept::JobsNewer, DAY_MS));
        self.queue(&names.jobs_newer(), newer);
        self.bind(&names.jobs_newer(), &names.internal(), NEWER_KEY);

        self.queue(
            &names.dead(),
            vec![
                ("x-queue-type", text("quorum")),
                ("x-delivery-limit", Argument::Number(NO_LIMIT)),
                ("x-single-active-consumer", Argument::Flag(true)),
            ],
        );
        for key in ["jobs.#", "suspect.#", "bad.#", NEWER_KEY, UNROUTED_KEY] {
            self.bind(&names.dead(), &names.dead(), key);
        }
        self.queue(
            &names.dead_parked(),
            kept_for(Kept::DeadParked, 14 * DAY_MS),
        );
        self.bind(&names.dead_parked(), &names.dead(), "parked.#");
    }

    fn pool(&mut self, names: &Names, pool: &Name) {
        for lane in Lane::ALL.iter().copied() {
            let (queue, key) = (names.lane(pool, lane), lane_key(pool, lane));
            let mut arguments = safe_dead_letters(&names.dead(), Some(&format!("jobs.{key}")));
            arguments.push((
                "x-delivery-limit",
                Argument::Number(i64::from(LANE_DELIVERIES)),
            ));
            self.queue(&queue, arguments);
            self.bind(&queue, &names.jobs(), &key);
            // A retried job comes back on the exchange that producers cannot write to: that is
            // how its fault count can be believed.
            self.bind(&queue, &names.internal(), &back_key(pool, lane));

            let mut arguments = safe_dead_letters(&names.internal(), Some(&back_key(pool, lane)));
            arguments.push(("x-message-ttl", Argument::Number(RETRY_MS)));
            self.queue(&names.retry(pool, lane), arguments);
            let (queue, key) = (names.retry(pool, lane), retry_key(pool, lane));
            self.bind(&queue, &names.internal(), &key);
        }
        let key = suspect_key(pool);
        let mut arguments = safe_dead_letters(&names.dead(), Some(&key));
        arguments.push((
            "x-delivery-limit",
            Argument::Number(i64::from(SUSPECT_DELIVERIES)),
        ));
        self.queue(&names.suspect(pool), arguments);
        self.bind(&names.suspect(pool), &names.internal(), &key);
    }

    fn exchange(&mut self, name: &str, kind: ExchangeType, alternate: Option<&str>) {
        let alternate = alternate.map(ToOwned::to_owned);
        self.exchanges.push(Exchange {
            name: name.to_owned(),
            kind,
            alternate,
        });
    }

    fn queue(&mut self, name: &str, arguments: Vec<(&'static str, Argument)>) {
        self.queues.push(Queue {
            name: name.to_owned(),
            arguments,
        });
    }

    fn bind(&mut self, queue: &str, exchange: &str, key: &str) {
        let (queue, exchange) = (queue.to_owned(), exchange.to_owned());
        self.bindings.push(Binding {
            queue,
            exchange,
            key: key.to_owned(),
        });
    }
}

/// The key of jobs of a newer minor version, and of those that waited for an upgrade in vain.
pub(crate) const NEWER_KEY: &str = "newer";
/// The key of dead letters out of the queue of jobs that no pool queue took.
pub(crate) const UNROUTED_KEY: &str = "unrouted";

/// The key under which a job is put aside before a retry.
pub(crate) fn retry_key(pool: &Name, lane: Lane) -> String {
    format!("retry.{pool}.{lane}")
}

/// The key under which it comes back, and under which a worker that stops sends a job anew.
pub(crate) fn back_key(pool: &Name, lane: Lane) -> String {
    format!("back.{pool}.{lane}")
}

/// The key of a pool's suspects.
pub(crate) fn suspect_key(pool: &Name) -> String {
    format!("suspect.{pool}")
}

fn text(text: &str) -> Argument {
    Argument::Text(text.to_owned())
}

fn bounds(kept: Kept, ms: i64) -> Vec<(&'static str, Argument)> {
    vec![
        ("x-message-ttl", Argument::Number(ms)),
        ("x-max-length-bytes", Argument::Number(GIB)),
        ("x-max-length", Argument::Number(i64::from(kept.bound()))),
    ]
}

/// A quorum queue that people look into: bounded in age and size, the oldest go first. Each look
/// gives its messages back, which some brokers count as a failed delivery: so there is no limit.
fn kept_for(kept: Kept, ms: i64) -> Vec<(&'static str, Argument)> {
    let mut arguments = vec![
        ("x-queue-type", text("quorum")),
        ("x-overflow", text("drop-head")),
        ("x-delivery-limit", Argument::Number(NO_LIMIT)),
    ];
    arguments.extend(bounds(kept, ms));
    arguments
}

/// A quorum queue whose dead letters survive a missing target: at-least-once needs the strategy,
/// the refusal of new messages when full, and the exchange, all three. Without `key` a dead letter
/// keeps its own.
fn safe_dead_letters(exchange: &str, key: Option<&str>) -> Vec<(&'static str, Argument)> {
    let mut arguments = vec![
        ("x-queue-type", text("quorum")),
        ("x-dead-letter-exchange", text(exchange)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    arguments.extend(key.map(|key| ("x-dead-letter-routing-key", text(key))));
    arguments
}

#[cfg(test)]
mod tests;
