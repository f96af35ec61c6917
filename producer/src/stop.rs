//! The signals that ask a command to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, heard from the moment on that this exists.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Listens from now on: neither of them ends the process by itself any longer.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn came(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};
    use tokio::time::timeout;

    use super::Stop;

    #[tokio::test]
    async fn both_signals_ask_to_stop() {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut stop = Stop::listen().expect("signals");
            raise(signal).expect("sent to ourselves");
            let came = timeout(Duration::from_secs(20), stop.came()).await;
            came.unwrap_or_else(|_late| panic!("{signal} is not heard"));
        }
    }
}
