//! The Landlock ruleset of a run.

use crate::launch::Launch;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The version of Landlock that this host has; 0 for none.
#[must_use]
pub fn abi() -> u16 {
    0
}

/// The ruleset for a runtime in this working directory; `None` where the host has no Landlock.
///
/// # Errors
/// What the kernel answered.
pub fn ruleset(_launch: &Launch, _working_path: &str) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Lets a process see its own `/proc` folder. Async-signal-safe.
///
/// # Errors
/// What the kernel answered.
pub fn allow_own_proc(_ruleset: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}
