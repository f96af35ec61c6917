//! A listener for HTTP/1.1 that strangers can reach: everything about it has a bound.
//!
//! One connection carries one request, as with the service that is replaced, so that nobody holds a
//! place by saying nothing between two of them. Each listener has its own caps and its own handler:
//! a further interface is a further call of [`serve`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::ServerConfig;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;

use super::metrics::Held;

/// Room for a request's line and headers; hyper takes no less.
const HEAD_BYTES: usize = 16 * 1024;
/// What one connection may take beyond its head, its body and its work: the writing of the answer.
const WRITE: Duration = Duration::from_secs(10);
/// After a failed accept, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// What a listener grants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    /// Connections at one time; a further one waits in the listen queue.
    pub(crate) connections: usize,
    /// How long a request's head may take.
    pub(crate) head: Duration,
    /// How long everything between head and answer may take.
    pub(crate) work: Duration,
}

/// How callers speak.
#[derive(Debug, Clone)]
pub(crate) enum Transport {
    /// Plainly: in this host or a private network.
    Plain,
    /// By TLS, as is said here for the next handshake.
    Tls(watch::Receiver<Arc<ServerConfig>>),
}

/// Binds an address and says which one it became.
///
/// # Errors
/// When it is taken or not ours.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Serves until `stop`, then lets what is under way come to its end.
pub(crate) async fn serve<H, A, B>(
    listener: TcpListener,
    transport: Transport,
    caps: Caps,
    held: Held,
    handler: H,
    stop: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(caps.connections));
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
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (handler, held) = (handler.clone(), held.clone());
                let transport = transport.clone();
                connections.spawn(async move {
                    let place = held.take();
                    welcome(stream, transport, caps, handler).await;
                    drop((place, permit));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    // Each of them has a deadline of its own.
    while connections.join_next().await.is_some() {}
}

/// Shakes hands where that is wanted, within the time of a head.
async fn welcome<H, A, B>(stream: TcpStream, transport: Transport, caps: Caps, handler: H)
where
    H: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let config = match transport {
        Transport::Plain => return connection(stream, caps, handler).await,
        Transport::Tls(config) => Arc::clone(&config.borrow()),
    };
    let handshake = TlsAcceptor::from(config).accept(stream.compat());
    match timeout(caps.head, handshake).await {
        Ok(Ok(stream)) => connection(stream.compat(), caps, handler).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_elapsed) => tracing::debug!("a handshake took too long"),
    }
}

async fn connection<S, H, A, B>(stream: S, caps: Caps, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let service = service_fn(|request| {
        let answer = handler(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    // Where a caller goes away, hyper drops the service's future, and with it all that it waits for.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(caps.head)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(caps.head + caps.work + WRITE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke off"),
        Err(_elapsed) => tracing::debug!("a connection took too long"),
    }
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBody {
    #[error("The body is too large")]
    TooLarge,
    #[error("The body took too long")]
    Slow,
    #[error("The body broke off")]
    Broken,
}

/// Reads a body to its end. One that is too large is read for a while and dropped: a caller that is
/// still writing would not hear the answer.
///
/// # Errors
/// When it is too large or too slow, or breaks off.
pub(crate) async fn body(
    mut body: Incoming,
    most: usize,
    within: Duration,
) -> Result<Bytes, NoBody> {
    let mut taken = BytesMut::new();
    let mut seen = 0_usize;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Err(NoBody::Broken);
            };
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            seen = seen.saturating_add(piece.len());
            if seen <= most {
                taken.extend_from_slice(&piece);
            } else if seen > most.saturating_mul(4) {
                break;
            } else {
                taken = BytesMut::new();
            }
        }
        Ok(())
    };
    let read = timeout(within, reading).await;
    match read {
        _ if seen > most => Err(NoBody::TooLarge),
        Ok(read) => read.map(|()| taken.freeze()),
        Err(_elapsed) => Err(NoBody::Slow),
    }
}

/// Reads a body that nobody wants, for a while. Whoever is refused is still writing, and a connection
/// that is closed over what he wrote would take our answer with it.
pub(crate) async fn discard(mut body: Incoming, most: usize, within: Duration) {
    let mut seen = 0_usize;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if seen > most {
                return;
            }
        }
    };
    // Whoever is too slow even for that may miss the answer.
    if timeout(within, reading).await.is_err() {
        tracing::debug!("a refused body took too long");
    }
}

/// Whether the head says that the body is larger than that.
pub(crate) fn declares_more(body: &Incoming, most: usize) -> bool {
    body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX)
}
