//! The life of the interface: opened with the gateway, closed with it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_rustls::rustls::ServerConfig;
use jailfleet::settings::{ApiDoor, ProducerSettings, TlsFiles};
use jailfleet_program::Clock;
use jailfleet_queue::DoorState;
use jailfleet_queue::amqp::OpenError;
use jailfleet_queue::amqp::logbook::LogbookDoor;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::{Book, Bounds};
use super::cancels;
use super::rates::Rates;
use super::tenants::{Tenants, TenantsError};
use super::tls::{self, TlsError};
use super::{Api, respond};
use crate::serve::Metrics;
use crate::serve::listener::{self, Caps, Transport};

/// How often files are looked at for changes.
const LOOK: Duration = Duration::from_secs(2);
/// A file of tenants that is larger is not read.
const FILE_BYTES: u64 = 16 << 20;

/// Why the interface cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address cannot be listened on.
    #[error("listen on {address}, see api.listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The file of tenants.
    #[error("read api.tenants_file {path}: {reason}")]
    Tenants {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The door to the broker.
    #[error("open the door to the broker")]
    Door(#[from] OpenError),
}

/// An interface that has its address and its files, and talks to nobody yet.
pub(crate) struct Bound {
    /// Where it will answer.
    pub(crate) address: SocketAddr,
    /// How callers speak.
    pub(crate) scheme: &'static str,
    listener: TcpListener,
    files: Files,
    door: ApiDoor,
}

/// An interface that is open.
#[derive(Debug)]
pub(crate) struct Running {
    api: Arc<Api>,
    callers: JoinSet<()>,
    rest: JoinSet<()>,
    no_callers: CancellationToken,
    no_broker: CancellationToken,
}

/// Takes the address of that door of the settings.
///
/// # Errors
/// When it is taken, or a file does not do.
pub(crate) async fn bind(door: &ApiDoor) -> Result<Bound, ApiError> {
    let files = Files::read(door)?;
    let bound = listener::bind(door.listen).await;
    let (listener, address) = bound.map_err(|source| ApiError::Listen {
        address: door.listen,
        source,
    })?;
    Ok(Bound {
        address,
        scheme: if files.tls.is_some() { "https" } else { "http" },
        listener,
        files,
        door: door.clone(),
    })
}

/// Opens the interface.
///
/// # Errors
/// When the broker's URI cannot be read, or threads cannot be started.
pub(crate) fn open(
    bound: Bound,
    settings: &ProducerSettings,
    metrics: Arc<Metrics>,
) -> Result<Running, ApiError> {
    let Bound {
        listener,
        files,
        door,
        ..
    } = bound;
    let clock = Clock::start();
    let section = &settings.api;
    let pools = [settings.producer.pool.clone()];
    let logbook = LogbookDoor::open(&settings.amqp, &pools, &section.logbook)?;
    let bounds = Bounds {
        jobs: section.kept_jobs,
        cache_bytes: section.cache_bytes,
        result_bytes: settings.producer.result_bytes,
    };
    let book = Book::new(logbook.desk(), bounds, Arc::clone(&metrics), clock);
    let (canceller, wishes) = cancels::channel();
    let (tenants, tenants_seen) = watch::channel(Arc::new(files.tenants));
    let (no_callers, no_broker) = (CancellationToken::new(), CancellationToken::new());
    let api = Arc::new(Api {
        settings: settings.clone(),
        tenants: tenants_seen,
        rates: Rates::default(),
        book: Arc::new(book),
        door: logbook.state(),
        canceller,
        waits: Arc::new(Semaphore::new(section.waits)),
        metrics,
        clock,
        tasks: TaskTracker::new(),
        stop: no_callers.clone(),
    });
    let (tls, transport) = match files.tls {
        None => (None, Transport::Plain),
        Some(config) => {
            let (tls, seen) = watch::channel(config);
            (Some(tls), Transport::Tls(seen))
        }
    };
    let mut rest = JoinSet::new();
    rest.spawn(Arc::clone(&api.book).keep(logbook, no_broker.clone()));
    rest.spawn(Arc::clone(&api.book).tidy(no_broker.clone()));
    rest.spawn(wishes.serve(settings.amqp.clone(), clock, no_broker.clone()));
    rest.spawn(watch_files(door, tenants, tls, no_broker.clone()));
    let mut callers = JoinSet::new();
    callers.spawn(serve(
        listener,
        transport,
        Arc::clone(&api),
        no_callers.clone(),
    ));
    Ok(Running {
        api,
        callers,
        rest,
        no_callers,
        no_broker,
    })
}

async fn serve(
    listener: TcpListener,
    transport: Transport,
    api: Arc<Api>,
    stop: CancellationToken,
) {
    let section = &api.settings.api;
    // The broker's confirm of the notes and of the jobs, and its answer about a result.
    let answer = api.settings.amqp.confirm_timeout_ms.duration() * 4;
    let longest = section.wait_ms.duration().max(section.events_ms.duration());
    let caps = Caps {
        connections: section.connections,
        head: section.head_timeout_ms.duration(),
        work: section.body_timeout_ms.duration() + longest + answer,
    };
    let held = api.metrics.api().connections();
    let handler = move |request| respond(Arc::clone(&api), request);
    listener::serve(listener, transport, caps, held, handler, stop).await;
}

impl Running {
    /// Returns when a part of it ends that must not.
    pub(crate) async fn ended(&mut self) {
        tokio::select! {
            _ = self.callers.join_next() => {}
            _ = self.rest.join_next() => {}
        }
    }

    /// Why it would take no jobs now; `None` when it would.
    pub(crate) fn unready(&self) -> Unready {
        Unready(Arc::clone(&self.api))
    }

    /// Answers what is under way, and disconnects.
    pub(crate) async fn close(mut self) {
        self.no_callers.cancel();
        while self.callers.join_next().await.is_some() {}
        self.api.tasks.close();
        // What was begun has deadlines of its own; these are of the broker's confirms.
        let within = self.api.settings.amqp.confirm_timeout_ms.duration();
        if timeout(within, self.api.tasks.wait()).await.is_err() {
            tracing::warn!("jobs were still on their way to the broker");
        }
        self.no_broker.cancel();
        while self.rest.join_next().await.is_some() {}
    }
}

/// Looks at the interface for the admin port.
#[derive(Debug, Clone)]
pub(crate) struct Unready(Arc<Api>);

impl Unready {
    /// Why no job would be taken now; `None` when one would.
    pub(crate) fn why(&self) -> Option<&'static str> {
        if !self.0.book.is_caught_up() {
            return Some("the logbook of /api/v1 is still being read");
        }
        let is_ready = self.0.door.borrow().is_ready();
        (!is_ready).then_some("/api/v1 has no connection to the broker")
    }

    /// How its connections are.
    pub(crate) fn door(&self) -> DoorState {
        self.0.door.borrow().clone()
    }
}

/// What the files hold.
struct Files {
    tenants: Tenants,
    tls: Option<Arc<ServerConfig>>,
}

impl Files {
    fn read(door: &ApiDoor) -> Result<Self, ApiError> {
        Ok(Self {
            tenants: tenants(&door.tenants_file)?,
            tls: door.tls.as_ref().map(tls::read).transpose()?,
        })
    }
}

fn tenants(path: &str) -> Result<Tenants, ApiError> {
    let bad = |reason: String| ApiError::Tenants {
        path: path.to_owned(),
        reason,
    };
    let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
    if size.len() > FILE_BYTES {
        return Err(bad(format!("it has more than {FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    Tenants::read(&text).map_err(|error: TenantsError| bad(error.to_string()))
}

/// When the files were written last, as far as that can be seen.
fn written(door: &ApiDoor) -> Vec<Option<SystemTime>> {
    let tls = door.tls.iter();
    let tls = tls.flat_map(
        |TlsFiles {
             cert_file,
             key_file,
         }| [cert_file, key_file],
    );
    let files = [&door.tenants_file].into_iter().chain(tls);
    let written = |path: &String| {
        let found = Path::new(path).metadata();
        found.and_then(|found| found.modified()).ok()
    };
    files.map(written).collect()
}

/// Takes over what is written into the files, until `stop`. What does not do is told, and what was
/// there before stays in force.
async fn watch_files(
    door: ApiDoor,
    tenants: watch::Sender<Arc<Tenants>>,
    tls: Option<watch::Sender<Arc<ServerConfig>>>,
    stop: CancellationToken,
) {
    let mut before = written(&door);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK) => {}
        }
        let own = door.clone();
        // Files may lie on a network: nobody waits for them here.
        let looking = spawn_blocking(move || {
            let now = written(&own);
            (now != before)
                .then(|| Files::read(&own))
                .map_or_else(|| (before, None), |read| (now, Some(read)))
        });
        let Ok((seen, read)) = looking.await else {
            return;
        };
        before = seen;
        match read {
            None => {}
            Some(Ok(files)) => {
                tenants.send_replace(Arc::new(files.tenants));
                if let (Some(tls), Some(config)) = (&tls, files.tls) {
                    tls.send_replace(config);
                }
                tracing::info!("tenants and certificate were read again");
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a file that changed does not do; the old one is in force");
            }
        }
    }
}
