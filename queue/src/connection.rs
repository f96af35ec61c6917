//! One connection: how it is made, with a deadline, on the runtime that serves AMQP and nothing
//! else.

use async_rs::{Runtime, TokioRuntime};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use jailfleet::settings::AmqpSection;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::RustlsConnector;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, Event};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

mod advice;
mod board;
mod tls;

pub(crate) use advice::{blocked, explained};
pub(crate) use board::Board;

use crate::backoff::Backoff;

/// The deadline of a call that the broker answers at once when it is well.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// What fails when the broker cannot be reached or does not let us in.
const CONNECT: &str = "connect";
/// What takes long when confirms do.
pub(crate) const CONFIRM: &str = "confirm what was published";
/// After so long without an answer of the broker, whoever looks is told what is waited for.
const SLOW: Duration = Duration::from_secs(1);
/// The deadline of a polite goodbye.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// Which of a process's connections this is. Each has its own, since the broker blocks those that
/// publish and must not thereby stop acks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Consume,
    Publish,
    Reap,
    Control,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
            Self::Reap => "reap",
            Self::Control => "control",
        }
    }
}

/// Everything needed to connect.
#[derive(Clone)]
pub(crate) struct Dialer {
    /// With the credentials that were read at the start, for files that cannot be read later.
    amqp: Arc<AmqpSection>,
    vhost: Arc<str>,
    runtime: TokioRuntime,
    within: Duration,
    backoff: Backoff,
    /// One reader of files at a time, for all roles: files that hang must not take another thread
    /// with each attempt to connect.
    reader: Arc<Semaphore>,
}

/// What one attempt to connect takes along, as the files hold it now.
struct Papers {
    amqp: AmqpSection,
    uri: AMQPUri,
    /// Where the URI asks for TLS.
    connector: Option<RustlsConnector>,
}

/// What a connection tells of itself.
pub(crate) type Events = BoxStream<'static, Event>;

/// A connection that is up, with its only listener of events: two would split them.
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    pub(crate) events: Events,
}

/// Why a session did not come up or did not last.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{what}: no answer within {within:?}")]
    Deadline {
        what: &'static str,
        within: Duration,
    },
    #[error("{what}: {source}")]
    Amqp {
        what: &'static str,
        source: lapin::Error,
    },
    #[error("use the credentials: {0}")]
    Credentials(String),
    #[error("read the files for a connection: {0}")]
    Unread(JoinError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Declare(#[from] crate::topology::DeclareError),
    #[error("keep the connection: {0}")]
    Lost(lapin::Error),
    #[error("keep the connection: it ended without a word")]
    Gone,
    #[error("consume from {queue}: {source}")]
    Consume { queue: String, source: lapin::Error },
    #[error("consume from {queue}: the broker ended it; was the queue deleted?")]
    ConsumerEnded { queue: String },
    #[error("confirm within {0:?}: the connection is closed before anything is published again")]
    NoConfirm(Duration),
    #[error("publish with confirms: the channel is not in confirm mode")]
    NotConfirming,
    #[error("publish: {0}")]
    Blocked(String),
}

impl SessionError {
    /// Whether the broker said that its user may not do this. Trying again soon does not help: a
    /// person has to give the right.
    pub(crate) fn lacks_right(&self) -> bool {
        self.refused_right().is_some()
    }

    /// Whether it is a right to all of an exchange that is missing, and not to some of its keys.
    pub(crate) fn lacks_right_to_exchange(&self) -> bool {
        let words = self.refused_right();
        words.is_some_and(|words| words.contains("access to exchange '"))
    }

    /// What the broker said when its user was not allowed something.
    fn refused_right(&self) -> Option<&str> {
        let source = match self {
            Self::Declare(error) => error.source(),
            Self::Consume { source, .. } | Self::Lost(source) => source,
            // A login that is refused is no missing right: the next one may bring another password.
            Self::Amqp { what, source } if *what != CONNECT => source,
            Self::Amqp { .. }
            | Self::Deadline { .. }
            | Self::Credentials(_)
            | Self::Unread(_)
            | Self::Tls(_)
            | Self::Gone
            | Self::ConsumerEnded { .. }
            | Self::NoConfirm(_)
            | Self::NotConfirming
            | Self::Blocked(_) => return None,
        };
        let lapin::ErrorKind::ProtocolError(refusal) = source.kind() else {
            return None;
        };
        let refused = *refusal.kind() == AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
        refused.then(|| refusal.get_message().as_str())
    }

    /// The error in words, with what to do about it where that is known.
    pub(crate) fn explained(&self) -> String {
        if matches!(self, Self::Blocked(_)) {
            // It says that already.
            return self.to_string();
        }
        explained(&self.to_string())
    }

    /// The same error with the name of the queue that could not be read.
    pub(crate) fn consuming(queue: &str) -> impl FnOnce(Self) -> Self {
        let queue = queue.to_owned();
        move |error| {
            if let Self::Amqp { source, .. } = error {
                Self::Consume { queue, source }
            } else {
                error
            }
        }
    }
}

impl std::fmt::Debug for Dialer {
    // The parsed URI holds the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("broker", &self.amqp.uri)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// # Errors
    /// What is wrong with the URI.
    pub(crate) fn new(
        amqp: &AmqpSection,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, String> {
        let uri: AMQPUri = amqp.uri.expose().parse()?;
        let vhost = amqp.vhost.as_ref().unwrap_or(&uri.vhost);
        Ok(Self {
            amqp: Arc::new(amqp.clone()),
            vhost: vhost.as_str().into(),
            runtime: Runtime::tokio_with_handle(runtime.clone()),
            within: amqp.connect_timeout_ms.duration(),
            backoff: Backoff::new(
                amqp.backoff_min_ms.duration(),
                amqp.backoff_max_ms.duration(),
            ),
            reader: Arc::new(Semaphore::new(1)),
        })
    }

    /// The vhost: the tenant.
    pub(crate) fn vhost(&self) -> Arc<str> {
        Arc::clone(&self.vhost)
    }

    /// The settings with the credentials that their files hold now. A file that cannot be read any
    /// more, for a worker that gave root up above all, leaves what it held before. Blocks.
    fn with_credentials(&self) -> Result<AmqpSection, SessionError> {
        let mut amqp = AmqpSection::clone(&self.amqp);
        for (file, path) in amqp.credential_files() {
            match std::fs::read_to_string(&path) {
                Ok(text) => amqp
                    .take_credentials(file, &text)
                    .map_err(|mistake| SessionError::Credentials(mistake.to_string()))?,
                Err(error) => {
                    tracing::warn!(
                        key = file.key(),
                        path,
                        %error,
                        "a file with credentials cannot be read again; those from the start are used"
                    );
                    // All of them: a URI of now with the password of nobody logs in as somebody else.
                    return Ok(AmqpSection::clone(&self.amqp));
                }
            }
        }
        Ok(amqp)
    }

    fn uri(&self, amqp: &AmqpSection) -> Result<AMQPUri, SessionError> {
        let uri: Result<AMQPUri, String> = amqp.uri.expose().parse();
        let mut uri = uri.map_err(SessionError::Credentials)?;
        // A session reads queues of the vhost that it was opened for, whatever a file says now.
        uri.vhost = self.vhost.as_ref().to_owned();
        uri.query.heartbeat = Some(amqp.heartbeat_s);
        uri.query.connection_timeout = Some(amqp.connect_timeout_ms.get());
        Ok(uri)
    }

    /// Reads what the next session needs. Blocks.
    fn papers(&self) -> Result<Papers, SessionError> {
        let amqp = self.with_credentials()?;
        let uri = self.uri(&amqp)?;
        let connector = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => Some(tls::connector(&amqp)?),
        };
        Ok(Papers {
            amqp,
            uri,
            connector,
        })
    }

    /// Reads them where blocking holds nobody up: heartbeats of other sessions run on this runtime.
    async fn read_papers(&self) -> Result<Papers, SessionError> {
        let place = Arc::clone(&self.reader).acquire_owned().await;
        let place = place.expect("nobody closes the semaphore");
        let dialer = self.clone();
        let span = tracing::Span::current();
        let reading = spawn_blocking(move || {
            let papers = span.in_scope(|| dialer.papers());
            drop(place);
            papers
        });
        reading.await.map_err(SessionError::Unread)?
    }

    /// How often each side shows that it is there.
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.amqp.heartbeat_s.into())
    }

    pub(crate) fn backoff(&self) -> Backoff {
        self.backoff.clone()
    }

    pub(crate) async fn connect(&self, role: Role) -> Result<Connected, SessionError> {
        let connecting = aloud(CONNECT, timeout(self.within, self.dial(role)));
        connecting.await.unwrap_or(Err(SessionError::Deadline {
            what: CONNECT,
            within: self.within,
        }))
    }

    async fn dial(&self, role: Role) -> Result<Connected, SessionError> {
        let name = format!("jailfleet {} {}", role.as_str(), std::process::id());
        // No automatic recovery: after some errors it leaves consumers that wait for ever.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let Papers {
            amqp,
            uri,
            connector,
        } = self.read_papers().await?;
        let runtime = self.runtime.clone();
        let dialing = match connector {
            None => Connection::connect_uri_with_runtime(uri, properties, runtime).boxed(),
            Some(connector) => {
                let dial = async move |uri: AMQPUri, runtime: TokioRuntime| {
                    tls::dial(&connector, uri, &runtime).await
                };
                Connection::connector(uri, runtime, dial, properties).boxed()
            }
        };
        let connection = dialing.await.map_err(|source| SessionError::Amqp {
            what: CONNECT,
            source,
        })?;
        let events = connection.events_listener().boxed();
        tracing::info!(role = role.as_str(), broker = ?amqp.uri, "connected to the broker");
        Ok(Connected { connection, events })
    }
}

/// Waits for `call`, with the usual deadline.
pub(crate) async fn call<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, SessionError> {
    match aloud(what, timeout(CALL, call)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(SessionError::Amqp { what, source }),
        Err(_) => Err(SessionError::Deadline { what, within: CALL }),
    }
}

/// Waits for something that the broker must answer, and says so once that takes long: people who wait for
/// us shall know what we wait for.
pub(crate) async fn aloud<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    if let Ok(answer) = timeout(SLOW, answer.as_mut()).await {
        return answer;
    }
    slow(what);
    answer.await
}

fn slow(what: &str) {
    tracing::warn!(
        what,
        "the broker takes longer than a second to answer; it is waited for"
    );
}

/// Says goodbye; a broker that does not answer is left alone.
pub(crate) async fn close(connection: &Connection) {
    match timeout(GOODBYE, connection.close(200, "done".into())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the connection ended by itself"),
        Err(_) => tracing::debug!("the broker did not answer the goodbye"),
    }
}

#[cfg(test)]
mod tests;
