//! Makes the table true on a broker, without disturbing what is there already.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use super::{Argument, Exchange, ExchangeType, Queue, Topology};
use crate::counters::DoorCounters;

/// Why the topology is not there.
#[derive(Debug, thiserror::Error)]
#[error("declare {object}: {source}")]
pub(crate) struct DeclareError {
    object: String,
    source: lapin::Error,
}

impl DeclareError {
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
pub(crate) async fn declare(
    connection: &Connection,
    table: &Topology,
    counters: &DoorCounters,
) -> Result<(), DeclareError> {
    let mut scratch = Scratch {
        connection,
        channel: None,
        counters,
    };
    for exchange in &table.exchanges {
        scratch
            .exchange(exchange)
            .await
            .map_err(about(&exchange.name))?;
    }
    for queue in &table.queues {
        scratch.queue(queue).await.map_err(about(&queue.name))?;
    }
    for binding in &table.bindings {
        let bound = scratch
            .channel()
            .await
            .map_err(about(&binding.queue))?
            .queue_bind(
                binding.queue.as_str().into(),
                binding.exchange.as_str().into(),
                binding.key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await;
        match bound.map_err(Trouble::from) {
            Ok(()) => {}
            // Least privilege: the operator has made the bindings, and we may not.
            Err(Trouble::Forbidden(error)) => {
                tracing::debug!(queue = binding.queue, %error, "left a binding to the operator");
                scratch.channel = None;
            }
            Err(Trouble::Missing(source) | Trouble::Differs(source) | Trouble::Other(source)) => {
                return Err(DeclareError {
                    object: binding.queue.clone(),
                    source,
                });
            }
        }
    }
    scratch.finish().await;
    Ok(())
}

fn about(object: &str) -> impl FnOnce(lapin::Error) -> DeclareError {
    let object = object.to_owned();
    move |source| DeclareError { object, source }
}

/// What the broker's refusal means for a declaration.
enum Trouble {
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

/// A channel that may be closed on us at any refusal.
struct Scratch<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
    counters: &'a DoorCounters,
}

impl Scratch<'_> {
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

    async fn exchange(&mut self, exchange: &Exchange) -> Result<(), lapin::Error> {
        let found = self.exchange_once(exchange, true).await;
        if let Err(error) = found {
            self.missing(error)?;
            let made = self.exchange_once(exchange, false).await;
            return self.made(made, &exchange.name);
        }
        Ok(())
    }

    async fn exchange_once(
        &mut self,
        exchange: &Exchange,
        passive: bool,
    ) -> Result<(), lapin::Error> {
        let kind = match exchange.kind {
            ExchangeType::Direct => ExchangeKind::Direct,
            ExchangeType::Fanout => ExchangeKind::Fanout,
            ExchangeType::Topic => ExchangeKind::Topic,
        };
        let mut arguments = FieldTable::default();
        if let Some(alternate) = &exchange.alternate {
            let alternate = AMQPValue::LongString(alternate.as_str().into());
            arguments.insert("alternate-exchange".into(), alternate);
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

    async fn queue(&mut self, queue: &Queue) -> Result<(), lapin::Error> {
        let found = self.queue_once(queue, true).await;
        if let Err(error) = found {
            self.missing(error)?;
            let made = self.queue_once(queue, false).await;
            return self.made(made, &queue.name);
        }
        Ok(())
    }

    async fn queue_once(&mut self, queue: &Queue, passive: bool) -> Result<(), lapin::Error> {
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

    /// Lets a "not found" pass: the object is to be made.
    fn missing(&mut self, error: lapin::Error) -> Result<(), lapin::Error> {
        self.channel = None;
        match Trouble::from(error) {
            Trouble::Missing(_) => Ok(()),
            Trouble::Differs(error) | Trouble::Forbidden(error) | Trouble::Other(error) => {
                Err(error)
            }
        }
    }

    /// Lets a "precondition failed" pass: somebody made it at the same moment, differently.
    fn made(&mut self, made: Result<(), lapin::Error>, name: &str) -> Result<(), lapin::Error> {
        let Err(error) = made else { return Ok(()) };
        self.channel = None;
        match Trouble::from(error) {
            Trouble::Differs(error) => {
                self.counters.topology_drift.add_one();
                tracing::warn!(
                    object = name,
                    %error,
                    "an object of the topology exists with other arguments; it is used as it is"
                );
                Ok(())
            }
            Trouble::Missing(error) | Trouble::Forbidden(error) | Trouble::Other(error) => {
                Err(error)
            }
        }
    }

    async fn finish(self) {
        if let Some(channel) = self.channel
            && let Err(error) = channel.close(200, "declared".into()).await
        {
            tracing::debug!(%error, "the declaring channel ended by itself");
        }
    }
}
