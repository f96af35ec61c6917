//! The broker's exchanges, queues and bindings, as one table.
//!
//! Arguments are only what correctness needs; operators tune the rest by policy. A queue that
//! exists is taken as it is: its arguments are compared with nothing.

mod declare;

pub(crate) use declare::{DeclareError, declare};

use jailfleet::job::{Lane, Name};

use crate::envelope::Source;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const GIB: i64 = 1 << 30;

/// The most results that a reply queue holds; older ones move to the lost queue.
const REPLY_LENGTH: i64 = 1_000_000;
/// The longest that a retried job is put aside; each message brings its own shorter time.
const RETRY_MS: i64 = 10 * 60_000;
/// The broker's backstop. Workers move a suspect out of the lane long before.
const LANE_DELIVERIES: i64 = 20;
const SUSPECT_DELIVERIES: i64 = 2;

/// The names of everything under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// `<prefix>.<rest>`.
    #[must_use]
    pub fn of(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// The exchange that producers write to.
    #[must_use]
    pub fn jobs(&self) -> String {
        self.of("jobs")
    }

    /// The exchange for replies in mode `exchange`.
    #[must_use]
    pub fn results(&self) -> String {
        self.of("results")
    }

    /// The exchange and the queue that keep results without a home.
    #[must_use]
    pub fn results_lost(&self) -> String {
        self.of("results.lost")
    }

    /// The exchange and the queue for jobs that no pool queue took.
    #[must_use]
    pub fn jobs_unrouted(&self) -> String {
        self.of("jobs.unrouted")
    }

    /// The queue for jobs of a newer minor version.
    #[must_use]
    pub fn jobs_newer(&self) -> String {
        self.of("jobs.newer")
    }

    /// The exchange that only workers and the reaper write to.
    #[must_use]
    pub fn internal(&self) -> String {
        self.of("internal")
    }

    /// The exchange and the queue for what cannot be delivered any more.
    #[must_use]
    pub fn dead(&self) -> String {
        self.of("dead")
    }

    /// The queue where the reaper puts what people may look at.
    #[must_use]
    pub fn dead_parked(&self) -> String {
        self.of("dead.parked")
    }

    /// A client's or batch's reply queue.
    #[must_use]
    pub fn reply(&self, id: &str) -> String {
        self.of(&format!("reply.{id}"))
    }

    /// A lane's queue.
    #[must_use]
    pub fn lane(&self, pool: &Name, lane: Lane) -> String {
        self.of(&format!("jobs.{pool}.{lane}"))
    }

    /// The queue of a pool's suspects.
    #[must_use]
    pub fn suspect(&self, pool: &Name) -> String {
        self.of(&format!("suspect.{pool}"))
    }

    /// The queue where a lane's jobs wait before a retry.
    #[must_use]
    pub fn retry(&self, pool: &Name, lane: Lane) -> String {
        self.of(&format!("retry.{pool}.{lane}"))
    }

    /// The queue of a source.
    #[must_use]
    pub fn source(&self, pool: &Name, source: Source) -> String {
        match source {
            Source::Interactive => self.lane(pool, Lane::Interactive),
            Source::Bulk => self.lane(pool, Lane::Bulk),
            Source::Suspect => self.suspect(pool),
        }
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
    pub fn with_reply_queue(mut self, names: &Names, name: &str) -> Self {
        // Durable and classic, and no `x-expires`: that would delete results unread.
        self.queue(
            name,
            vec![
                ("x-queue-type", text("classic")),
                ("x-message-ttl", Argument::Number(7 * DAY_MS)),
                ("x-max-length", Argument::Number(REPLY_LENGTH)),
                ("x-dead-letter-exchange", text(&names.results_lost())),
            ],
        );
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

        self.queue(&unrouted, kept_for(7 * DAY_MS));
        self.bind(&unrouted, &unrouted, "");
        self.queue(&lost, kept_for(7 * DAY_MS));
        self.bind(&lost, &lost, "");

        // A day for somebody to upgrade a worker; then the reaper answers.
        let mut newer = safe_dead_letters(&names.dead(), "newer");
        newer.push(("x-message-ttl", Argument::Number(DAY_MS)));
        newer.push(("x-max-length-bytes", Argument::Number(GIB)));
        self.queue(&names.jobs_newer(), newer);
        self.bind(&names.jobs_newer(), &names.internal(), "newer");

        self.queue(
            &names.dead(),
            vec![
                ("x-queue-type", text("quorum")),
                ("x-delivery-limit", Argument::Number(-1)),
                ("x-single-active-consumer", Argument::Flag(true)),
            ],
        );
        for key in ["jobs.#", "suspect.#", "bad.#", "newer"] {
            self.bind(&names.dead(), &names.dead(), key);
        }
        self.queue(&names.dead_parked(), kept_for(14 * DAY_MS));
        self.bind(&names.dead_parked(), &names.dead(), "parked.#");
    }

    fn pool(&mut self, names: &Names, pool: &Name) {
        for lane in Lane::ALL.iter().copied() {
            let (queue, key) = (names.lane(pool, lane), lane_key(pool, lane));
            let mut arguments = safe_dead_letters(&names.dead(), &format!("jobs.{key}"));
            arguments.push(("x-delivery-limit", Argument::Number(LANE_DELIVERIES)));
            self.queue(&queue, arguments);
            self.bind(&queue, &names.jobs(), &key);
            // A retried job comes back on the exchange that producers cannot write to: that is
            // how its fault count can be believed.
            self.bind(&queue, &names.internal(), &back_key(pool, lane));

            let mut arguments = safe_dead_letters(&names.internal(), &back_key(pool, lane));
            arguments.push(("x-message-ttl", Argument::Number(RETRY_MS)));
            self.queue(&names.retry(pool, lane), arguments);
            let (queue, key) = (names.retry(pool, lane), retry_key(pool, lane));
            self.bind(&queue, &names.internal(), &key);
        }
        let key = suspect_key(pool);
        let mut arguments = safe_dead_letters(&names.dead(), &key);
        arguments.push(("x-delivery-limit", Argument::Number(SUSPECT_DELIVERIES)));
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

/// The key under which a job is put aside before a retry.
pub(crate) fn retry_key(pool: &Name, lane: Lane) -> String {
    format!("retry.{pool}.{lane}")
}

/// The key under which it comes back.
fn back_key(pool: &Name, lane: Lane) -> String {
    format!("back.{pool}.{lane}")
}

/// The key of a pool's suspects.
pub(crate) fn suspect_key(pool: &Name) -> String {
    format!("suspect.{pool}")
}

fn text(text: &str) -> Argument {
    Argument::Text(text.to_owned())
}

/// A quorum queue that people look into: bounded in age and size, the oldest go first.
fn kept_for(ms: i64) -> Vec<(&'static str, Argument)> {
    vec![
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", Argument::Number(ms)),
        ("x-max-length-bytes", Argument::Number(GIB)),
        ("x-overflow", text("drop-head")),
    ]
}

/// A quorum queue whose dead letters survive a missing target: at-least-once needs the strategy,
/// the refusal of new messages when full, and the exchange, all three.
fn safe_dead_letters(exchange: &str, key: &str) -> Vec<(&'static str, Argument)> {
    vec![
        ("x-queue-type", text("quorum")),
        ("x-dead-letter-exchange", text(exchange)),
        ("x-dead-letter-routing-key", text(key)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

#[cfg(test)]
mod tests;
