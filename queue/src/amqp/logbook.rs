//! A gateway's door: jobs and notes out, and everything that the logbook holds in, the past first.
//!
//! The logbook is a stream that all gateways of an interface share. Nothing is taken out of it: a
//! session that breaks goes on behind what it has told last, and any message can be read again by
//! its number. A mark that a session writes behind everything tells when all of that was read.

use bytes::Bytes;
use jailfleet::job::Name;
use jailfleet::settings::AmqpSection;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

use super::producer::JobSender;
use super::{Backroom, OpenError};
use crate::connection::Role;
use crate::counters::DoorCounters;
use crate::doors::{DoorState, Sessions};
use crate::envelope::{JobMessage, ResultMessage};
use crate::outbox::{Note, OutboxError, Parcel};
use crate::topology::{Names, Topology};

mod session;

use session::LogbookRole;

/// News that wait in this process: a result may have megabytes.
const WAITING: usize = 16;
/// Questions that wait in this process.
const QUESTIONS: usize = 1024;

/// What the logbook tells, in its order.
#[derive(Debug)]
pub enum LogbookNews {
    /// Everything told before was of a stream that is gone: somebody has deleted it.
    Anew,
    /// A gateway wrote this.
    Note {
        /// The message's number, which grows along the stream.
        number: u64,
        /// What it wrote.
        body: Bytes,
    },
    /// Somebody answered a job.
    Result {
        /// The message's number.
        number: u64,
        /// The answer.
        message: ResultMessage,
    },
    /// Everything that was there before the session began has been told.
    CaughtUp,
    /// Everything that was there when these asked has been told: say so to them.
    Mark(Vec<oneshot::Sender<()>>),
}

/// Why a question was not answered: the session ended, or none is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read the logbook: there is no session with the broker, or it ended meanwhile")]
pub struct Unanswered;

/// What is asked of the session.
#[derive(Debug)]
enum Question {
    /// To be told when everything of now was told.
    Mark(oneshot::Sender<()>),
    /// The body of one message; `None` where it is kept no longer.
    Read(u64, oneshot::Sender<Option<Bytes>>),
}

/// The half that asks and writes: cheap to clone.
#[derive(Debug, Clone)]
pub struct LogbookDesk {
    sender: JobSender,
    questions: mpsc::Sender<Question>,
    logbook: Arc<str>,
}

/// A gateway's two connections, supervised like a worker's.
#[derive(Debug)]
pub struct LogbookDoor {
    desk: LogbookDesk,
    news: mpsc::Receiver<LogbookNews>,
    state: watch::Receiver<DoorState>,
    counters: Arc<DoorCounters>,
    sessions: Sessions,
}

impl LogbookDoor {
    /// Opens the door to the logbook `<prefix>.reply.<name>`, which is made where it is missing; the
    /// door connects, and connects again, by itself.
    ///
    /// # Errors
    /// When the URI cannot be read or the threads cannot be started; never for an absent broker.
    pub fn open(amqp: &AmqpSection, pools: &[Name], name: &str) -> Result<Self, OpenError> {
        let room = Backroom::new(amqp)?;
        let names = Names::new(&amqp.prefix);
        let topology = Topology::new(&names, pools);
        let logbook = names.logbook(name);
        let (out, news) = mpsc::channel(WAITING);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let role = LogbookRole {
            dialer: room.dialer.clone(),
            topology: topology.clone().with_logbook(&names, name),
            logbook: logbook.clone(),
            out,
            asked,
            last: None,
            closing: room.closing.clone(),
            nudge: room.nudge.clone(),
            board: room.board(Role::Consume),
        };
        room.tasks.spawn_on(role.run(), room.runtime.handle());
        // The logbook is the other role's to make: nothing is published before that is up.
        let outbox = room.publish(amqp, topology);
        Ok(Self {
            desk: LogbookDesk {
                sender: JobSender {
                    outbox,
                    prefix: amqp.prefix.as_str().into(),
                },
                questions,
                logbook: logbook.as_str().into(),
            },
            news,
            state: room.state.subscribe(),
            counters: Arc::clone(&room.counters),
            sessions: room.into_sessions(),
        })
    }

    /// The half that asks and writes.
    #[must_use]
    pub fn desk(&self) -> LogbookDesk {
        self.desk.clone()
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

    /// The next news; `None` once the door is closed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<LogbookNews> {
        self.news.recv().await
    }

    /// Publishes what waits and disconnects, within about `within`. The logbook stays.
    pub async fn close(self, within: Duration) {
        let Self {
            desk,
            mut news,
            mut sessions,
            ..
        } = self;
        drop(desk);
        news.close();
        sessions.end_tasks(within).await;
    }
}

impl LogbookDesk {
    /// The logbook's name, for `JobMessage::reply_to`.
    #[must_use]
    pub fn reply_to(&self) -> &str {
        &self.logbook
    }

    /// Publishes a job and returns once the broker has it.
    ///
    /// # Errors
    /// As [`JobSender::publish`].
    pub async fn publish(&self, job: JobMessage) -> Result<(), OutboxError> {
        self.sender.publish(job).await
    }

    /// Writes a note and returns once the broker keeps it. `id` tells it from others written at the
    /// same time. It may be there twice, when a connection breaks.
    ///
    /// # Errors
    /// As [`crate::Outbox::publish`].
    pub async fn note(&self, id: String, body: Bytes) -> Result<(), OutboxError> {
        let note = Note {
            exchange: self.logbook.to_string(),
            id,
            body,
        };
        self.sender.outbox.send(Parcel::Note(note)).await.map(drop)
    }

    /// Returns once everything was told, and taken in by whoever reads the news, that the logbook held
    /// when this was called.
    ///
    /// # Errors
    /// When there is no session, or it ends.
    pub async fn up_to_now(&self) -> Result<(), Unanswered> {
        let (done, told) = oneshot::channel();
        self.ask(Question::Mark(done)).await?;
        told.await.map_err(|_dropped| Unanswered)
    }

    /// The body of a message, by its number; `None` where it is kept no longer.
    ///
    /// # Errors
    /// When there is no session, or it ends.
    pub async fn read(&self, number: u64) -> Result<Option<Bytes>, Unanswered> {
        let (done, told) = oneshot::channel();
        self.ask(Question::Read(number, done)).await?;
        told.await.map_err(|_dropped| Unanswered)
    }

    async fn ask(&self, question: Question) -> Result<(), Unanswered> {
        let asked = self.questions.send(question).await;
        asked.map_err(|_closed| Unanswered)
    }
}
