//! The session that reads the logbook and answers questions about it.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery as Received;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{LogbookNews, Question};
use crate::amqp::properties;
use crate::clock;
use crate::connection::{Board, CALL, Connected, Dialer, SessionError, call, close};
use crate::doors::{Link, Nudge};
use crate::topology::{Topology, declare};

/// Messages on their way to us.
const PREFETCH: u16 = 64;
/// Messages that are read again at one time.
const READS: usize = 8;
/// From one mark to the next: what it writes nobody ever reads but to wait for it.
const MARK_PAUSE: Duration = Duration::from_millis(250);

const OFFSET: &str = "x-stream-offset";

/// The owner of the session.
pub(super) struct LogbookRole {
    pub(super) dialer: Dialer,
    pub(super) topology: Topology,
    /// The name of the stream and of the exchange for notes.
    pub(super) logbook: String,
    pub(super) out: mpsc::Sender<LogbookNews>,
    pub(super) asked: mpsc::Receiver<Question>,
    /// The last message that was told.
    pub(super) last: Option<Place>,
    pub(super) closing: CancellationToken,
    pub(super) nudge: Nudge,
    pub(super) board: Board,
}

/// A message by its number, and by what it says: numbers alone tell no stream from another one that
/// was made in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    number: u64,
    print: u64,
}

impl Place {
    fn of(number: u64, received: &Received) -> Self {
        let mut print = DefaultHasher::new();
        received.exchange.as_str().hash(&mut print);
        let id = received.properties.message_id().as_ref();
        id.map(|id| id.as_str()).hash(&mut print);
        received.data.hash(&mut print);
        Self {
            number,
            print: print.finish(),
        }
    }

    const fn next(self) -> u64 {
        self.number.saturating_add(1)
    }
}

/// Marks of one session: which were written, and who waits for them.
struct Marks {
    prefix: String,
    written: u64,
    unwritten: Vec<oneshot::Sender<()>>,
    waiting: VecDeque<(u64, Vec<oneshot::Sender<()>>)>,
}

impl Marks {
    fn new() -> Self {
        Self {
            prefix: format!("{}-{:x}-", std::process::id(), clock::dice()),
            written: 0,
            unwritten: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// The next mark, for all who have asked by now.
    fn next(&mut self) -> String {
        self.written += 1;
        let asked = std::mem::take(&mut self.unwritten);
        self.waiting.push_back((self.written, asked));
        format!("{}{}", self.prefix, self.written)
    }

    /// Who waited for this mark, or for an earlier one; `None` if it is none of ours.
    fn came(&mut self, mark: &str) -> Option<Came> {
        let number: u64 = mark.strip_prefix(&self.prefix)?.parse().ok()?;
        let mut waited = Vec::new();
        while let Some((_, waiting)) = self.waiting.pop_front_if(|(of, _)| *of <= number) {
            waited.extend(waiting);
        }
        Some(Came {
            is_first: number == 1,
            waited,
        })
    }
}

struct Came {
    is_first: bool,
    waited: Vec<oneshot::Sender<()>>,
}

/// What became of a message.
enum Told {
    Yes,
    /// Nobody listens any more, or the door closes.
    Over,
}

impl LogbookRole {
    /// Runs sessions, one after the other, until the door closes.
    pub(super) async fn run(mut self) {
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
    async fn session(&mut self) -> Result<(), SessionError> {
        let closing = self.closing.clone();
        let (connected, channel, consumer) = tokio::select! {
            ready = self.set_up() => ready?,
            () = closing.cancelled() => return Ok(()),
        };
        let Connected {
            connection,
            mut events,
        } = connected;
        self.board.up();
        let board = self.board.clone();
        let ended = {
            let mut telling = pin!(self.tell(&connection, &channel, consumer));
            loop {
                tokio::select! {
                    event = events.next() => if let Err(error) = board.event(event) {
                        break Err(error);
                    },
                    ended = &mut telling => break ended,
                }
            }
        };
        close(&connection).await;
        ended
    }

    async fn set_up(&mut self) -> Result<(Connected, Channel, Consumer), SessionError> {
        let connected = self
            .dialer
            .connect(crate::connection::Role::Consume)
            .await?;
        declare(&connected.connection, &self.topology).await?;
        if let Some(last) = self.last
            && self.is_another(&connected.connection, last).await?
        {
            // Nobody may listen any more: the session ends at its first message then.
            if self.out.send(LogbookNews::Anew).await.is_err() {
                tracing::debug!("the logbook is another one, and nobody listens");
            }
            self.last = None;
        }
        let from = match self.last {
            None => AMQPValue::LongString("first".into()),
            Some(last) => number(last.next()),
        };
        let (channel, consumer) =
            consume(&connected.connection, &self.logbook, from, PREFETCH).await?;
        Ok((connected, channel, consumer))
    }

    /// Whether the stream is another one than that in which `last` was read: somebody deleted it, and
    /// one of us made it anew. Nothing else tells: whoever goes on at a number that a stream does not
    /// have yet hears nothing before it has grown so far, and everything behind it then.
    async fn is_another(&self, connection: &Connection, last: Place) -> Result<bool, SessionError> {
        let behind = self.end(connection).await?;
        if behind <= last.number {
            return Ok(true);
        }
        let found = read_in_time(connection, &self.logbook, last.number).await?;
        let found = found.ok_or(SessionError::Deadline {
            what: "read a message of the logbook again",
            within: CALL,
        })?;
        // What was thrown away meanwhile is no reason to think so.
        let is_there = number_of(&found) == Some(last.number);
        Ok(is_there && Place::of(last.number, &found) != last)
    }

    /// The number of a mark that is written now.
    async fn end(&self, connection: &Connection) -> Result<u64, SessionError> {
        let next = AMQPValue::LongString("next".into());
        let (channel, mut consumer) = consume(connection, &self.logbook, next, PREFETCH).await?;
        let mut marks = Marks::new();
        self.write(&channel, &marks.next()).await?;
        let reading = async {
            loop {
                let received = self.arrived(consumer.next().await)?;
                let mark = received.properties.message_id().as_ref();
                let is_ours = mark.is_some_and(|mark| marks.came(mark.as_str()).is_some());
                if let Some(number) = number_of(&received).filter(|_| is_ours) {
                    return Ok(number);
                }
                let options = BasicAckOptions { multiple: false };
                call("ack", received.acker.ack(options)).await?;
            }
        };
        let late = SessionError::Deadline {
            what: "read a mark in the logbook",
            within: CALL,
        };
        let number = timeout(CALL, reading).await.unwrap_or(Err(late))?;
        call("close a channel", channel.close(200, "read".into())).await?;
        Ok(number)
    }

    /// Tells what comes, and answers what is asked, until the door closes.
    async fn tell(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        mut consumer: Consumer,
    ) -> Result<(), SessionError> {
        let logbook = self.logbook.clone();
        let mut marks = Marks::new();
        let mut reads = FuturesUnordered::new();
        let closing = self.closing.clone();
        let mut pause = pin!(sleep(MARK_PAUSE));
        self.write(channel, &marks.next()).await?;
        loop {
            tokio::select! {
                () = closing.cancelled() => return Ok(()),
                arrival = consumer.next() => {
                    let received = self.arrived(arrival)?;
                    let acker = received.acker.clone();
                    match self.hand_over(received, &mut marks).await {
                        Told::Yes => {}
                        Told::Over => return Ok(()),
                    }
                    let options = BasicAckOptions { multiple: false };
                    // False when the channel is over: why, the consumer says.
                    if !call("ack", acker.ack(options)).await? {
                        tracing::debug!("a message came over a channel that the broker has closed");
                    }
                }
                question = self.asked.recv(), if reads.len() < READS => match question {
                    Some(Question::Mark(done)) => marks.unwritten.push(done),
                    Some(Question::Read(number, done)) => {
                        reads.push(read(connection, &logbook, number, done));
                    }
                    None => return Ok(()),
                },
                () = &mut pause, if !marks.unwritten.is_empty() => {
                    pause.set(sleep(MARK_PAUSE));
                    self.write(channel, &marks.next()).await?;
                }
                Some(()) = reads.next(), if !reads.is_empty() => {}
            }
        }
    }

    async fn write(&self, channel: &Channel, mark: &str) -> Result<(), SessionError> {
        let options = BasicPublishOptions::default();
        let exchange = self.logbook.as_str().into();
        let mark = properties::of_mark(mark);
        let publishing = channel.basic_publish(exchange, "".into(), options, b"", mark);
        call("write a mark", publishing).await.map(drop)
    }

    fn arrived(
        &self,
        arrival: Option<Result<Received, lapin::Error>>,
    ) -> Result<Received, SessionError> {
        let queue = self.logbook.clone();
        match arrival {
            Some(Ok(received)) => Ok(received),
            // Also what the broker says of a mark, which goes over the same channel.
            Some(Err(source)) => Err(SessionError::Consume { queue, source }),
            None => Err(SessionError::ConsumerEnded { queue }),
        }
    }

    /// Tells what came.
    async fn hand_over(&mut self, received: Received, marks: &mut Marks) -> Told {
        let Some(number) = number_of(&received) else {
            tracing::warn!(
                queue = self.logbook,
                "a message without a number: is it a stream"
            );
            return Told::Yes;
        };
        let place = Place::of(number, &received);
        let news = self.news_of(received, number, marks);
        for news in news.into_iter().flatten() {
            let told = tokio::select! {
                told = self.out.send(news) => told.is_ok(),
                () = self.closing.cancelled() => false,
            };
            if !told {
                return Told::Over;
            }
        }
        self.last = Some(place);
        Told::Yes
    }

    /// What a message says. Only what came through the logbook's exchange is of a gateway.
    fn news_of(
        &self,
        received: Received,
        number: u64,
        marks: &mut Marks,
    ) -> [Option<LogbookNews>; 2] {
        if received.exchange.as_str() != self.logbook {
            let message = properties::result(received);
            self.board.counters.deliveries.add_one();
            return [Some(LogbookNews::Result { number, message }), None];
        }
        if !received.data.is_empty() {
            let body = Bytes::from(received.data);
            return [Some(LogbookNews::Note { number, body }), None];
        }
        let mark = received.properties.message_id().as_ref();
        let Some(came) = mark.and_then(|mark| marks.came(mark.as_str())) else {
            return [None, None];
        };
        let caught_up = came.is_first.then_some(LogbookNews::CaughtUp);
        let waited = (!came.waited.is_empty()).then_some(LogbookNews::Mark(came.waited));
        [caught_up, waited]
    }
}

async fn consume(
    connection: &Connection,
    queue: &str,
    from: AMQPValue,
    prefetch: u16,
) -> Result<(Channel, Consumer), SessionError> {
    let channel = call("open a channel", connection.create_channel()).await?;
    let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
    call("set the prefetch", qos).await?;
    let mut arguments = FieldTable::default();
    arguments.insert(OFFSET.into(), from);
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(queue.into(), "".into(), options, arguments);
    let consumer = call("consume", consuming).await;
    let consumer = consumer.map_err(SessionError::consuming(queue))?;
    Ok((channel, consumer))
}

/// Reads one message again and says what it holds. Trouble is the asker's to notice: it is told
/// nothing then.
async fn read(connection: &Connection, queue: &str, of: u64, done: oneshot::Sender<Option<Bytes>>) {
    match read_in_time(connection, queue, of).await {
        Ok(Some(received)) => {
            // Where the stream begins later, its first message comes.
            let found = number_of(&received) == Some(of);
            let body = found.then(|| Bytes::from(received.data));
            if done.send(body).is_err() {
                tracing::debug!("nobody waits for it any longer");
            }
        }
        Ok(None) => tracing::warn!(queue, number = of, "a message was not read again in time"),
        Err(error) => {
            tracing::warn!(queue, number = of, %error, "a message could not be read again")
        }
    }
}

/// The first message from that number on; `None` where none comes in time.
async fn read_in_time(
    connection: &Connection,
    queue: &str,
    from: u64,
) -> Result<Option<Received>, SessionError> {
    let (channel, mut consumer) = consume(connection, queue, number(from), 1).await?;
    let first = match timeout(CALL, consumer.next()).await {
        Ok(Some(Ok(received))) => Some(received),
        Ok(Some(Err(_)) | None) | Err(_) => None,
    };
    call("close a channel", channel.close(200, "read".into())).await?;
    Ok(first)
}

fn number(number: u64) -> AMQPValue {
    // Streams count in signed numbers of this size.
    AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX))
}

fn number_of(received: &Received) -> Option<u64> {
    let headers = received.properties.headers().as_ref()?;
    properties::as_number(headers.inner().get(OFFSET)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asked_before_a_mark_was_written_waits_for_that_one_and_nobody_for_a_strangers() {
        let mut marks = Marks::new();
        let first = marks.next();
        let (early, _told) = oneshot::channel();
        marks.unwritten.push(early);
        let second = marks.next();
        let (late, _told) = oneshot::channel();
        marks.unwritten.push(late);
        assert!(marks.came("1").is_none());
        assert!(marks.came(&Marks::new().next()).is_none());
        let came = marks.came(&first).expect("ours");
        assert!(came.is_first && came.waited.is_empty());
        let came = marks.came(&second).expect("ours");
        assert!(!came.is_first && came.waited.len() == 1);
        let third = marks.next();
        assert_eq!(marks.came(&third).expect("ours").waited.len(), 1);
    }
}
