//! The consuming role: one connection, a channel a queue, and the task that owns them.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use lapin::message::Delivery as Received;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ledger::{Frame, Ledger};
use super::reap::{self, Look};
use crate::clock;
use crate::connection::{Board, Connected, Dialer, Events, SessionError, call, close};
use crate::doors::{Link, Nudge};
use crate::intake::{Epoch, IntakeOrder};
use crate::ticket::{
    Disposition, Lease, Place, Places, SettleError, Settlement, Settlements, Ticket,
};
use crate::topology::{Topology, declare};

/// How many settlements are taken in before the acks for them go out.
const SETTLEMENTS: usize = 256;

/// How long nothing must have come before the consumers of a role that stops are cancelled.
const QUIET: Duration = Duration::from_millis(50);

/// A queue that is read, and what becomes of its messages.
pub(super) struct Line<T> {
    pub(super) queue: String,
    /// The only bound on what the broker pushes to us.
    pub(super) prefetch: u16,
    pub(super) out: mpsc::Sender<T>,
    pub(super) open: Box<dyn Fn(Received, Ticket) -> T + Send + Sync>,
}

/// The owner of everything that is consumed.
pub(super) struct ConsumeRole<T> {
    pub(super) dialer: Dialer,
    pub(super) topology: Topology,
    pub(super) lines: Vec<Line<T>>,
    pub(super) places: Places,
    pub(super) desk: Desk,
    pub(super) epoch: Epoch,
    /// A look at other queues from time to time, over the same connection.
    pub(super) look: Option<Look>,
    pub(super) nudge: Nudge,
    pub(super) board: Board,
}

/// What others ask of the role; heard also while there is no session.
pub(super) struct Desk {
    pub(super) settlements: Settlements,
    pub(super) orders: mpsc::Receiver<IntakeOrder>,
    pub(super) closing: CancellationToken,
    pub(super) stopped: bool,
    pub(super) board: Board,
}

impl Desk {
    /// Answers everybody until the door closes: without a session nothing can be settled.
    async fn refuse(&mut self) {
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                Some(settlement) = self.settlements.recv() => self.stale(settlement),
                Some(IntakeOrder::Stop(done)) = self.orders.recv() => {
                    self.stopped = true;
                    answer(done, ());
                }
            }
        }
    }

    /// Those of a batch that belong to this session, in order. The tag of any other means nothing here, or
    /// somebody else's message: whoever waits for one is told so.
    fn of_session(&self, batch: &mut Vec<Settlement>, epoch: u64) -> Vec<Settlement> {
        let mut own = Vec::with_capacity(batch.len());
        for settlement in batch.drain(..) {
            if settlement.lease.epoch == epoch {
                own.push(settlement);
            } else {
                self.stale(settlement);
            }
        }
        own
    }

    fn stale(&self, settlement: Settlement) {
        self.board.counters.stale_settlements.add_one();
        if let Some(done) = settlement.done {
            answer(done, Err(SettleError::SessionOver));
        }
    }
}

/// Answers somebody who may have stopped waiting: then there is nobody to tell.
pub(crate) fn answer<T>(done: tokio::sync::oneshot::Sender<T>, word: T) {
    if done.send(word).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}

impl<T: Send + 'static> ConsumeRole<T> {
    /// Runs sessions, one after the other, until the door closes.
    pub(super) async fn run(mut self) {
        let mut backoff = self.dialer.backoff();
        while !self.desk.closing.is_cancelled() {
            let started = clock::now();
            let ended = self.session().await;
            // Whatever waits in the intake belongs to nobody now: the broker has taken it back.
            self.epoch.advance();
            if let Some(look) = &mut self.look {
                look.blind();
            }
            let Err(error) = ended else { break };
            let pause = backoff.after(clock::now() - started, clock::dice());
            let pause = self.board.down(&error, pause);
            // A stopped intake needs no new session: nothing more will be consumed.
            let stopped = self.desk.stopped;
            tokio::select! {
                () = self.nudge.pause(pause), if !stopped => {}
                () = self.desk.refuse() => {}
            }
        }
        self.board.link(Link::Closed);
        self.desk.settlements.close();
        while let Some(settlement) = self.desk.settlements.try_recv() {
            self.desk.stale(settlement);
        }
    }

    /// One session; `Ok` when the door closes.
    async fn session(&mut self) -> Result<(), SessionError> {
        let epoch = self.epoch.advance();
        let (connected, channels, arrivals) = tokio::select! {
            ready = set_up(&self.dialer, &self.topology, &self.lines, self.look.as_mut(), &self.board) => ready?,
            () = self.desk.refuse() => return Ok(()),
        };
        let Connected { connection, events } = connected;
        self.board.up();
        let session = Session {
            epoch,
            channels,
            stopping: self.desk.stopped,
            cancelled: false,
            ended: 0,
        };
        let ended = self.serve(session, &connection, events, arrivals).await;
        if ended.is_err() {
            // Nobody begins with what waits here: it comes again. But not before the broker has let go of this
            // connection, which to it may look as good as ever.
            self.epoch.advance();
            close(&connection).await;
        }
        ended
    }

    async fn serve(
        &mut self,
        mut session: Session,
        connection: &Connection,
        mut events: Events,
        mut arrivals: Arrivals,
    ) -> Result<(), SessionError> {
        if session.stopping {
            session.cancel(&self.lines).await?;
        }
        let mut pulse = pin!(pulse(
            session.any_channel(&self.lines),
            self.dialer.heartbeat()
        ));
        let mut batch = Vec::with_capacity(SETTLEMENTS);
        let mut waiting: Option<(usize, Received)> = None;
        let mut stop: Option<oneshot::Sender<()>> = None;
        loop {
            tokio::select! {
                biased;
                () = self.desk.closing.cancelled() => {
                    return session.close(&mut self.desk, batch, connection).await;
                }
                event = events.next() => self.board.event(event)?,
                error = &mut pulse => return Err(error),
                Some(IntakeOrder::Stop(done)) = self.desk.orders.recv() => {
                    self.desk.stopped = true;
                    session.stopping = true;
                    // What is on its way here comes first.
                    stop = Some(done);
                }
                _ = self.desk.settlements.recv_many(&mut batch, SETTLEMENTS), if !session.is_filling() => {
                    session.settle(&mut batch, &self.desk).await?;
                }
                () = reap::due(self.look.as_ref()) => reap::look(&mut self.look, connection).await?,
                room = room(&self.lines, &self.places, waiting.as_ref()), if waiting.is_some() => {
                    let Some((line, received)) = waiting.take() else { continue };
                    match room {
                        Some((slot, place)) => {
                            let lease = session.hand_out(line, received.delivery_tag);
                            let counters = Arc::clone(&self.board.counters);
                            let ticket = Ticket::new(lease, place, counters);
                            if let Some(line) = self.lines.get(line) {
                                slot.send((line.open)(received, ticket));
                            }
                        }
                        None => session.give_back(line, received.delivery_tag).await?,
                    }
                }
                Some((line, arrival)) = arrivals.next(), if waiting.is_none() => {
                    let queue = self.lines.get(line).map_or("", |line| line.queue.as_str());
                    waiting = session.arrive(queue, arrival)?.map(|received| (line, received));
                }
                () = session.full_or_quiet(&self.lines), if session.is_filling() => {
                    session.cancel(&self.lines).await?;
                }
                () = std::future::ready(()), if stop.is_some() && session.is_dry() && waiting.is_none() => {
                    if let Some(done) = stop.take() {
                        answer(done, ());
                    }
                }
            }
        }
    }
}

/// Asks the broker for a word now and then, until none comes. A stream that has lost its place, by a length
/// that is wrong, still looks alive: heartbeats come, and are taken for a part of one long frame.
async fn pulse(channel: Option<(Channel, u16)>, every: Duration) -> SessionError {
    let Some((channel, prefetch)) = channel else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(every).await;
        // The prefetch that it has; and it would count only for consumers that come after it.
        let asked = channel.basic_qos(prefetch, BasicQosOptions::default());
        if let Err(error) = call("ask for a sign of life", asked).await {
            return error;
        }
    }
}

/// A delivery, or the end of its consumer, with the index of its line.
type Arrival = (usize, Option<Result<Received, lapin::Error>>);
type Arrivals = SelectAll<BoxStream<'static, Arrival>>;

/// Waits until a delivery can be handed out: room in its line, and a place for its settlement.
/// `None` when nobody reads the line any more.
async fn room<'a, T>(
    lines: &'a [Line<T>],
    places: &Places,
    waiting: Option<&(usize, Received)>,
) -> Option<(mpsc::Permit<'a, T>, Place)> {
    let (line, _) = waiting?;
    let slot = lines.get(*line)?.out.reserve().await.ok()?;
    Some((slot, places.reserve().await?))
}

async fn set_up<T>(
    dialer: &Dialer,
    topology: &Topology,
    lines: &[Line<T>],
    look: Option<&mut Look>,
    board: &Board,
) -> Result<(Connected, Vec<(Channel, Ledger)>, Arrivals), SessionError> {
    let connected = dialer.connect(board.role).await?;
    declare(&connected.connection, topology).await?;
    if let Some(look) = look {
        look.begin(&connected.connection).await?;
    }
    let mut channels = Vec::with_capacity(lines.len());
    let mut arrivals = SelectAll::new();
    for (place, line) in lines.iter().enumerate() {
        let channel = call("open a channel", connected.connection.create_channel()).await?;
        // The prefetch counts for consumers that come after it.
        let qos = channel.basic_qos(line.prefetch, BasicQosOptions::default());
        call("set the prefetch", qos).await?;
        let consuming = channel.basic_consume(
            line.queue.as_str().into(),
            TAG.into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = call("consume", consuming)
            .await
            .map_err(SessionError::consuming(&line.queue))?;
        let last = stream::once(std::future::ready((place, None)));
        let all = consumer
            .map(move |received| (place, Some(received)))
            .chain(last);
        arrivals.push(all.boxed());
        channels.push((channel, Ledger::default()));
    }
    Ok((connected, channels, arrivals))
}

/// Each consumer is the only one on its channel, so that all may have the same tag.
const TAG: &str = "jailfleet";

/// What belongs to one session and ends with it.
struct Session {
    epoch: u64,
    channels: Vec<(Channel, Ledger)>,
    stopping: bool,
    cancelled: bool,
    /// How many of its consumers have ended because we cancelled them.
    ended: usize,
}

impl Session {
    /// A channel with its prefetch.
    fn any_channel<T>(&self, lines: &[Line<T>]) -> Option<(Channel, u16)> {
        let (channel, _) = self.channels.first()?;
        Some((channel.clone(), lines.first()?.prefetch))
    }

    fn hand_out(&mut self, channel: usize, tag: u64) -> Lease {
        if let Some((_, ledger)) = self.channels.get_mut(channel) {
            ledger.handed_out(tag);
        }
        Lease {
            epoch: self.epoch,
            channel,
            tag,
        }
    }

    /// What came from a consumer; `None` for the end of one that we cancelled ourselves.
    fn arrive(
        &mut self,
        queue: &str,
        arrival: Option<Result<Received, lapin::Error>>,
    ) -> Result<Option<Received>, SessionError> {
        match arrival {
            Some(Ok(received)) => Ok(Some(received)),
            Some(Err(source)) => Err(SessionError::Consume {
                queue: queue.to_owned(),
                source,
            }),
            None if self.stopping => {
                self.ended += 1;
                Ok(None)
            }
            // Not an error for lapin, and no more deliveries ever: a worker that went on would
            // look alive and take no work.
            None => Err(SessionError::ConsumerEnded {
                queue: queue.to_owned(),
            }),
        }
    }

    /// Whether nothing more comes.
    fn is_dry(&self) -> bool {
        self.ended == self.channels.len()
    }

    /// Gives back what was never handed out.
    async fn give_back(&mut self, channel: usize, tag: u64) -> Result<(), SessionError> {
        let Some((channel, _)) = self.channels.get(channel) else {
            return Ok(());
        };
        send(channel, Frame::Requeue(tag)).await
    }

    /// Whether it stops and waits for what the broker still sends. What is on its way when a consumer is
    /// cancelled the broker takes back itself, and counts that as a delivery that failed. So nothing is
    /// settled meanwhile: then no more can come than was agreed.
    const fn is_filling(&self) -> bool {
        self.stopping && !self.cancelled
    }

    /// Waits until no more can come, or nothing has come for a while.
    async fn full_or_quiet<T>(&self, lines: &[Line<T>]) {
        let mut channels = self.channels.iter().zip(lines);
        let full = channels.all(|((_, ledger), line)| ledger.count_out() >= line.prefetch.into());
        if !full {
            sleep(QUIET).await;
        }
    }

    async fn cancel<T>(&mut self, lines: &[Line<T>]) -> Result<(), SessionError> {
        self.cancelled = true;
        for ((channel, _), line) in self.channels.iter().zip(lines) {
            let cancel = channel.basic_cancel(TAG.into(), BasicCancelOptions::default());
            call("cancel the consumer", cancel).await?;
            tracing::debug!(queue = line.queue, "stopped consuming");
        }
        Ok(())
    }

    /// Tells the broker the last settlements, and says goodbye.
    async fn close(
        &mut self,
        desk: &mut Desk,
        mut batch: Vec<Settlement>,
        connection: &Connection,
    ) -> Result<(), SessionError> {
        while let Some(settlement) = desk.settlements.try_recv() {
            batch.push(settlement);
        }
        self.settle(&mut batch, desk).await?;
        close(connection).await;
        Ok(())
    }

    /// Tells the broker what was settled, in as few frames as say it, and then whoever waits.
    async fn settle(
        &mut self,
        batch: &mut Vec<Settlement>,
        desk: &Desk,
    ) -> Result<(), SessionError> {
        let mut told = Vec::with_capacity(batch.len());
        for settlement in desk.of_session(batch, self.epoch) {
            self.take_in(&settlement, desk).await?;
            told.extend(settlement.done);
        }
        for (channel, ledger) in &mut self.channels {
            for frame in ledger.flush() {
                send(channel, frame).await?;
            }
        }
        for done in told {
            answer(done, Ok(()));
        }
        Ok(())
    }

    async fn take_in(&mut self, settlement: &Settlement, desk: &Desk) -> Result<(), SessionError> {
        let counters = &desk.board.counters;
        match settlement.disposition {
            Disposition::Ack => counters.acked.add_one(),
            Disposition::Requeue => counters.requeued.add_one(),
            Disposition::DeadLetter => counters.dead_lettered.add_one(),
        }
        let Lease { channel, tag, .. } = settlement.lease;
        let Some((channel, ledger)) = self.channels.get_mut(channel) else {
            return Ok(());
        };
        match ledger.settle(tag, settlement.disposition) {
            Some(frame) => send(channel, frame).await,
            None => Ok(()),
        }
    }
}

async fn send(channel: &Channel, frame: Frame) -> Result<(), SessionError> {
    match frame {
        Frame::AckThrough(tag) => {
            call(
                "ack",
                channel.basic_ack(tag, BasicAckOptions { multiple: true }),
            )
            .await
        }
        Frame::Ack(tag) => {
            call(
                "ack",
                channel.basic_ack(tag, BasicAckOptions { multiple: false }),
            )
            .await
        }
        Frame::Requeue(tag) => {
            let options = BasicNackOptions {
                multiple: false,
                requeue: true,
            };
            call("requeue", channel.basic_nack(tag, options)).await
        }
        Frame::DeadLetter(tag) => {
            let options = BasicRejectOptions { requeue: false };
            call("dead-letter", channel.basic_reject(tag, options)).await
        }
    }
}

#[cfg(test)]
mod lease_model;
