//! What a warden does before its first order.

use super::WardenError;
use jailfleet::settings::WorkerSettings;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// The exit status of a warden or an init that found a mistake in itself.
const PANICKED: i32 = 70;

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
/// no signal of a terminal or a service manager ends it before its worker goes, it has no network,
/// all the descriptors that it may have, and a panic is its end and not an unwinding half-way.
///
/// Where the kernel enforces AppArmor it enters its own profile, before anything that needs one of its
/// rules.
///
/// # Errors
/// What the kernel answered.
pub fn harden(settings: &WorkerSettings) -> io::Result<()> {
    use nix::sched::{CloneFlags, unshare};
    nix::sys::prctl::set_dumpable(false)?;
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("jailfleet-warden: {panic}");
        crate::sys::exec::exit_now(PANICKED);
    }));
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    crate::sys::signals::ignore(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE]);
    if nix::unistd::geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNET)?;
    }
    super::confine::ourselves(settings);
    Ok(())
}
