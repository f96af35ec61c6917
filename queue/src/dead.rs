//! Dead letters: how they come in, and who gave them up.
//!
//! Producers can write any header into their messages, `x-death` and our own among them. What they
//! cannot choose is the key under which a message reaches the dead exchange: a queue's own argument
//! fixes it, or we do. So the key says who gave a message up, and which of its headers to believe.

use bytes::Bytes;
use jailfleet::job::{Lane, Name};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

use crate::counters::DoorCounters;
use crate::envelope::{Envelope, Source};
use crate::intake::{Epoch, IntakeOrder};
use crate::outbox::KeptBody;
use crate::ticket::{Disposition, Ticket};
use crate::topology::{Drift, Kept, NEWER_KEY, Names, UNROUTED_KEY, lane_key};

/// A message that somebody gave up, with the duty to settle it.
#[derive(Debug)]
pub struct DeadDelivery {
    /// Its body, not parsed; of a message of ours only the head.
    pub body: Bytes,
    /// Its envelope. `reply_to` is not vetted.
    pub envelope: Envelope,
    /// What it says of its end.
    pub death: Death,
    /// The duty to settle it.
    pub ticket: Ticket,
}

/// Which of its two queues the reaper took a message from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// `jailfleet.dead`.
    Dead,
    /// `jailfleet.jobs.unrouted`.
    Unrouted,
}

/// What a message says of its end. Only [`Death::autopsy`] knows what of it can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Where it was found.
    pub found: Found,
    /// The routing key that it came under.
    pub key: String,
    /// The entries of `x-death`, the newest first.
    pub records: Vec<DeathRecord>,
    /// Header `jailfleet-reason`.
    pub reason: Option<String>,
    /// Header `jailfleet-pool`.
    pub pool: Option<Name>,
    /// Header `jailfleet-lane`.
    pub lane: Option<Lane>,
    /// Header `jailfleet-handed-on`.
    pub handed_on: u32,
}

/// One entry of `x-death`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeathRecord {
    /// The queue that gave the message up.
    pub queue: String,
    /// Why: `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
    /// The key under which the message had reached that queue.
    pub key: Option<String>,
}

/// Who gave a message up, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The broker: it was delivered too often, and each time its worker was gone without a word.
    TooManyDeliveries(Source),
    /// The broker: its time to live was over before anybody took it.
    Expired,
    /// A consumer refused it for good.
    Refused,
    /// The broker: its queue was full.
    Overflow,
    /// Nobody upgraded a worker in time.
    NewerMinor,
    /// It waited a while for an upgraded worker, and shall be looked at again in this lane.
    HandedOn(Name, Lane),
    /// No pool queue took it, and it was not tried again yet.
    Stray,
    /// No pool queue took it, also not the second time.
    Unrouted,
    /// A worker of ours, for that reason.
    Worker(String),
    /// It does not say.
    Unknown,
}

/// A cause, with the queue that it happened in and the key that leads back to the job's lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autopsy {
    /// Who gave it up.
    pub cause: Cause,
    /// The queue that it was in.
    pub queue: String,
    /// The key of its lane, where that can be told.
    pub lane_key: Option<String>,
    /// How much of its body is there.
    pub kept: KeptBody,
}

impl Death {
    /// Finds out who gave the message up. Pure.
    #[must_use]
    pub fn autopsy(&self, names: &Names) -> Autopsy {
        let found = |cause, queue: String, lane_key: Option<String>| Autopsy {
            cause,
            queue,
            lane_key,
            kept: KeptBody::Whole,
        };
        if self.found == Found::Unrouted {
            // Whoever makes such an entry up only does himself out of the second try.
            let tried = self.records.first();
            let tried = tried.is_some_and(|record| record.queue == names.retry_unrouted());
            let cause = if tried { Cause::Unrouted } else { Cause::Stray };
            return found(cause, names.jobs_unrouted(), read_lane_key(&self.key));
        }
        let lane = self.lane.unwrap_or(Lane::Bulk);
        match self.key.split_once('.') {
            Some(("bad", key)) => {
                let reason = self.reason.clone().unwrap_or_default();
                Autopsy {
                    kept: KeptBody::Head,
                    ..found(Cause::Worker(reason), names.dead(), read_lane_key(key))
                }
            }
            Some(("jobs", key)) => {
                let queue = names.of(&self.key);
                let source = match key.rsplit_once('.').map(|(_, lane)| Lane::parse(lane)) {
                    Some(Ok(lane)) => Source::of(lane),
                    Some(Err(_)) | None => Source::Bulk,
                };
                found(self.broker_cause(&queue, source), queue, read_lane_key(key))
            }
            // Only workers write to these two queues: what they noted of the lane holds.
            Some(("suspect", pool)) => {
                let queue = names.of(&self.key);
                let lane_key = Name::parse(pool).ok().map(|pool| lane_key(&pool, lane));
                found(self.broker_cause(&queue, Source::Suspect), queue, lane_key)
            }
            None if self.key == NEWER_KEY => {
                let lane_key = self.pool.as_ref().map(|pool| lane_key(pool, lane));
                let cause = match &self.pool {
                    Some(pool) if self.handed_on > 0 => Cause::HandedOn(pool.clone(), lane),
                    // A worker from before the count handed it on: it has waited for a day.
                    Some(_) | None => Cause::NewerMinor,
                };
                found(cause, names.jobs_newer(), lane_key)
            }
            None if self.key == UNROUTED_KEY => {
                let queue = names.jobs_unrouted();
                let record = self.record_of(&queue);
                let key = record.and_then(|record| record.key.as_deref());
                found(Cause::Unrouted, queue, key.and_then(read_lane_key))
            }
            Some(_) | None => found(Cause::Unknown, names.dead(), None),
        }
    }

    /// The broker's word on why `queue` gave it up. The newest entry of that queue is the broker's
    /// own, whatever the producer wrote below it: each dead-lettering puts its entry first.
    fn broker_cause(&self, queue: &str, source: Source) -> Cause {
        match self.record_of(queue).map(|record| record.reason.as_str()) {
            Some("delivery_limit") => Cause::TooManyDeliveries(source),
            Some("expired") => Cause::Expired,
            Some("rejected") => Cause::Refused,
            Some("maxlen") => Cause::Overflow,
            Some(_) | None => Cause::Unknown,
        }
    }

    fn record_of(&self, queue: &str) -> Option<&DeathRecord> {
        self.records.iter().find(|record| record.queue == queue)
    }
}

/// The key, if it is that of a lane.
fn read_lane_key(key: &str) -> Option<String> {
    let (pool, lane) = key.rsplit_once('.')?;
    let (pool, lane) = (Name::parse(pool).ok()?, Lane::parse(lane).ok()?);
    Some(lane_key(&pool, lane))
}

/// How many messages wait in each kept queue, in the order of [`Kept::ALL`]; `None` before the
/// first look, and for a queue that cannot be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depths(pub(crate) [Option<u32>; Kept::ALL.len()]);

impl Depths {
    /// Each queue with its messages.
    pub fn iter(&self) -> impl Iterator<Item = (Kept, Option<u32>)> {
        Kept::ALL.into_iter().zip(self.0)
    }
}

/// What the reaping role sees from time to time, beside its letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// How full the kept queues are.
    pub depths: Depths,
    /// How the broker differed from the table at the last comparison of this session; `None` before
    /// its first, and without a session.
    pub drift: Option<Drift>,
}

/// Where dead letters come out.
#[derive(Debug)]
pub struct DeadIntake {
    pub(crate) letters: mpsc::Receiver<DeadDelivery>,
    pub(crate) orders: mpsc::Sender<IntakeOrder>,
    pub(crate) epoch: Epoch,
    pub(crate) counters: Arc<DoorCounters>,
    pub(crate) sight: watch::Receiver<Sight>,
}

impl DeadIntake {
    /// The next dead letter; `None` once the door is closed.
    ///
    /// # Cancel safety
    /// Cancel safe: a letter is taken out only when it is returned.
    pub async fn next(&mut self) -> Option<DeadDelivery> {
        loop {
            let letter = self.letters.recv().await?;
            // What waited here while its session ended is somebody else's by now.
            if letter.ticket.epoch() == self.epoch.current() {
                self.counters.dead_letters.add_one();
                return Some(letter);
            }
            letter.ticket.expire();
        }
    }

    /// What is seen beside the letters.
    #[must_use]
    pub fn sight(&self) -> watch::Receiver<Sight> {
        self.sight.clone()
    }

    /// Cancels the consumers and hands back what waits here: another worker's reaper goes on.
    pub async fn stop(mut self) {
        let (done, mut answer) = oneshot::channel();
        let mut asked = self.orders.send(IntakeOrder::Stop(done)).await.is_ok();
        while asked {
            tokio::select! {
                heard = &mut answer => {
                    if heard.is_err() {
                        tracing::debug!("the reaping role ended before it confirmed the stop");
                    }
                    asked = false;
                }
                letter = self.next() => match letter {
                    Some(letter) => give_back(letter).await,
                    None => asked = false,
                },
            }
        }
        self.letters.close();
        while let Some(letter) = self.next().await {
            give_back(letter).await;
        }
    }
}

async fn give_back(letter: DeadDelivery) {
    if let Err(error) = letter.ticket.settle(Disposition::Requeue).await {
        tracing::debug!(%error, "a waiting dead letter goes back by itself");
    }
}
