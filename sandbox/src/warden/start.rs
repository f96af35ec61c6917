//! What a warden does before its first order.

use super::WardenError;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// Far from first in line when the host's memory runs out; a jail's child puts itself first.
const WARDEN_SCORE: i32 = -900;
/// The worker's: without it the warden has nothing to do.
pub const WORKER_SCORE: i32 = -800;

/// Asks the kernel to kill others first when the host's memory runs out; whether it agreed. Without
/// CAP_SYS_RESOURCE it does not, which `jailfleet-worker doctor` says.
///
/// # Source
/// proc_pid_oom_score_adj(5)
pub fn protect_from_oom(score: i32) -> bool {
    std::fs::write("/proc/self/oom_score_adj", score.to_string()).is_ok()
}

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
/// # Errors
/// What the kernel answered.
pub fn harden() -> io::Result<()> {
    use nix::sched::{CloneFlags, unshare};
    nix::sys::prctl::set_dumpable(false)?;
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("jailfleet-warden: {panic}");
        crate::sys::exec::exit_now(PANICKED);
    }));
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    crate::sys::signals::ignore(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE]);
    protect_from_oom(WARDEN_SCORE);
    if nix::unistd::geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}
