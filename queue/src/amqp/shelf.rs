//! A shelf: one look at a queue that keeps things for people, over a connection of its own.
//!
//! What is looked at is taken out without an ack, and goes back when the shelf is closed or its
//! process dies. Only what is forgotten is gone.

use bytes::Bytes;
use jailfleet::job::{Lane, Name};
use jailfleet::reply;
use jailfleet::settings::AmqpSection;
use lapin::Channel;
use lapin::message::Delivery as Received;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use std::collections::BTreeSet;
use std::time::Duration;

use super::address::Post;
use super::barrier::{Fate, barrier, unless_blocked};
use super::properties;
use crate::connection::{Connected, Dialer, Role, SessionError, call, close};
use crate::envelope::{Envelope, JobMessage};
use crate::outbox::{KeptBody, Parcel};
use crate::topology::{Kept, Names};

/// The longest text that is read out of a header.
const WORDS_BYTES: usize = 1024;

/// Why a shelf cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The URI cannot be read.
    #[error("read the broker's URI {uri}: {reason}")]
    BadUri {
        /// The URI without its password.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker says no, or says nothing.
    #[error("look at {queue}: {reason}")]
    Broker {
        /// The queue.
        queue: String,
        /// What it said.
        reason: String,
    },
    /// A job could not be sent.
    #[error("send the job to {destination}: {reason}")]
    NotSent {
        /// Exchange and routing key.
        destination: String,
        /// Why.
        reason: &'static str,
    },
    /// The broker takes nothing now.
    #[error(
        "send a job: {reason}. It may go out by itself when that is over, and its dead letter stays all the \
         same: look whether it was answered before you send it again"
    )]
    Blocked {
        /// What the broker said.
        reason: String,
    },
    /// A job may not be sent as it is.
    #[error("send a job that names a reply queue it may not name: {0}")]
    BadReplyTo(String),
}

/// A message on the shelf.
#[derive(Debug)]
pub struct KeptMessage {
    tag: u64,
    /// Its body.
    pub body: Bytes,
    /// Its envelope.
    pub envelope: Envelope,
    /// Its routing key: of a lost result, the reply queue that it was for.
    pub key: String,
    /// Where a dead letter died.
    pub queue: Option<String>,
    /// Why it is here.
    pub reason: Option<String>,
    /// The pool and lane that a dead job came from.
    pub lane: Option<(Name, Lane)>,
    /// What the requester of a dead job was told.
    pub answered: Option<String>,
    /// The reply queue that was asked for and may not be named.
    pub asked_reply_to: Option<String>,
    /// How much of the body is there.
    pub kept: KeptBody,
    /// When it was parked, milliseconds since the epoch.
    pub parked_ms: Option<u64>,
}

/// One look.
#[derive(Debug)]
pub struct Shelf {
    connected: ConnectedQuietly,
    looking: Channel,
    dialer: Dialer,
    /// Made by the first job that is sent. A connection of its own: one that publishes may be blocked,
    /// and nothing could be put back over it then.
    sending: Option<(ConnectedQuietly, Channel)>,
    queue: String,
    post: Post,
    confirm_within: Duration,
    taken: BTreeSet<u64>,
}

/// A connection with its events, of which nobody here needs to know.
struct ConnectedQuietly(Connected);

impl std::fmt::Debug for ConnectedQuietly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").finish_non_exhaustive()
    }
}

impl Shelf {
    /// Connects, on the runtime that this is called on.
    ///
    /// # Errors
    /// When the broker cannot be reached, or has no such queue.
    pub async fn open(amqp: &AmqpSection, kept: Kept) -> Result<Self, ShelfError> {
        let runtime = tokio::runtime::Handle::current();
        let dialer = Dialer::new(amqp, &runtime).map_err(|reason| ShelfError::BadUri {
            uri: amqp.uri.redacted(),
            reason,
        })?;
        let names = Names::new(&amqp.prefix);
        let queue = names.kept(kept);
        let opening = async {
            let connected = dialer.connect(Role::Consume).await?;
            let connection = &connected.connection;
            let looking = call("open a channel", connection.create_channel()).await?;
            Ok((ConnectedQuietly(connected), looking))
        };
        let (connected, looking) = opening.await.map_err(about(&queue))?;
        let post = Post {
            names,
            prefix: amqp.prefix.clone(),
            reply_mode: amqp.reply_mode,
        };
        let shelf = Self {
            connected,
            looking,
            dialer,
            sending: None,
            queue,
            post,
            confirm_within: amqp.confirm_timeout_ms.duration(),
            taken: BTreeSet::new(),
        };
        // Whether the queue is there shall be known before anything is done.
        shelf.waiting().await?;
        Ok(shelf)
    }

    /// How many messages wait there, those left out that somebody looks at now.
    ///
    /// # Errors
    /// When the broker says no.
    pub async fn waiting(&self) -> Result<u32, ShelfError> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = self.queue.as_str().into();
        let found = self
            .looking
            .queue_declare(name, options, FieldTable::default());
        let found = call("find the queue", found).await;
        Ok(found.map_err(about(&self.queue))?.message_count())
    }

    /// The next message; `None` when there is no more.
    ///
    /// # Errors
    /// When the broker says no.
    pub async fn next(&mut self) -> Result<Option<KeptMessage>, ShelfError> {
        let got = self
            .looking
            .basic_get(self.queue.as_str().into(), BasicGetOptions::default());
        let got = call("take a message", got).await;
        let Some(message) = got.map_err(about(&self.queue))? else {
            return Ok(None);
        };
        self.taken.insert(message.delivery.delivery_tag);
        Ok(Some(read(message.delivery)))
    }

    /// Sends a job and returns once the broker has it. Nothing of its history goes along.
    ///
    /// # Errors
    /// When the broker does not take it, or it names a reply queue that it may not name.
    pub async fn send(&mut self, job: JobMessage) -> Result<(), ShelfError> {
        if let Some(name) = &job.reply_to {
            reply::vet(name, &self.post.prefix)
                .map_err(|rejection| ShelfError::BadReplyTo(rejection.message))?;
        }
        let body = job.body.clone();
        let bodies: [&[u8]; 1] = [&body];
        let addressed = self.post.address(&Parcel::Job(job), false);
        let destination = addressed.destination();
        let (connected, channel) = match self.sending.take() {
            Some(sending) => sending,
            None => sender(&self.dialer).await.map_err(about(&self.queue))?,
        };
        let (connected, channel) = self.sending.insert((connected, channel));
        let sending = barrier(
            channel,
            std::slice::from_ref(&addressed),
            &bodies,
            self.confirm_within,
        );
        let sent = unless_blocked(&mut connected.0.events, sending).await;
        let fates = match sent {
            Err(SessionError::Blocked(reason)) => return Err(ShelfError::Blocked { reason }),
            sent => sent.map_err(about(&self.queue))?,
        };
        let reason = match fates.first() {
            Some(Fate::Routed) => return Ok(()),
            Some(Fate::Returned) | None => "no queue takes it",
            Some(Fate::Refused) => "the queue is full; try again later",
        };
        Err(ShelfError::NotSent {
            destination,
            reason,
        })
    }

    /// Forgets a message for good.
    ///
    /// # Errors
    /// When the broker cannot be told: then it is there again.
    pub async fn forget(&mut self, message: KeptMessage) -> Result<(), ShelfError> {
        let options = BasicAckOptions { multiple: false };
        let ack = self.looking.basic_ack(message.tag, options);
        call("forget a message", ack)
            .await
            .map_err(about(&self.queue))?;
        self.taken.remove(&message.tag);
        Ok(())
    }

    /// Puts everything back that was not forgotten, in its order, and closes.
    ///
    /// # Errors
    /// When the broker cannot be told: then it puts them back by itself.
    pub async fn close(mut self) -> Result<(), ShelfError> {
        // What goes back stands behind what went back before. Only a full turn keeps the order.
        while !self.taken.is_empty() && self.next().await?.is_some() {}
        let putting_back = async {
            for tag in &self.taken {
                let options = BasicNackOptions {
                    multiple: false,
                    requeue: true,
                };
                call("put a message back", self.looking.basic_nack(*tag, options)).await?;
            }
            // What was said on this channel has arrived when its end is confirmed.
            call("close a channel", self.looking.close(200, "seen".into())).await
        };
        let done = putting_back.await;
        close(&self.connected.0.connection).await;
        if let Some((sender, _)) = &self.sending
            && !sender.0.connection.status().blocked()
        {
            close(&sender.0.connection).await;
        }
        done.map_err(about(&self.queue))
    }

    /// Lets go of everything at once, as the end of the process would: the broker puts back what
    /// was not forgotten.
    pub fn abandon(self) {
        drop(self);
    }
}

async fn sender(dialer: &Dialer) -> Result<(ConnectedQuietly, Channel), SessionError> {
    let connected = dialer.connect(Role::Publish).await?;
    let channel = call("open a channel", connected.connection.create_channel()).await?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    call("ask for confirms", confirms).await?;
    Ok((ConnectedQuietly(connected), channel))
}

fn about(queue: &str) -> impl FnOnce(SessionError) -> ShelfError {
    let queue = queue.to_owned();
    move |error| ShelfError::Broker {
        queue,
        reason: error.explained(),
    }
}

fn read(received: Received) -> KeptMessage {
    let headers = received.properties.headers().as_ref();
    let text = |key| properties::header_text(headers, key, WORDS_BYTES);
    let lane_key = text(properties::HEADER_LANE_KEY);
    let lane = lane_key.as_deref().and_then(|key| {
        let (pool, lane) = key.rsplit_once('.')?;
        Some((Name::parse(pool).ok()?, Lane::parse(lane).ok()?))
    });
    let head = headers.is_some_and(|table| table.inner().contains_key(properties::HEADER_HEAD));
    let parked = headers.and_then(|table| table.inner().get(properties::HEADER_PARKED_MS));
    KeptMessage {
        tag: received.delivery_tag,
        envelope: properties::envelope(&received, false),
        key: received.routing_key.to_string(),
        queue: text(properties::HEADER_QUEUE),
        reason: text(properties::HEADER_REASON).or_else(|| text(properties::HEADER_LOST_REASON)),
        lane,
        answered: text(properties::HEADER_ANSWERED),
        asked_reply_to: text(properties::HEADER_REPLY_TO),
        kept: if head {
            KeptBody::Head
        } else {
            KeptBody::Whole
        },
        parked_ms: parked.and_then(properties::as_number),
        body: received.data.into(),
    }
}
