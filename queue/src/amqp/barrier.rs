//! A batch of messages between two barriers, and what became of each.

use futures_util::StreamExt;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, Event, PublisherConfirm};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;

use super::address::{Addressed, Mark};
use crate::connection::{Events, SessionError, aloud, blocked};

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

/// Publishes all and waits for all confirms; the fates are in the order of the messages.
pub(super) async fn barrier(
    channel: &Channel,
    addressed: &[Addressed],
    bodies: &[&[u8]],
    within: Duration,
) -> Result<Vec<Fate>, SessionError> {
    let confirms = timeout(within, publish_and_confirm(channel, addressed, bodies));
    match aloud("confirm what was published", confirms).await {
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
