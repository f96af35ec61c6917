//! The gateway's life: from its first listener to its last answer.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use hyper::Request;
use hyper::body::Incoming;
use jailfleet::settings::ProducerSettings;
use jailfleet_program::Clock;
use jailfleet_queue::DoorState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::checks::Gate;
use super::fleet::Fleet;
use super::listener::{self, Caps, Transport};
use super::metrics::{Held, Metrics, MetricsError};
use super::{Service, admin, respond, rounds};
use crate::api::{self, ApiError, Bound, Running};
use crate::cli::Exit;
use crate::client::{Client, ClientError};
use crate::progress::say;
use crate::stop::Stop;

/// Why the gateway ends or does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("listen on {address}, see {key}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The gateway's own interface.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The broker.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Signals cannot be waited for.
    #[error("wait for signals")]
    Signals(#[source] io::Error),
    /// The metrics cannot be made.
    #[error("make the metrics")]
    Metrics(#[from] MetricsError),
    /// A part of it ended that must not.
    #[error("go on: {0} ended by itself")]
    Ended(&'static str),
}

/// Serves until SIGTERM or SIGINT, then answers what is under way and ends.
///
/// # Errors
/// When an address is taken, the settings do not do, or a part of the gateway ends by itself.
pub async fn run(settings: &ProducerSettings) -> Result<Exit, ServeError> {
    let serve = &settings.serve;
    let (callers, address) = bind(serve.listen, "serve.listen").await?;
    let (admin, admin_address) = bind(serve.admin_listen, "serve.admin_listen").await?;
    let metrics = Arc::new(Metrics::new()?);
    let own = match &settings.api.door {
        Some(door) => Some(api::bind(door).await?),
        None => None,
    };
    say(&format!(
        "jailfleet-producer: serving codejail's interface at http://{address}, metrics at \
         http://{admin_address}{}",
        own.as_ref().map_or_else(String::new, beside),
    ));
    let own = own.map(|bound| api::open(bound, settings, Arc::clone(&metrics)));
    let mut own = own.transpose()?;
    let (gate, gate_seen) = watch::channel(Gate::Starting);
    let (door, door_seen) = watch::channel(DoorState::default());
    let service = Arc::new(Service {
        settings: settings.clone(),
        fleet: OnceLock::new(),
        gate: gate_seen,
        door: door_seen,
        own: own.as_ref().map(Running::unready),
        metrics,
        clock: Clock::start(),
        stop: CancellationToken::new(),
    });
    let (no_calls, no_fleet) = (CancellationToken::new(), CancellationToken::new());
    let mut interface = JoinSet::new();
    interface.spawn(serve_callers(
        callers,
        Arc::clone(&service),
        no_calls.clone(),
    ));
    let mut rest = JoinSet::new();
    rest.spawn(serve_admin(admin, Arc::clone(&service), no_fleet.clone()));
    let broker = serve_fleet(Arc::clone(&service), gate, door, no_fleet.clone());
    let mut broker = Box::pin(broker);
    let ended = tokio::select! {
        told = told_to_stop() => told,
        ended = &mut broker => ended.and(Err(ServeError::Ended("the connection to the broker"))),
        _ = interface.join_next() => Err(ServeError::Ended("the interface")),
        _ = rest.join_next() => Err(ServeError::Ended("the admin port")),
        () = ended_of(own.as_mut()) => Err(ServeError::Ended("the gateway's own interface")),
    };
    service.stop.cancel();
    no_calls.cancel();
    if ended.is_ok() {
        // Both interfaces at the same time: who stops a gateway waits for the slower one.
        let own = async {
            if let Some(own) = own.take() {
                own.close().await;
            }
        };
        let mut own = Box::pin(own);
        // Callers get their answers while the fleet is still there; each has a deadline.
        let answered = async { while interface.join_next().await.is_some() {} };
        let gone = tokio::select! {
            ((), ()) = async { tokio::join!(answered, own.as_mut()) } => None,
            ended = &mut broker => Some(ended),
        };
        no_fleet.cancel();
        match gone {
            None => broker.await?,
            Some(ended) => ended?,
        }
        while rest.join_next().await.is_some() {}
    }
    ended.map(|()| Exit::Done)
}

/// Where our own interface is, for people.
fn beside(own: &Bound) -> String {
    let (scheme, address) = (own.scheme, own.address);
    format!(", jobs at {scheme}://{address}/api/v1")
}

/// Never, where there is none.
async fn ended_of(own: Option<&mut Running>) {
    match own {
        Some(own) => own.ended().await,
        None => std::future::pending().await,
    }
}

async fn bind(
    address: SocketAddr,
    key: &'static str,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bound = listener::bind(address).await;
    bound.map_err(|source| ServeError::Listen {
        address,
        key,
        source,
    })
}

async fn told_to_stop() -> Result<(), ServeError> {
    let mut stop = Stop::listen().map_err(ServeError::Signals)?;
    stop.came().await;
    Ok(())
}

async fn serve_callers(listener: TcpListener, service: Arc<Service>, stop: CancellationToken) {
    let serve = &service.settings.serve;
    let caps = Caps {
        connections: serve.connections,
        head: serve.head_timeout_ms.duration(),
        work: serve.body_timeout_ms.duration() + serve.read_timeout_ms.duration(),
    };
    let held = service.metrics.connections();
    let handler = move |request| {
        let service = Arc::clone(&service);
        async move { respond(&service, request).await }
    };
    listener::serve(listener, Transport::Plain, caps, held, handler, stop).await;
}

async fn serve_admin(listener: TcpListener, service: Arc<Service>, stop: CancellationToken) {
    let handler = move |request: Request<Incoming>| {
        let response = admin::respond(&service, request.method(), request.uri().path());
        std::future::ready(response)
    };
    let (caps, held) = (admin::CAPS, Held::unseen());
    listener::serve(listener, Transport::Plain, caps, held, handler, stop).await;
}

/// Connects, then keeps the results flowing, the checks going and the unwanted jobs cancelled.
async fn serve_fleet(
    service: Arc<Service>,
    gate: watch::Sender<Gate>,
    door: watch::Sender<DoorState>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let settings = &service.settings;
    let Some(client) = connect(settings, &stop).await? else {
        return Ok(());
    };
    let (fleet, waiting, unwanted) = Fleet::new(&client, Arc::clone(&service.metrics));
    let mut state = client.state();
    if service.fleet.set(fleet).is_err() {
        return Err(ServeError::Ended("the first of two fleets"));
    }
    let mut parts = JoinSet::new();
    let metrics = Arc::clone(&service.metrics);
    parts.spawn(waiting.serve(client, metrics, stop.clone()));
    parts.spawn(unwanted.serve(settings.amqp.clone(), service.clock, stop.clone()));
    parts.spawn(rounds::keep(Arc::clone(&service), gate, stop.clone()));
    parts.spawn({
        let stop = stop.clone();
        async move {
            loop {
                door.send_replace(state.borrow_and_update().clone());
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = state.changed() => if changed.is_err() { return },
                }
            }
        }
    });
    // None of them ends before it is told to.
    parts.join_next().await;
    if !stop.is_cancelled() {
        return Err(ServeError::Ended("a part that talks to the broker"));
    }
    while parts.join_next().await.is_some() {}
    Ok(())
}

/// Tries until the broker is there, or until `stop`.
async fn connect(
    settings: &ProducerSettings,
    stop: &CancellationToken,
) -> Result<Option<Client>, ServeError> {
    loop {
        let connecting = Client::connect_to_stay(settings, vec![settings.producer.pool.clone()]);
        let connected = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            connected = connecting => connected,
        };
        match connected {
            Ok(client) => return Ok(Some(client)),
            // It waited as long as a connection may take.
            Err(error @ ClientError::Unreachable { .. }) => tracing::warn!(%error, "no broker yet"),
            Err(error) => return Err(error.into()),
        }
    }
}
