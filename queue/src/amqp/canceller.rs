//! Sending cancels: one connection, some messages, and the broker's word that it keeps them.

use jailfleet::cancel::{Cancel, Target};
use jailfleet::settings::AmqpSection;
use jailfleet::wire::encode_cancel;
use lapin::options::ConfirmSelectOptions;

use super::address::Addressed;
use super::barrier::{Fate, barrier, unless_blocked};
use super::properties;
use crate::connection::{Connected, Dialer, Role, SessionError, call, close};
use crate::topology::{Names, Topology, declare};

/// Why a cancel is not on its way.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The URI cannot be read.
    #[error("read the broker's URI {uri}: {reason}")]
    BadUri {
        /// The URI without its password.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker says no, or says nothing.
    #[error("send the cancel over {uri}: {reason}")]
    Broker {
        /// The URI without its password.
        uri: String,
        /// What it said.
        reason: String,
    },
    /// Nothing keeps it.
    #[error("send the cancel to {exchange}: {reason}")]
    NotKept {
        /// The exchange.
        exchange: String,
        /// Why.
        reason: &'static str,
    },
}

/// Sends cancels and returns once the broker keeps all of them: workers that are connected hear
/// them at once, others when they come. Runs on the runtime that this is called on.
///
/// # Errors
/// When the broker cannot be reached or does not take them. Some may be on their way then; to send
/// all again does no harm.
pub async fn send(amqp: &AmqpSection, cancels: &[Cancel]) -> Result<(), CancelError> {
    let runtime = tokio::runtime::Handle::current();
    let dialer = Dialer::new(amqp, &runtime).map_err(|reason| CancelError::BadUri {
        uri: amqp.uri.redacted(),
        reason,
    })?;
    let names = Names::new(&amqp.prefix);
    let exchange = names.cancel();
    let sending = async {
        let Connected {
            connection,
            mut events,
        } = dialer.connect(Role::Publish).await?;
        declare(&connection, &Topology::of_cancels(&names)).await?;
        let channel = call("open a channel", connection.create_channel()).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        call("ask for confirms", confirms).await?;
        let bodies: Vec<Vec<u8>> = cancels.iter().map(encode_cancel).collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let addressed: Vec<Addressed> = cancels
            .iter()
            .enumerate()
            .map(|(number, cancel)| address(&exchange, number, cancel))
            .collect();
        let within = amqp.confirm_timeout_ms.duration();
        let fates = unless_blocked(&mut events, barrier(&channel, &addressed, &bodies, within));
        let fates = fates.await;
        // Blocked, it would not hear the goodbye either.
        if !is_blocked(&fates) {
            close(&connection).await;
        }
        fates
    };
    let fates: Result<Vec<Fate>, SessionError> = sending.await;
    let hint = if is_blocked(&fates) {
        ". It may go out by itself when that is over; to send it again does no harm"
    } else {
        ""
    };
    let fates = fates.map_err(|error| CancelError::Broker {
        uri: amqp.uri.redacted(),
        reason: format!("{}{hint}", error.explained()),
    })?;
    let kept = |reason| CancelError::NotKept {
        exchange: exchange.clone(),
        reason,
    };
    for fate in fates {
        match fate {
            Fate::Routed => {}
            Fate::Returned => return Err(kept("no queue keeps it; is the topology complete?")),
            Fate::Refused => return Err(kept("the queue takes no more; try again later")),
        }
    }
    Ok(())
}

fn is_blocked(fates: &Result<Vec<Fate>, SessionError>) -> bool {
    matches!(fates, Err(SessionError::Blocked(_)))
}

/// The number tells messages of one batch apart, should the broker return one.
fn address(exchange: &str, number: usize, cancel: &Cancel) -> Addressed {
    let key = match cancel.targets.first() {
        Some(Target::Batch(_)) => "batch",
        Some(Target::Job(_)) | None => "job",
    };
    Addressed {
        exchange: exchange.to_owned(),
        key: key.to_owned(),
        properties: properties::of_cancel(&number.to_string(), cancel.sent),
    }
}
