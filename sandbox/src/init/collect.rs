//! Between a run's end and its clean scratch: what is wanted of what it left is brought out.

use super::{Init, map_payload};
use crate::clock;
use crate::jail::collect::{Collecting, collect};
use crate::link::Command;
use crate::protocol::{ARTIFACT_DESCRIPTORS, DATAGRAM_BYTES};
use crate::slot::COLLECT_DEADLINE;
use crate::sys::clone::{Cloned, clone_process};
use crate::sys::exec::{Patience, Waited, exit_now, wait_child};
use crate::sys::message::receive;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

impl Init<'_> {
    /// Has a child bring out what is wanted, and waits for its end. Whatever goes wrong is seen by the
    /// worker: its stream ends too early.
    pub(super) fn bring_out(&self, artifacts: [OwnedFd; ARTIFACT_DESCRIPTORS]) {
        let [wanted, out] = artifacts;
        let Ok(wanted) = map_payload(&wanted) else {
            return;
        };
        match clone_process(0, None) {
            Ok(Cloned::Child) => collect(Collecting {
                identity: self.blueprint.identity,
                cwd: self.root.working_directory(),
                wanted: &wanted,
                out,
                filter: self.blueprint.collector,
            }),
            // The child's copy of the pipe is the last one then.
            Ok(Cloned::Parent { .. }) => drop(out),
            Err(_no_memory) => return,
        }
        self.wait_for_the_child();
        super::watch::leave_nobody();
    }

    /// Waits until the warden has taken the run's evidence; without its word to collect, and without a
    /// warden, an init has nothing left to do.
    pub(super) fn wait_for_the_word(&self, ended: u64) {
        loop {
            let mut waits = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waits, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => exit_now(1),
            }
            let mut bytes = [0; DATAGRAM_BYTES];
            let message = match receive(self.link.as_fd(), &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(message) if message.length > 0 => message,
                Ok(_) | Err(_) => exit_now(0),
            };
            match Command::decode(bytes.get(..message.length).unwrap_or_default()) {
                Ok(Command::Collect { run }) if run == ended => return,
                // It came after its run had ended.
                Ok(Command::Kill { .. }) => {}
                Ok(Command::Collect { .. } | Command::Run { .. }) | Err(_) => exit_now(1),
            }
        }
    }

    /// Until the child has ended, or has taken too long.
    fn wait_for_the_child(&self) {
        let now = clock::now();
        let deadline = now.checked_add(COLLECT_DEADLINE).unwrap_or(now);
        loop {
            while let Ok(Some(_)) = self.children.read_signal() {}
            match wait_child(-1, Patience::Poll) {
                Ok(Waited::NoneYet) => {}
                Ok(Waited::Ended(..) | Waited::NoChild) | Err(_) => return,
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            let timeout = PollTimeout::try_from(left.as_millis().saturating_add(1));
            let mut waits = [PollFd::new(self.children.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waits, timeout.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}
