//! Where workers call from inside of a job's story, and wait until somebody hangs up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::worker::LONG;

/// A worker that waits within a job.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) pid: i32,
    /// It goes on when this is dropped.
    pub(crate) stream: TcpStream,
}

/// The other end of the workers' halting points.
pub(crate) struct Halts {
    pub(crate) address: SocketAddr,
    wanted: Arc<Mutex<Option<String>>>,
    calls: mpsc::Receiver<Call>,
    _listening: JoinSet<()>,
}

impl Halts {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let wanted = Arc::default();
        let (sender, calls) = mpsc::channel(1);
        let mut listening = JoinSet::new();
        listening.spawn(answer(listener, Arc::clone(&wanted), sender));
        Self {
            address,
            wanted,
            calls,
            _listening: listening,
        }
    }

    /// Halts the next worker that comes to this point with this job. All others go on at once.
    pub(crate) fn want(&self, point: &str, job: &str) {
        *self.wanted() = Some(format!("{point} {job}"));
    }

    /// Waits for it.
    pub(crate) async fn called(&mut self) -> Call {
        let call = timeout(LONG, self.calls.recv()).await;
        call.expect("a worker comes to the point")
            .expect("somebody listens")
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    listener: TcpListener,
    wanted: Arc<Mutex<Option<String>>>,
    calls: mpsc::Sender<Call>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        // A worker that was killed in between says nothing.
        let Ok(Ok(_)) = timeout(LONG, stream.read_line(&mut line)).await else {
            continue;
        };
        let Some((place, pid)) = line.trim_end().rsplit_once(' ') else {
            continue;
        };
        let meant = {
            let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.take_if(|wanted| wanted == place).is_some()
        };
        let Ok(pid) = pid.parse() else { continue };
        let stream = stream.into_inner();
        if meant && calls.send(Call { pid, stream }).await.is_err() {
            return;
        }
    }
}
