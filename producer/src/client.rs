//! A client of the broker: publishes jobs under secrets of its own, and reads what comes back.
//!
//! ```no_run
//! # async fn example(settings: jailfleet::settings::ProducerSettings, job: jailfleet::job::Job)
//! # -> Result<(), jailfleet_producer::client::ClientError> {
//! use jailfleet_producer::client::Client;
//! use std::time::Duration;
//!
//! let mut client = Client::connect(&settings, vec![job.pool.clone()]).await?;
//! let result = client.run(&job, Duration::from_secs(60)).await?;
//! println!("{}", result.outcome);
//! client.close().await;
//! # Ok(()) }
//! ```

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use jailfleet::job::{Job, Name};
use jailfleet::result::JobResult;
use jailfleet::settings::ProducerSettings;
use jailfleet::wire;
use jailfleet_program::Clock;
use jailfleet_queue::amqp::producer::{JobSender, ProducePlan, ProducerDoor, ReplyQueue};
use jailfleet_queue::topology::ReplyLife;
use jailfleet_queue::{DoorState, JobMessage, OutboxError};
use tokio::sync::watch;
use uuid::Uuid;

use crate::correlation::CorrelationId;
use crate::dedupe::{Claim, Ledger, PROVISIONAL_GRACE, Reception};

mod arrival;
mod error;

pub use arrival::{Arrival, Content, Unreadable};
pub use error::ClientError;
use error::why_none;

/// The sending half of a client: cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    sender: JobSender,
    reply_to: String,
    clock: Clock,
}

impl Publisher {
    /// Publishes a job and returns once the broker has it. Keep many of these going: they share
    /// batches. While the broker is away, this waits.
    ///
    /// # Errors
    /// [`OutboxError::Full`] when the queue is full; else the broker will not ever take this job.
    pub async fn publish(&self, job: &Job, correlation: CorrelationId) -> Result<(), OutboxError> {
        let message = JobMessage {
            body: Bytes::from(wire::encode_job(job)),
            message_id: job.id.as_str().to_owned(),
            correlation_id: Some(correlation.to_string()),
            reply_to: Some(self.reply_to.clone()),
            pool: job.pool.clone(),
            lane: job.lane,
            published_ms: Some(self.clock.epoch_ms().0),
            traceparent: None,
        };
        self.sender.publish(message).await
    }
}

/// How far one job is.
enum Far {
    /// The broker has not confirmed it.
    Publishing,
    /// The broker has it.
    Taken,
    /// Somebody said that its worker is lost; a better word may come.
    Lost(Box<Content>),
}

/// How long a goodbye may take where the broker does not listen.
const HURRY: Duration = Duration::from_secs(1);

/// A connection with a reply queue of its own.
#[derive(Debug)]
pub struct Client {
    door: ProducerDoor,
    clock: Clock,
    result_bytes: usize,
    confirm_timeout: Duration,
}

impl Client {
    /// Connects with a fresh reply queue for a short while, to publish to those pools. In a cluster the
    /// queue is on one node: a client that lives for long takes [`Client::connect_to_stay`].
    ///
    /// # Errors
    /// When the settings do not do, or the broker cannot be reached in time.
    pub async fn connect(
        settings: &ProducerSettings,
        pools: Vec<Name>,
    ) -> Result<Self, ClientError> {
        Self::open(settings, pools, &fresh_reply(), ReplyLife::Passing).await
    }

    /// Connects with a fresh reply queue that outlives any one node of a cluster.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_to_stay(
        settings: &ProducerSettings,
        pools: Vec<Name>,
    ) -> Result<Self, ClientError> {
        Self::open(settings, pools, &fresh_reply(), ReplyLife::Lasting).await
    }

    /// Connects with the reply queue `<prefix>.reply.<reply>`, which is made if it is not there,
    /// and still holds what came for an earlier run. It outlives any one node of a cluster.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_as(
        settings: &ProducerSettings,
        pools: Vec<Name>,
        reply: &str,
    ) -> Result<Self, ClientError> {
        Self::open(settings, pools, reply, ReplyLife::Lasting).await
    }

    async fn open(
        settings: &ProducerSettings,
        pools: Vec<Name>,
        reply: &str,
        life: ReplyLife,
    ) -> Result<Self, ClientError> {
        let plan = ProducePlan {
            reply: reply.to_owned(),
            life,
            pools,
            prefetch: settings.producer.prefetch,
        };
        let door = ProducerDoor::open(&settings.amqp, &plan)?;
        let within = settings.amqp.connect_timeout_ms.duration();
        if let Err(trouble) = door.ready(within).await {
            let uri = settings.amqp.uri.redacted();
            door.close(HURRY).await;
            return Err(ClientError::Unreachable {
                uri,
                within,
                trouble,
            });
        }
        Ok(Self::behind(door, settings))
    }

    /// A client behind a door, ready or not.
    pub(crate) fn behind(door: ProducerDoor, settings: &ProducerSettings) -> Self {
        Self {
            door,
            clock: Clock::start(),
            result_bytes: settings.producer.result_bytes,
            confirm_timeout: settings.amqp.confirm_timeout_ms.duration(),
        }
    }

    /// The sending half.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        let reply_to = self.door.reply_queue().to_owned();
        Publisher {
            sender: self.door.sender(),
            reply_to,
            clock: self.clock,
        }
    }

    /// The next result, whosever it is: [`Ledger::receive`] says whether it counts. `None` once
    /// the door is closed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Arrival> {
        let delivery = self.door.next_result().await?;
        Some(Arrival::read(delivery, self.result_bytes))
    }

    /// A result that is there already.
    pub fn next_at_once(&mut self) -> Option<Arrival> {
        self.next().now_or_never().flatten()
    }

    /// How the connections are, from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DoorState> {
        self.door.state()
    }

    /// What the connection is in want of, for people; `None` while it is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let state: DoorState = self.door.state().borrow().clone();
        if state.is_ready() {
            return None;
        }
        Some(state.trouble.unwrap_or_else(|| {
            format!(
                "publishing is {}, receiving {}",
                state.publish.as_str(),
                state.consume.as_str()
            )
        }))
    }

    /// Publishes one job and waits for its result.
    ///
    /// # Errors
    /// When the job cannot be published, or no result comes in time.
    ///
    /// # Cancel safety
    /// Not cancel safe: the job may run although nobody waits any longer.
    pub async fn run(&mut self, job: &Job, within: Duration) -> Result<JobResult, ClientError> {
        self.run_to_content(job, within)
            .await
            .map(|content| content.result)
    }

    /// As [`Client::run`], with the message beside the typed result.
    ///
    /// # Errors
    /// As [`Client::run`].
    ///
    /// # Cancel safety
    /// As [`Client::run`].
    pub async fn run_to_content(
        &mut self,
        job: &Job,
        within: Duration,
    ) -> Result<Content, ClientError> {
        // A word that a worker is lost waits for a better one, though no longer than the caller.
        let mut far = Far::Publishing;
        let answer = tokio::time::timeout(within, self.ask(job, &mut far)).await;
        let Err(_elapsed) = answer else {
            return answer.unwrap_or(Err(ClientError::Closed));
        };
        let job_id = job.id.as_str().to_owned();
        match far {
            Far::Lost(lost) => Ok(*lost),
            Far::Taken => Err(ClientError::NoResult {
                job_id,
                within,
                why: why_none(self.trouble()),
            }),
            Far::Publishing => Err(ClientError::NotTaken {
                job_id,
                within,
                trouble: self
                    .trouble()
                    .unwrap_or_else(|| "it did not confirm it".to_owned()),
            }),
        }
    }

    async fn ask(&mut self, job: &Job, far: &mut Far) -> Result<Content, ClientError> {
        let correlation = CorrelationId::random();
        let mut ledger = Ledger::new(PROVISIONAL_GRACE);
        ledger.expect(job.id.clone(), correlation);
        self.publisher()
            .publish(job, correlation)
            .await
            .map_err(|source| ClientError::Publish {
                job_id: job.id.as_str().to_owned(),
                source,
            })?;
        *far = Far::Taken;
        // Far away until somebody says that the worker is lost.
        let grace = tokio::time::sleep(Duration::MAX);
        tokio::pin!(grace);
        loop {
            let arrival = tokio::select! {
                arrival = self.door.next_result() => arrival.ok_or(ClientError::Closed)?,
                () = &mut grace => match std::mem::replace(far, Far::Taken) {
                    Far::Lost(lost) => return Ok(*lost),
                    Far::Publishing | Far::Taken => return Err(ClientError::Closed),
                },
            };
            let arrival = Arrival::read(arrival, self.result_bytes);
            let reception = match &arrival.content {
                Ok(content) => ledger.receive(
                    &Claim {
                        correlation: arrival.correlation,
                        job_id: content.result.job_id.as_ref(),
                        outcome: content.result.outcome,
                        digest: &content.digest,
                    },
                    self.clock.now(),
                ),
                Err(unreadable) => {
                    tracing::warn!(what = %unreadable.what, "a message that is no result");
                    Reception::Stranger
                }
            };
            let content = arrival.content.as_ref().ok().cloned();
            if let Err(error) = arrival.take().await {
                tracing::debug!(%error, "a result comes again");
            }
            match (reception, content) {
                (Reception::Accepted { .. } | Reception::Replaces { .. }, Some(content)) => {
                    return Ok(content);
                }
                (Reception::Held { .. }, content) => {
                    if let Some(content) = content {
                        *far = Far::Lost(Box::new(content));
                    }
                    grace.set(tokio::time::sleep(PROVISIONAL_GRACE));
                }
                (Reception::Stranger, _) => tracing::warn!("a message that answers no job of ours"),
                (
                    Reception::Accepted { .. }
                    | Reception::Replaces { .. }
                    | Reception::Duplicate { .. }
                    | Reception::Conflict { .. },
                    _,
                ) => {}
            }
        }
    }

    /// How long it is worth while to wait for confirms: not while the broker takes nothing.
    #[must_use]
    pub fn patience(&self) -> Duration {
        match self.trouble() {
            Some(_) => HURRY,
            None => self.confirm_timeout,
        }
    }

    /// Publishes what waits, if the broker takes it, and disconnects. The reply queue stays, and what
    /// comes into it: for the next [`Client::connect_as`] with the same name.
    pub async fn leave(self) {
        let within = self.patience();
        self.door.leave(within).await;
    }

    /// Publishes what waits, if the broker takes it, deletes the reply queue if it is empty, and
    /// disconnects.
    pub async fn close(self) -> ReplyQueue {
        let within = self.patience();
        self.door.close(within).await
    }
}

fn fresh_reply() -> String {
    format!("client-{}", Uuid::now_v7().simple())
}
