//! What the worker has yet to take: a socket's room is bounded, and a worker that is busy for a moment
//! is no reason to stop watching jails.

use crate::client::send_datagram;
use crate::protocol::{Datagram, Report};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

/// Reports on their way, the oldest first.
#[derive(Debug)]
pub(super) struct Reports {
    unsent: VecDeque<Datagram>,
    most: usize,
}

/// A run has three reports (it started, it ended, its slot is idle), a replaced slot two more (it is out of use,
/// it stands again), and an order that crossed those a refusal.
const PER_SLOT: usize = 8;

impl Reports {
    /// For so many slots; a worker that leaves more unread than these can have to say is broken.
    pub(super) fn of(slots: usize) -> Self {
        Self {
            unsent: VecDeque::new(),
            most: slots.saturating_mul(PER_SLOT),
        }
    }

    /// Whether some wait for room in the socket.
    pub(super) fn wait(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends a report, or keeps it until there is room.
    ///
    /// # Errors
    /// When too many wait already, or the socket fails.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, report: &Report) -> io::Result<()> {
        if self.unsent.len() >= self.most {
            return Err(io::Error::other("the worker reads no reports"));
        }
        self.unsent.push_back(report.encode());
        self.flush(socket)
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// When the socket fails for another reason than that.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(report) = self.unsent.front() {
            match send_datagram(socket, report, &[]) {
                Ok(()) => {
                    self.unsent.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The worker is gone: the next receive says so.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.unsent.clear();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{PER_SLOT, Reports};
    use crate::client::receive;
    use crate::protocol::{Build, Report};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::AsFd;

    #[test]
    fn reports_to_a_worker_that_reads_nothing_wait_in_order_and_not_without_end() {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (ours, theirs) = pair.expect("a pair");
        let mut reports = Reports::of(4096);
        let mut sent = 0;
        let idle = |slot| Report::Idle {
            build: Build::first(slot),
        };
        while !reports.wait() {
            let report = idle(sent);
            reports.send(ours.as_fd(), &report).expect("kept");
            sent += 1;
        }
        let report = idle(sent);
        reports.send(ours.as_fd(), &report).expect("kept");
        for slot in 0..=sent {
            let taken = receive(theirs.as_fd()).expect("a report");
            assert_eq!(taken, Some(idle(slot)));
            reports.flush(ours.as_fd()).expect("sent");
        }
        assert!(!reports.wait());

        let mut few = Reports::of(1);
        while !reports.wait() {
            let report = idle(0);
            reports.send(ours.as_fd(), &report).expect("kept");
        }
        for _ in 0..PER_SLOT {
            let report = idle(0);
            few.send(ours.as_fd(), &report).expect("kept");
        }
        let report = idle(0);
        few.send(ours.as_fd(), &report).expect_err("too many");
    }
}
