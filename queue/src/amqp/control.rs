//! The controlling role: a session of its own that hears cancels, those of the past first.
//!
//! Cancels are kept in a stream, which every worker reads from its beginning: nothing is taken away,
//! and a session that breaks just reads again. A mark that the session writes behind all cancels
//! of the past tells when these were read.

use futures_util::StreamExt;
use jailfleet::settings::AmqpSection;
use lapin::message::Delivery as Received;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Backroom, properties};
use crate::cancels::{CancelIntake, CancelNews};
use crate::clock;
use crate::connection::{Board, Connected, Dialer, Role, SessionError, call, close};
use crate::doors::{Link, Nudge};
use crate::topology::{MARK_KEY, Names, Topology, declare};

/// Cancels on their way to us. They are small, and taken at once; a stream is not read without a
/// bound.
const PREFETCH: u16 = 16;

/// Starts the role.
pub(super) fn start(room: &Backroom, amqp: &AmqpSection) -> CancelIntake {
    let names = Names::new(&amqp.prefix);
    let (out, intake) = CancelIntake::channel();
    let role = ControlRole {
        dialer: room.dialer.clone(),
        topology: Topology::of_cancels(&names),
        names,
        out,
        closing: room.closing.clone(),
        nudge: room.nudge.clone(),
        board: room.board(Role::Control),
    };
    room.start(role.run());
    intake
}

/// The owner of the session.
struct ControlRole {
    dialer: Dialer,
    topology: Topology,
    names: Names,
    out: mpsc::Sender<CancelNews>,
    closing: CancellationToken,
    nudge: Nudge,
    board: Board,
}

impl ControlRole {
    /// Runs sessions, one after the other, until the door closes.
    async fn run(self) {
        let mut backoff = self.dialer.backoff();
        while !self.closing.is_cancelled() {
            let started = clock::now();
            let Err(error) = self.session().await else {
                break;
            };
            let pause = backoff.after(clock::now() - started, clock::dice());
            let pause = self.board.down(&error, pause);
            tokio::select! {
                () = self.nudge.pause(pause) => {}
                () = self.closing.cancelled() => {}
            }
        }
        self.board.link(Link::Closed);
    }

    /// One session; `Ok` when the door closes.
    async fn session(&self) -> Result<(), SessionError> {
        let (connected, channel, mut cancels) = tokio::select! {
            ready = self.set_up() => ready?,
            () = self.closing.cancelled() => return Ok(()),
        };
        let Connected {
            connection,
            mut events,
        } = connected;
        self.board.up();
        let mark = format!("{}-{:x}", std::process::id(), clock::dice());
        self.write(&channel, &mark).await?;
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                event = events.next() => self.board.event(event)?,
                arrival = cancels.next() => {
                    let received = self.arrived(arrival)?;
                    if !self.hand_over(&received, &mark).await {
                        break;
                    }
                    let options = BasicAckOptions { multiple: false };
                    // False when the channel is over: why, the consumer says after what it still has.
                    if !call("ack", received.ack(options)).await? {
                        tracing::debug!("a cancel came over a channel that the broker has closed");
                    }
                }
            }
        }
        close(&connection).await;
        Ok(())
    }

    async fn set_up(&self) -> Result<(Connected, Channel, Consumer), SessionError> {
        let connected = self.dialer.connect(Role::Control).await?;
        declare(&connected.connection, &self.topology).await?;
        let channel = call("open a channel", connected.connection.create_channel()).await?;
        let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        call("set the prefetch", qos).await?;
        let mut from = FieldTable::default();
        let first = AMQPValue::LongString("first".into());
        from.insert("x-stream-offset".into(), first);
        let queue = self.names.cancels();
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue.as_str().into(), "".into(), options, from);
        let consumer = call("consume", consuming)
            .await
            .map_err(SessionError::consuming(&queue))?;
        Ok((connected, channel, consumer))
    }

    async fn write(&self, channel: &Channel, mark: &str) -> Result<(), SessionError> {
        let properties = properties::of_mark(mark);
        let exchange = self.names.internal();
        let options = BasicPublishOptions::default();
        let exchange = exchange.as_str().into();
        let publishing = channel.basic_publish(exchange, MARK_KEY.into(), options, b"", properties);
        call("write a mark", publishing).await.map(drop)
    }

    fn arrived(
        &self,
        arrival: Option<Result<Received, lapin::Error>>,
    ) -> Result<Received, SessionError> {
        match arrival {
            Some(Ok(received)) => Ok(received),
            // Also what the broker says of the mark, which goes over the same channel.
            Some(Err(source)) => Err(SessionError::Consume {
                queue: self.names.cancels(),
                source,
            }),
            None => Err(SessionError::ConsumerEnded {
                queue: self.names.cancels(),
            }),
        }
    }

    /// Tells the worker what came. False when nobody listens any more, or the door closes.
    async fn hand_over(&self, received: &Received, mark: &str) -> bool {
        let Some(news) = self.read(received, mark) else {
            return true;
        };
        tokio::select! {
            told = self.out.send(news) => told.is_ok(),
            () = self.closing.cancelled() => false,
        }
    }

    /// What a message says; `None` where it is nothing to us. Only what came through the exchange
    /// for cancels is one: the right to write there is the right to cancel.
    fn read(&self, received: &Received, mark: &str) -> Option<CancelNews> {
        let exchange = received.exchange.as_str();
        if exchange == self.names.internal() {
            let id = received.properties.message_id().as_ref();
            let ours = id.is_some_and(|id| id.as_str() == mark);
            return ours.then_some(CancelNews::CaughtUp);
        }
        if exchange != self.names.cancel() {
            return None;
        }
        self.board.counters.cancel_messages.add_one();
        Some(CancelNews::asked(&received.data))
    }
}
