//! Makes the table true on a broker, without disturbing what is there already.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use std::collections::HashSet;
use std::io;
use tokio::time::timeout;

use crate::connection::{CALL, aloud};

use super::{ALTERNATE, Argument, Binding, Exchange, ExchangeType, Queue, Topology};

/// Why the topology is not there.
#[derive(Debug, thiserror::Error)]
#[error("declare {object}: {source}")]
pub(crate) struct DeclareError {
    object: String,
    source: lapin::Error,
}

impl DeclareError {
    /// The same error with the name of the object that it is about.
    pub(super) fn about(object: &str) -> impl FnOnce(lapin::Error) -> Self {
        let object = object.to_owned();
        move |source| Self { object, source }
    }

    /// What the broker said.
    pub(crate) const fn source(&self) -> &lapin::Error {
        &self.source
    }
}

/// Looks for each object and makes those that are missing.
///
/// Each look is passive first, on a channel that is thrown away when the broker closes it: an
/// operator's queue with other arguments is used as it is, and no right to configure is needed
/// where everything exists.
pub(crate) async fn declare(connection: &Connection, table: &Topology) -> Result<(), DeclareError> {
    let mut scratch = Scratch::new(connection);
    let exchanges = table.exchanges.iter().map(Object::Exchange);
    let queues = table.queues.iter().map(Object::Queue);
    let mut made = HashSet::new();
    for object in exchanges.chain(queues) {
        let ensured = in_time(object.name(), scratch.ensure(object)).await;
        if let Ensured::Made = ensured.map_err(DeclareError::about(object.name()))? {
            made.insert(object.name());
        }
    }
    let mut refused = false;
    // From the last to the first: what is a user's own stands behind what all share.
    for binding in table.bindings.iter().rev() {
        if refused && !made.contains(binding.queue.as_str()) {
            continue;
        }
        let bound = in_time(&binding.queue, scratch.bind(binding)).await;
        match bound.map_err(Trouble::from) {
            Ok(()) => {}
            // Least privilege: the operator has made this binding and those before it, and we may
            // not. Each refusal would cost a channel, and a line in the broker's log.
            Err(Trouble::Forbidden(error)) => {
                tracing::debug!(queue = binding.queue, %error, "left the bindings to the operator");
                scratch.renew();
                refused = true;
            }
            Err(Trouble::Missing(source) | Trouble::Differs(source) | Trouble::Other(source)) => {
                return Err(DeclareError::about(&binding.queue)(source));
            }
        }
    }
    scratch.finish().await;
    Ok(())
}

/// Waits for what is asked about `object`, not for ever: a queue most of whose nodes are down may say
/// nothing at all, while the connection looks well.
async fn in_time<T>(
    object: &str,
    asking: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, lapin::Error> {
    let late = |_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {CALL:?}"),
        )
    };
    aloud(object, timeout(CALL, asking)).await.map_err(late)?
}

/// What the broker's refusal means for a declaration.
pub(super) enum Trouble {
    Missing(lapin::Error),
    Differs(lapin::Error),
    Forbidden(lapin::Error),
    Other(lapin::Error),
}

impl From<lapin::Error> for Trouble {
    fn from(error: lapin::Error) -> Self {
        let lapin::ErrorKind::ProtocolError(refusal) = error.kind() else {
            return Self::Other(error);
        };
        match refusal.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Self::Missing(error),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => Self::Differs(error),
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Self::Forbidden(error),
            AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => Self::Other(error),
        }
    }
}

/// Something to declare.
#[derive(Debug, Clone, Copy)]
pub(super) enum Object<'a> {
    Exchange(&'a Exchange),
    Queue(&'a Queue),
}

impl<'a> Object<'a> {
    fn name(self) -> &'a str {
        match self {
            Self::Exchange(exchange) => &exchange.name,
            Self::Queue(queue) => &queue.name,
        }
    }
}

/// Whether an object was there before us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ensured {
    Found,
    Made,
}

/// Whether a declaration only asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passive {
    Yes,
    No,
}

/// A channel that may be closed on us at any refusal.
pub(super) struct Scratch<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

impl<'a> Scratch<'a> {
    pub(super) const fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            channel: None,
        }
    }

    /// Forgets a channel that the broker closes.
    pub(super) fn renew(&mut self) {
        self.channel = None;
    }

    async fn channel(&mut self) -> Result<Channel, lapin::Error> {
        if let Some(channel) = &self.channel
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = self.connection.create_channel().await?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// Makes the object if it is not there.
    async fn ensure(&mut self, object: Object<'_>) -> Result<Ensured, lapin::Error> {
        let Err(error) = self.declare(object, Passive::Yes).await else {
            return Ok(Ensured::Found);
        };
        self.renew();
        match Trouble::from(error) {
            Trouble::Missing(_) => {}
            Trouble::Differs(error) | Trouble::Forbidden(error) | Trouble::Other(error) => {
                return Err(error);
            }
        }
        let Err(error) = self.declare(object, Passive::No).await else {
            return Ok(Ensured::Made);
        };
        self.renew();
        match Trouble::from(error) {
            // Somebody made it at the same moment, differently. Whoever compares will say so.
            Trouble::Differs(_) => Ok(Ensured::Found),
            Trouble::Missing(error) | Trouble::Forbidden(error) | Trouble::Other(error) => {
                Err(error)
            }
        }
    }

    /// One declaration.
    pub(super) async fn declare(
        &mut self,
        object: Object<'_>,
        passive: Passive,
    ) -> Result<(), lapin::Error> {
        let passive = passive == Passive::Yes;
        match object {
            Object::Exchange(exchange) => self.exchange(exchange, passive).await,
            Object::Queue(queue) => self.queue(queue, passive).await,
        }
    }

    async fn exchange(&mut self, exchange: &Exchange, passive: bool) -> Result<(), lapin::Error> {
        let kind = match exchange.kind {
            ExchangeType::Direct => ExchangeKind::Direct,
            ExchangeType::Fanout => ExchangeKind::Fanout,
            ExchangeType::Topic => ExchangeKind::Topic,
        };
        let mut arguments = FieldTable::default();
        if let Some(alternate) = &exchange.alternate {
            let alternate = AMQPValue::LongString(alternate.as_str().into());
            arguments.insert(ALTERNATE.into(), alternate);
        }
        let options = ExchangeDeclareOptions {
            passive,
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let name = exchange.name.as_str().into();
        self.channel()
            .await?
            .exchange_declare(name, kind, options, arguments)
            .await
    }

    async fn queue(&mut self, queue: &Queue, passive: bool) -> Result<(), lapin::Error> {
        let mut arguments = FieldTable::default();
        for (key, value) in &queue.arguments {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
                Argument::Number(number) => AMQPValue::LongLongInt(*number),
                Argument::Flag(flag) => AMQPValue::Boolean(*flag),
            };
            arguments.insert((*key).into(), value);
        }
        let options = QueueDeclareOptions {
            passive,
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let name = queue.name.as_str().into();
        self.channel()
            .await?
            .queue_declare(name, options, arguments)
            .await
            .map(drop)
    }

    /// Makes a binding; one that is there stays as it is.
    pub(super) async fn bind(&mut self, binding: &Binding) -> Result<(), lapin::Error> {
        let (queue, exchange, key) = (&binding.queue, &binding.exchange, &binding.key);
        self.channel()
            .await?
            .queue_bind(
                queue.as_str().into(),
                exchange.as_str().into(),
                key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
    }

    pub(super) async fn finish(self) {
        if let Some(channel) = self.channel
            && let Err(error) = channel.close(200, "declared".into()).await
        {
            tracing::debug!(%error, "the declaring channel ended by itself");
        }
    }
}
