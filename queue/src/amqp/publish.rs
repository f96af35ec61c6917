//! The publishing role: one connection, one channel in confirm mode, and the task that owns it.
//!
//! Messages leave in batches with a barrier: publish up to [`BATCH`], wait for every confirm, and
//! take the returned messages as a set, matched by what they are. lapin hands a returned message
//! to whichever confirm completes next, so a single confirm says nothing about its own message;
//! all confirms of a batch together say everything.

use futures_util::StreamExt;
use lapin::options::ConfirmSelectOptions;
use lapin::protocol::{AMQPErrorKind, AMQPHardError};
use lapin::{Channel, Connection, Event};
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::address::{Addressed, Post};
use super::barrier::{Fate, patient_barrier};
use super::consume::answer;
use super::depth::depth;
use super::round::{BATCH, Blame, Item, Round, broken};
use crate::clock;
use crate::connection::{
    Board, Connected, Dialer, Events, GOODBYE, Role, SessionError, call, close,
};
use crate::doors::{Link, Nudge};
use crate::outbox::{Order, OutboxError, Published};
use crate::topology::{Topology, declare};

/// How long before what a queue refused goes out again, where that queue has no leader.
const LEADERLESS_PAUSE: Duration = Duration::from_secs(1);

/// The owner of everything that is published.
pub(super) struct PublishRole {
    pub(super) dialer: Dialer,
    pub(super) topology: Topology,
    pub(super) post: Post,
    pub(super) confirm_within: Duration,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) backlog: VecDeque<Item>,
    /// How many messages at the backlog's front are on the wire without a verdict.
    pub(super) under_way: usize,
    pub(super) closing: CancellationToken,
    pub(super) nudge: Nudge,
    pub(super) board: Board,
}

impl PublishRole {
    /// Runs sessions, one after the other, until the door closes and nothing waits any more.
    pub(super) async fn run(mut self) {
        let mut backoff = self.dialer.backoff();
        loop {
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
            if self.closing.is_cancelled() && self.nothing_waits() {
                break;
            }
            if self.closing.is_cancelled() {
                // Closing hurries the attempts, up to the closer's own deadline.
                tokio::time::sleep(pause.min(Duration::from_millis(200))).await;
            }
        }
        self.board.link(Link::Closed);
    }

    fn nothing_waits(&mut self) -> bool {
        self.take_waiting();
        self.backlog.retain(Item::is_wanted);
        self.backlog.is_empty()
    }

    /// One session; `Ok` when the door closes and everything was published.
    async fn session(&mut self) -> Result<(), SessionError> {
        let Connected {
            connection,
            mut events,
        } = tokio::select! {
            connected = self.dialer.connect(Role::Publish) => connected?,
            () = self.closing.cancelled(), if self.backlog.is_empty() && self.orders.is_empty() => {
                return Ok(());
            }
        };
        declare(&connection, &self.topology).await?;
        let channel = call("open a channel", connection.create_channel()).await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        call("ask for confirms", select).await?;
        self.board.up();
        let board = self.board.clone();
        let mut watch = pin!(watch(&board, &channel, &mut events));
        let ended = tokio::select! {
            ended = self.publish_all(&channel, &connection) => ended,
            error = &mut watch => Err(error),
        };
        let ended = match ended {
            // The channel is closed, says lapin; why it was closed, the broker says.
            Err(error) if is_channel_state(&error) => {
                Err(timeout(GOODBYE, watch).await.unwrap_or(error))
            }
            ended => ended,
        };
        // Whatever was not confirmed may still be in the broker's hands. It must let go of this
        // connection before the same message is published over another.
        close(&connection).await;
        if let Err(error) = &ended {
            self.suspect(error);
        }
        ended
    }

    async fn publish_all(
        &mut self,
        channel: &Channel,
        connection: &Connection,
    ) -> Result<(), SessionError> {
        let mut led = true;
        loop {
            if self.backlog.is_empty() {
                tokio::select! {
                    biased;
                    order = self.orders.recv() => match order {
                        Some(order) => self.backlog.push_back(Item::new(order)),
                        None => return Ok(()),
                    },
                    () = self.closing.cancelled() => {
                        self.orders.close();
                        if self.nothing_waits() {
                            return Ok(());
                        }
                    }
                }
            }
            self.take_waiting();
            let round = Round::next(&mut self.backlog, &self.post);
            let leaderless = self.publish_round(channel, connection, round).await?;
            match (&leaderless, led) {
                (Some(queue), true) => self.board.leaderless(queue),
                (None, false) => self.board.led_again(),
                (Some(_), false) | (None, true) => {}
            }
            led = leaderless.is_none();
            if !led {
                sleep(LEADERLESS_PAUSE).await;
            }
        }
    }

    fn take_waiting(&mut self) {
        while self.backlog.len() < BATCH {
            let Ok(order) = self.orders.try_recv() else {
                return;
            };
            self.backlog.push_back(Item::new(order));
        }
    }

    /// Publishes a batch and answers its senders. When the session breaks, the batch is back in the backlog, in
    /// front; and so is what only a queue without a leader refused, whose name is the answer.
    async fn publish_round(
        &mut self,
        channel: &Channel,
        connection: &Connection,
        round: Round,
    ) -> Result<Option<String>, SessionError> {
        if round.items.is_empty() {
            return Ok(None);
        }
        // Until it is judged, the round lives in the backlog's stead, and is taken out when it is done.
        let addressed = round.put_back(&mut self.backlog);
        let count = addressed.len();
        let bodies: Vec<_> = self.backlog.iter().take(count).map(Item::body).collect();
        let again = self
            .backlog
            .iter()
            .take(count)
            .filter(|item| item.again)
            .count();
        self.board
            .counters
            .republished
            .add(u64::try_from(again).unwrap_or(u64::MAX));
        self.under_way = count;
        let fates = self.confirmed(channel, &addressed, &bodies).await?;
        let lost = self.rescue(channel, &addressed, &fates).await?;
        let leaderless = self.leaderless(connection, &fates, &lost).await?;
        let mut waiting = Vec::new();
        for (((fate, address), lost), queue) in
            fates.into_iter().zip(addressed).zip(lost).zip(leaderless)
        {
            let Some(item) = self.backlog.pop_front() else {
                break;
            };
            match queue {
                Some(queue) => waiting.push((item, queue)),
                None => answer(item.order.done, self.verdict(fate, &address, lost)),
            }
        }
        self.under_way = 0;
        let mut first = None;
        for (item, queue) in waiting.into_iter().rev() {
            self.backlog.push_front(item);
            first = Some(queue);
        }
        Ok(first)
    }

    /// For each message of the batch, the queue of our own that refused it in the end although nothing is in there.
    /// That is not full: a quorum queue without a leader refuses the first message of every channel, and counts
    /// nothing. Of other people's queues that is not believed: one that is too small for a result refuses it when it
    /// is empty, too.
    async fn leaderless(
        &self,
        connection: &Connection,
        fates: &[Fate],
        lost: &[Option<Fate>],
    ) -> Result<Vec<Option<String>>, SessionError> {
        let mut empty: HashMap<String, bool> = HashMap::new();
        let mut answers = Vec::with_capacity(fates.len());
        for ((item, fate), lost) in self.backlog.iter().zip(fates).zip(lost) {
            let parcel = &item.order.parcel;
            let last = if parcel.is_result() {
                *lost
            } else {
                Some(*fate)
            };
            let refused = last == Some(Fate::Refused);
            let mut queue = refused.then(|| self.post.own_queue(parcel)).flatten();
            if let Some(name) = &queue {
                let is_empty = match empty.get(name) {
                    Some(known) => *known,
                    None => depth(connection, name).await? == Some(0),
                };
                empty.insert(name.clone(), is_empty);
                queue = queue.filter(|_| is_empty);
            }
            answers.push(queue);
        }
        Ok(answers)
    }

    /// Puts the results of the batch that found no home into the lost queue; one answer for each
    /// message of the batch.
    async fn rescue(
        &mut self,
        channel: &Channel,
        addressed: &[Addressed],
        fates: &[Fate],
    ) -> Result<Vec<Option<Fate>>, SessionError> {
        let mut places = Vec::new();
        let mut homeless = Vec::new();
        let mut bodies = Vec::new();
        for (place, (item, fate)) in self.backlog.iter().zip(fates).enumerate() {
            let reason = match fate {
                Fate::Routed => continue,
                Fate::Returned => "no_route",
                Fate::Refused => "queue_full",
            };
            if let Some(address) = self.post.lost(&item.order.parcel, reason) {
                places.push(place);
                homeless.push(address);
                bodies.push(item.body());
            }
        }
        let mut answers = vec![None; addressed.len()];
        if homeless.is_empty() {
            return Ok(answers);
        }
        let kept = self.confirmed(channel, &homeless, &bodies).await?;
        for (place, fate) in places.into_iter().zip(kept) {
            if let Some(answer) = answers.get_mut(place) {
                *answer = Some(fate);
            }
        }
        Ok(answers)
    }

    async fn confirmed(
        &self,
        channel: &Channel,
        addressed: &[Addressed],
        bodies: &[&[u8]],
    ) -> Result<Vec<Fate>, SessionError> {
        let state = self.board.state.subscribe();
        let confirms = patient_barrier(channel, addressed, bodies, self.confirm_within, state);
        self.board.confirmed(confirms).await
    }

    fn verdict(
        &self,
        fate: Fate,
        address: &Addressed,
        lost: Option<Fate>,
    ) -> Result<Published, OutboxError> {
        let counters = &self.board.counters;
        let destination = address.destination();
        match (fate, lost) {
            (Fate::Routed, _) => {
                counters.published.add_one();
                Ok(Published::Delivered)
            }
            (Fate::Returned | Fate::Refused, Some(Fate::Routed)) => {
                counters.results_lost.add_one();
                tracing::warn!(
                    destination,
                    "a result has no reply queue; it is kept as lost"
                );
                Ok(Published::Lost)
            }
            (Fate::Refused, None) => {
                counters.nacked.add_one();
                Err(OutboxError::Full { destination })
            }
            (Fate::Returned, None) | (_, Some(Fate::Returned | Fate::Refused)) => {
                tracing::error!(destination, "no queue takes this message; see the topology");
                Err(OutboxError::Homeless { destination })
            }
        }
    }

    /// After a broken session: notes what may have been published, and answers for the message that the broker
    /// does not take, if it is that.
    fn suspect(&mut self, error: &SessionError) {
        let count = std::mem::take(&mut self.under_way);
        if matches!(error, SessionError::NoConfirm(_)) {
            self.board.counters.confirm_timeouts.add_one();
        }
        if let Some(item) = broken(&mut self.backlog, count, blame(error)) {
            self.board.counters.refused.add_one();
            let reason = error.to_string();
            tracing::error!(
                reason,
                "the broker closes the channel over a message; it is given up"
            );
            let given_up = if error.lacks_right() {
                OutboxError::Forbidden { reason }
            } else {
                OutboxError::Refused { reason }
            };
            answer(item.order.done, Err(given_up));
        }
    }
}

/// Listens until the connection, or the channel that publishes, is gone.
async fn watch(board: &Board, channel: &Channel, events: &mut Events) -> SessionError {
    loop {
        let event = events.next().await;
        // Other channels come and go: the topology is looked for on channels that are thrown away.
        if let Some(Event::Error(error)) = &event
            && !channel.status().connected()
        {
            return SessionError::Lost(error.clone());
        }
        if let Err(error) = board.event(event) {
            return error;
        }
    }
}

fn is_channel_state(error: &SessionError) -> bool {
    let SessionError::Amqp { source, .. } = error else {
        return false;
    };
    matches!(source.kind(), lapin::ErrorKind::InvalidChannelState(..))
}

/// Whether the broker closed the channel or connection because of what was sent over it.
fn blame(error: &SessionError) -> Blame {
    let source = match error {
        SessionError::Amqp { source, .. }
        | SessionError::Consume { source, .. }
        | SessionError::Lost(source) => source,
        SessionError::Deadline { .. }
        | SessionError::Credentials(_)
        | SessionError::Unread(_)
        | SessionError::Tls(_)
        | SessionError::Declare(_)
        | SessionError::Gone
        | SessionError::ConsumerEnded { .. }
        | SessionError::NoConfirm(_)
        | SessionError::NotConfirming
        | SessionError::Blocked(_) => return Blame::NoMessage,
    };
    let lapin::ErrorKind::ProtocolError(refusal) = source.kind() else {
        return Blame::NoMessage;
    };
    // An operator or a shutdown is no message's fault.
    if *refusal.kind() == AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) {
        Blame::NoMessage
    } else if error.lacks_right_to_exchange() {
        Blame::ARight
    } else {
        Blame::AMessage
    }
}
