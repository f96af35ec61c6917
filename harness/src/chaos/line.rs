//! One connection through the proxy: its two sockets, and what became of it.

use anyhow::{Context, Result};
use rustix::net::sockopt::set_socket_linger;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How long a write may wait for room before somebody looks whether it is still wanted.
const ROOM: Duration = Duration::from_millis(200);

/// The two sockets. A reset happens when the last holder drops them.
pub(super) struct Ends {
    pub(super) client: TcpStream,
    pub(super) broker: TcpStream,
}

impl Ends {
    pub(super) fn prepare(&self) -> Result<()> {
        for stream in [&self.client, &self.broker] {
            stream.set_nodelay(true).context("send at once")?;
            let room = stream.set_write_timeout(Some(ROOM));
            room.context("bound a write")?;
        }
        Ok(())
    }
}

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Through,
    HalfOpen,
    Cut,
}

/// A connection that has not ended on both sides.
pub(super) struct Line {
    /// What its client calls it; empty before that.
    pub(super) name: String,
    pub(super) condition: Condition,
    /// Whether the broker has said all that it will.
    pub(super) broker_ended: bool,
    /// How many of its two directions are still carried.
    pub(super) pumps: u8,
    ends: Arc<Ends>,
}

impl Line {
    pub(super) fn of(ends: Arc<Ends>) -> Self {
        Self {
            name: String::new(),
            condition: Condition::Through,
            broker_ended: false,
            pumps: 2,
            ends,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.broker_ended && self.condition != Condition::Cut
    }

    /// Has both sides see a reset, as soon as the pumps have let go.
    pub(super) fn cut(&mut self) {
        self.condition = Condition::Cut;
        for stream in [&self.ends.client, &self.ends.broker] {
            reset_at_close(stream);
            // Wakes whoever reads, and sends nothing.
            end(stream, Shutdown::Read);
        }
    }

    /// Ends both sides, as a peer does that goes away in peace.
    pub(super) fn shut(&self) {
        end(&self.ends.client, Shutdown::Both);
        end(&self.ends.broker, Shutdown::Both);
    }
}

/// Has the close of a socket reset its connection.
pub(super) fn reset_at_close(stream: &TcpStream) {
    if let Err(error) = set_socket_linger(stream, Some(Duration::ZERO)) {
        eprintln!("the chaos proxy cannot reset a connection: {error}");
    }
}

/// Ends one or both directions of a socket. One that is gone already needs no more.
pub(super) fn end(stream: &TcpStream, how: Shutdown) {
    match stream.shutdown(how) {
        Err(error) if error.kind() != ErrorKind::NotConnected => {
            eprintln!("the chaos proxy cannot end a connection: {error}");
        }
        Ok(()) | Err(_) => {}
    }
}
