//! The admin port: `/metrics`, `/healthz` and `/readyz`, over plain HTTP/1.1.
//!
//! Whoever reaches the port can hold at most [`MAX_CONNECTIONS`] connections, each for at most
//! [`CONNECTION_DEADLINE`], and can make the worker do nothing but answer with short texts.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jailfleet_program::probes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Connections served at one time; a further one waits in the listen queue.
pub const MAX_CONNECTIONS: usize = 16;
/// How long one connection may live, however slowly it reads or writes.
pub const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);
/// How long the request's head may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// The smallest buffer that hyper takes: requests here are one line and a few headers.
const BUFFER_BYTES: usize = 8 * 1024;

/// What the probes answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why the worker would not take a job now; `None` when it would.
    pub unready: Option<Cow<'static, str>>,
    /// Whom it does not serve although it is ready.
    pub without: Option<String>,
    /// Whether its loop is alive and its warden there. A broker's outage does not count: a restart
    /// would not mend it.
    pub alive: bool,
}

impl Health {
    fn found(&self) -> probes::Health<'_> {
        probes::Health {
            dead: (!self.alive).then_some("the warden is gone"),
            unready: self.unready.as_deref(),
            without: self.without.as_deref(),
        }
    }
}

/// The bound admin port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Binds `listen`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(listen).await?,
        })
    }

    /// The real address.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        health: watch::Receiver<Health>,
        stop: CancellationToken,
    ) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&permits).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (metrics, health) = (Arc::clone(&metrics), health.clone());
                    connections.spawn(async move {
                        serve_connection(stream, metrics, health).await;
                        drop(permit);
                    });
                }
                // Out of descriptors, most likely: a pause lets connections end.
                Err(error) => {
                    tracing::warn!(%error, "the admin port could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    metrics: Arc<Metrics>,
    health: watch::Receiver<Health>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = probes::answer(
            request.method(),
            request.uri().path(),
            || metrics.render(),
            health.borrow().found(),
        );
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke off"),
        Err(_elapsed) => tracing::debug!("an admin connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("the port is open");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .await
            .expect("it answers and closes");
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn request(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    struct Served {
        address: SocketAddr,
        health: watch::Sender<Health>,
        stop: CancellationToken,
        tasks: JoinSet<()>,
    }

    async fn served() -> Served {
        let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a free port");
        let address = admin.address().expect("it has an address");
        let metrics = Arc::new(Metrics::new().expect("the metrics are well formed"));
        let (health, health_seen) = watch::channel(Health {
            unready: Some("draining".into()),
            without: None,
            alive: true,
        });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(admin.serve(metrics, health_seen, stop.clone()));
        Served {
            address,
            health,
            stop,
            tasks,
        }
    }

    #[tokio::test]
    async fn readiness_follows_the_worker_and_says_why_not() {
        let served = served().await;
        let answer = get(served.address, &request("/readyz")).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("draining"),
            "{answer}"
        );
        served.health.send_replace(Health {
            unready: None,
            without: None,
            alive: true,
        });
        let answer = get(served.address, &request("/readyz")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        served.health.send_modify(|health| {
            health.without = Some("tenant guests: not connected for consuming".to_owned());
        });
        let answer = get(served.address, &request("/readyz")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let words = "ready, but tenant guests: not connected for consuming\n";
        assert!(answer.ends_with(words), "{answer}");
    }

    #[tokio::test]
    async fn health_ends_with_the_warden_and_readiness_with_it() {
        let served = served().await;
        let answer = get(served.address, &request("/healthz")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        served.health.send_replace(Health {
            unready: Some("the warden is gone".into()),
            without: None,
            alive: false,
        });
        for path in ["/healthz", "/readyz"] {
            let answer = get(served.address, &request(path)).await;
            assert!(
                answer.starts_with("HTTP/1.1 503") && answer.contains("the warden is gone"),
                "{path}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn metrics_are_there_before_the_first_job() {
        let served = served().await;
        let answer = get(served.address, &request("/metrics")).await;
        for line in [
            "jailfleet_jobs_finished_total{lane=\"bulk\",outcome=\"exited\"} 0",
            "jailfleet_jobs_finished_total{lane=\"interactive\",outcome=\"engine_fault\"} 0",
        ] {
            assert!(answer.contains(line), "{line} is missing in {answer}");
        }
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_harms_nobody() {
        let served = served().await;
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
        // The server may close before all of it was written; both are a refusal.
        let mut stream = TcpStream::connect(served.address)
            .await
            .expect("the port is open");
        if stream.write_all(long.as_bytes()).await.is_ok() {
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer).await {
                Ok(_) => assert!(!answer.starts_with(b"HTTP/1.1 200")),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            }
        }
        assert!(
            get(served.address, "\0\0\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 400")
        );
        assert!(
            get(served.address, &request("/etc/passwd"))
                .await
                .starts_with("HTTP/1.1 404")
        );
        let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert!(get(served.address, post).await.starts_with("HTTP/1.1 405"));
        assert!(
            get(served.address, &request("/healthz"))
                .await
                .starts_with("HTTP/1.1 200")
        );
    }

    #[tokio::test]
    async fn it_ends_when_told() {
        let mut served = served().await;
        served.stop.cancel();
        assert!(served.tasks.join_next().await.expect("one task").is_ok());
    }
}
