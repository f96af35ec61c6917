//! What a warden does before its first order.

use super::WardenError;
use std::io;

pub(super) fn digest_bytes(hex: &str) -> Result<[u8; 32], WardenError> {
    digest_of_hex(hex).ok_or_else(|| WardenError::Worker("the config has no digest".to_owned()))
}

/// The digest that the handshake compares, from the hex form that the settings give.
#[must_use]
pub fn digest_of_hex(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        let pair = hex.get(at.saturating_mul(2)..at.saturating_mul(2).saturating_add(2))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

/// Shuts the warden itself off before it reads its first order: no other process reads its memory,
/// no signal of a terminal or a service manager ends it before its worker goes, and it has no
/// network.
///
/// # Errors
/// What the kernel answered.
pub fn harden() -> io::Result<()> {
    use nix::sched::{CloneFlags, unshare};
    nix::sys::prctl::set_dumpable(false)?;
    crate::sys::signals::ignore(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE]);
    if nix::unistd::geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}
