//! A producer's door: jobs out, results in.

use jailfleet::job::Name;
use jailfleet::reply;
use jailfleet::settings::AmqpSection;
use lapin::Channel;
use lapin::options::{BasicGetOptions, QueueDeleteOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::consume::Line;
use super::{Backroom, OpenError, properties};
use crate::clock;
use crate::connection::{Connected, Dialer, GOODBYE, Role, SessionError, call, close, explained};
use crate::counters::DoorCounters;
use crate::doors::{DoorState, Link, Sessions};
use crate::envelope::{JobMessage, ResultDelivery};
use crate::intake::Epoch;
use crate::outbox::{Outbox, OutboxError, Parcel};
use crate::topology::{Names, ReplyLife, Topology};

/// What a producer reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePlan {
    /// Last part of the reply queue's name, `<prefix>.reply.<reply>`: a client's or batch's id.
    pub reply: String,
    /// How the reply queue is made, if it is not there.
    pub life: ReplyLife,
    /// The pools that it publishes to.
    pub pools: Vec<Name>,
    /// How many results may be handed over and not yet settled.
    pub prefetch: u16,
}

/// A producer's two connections, supervised like a worker's.
#[derive(Debug)]
pub struct ProducerDoor {
    reply_queue: String,
    life: ReplyLife,
    sender: JobSender,
    results: mpsc::Receiver<ResultDelivery>,
    epoch: Epoch,
    state: watch::Receiver<DoorState>,
    counters: Arc<DoorCounters>,
    dialer: Dialer,
    sessions: Sessions,
}

/// What became of the reply queue when a producer closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyQueue {
    /// It was empty, and is gone.
    Deleted,
    /// It holds results still, or the broker could not be asked: it stays for the next time.
    Kept,
}

/// The sending half: cheap to clone, so that many publishes can be under way.
#[derive(Debug, Clone)]
pub struct JobSender {
    pub(super) outbox: Outbox,
    pub(super) prefix: Arc<str>,
}

impl JobSender {
    /// Publishes a job and returns once the broker confirmed that it is in a queue. Keep many of
    /// these futures going: they share batches. While the broker is away, this waits.
    ///
    /// # Errors
    /// [`OutboxError::Full`] when the queue is full, [`OutboxError::Refused`] for a reply queue
    /// that no worker would answer to, and else as [`Outbox::publish`].
    pub async fn publish(&self, job: JobMessage) -> Result<(), OutboxError> {
        // The broker looks at this property itself, and may close the channel over it.
        if let Some(name) = &job.reply_to
            && let Err(rejection) = reply::vet(name, &self.prefix)
        {
            return Err(OutboxError::Refused {
                reason: rejection.message,
            });
        }
        self.outbox.send(Parcel::Job(job)).await.map(drop)
    }
}

impl ProducerDoor {
    /// Opens the door; it connects, and connects again, by itself.
    ///
    /// # Errors
    /// When the URI cannot be read or the threads cannot be started; never for an absent broker.
    pub fn open(amqp: &AmqpSection, plan: &ProducePlan) -> Result<Self, OpenError> {
        let room = Backroom::new(amqp)?;
        let names = Names::new(&amqp.prefix);
        let reply_queue = names.reply(&plan.reply);
        let jobs = Topology::new(&names, &plan.pools);
        let (out, results) = mpsc::channel(usize::from(plan.prefetch.max(1)) * 2);
        let line = Line {
            queue: reply_queue.clone(),
            prefetch: plan.prefetch.max(1),
            out,
            open: Box::new(|received, ticket| ResultDelivery {
                message: properties::result(received),
                ticket,
            }),
        };
        let epoch = Epoch::default();
        let replies = jobs
            .clone()
            .with_reply_queue(&names, &reply_queue, plan.life);
        // Nobody stops this intake apart from closing the whole door.
        drop(room.consume(Role::Consume, vec![line], replies, &epoch, None));
        let outbox = room.publish(amqp, jobs);
        Ok(Self {
            reply_queue,
            life: plan.life,
            sender: JobSender {
                outbox,
                prefix: amqp.prefix.as_str().into(),
            },
            results,
            epoch,
            state: room.state.subscribe(),
            counters: Arc::clone(&room.counters),
            dialer: room.dialer.clone(),
            sessions: room.into_sessions(),
        })
    }

    /// Waits until the reply queue exists and both connections are up.
    ///
    /// # Errors
    /// The last trouble, when `within` passes first.
    pub async fn ready(&self, within: Duration) -> Result<(), String> {
        let mut state = self.state.clone();
        match timeout(within, state.wait_for(DoorState::is_ready)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let trouble = self.state.borrow().trouble.clone();
                Err(trouble.unwrap_or_else(|| explained(&format!("no answer within {within:?}"))))
            }
        }
    }

    /// The name of the reply queue, for `JobMessage::reply_to`.
    #[must_use]
    pub fn reply_queue(&self) -> &str {
        &self.reply_queue
    }

    /// The sending half.
    #[must_use]
    pub fn sender(&self) -> JobSender {
        self.sender.clone()
    }

    /// The next result; settle its ticket once it is stored. `None` once the door is closed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next_result(&mut self) -> Option<ResultDelivery> {
        loop {
            let delivery = self.results.recv().await?;
            if delivery.ticket.epoch() == self.epoch.current() {
                self.counters.deliveries.add_one();
                return Some(delivery);
            }
            delivery.ticket.expire();
        }
    }

    /// How the connections are.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DoorState> {
        self.state.clone()
    }

    /// What the door counts.
    #[must_use]
    pub fn counters(&self) -> Arc<DoorCounters> {
        Arc::clone(&self.counters)
    }

    /// Closes within about `within` and leaves the reply queue where it is, for a producer that
    /// comes back for results of jobs that are under way.
    pub async fn leave(self, within: Duration) {
        let Self {
            sender,
            mut results,
            mut sessions,
            ..
        } = self;
        drop(sender);
        results.close();
        while let Ok(delivery) = results.try_recv() {
            // The session ends now, and the broker takes them back.
            delivery.ticket.expire();
        }
        sessions.end_tasks(within).await;
    }

    /// Closes within about `within`: publishes what waits, and deletes the reply queue if it is
    /// empty. Results not settled yet stay in it.
    pub async fn close(self, within: Duration) -> ReplyQueue {
        let Self {
            reply_queue,
            life,
            sender,
            mut results,
            mut sessions,
            dialer,
            state,
            ..
        } = self;
        drop(sender);
        let reachable = state.borrow().consume != Link::Down;
        results.close();
        while let Ok(delivery) = results.try_recv() {
            // The session ends now, and the broker takes them back.
            delivery.ticket.expire();
        }
        let started = clock::now();
        sessions.end_tasks(within).await;
        // A broker that takes no messages still deletes queues.
        let left = within.saturating_sub(clock::now() - started).max(GOODBYE);
        let gone = if reachable {
            timeout(left, delete(&dialer, &reply_queue, life)).await
        } else {
            return ReplyQueue::Kept;
        };
        match gone {
            Ok(Ok(gone)) => gone,
            Ok(Err(error)) => {
                tracing::info!(reply_queue, %error, "the reply queue stays");
                ReplyQueue::Kept
            }
            Err(_) => ReplyQueue::Kept,
        }
    }
}

async fn delete(dialer: &Dialer, queue: &str, life: ReplyLife) -> Result<ReplyQueue, SessionError> {
    let Connected { connection, events } = dialer.connect(Role::Consume).await?;
    let channel = call("open a channel", connection.create_channel()).await?;
    let deleted = delete_if_empty(&channel, queue, life).await;
    drop(events);
    close(&connection).await;
    deleted
}

async fn delete_if_empty(
    channel: &Channel,
    queue: &str,
    life: ReplyLife,
) -> Result<ReplyQueue, SessionError> {
    // RabbitMQ closes the connection of who asks it to delete a quorum queue if it is empty. So we look first,
    // by a message: what a quorum queue counts does not have in it yet what was only just given back. One that
    // comes in between is a second result of a job that has its first one.
    if life == ReplyLife::Lasting {
        let look = channel.basic_get(queue.into(), BasicGetOptions { no_ack: false });
        if call("look into the reply queue", look).await?.is_some() {
            tracing::info!(queue, "the reply queue stays: it holds results still");
            return Ok(ReplyQueue::Kept);
        }
    }
    let options = QueueDeleteOptions {
        if_empty: life == ReplyLife::Passing,
        ..QueueDeleteOptions::default()
    };
    let delete = channel.queue_delete(queue.into(), options);
    call("delete the reply queue", delete).await?;
    Ok(ReplyQueue::Deleted)
}
