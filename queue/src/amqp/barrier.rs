//! A batch of messages between two barriers, and what became of each.

use futures_util::StreamExt;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, Event, PublisherConfirm};
use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::address::{Addressed, Mark};
use crate::connection::{CONFIRM, Events, SessionError, aloud, blocked};
use crate::doors::DoorState;

/// The slowest way to a broker on which large messages get through, in bytes a second. Below that it is taken
/// for one that hangs.
const SLOWEST: u64 = 256 * 1024;

/// What the broker did with one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in a queue.
    Routed,
    /// No queue was there for it.
    Returned,
    /// A queue was there and took it not: full.
    Refused,
}

/// How long a batch may take: as long as a confirm may, and before that as long as its bytes need on a slow
/// way. Otherwise a message that takes longer to be written than a confirm may take is broken off each
/// time, and never goes out.
fn patience(within: Duration, bodies: &[&[u8]]) -> Duration {
    let bytes: u64 = bodies.iter().map(|body| body.len() as u64).sum();
    within.saturating_add(Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST))
}

/// Publishes all and waits for all confirms; the fates are in the order of the messages.
pub(super) async fn barrier(
    channel: &Channel,
    addressed: &[Addressed],
    bodies: &[&[u8]],
    within: Duration,
) -> Result<Vec<Fate>, SessionError> {
    let within = patience(within, bodies);
    let confirms = timeout(within, publish_and_confirm(channel, addressed, bodies));
    match aloud(CONFIRM, confirms).await {
        Ok(fates) => fates,
        Err(_) => Err(SessionError::NoConfirm(within)),
    }
}

/// Waits for `publishing`, but not while the broker blocks the connection: it reads nothing then, and whoever
/// has only this to do need not wait for that to end.
pub(super) async fn unless_blocked<T>(
    events: &mut Events,
    publishing: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let blocked = async {
        while let Some(event) = events.next().await {
            if let Event::ConnectionBlocked(reason) = event {
                return SessionError::Blocked(blocked(&reason));
            }
        }
        // Without a connection the publishing ends by itself.
        std::future::pending().await
    };
    tokio::select! {
        biased;
        done = publishing => done,
        error = blocked => Err(error),
    }
}

/// The same of a connection that the broker may block. While it does, it reads nothing, so that nothing can
/// be confirmed, and what was sent is not taken back by closing the connection: the time runs anew after
/// that.
pub(super) async fn patient_barrier(
    channel: &Channel,
    addressed: &[Addressed],
    bodies: &[&[u8]],
    within: Duration,
    state: watch::Receiver<DoorState>,
) -> Result<Vec<Fate>, SessionError> {
    let within = patience(within, bodies);
    let publishing = publish_and_confirm(channel, addressed, bodies);
    match while_taken(publishing, within, state).await {
        Some(fates) => fates,
        None => Err(SessionError::NoConfirm(within)),
    }
}

/// What `work` comes to; `None` where it does not within so much time without a block.
async fn while_taken<T>(
    work: impl Future<Output = T>,
    within: Duration,
    mut state: watch::Receiver<DoorState>,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        let unblocked = state.wait_for(|state| !state.alarm);
        tokio::select! {
            done = &mut work => return Some(done),
            // An error says that nobody tells of blocks any more.
            _ = unblocked => {}
        }
        let blocked = state.wait_for(|state| state.alarm);
        tokio::select! {
            done = &mut work => return Some(done),
            Ok(_) = blocked => {}
            () = sleep(within) => return None,
        }
    }
}

async fn publish_and_confirm(
    channel: &Channel,
    addressed: &[Addressed],
    bodies: &[&[u8]],
) -> Result<Vec<Fate>, SessionError> {
    let amqp = |source| SessionError::Amqp {
        what: "publish",
        source,
    };
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let mut confirms: Vec<PublisherConfirm> = Vec::with_capacity(addressed.len());
    for (address, body) in addressed.iter().zip(bodies) {
        let (exchange, key) = (
            address.exchange.as_str().into(),
            address.key.as_str().into(),
        );
        let properties = address.properties.clone();
        let publishing = channel.basic_publish(exchange, key, options, body, properties);
        confirms.push(publishing.await.map_err(amqp)?);
    }
    let mut returned: HashSet<Mark> = HashSet::new();
    let mut fates = Vec::with_capacity(confirms.len());
    for confirm in confirms {
        let confirmation = confirm.await.map_err(amqp)?;
        fates.push(match &confirmation {
            Confirmation::Ack(_) => Fate::Routed,
            Confirmation::Nack(_) => Fate::Refused,
            // Counting this as a success would lose every message, silently.
            Confirmation::NotRequested => return Err(SessionError::NotConfirming),
        });
        if let Some(message) = confirmation.take_message() {
            let id = message.delivery.properties.message_id().as_ref();
            returned.insert(Mark {
                exchange: message.delivery.exchange.to_string(),
                key: message.delivery.routing_key.to_string(),
                id: id.map(ToString::to_string).unwrap_or_default(),
            });
        }
    }
    for (fate, address) in fates.iter_mut().zip(addressed) {
        if returned.contains(&address.mark()) {
            *fate = Fate::Returned;
        }
    }
    Ok(fates)
}

#[cfg(test)]
mod tests {
    use super::{patience, while_taken};
    use crate::clock;
    use crate::doors::DoorState;
    use std::future::pending;
    use std::time::Duration;
    use tokio::sync::{oneshot, watch};
    use tokio::time::sleep;

    const WITHIN: Duration = Duration::from_millis(100);

    fn door(alarm: bool) -> DoorState {
        DoorState {
            alarm,
            ..DoorState::default()
        }
    }

    #[test]
    fn a_confirm_may_take_longer_for_what_takes_longer_to_be_written() {
        let large = vec![0; 1 << 20];
        assert_eq!(patience(WITHIN, &[]), WITHIN);
        assert_eq!(patience(WITHIN, &[b"small", b"too"]), WITHIN);
        let four = Duration::from_secs(4);
        assert_eq!(patience(WITHIN, &[&large]), WITHIN + four);
        assert_eq!(patience(WITHIN, &[&large, b"", &large]), WITHIN + 2 * four);
    }

    #[tokio::test]
    async fn the_time_of_a_confirm_does_not_run_while_the_broker_reads_nothing() {
        let state = watch::Sender::new(door(false));
        let (confirm, confirmed) = oneshot::channel();
        let story = async {
            state.send_replace(door(true));
            sleep(WITHIN * 4).await;
            state.send_replace(door(false));
            confirm.send(7).expect("somebody waits still");
        };
        let waiting = while_taken(confirmed, WITHIN, state.subscribe());
        assert_eq!(tokio::join!(waiting, story).0, Some(Ok(7)));
    }

    #[tokio::test]
    async fn the_time_of_a_confirm_runs_at_any_other_time_and_anew_after_a_block() {
        let state = watch::Sender::new(door(false));
        let never = || while_taken(pending::<()>(), WITHIN, state.subscribe());
        assert_eq!(never().await, None);
        let story = async {
            sleep(WITHIN / 2).await;
            state.send_replace(door(true));
            // Long enough for the block to be seen.
            sleep(WITHIN / 4).await;
            state.send_replace(door(false));
            clock::now()
        };
        let (waited, over) = tokio::join!(never(), story);
        assert_eq!(waited, None);
        let anew = clock::now() - over;
        assert!(anew >= WITHIN, "only {anew:?} after the block");
    }
}
