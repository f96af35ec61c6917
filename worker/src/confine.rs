//! What a worker shuts itself off from, once its warden runs and root was given up: whoever takes it
//! over by a message can then talk to the broker and to the warden, and do nothing else.

use jailfleet::settings::WorkerSettings;
use jailfleet::wall::{HeldWall, Wall};
use jailfleet_sandbox::apparmor::{self, Profile};
use jailfleet_sandbox::seccomp;
use jailfleet_sandbox::sys::caps::{Caps, set_capabilities};
use jailfleet_sandbox::sys::restrict::seccomp_set_filter;
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use std::io;
use thiserror::Error;

/// A worker that cannot shut itself off must not parse what strangers send.
#[derive(Debug, Error)]
#[error("shut the worker off from {what}")]
pub struct ConfineError {
    what: &'static str,
    #[source]
    source: io::Error,
}

/// Enters the worker's AppArmor profile, gives up the last capabilities and every way to new ones, and
/// puts the worker's system call filter in force. Before any other thread exists: threads inherit it.
///
/// A profile that cannot be entered is no error here: [`honest`] then takes the wall `apparmor` away.
///
/// # Errors
/// [`ConfineError`]: the caller must end.
pub fn shut_off(settings: &WorkerSettings) -> Result<(), ConfineError> {
    let from = |what| move |source: io::Error| ConfineError { what, source };
    enter_profile(settings);
    set_capabilities(Caps::NONE, Caps::NONE).map_err(from("capabilities"))?;
    set_dumpable(false).map_err(|errno| from("debuggers")(errno.into()))?;
    set_no_new_privs().map_err(|errno| from("new privileges")(errno.into()))?;
    let filter = seccomp::worker_filter().map_err(from("system calls"))?;
    seccomp_set_filter(&filter).map_err(from("system calls"))
}

fn enter_profile(settings: &WorkerSettings) {
    let Some(name) = named(settings) else { return };
    if apparmor::is_entered(name) {
        return;
    }
    match Profile::find(name).and_then(|profile| profile.enter()) {
        Ok(()) => tracing::debug!(profile = name, "the worker entered its AppArmor profile"),
        Err(error) => tracing::warn!(
            profile = name,
            %error,
            "the worker could not enter its AppArmor profile; apparmor/README.md says how to load it"
        ),
    }
}

/// The worker's profile, where the kernel enforces any.
fn named(settings: &WorkerSettings) -> Option<&str> {
    let name = settings.worker.apparmor.as_deref();
    name.filter(|_| apparmor::enforced())
}

/// The warden's walls, less AppArmor where the worker itself is outside its profile.
#[must_use]
pub fn honest(held: Vec<HeldWall>, settings: &WorkerSettings) -> Vec<HeldWall> {
    if named(settings).is_none_or(apparmor::is_entered) {
        return held;
    }
    let held = held.into_iter();
    held.filter(|held| held.wall != Wall::Apparmor).collect()
}
