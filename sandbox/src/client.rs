//! The worker's side: start the warden, send it orders, take its reports, and make the descriptors
//! that a run is given.

use crate::protocol::{DATAGRAM_BYTES, Order, Report};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use nix::sys::stat::{Mode, fchmod};
use std::fs::File;
use std::io::{self, IoSlice, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// How to start the warden.
#[derive(Debug, Clone)]
pub struct StartWarden {
    /// The executable `jailfleet-warden`.
    pub warden_path: PathBuf,
    /// The operator's config file, if any. The warden reads it by itself.
    pub config_file: Option<PathBuf>,
    /// Settings given as flags, by dotted key; the warden must see the same ones as the worker.
    pub flags: Vec<(String, String)>,
}

/// A running warden and the socket to it. Dropping this closes the socket, at which the warden
/// kills every jail and ends.
#[derive(Debug)]
pub struct WardenProcess {
    socket: OwnedFd,
    child: Child,
}

/// Why the warden did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket pair.
    #[error("make the socket to the warden")]
    Socket(#[source] io::Error),
    /// The executable did not start.
    #[error("start the warden {path}, is it installed beside the worker or named by warden.path?")]
    Spawn {
        /// What was tried.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Starts the warden with one end of a socket as its standard input. Its environment holds only our
/// own settings and what a log needs.
///
/// # Errors
/// [`StartError`] when no socket could be made or the executable did not start.
pub fn start(plan: &StartWarden) -> Result<WardenProcess, StartError> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )
    .map_err(|errno| StartError::Socket(errno.into()))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the warden is the one program a worker starts"
    )]
    let mut command = Command::new(&plan.warden_path);
    if let Some(file) = &plan.config_file {
        command.arg("--config").arg(file);
    }
    for (key, value) in plan.flags.iter().filter(|(key, _)| key != BROKER_KEY) {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command.env_clear();
    let variables = std::env::vars_os();
    command.envs(variables.filter(|(name, _)| is_for_the_warden(&name.to_string_lossy())));
    let child = command
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn();
    let child = child.map_err(|source| StartError::Spawn {
        path: plan.warden_path.clone(),
        source,
    })?;
    Ok(WardenProcess {
        socket: ours,
        child,
    })
}

/// The key of the broker's address with its password. The warden has no network, and every init is
/// a copy of it: neither has a use for the secret.
const BROKER_KEY: &str = "amqp.uri";

/// Whether the warden sees this variable.
fn is_for_the_warden(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ours = name.starts_with("JAILFLEET__") && name != "JAILFLEET__AMQP__URI";
    ours || name == "PATH" || name == "RUST_BACKTRACE"
}

impl WardenProcess {
    /// The socket for [`send`] and [`receive`]; non-blocking.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The warden's process id, for logs and for a watch by pidfd.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the socket and waits until the warden has cleaned up and ended.
    ///
    /// # Errors
    /// What the wait answered.
    pub fn wait(self) -> io::Result<ExitStatus> {
        let Self { socket, mut child } = self;
        drop(socket);
        child.wait()
    }

    /// Whether the warden has ended, without waiting.
    ///
    /// # Errors
    /// What the wait answered.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

/// Sends one order with its descriptors.
///
/// # Errors
/// `WouldBlock` when the warden has too many orders unread; `BrokenPipe` when it is gone.
pub fn send(socket: BorrowedFd<'_>, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_datagram(socket, &order.encode(), fds)
}

/// Takes the next report; `None` when the warden is gone.
///
/// # Errors
/// `WouldBlock` when there is none yet; `InvalidData` for a datagram of another version.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    let mut bytes = [0; DATAGRAM_BYTES];
    let length = match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(0) | Err(Errno::ECONNRESET) => return Ok(None),
        Ok(length) => length,
        Err(errno) => return Err(errno.into()),
    };
    let bytes = bytes.get(..length).unwrap_or_default();
    Report::decode(bytes)
        .map(Some)
        .map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))
}

/// Sends bytes and descriptors as one datagram, without waiting and without a signal.
pub(crate) fn send_datagram(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        rights,
        flags,
        None,
    )?;
    Ok(())
}

/// A memfd with these bytes that nobody can change any more, at offset 0.
///
/// # Errors
/// What the kernel answered, for example `EMFILE`.
pub fn sealed_memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // What a program reads is no program: the input of a job must not be a way around a scratch that
    // is not executable. Since Linux 6.3 that can be sealed as well.
    let memfd = match memfd_create(name, flags | NOEXEC_SEAL) {
        Err(Errno::EINVAL) => memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(memfd);
    fchmod(&file, Mode::S_IRUSR | Mode::S_IRGRP | Mode::S_IROTH)?;
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(file.into())
}

/// MFD_NOEXEC_SEAL of memfd_create(2).
const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x0008);

/// The seals that a payload or a standard input must carry.
pub(crate) const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// A pipe for one stream of a program: the end to read, which never blocks, and the end to write,
/// which is for [`Order::Run`] and must then be closed here.
///
/// # Errors
/// What the kernel answered, for example `EMFILE`.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::is_for_the_warden;

    #[test]
    fn the_warden_sees_our_settings_but_neither_the_brokers_password_nor_anything_else() {
        assert!(is_for_the_warden("JAILFLEET__WARDEN__UID_BASE"));
        assert!(!is_for_the_warden("JAILFLEET__AMQP__URI"));
        assert!(!is_for_the_warden("jailfleet__amqp__uri"));
        assert!(!is_for_the_warden("AWS_SECRET_ACCESS_KEY"));
    }
}
