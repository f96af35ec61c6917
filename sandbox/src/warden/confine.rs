//! AppArmor as the warden sees to it: its own profile, and one for each runtime that names one.

use crate::apparmor::{Profile, Way, enforced, is_entered};
use crate::launch::Launch;
use jailfleet::settings::WorkerSettings;
use std::io;

/// Enters the warden's own profile, where the kernel enforces AppArmor and the settings name one.
/// Whether that could be done is asked again by [`jails`].
///
/// Where a profile can only be stacked the warden stays with the one that it was started in: what it
/// stacks on itself every jail would carry, too, and no program may do only what both a warden and a
/// python may.
pub(super) fn ourselves(settings: &WorkerSettings) {
    let Some(name) = settings.warden.apparmor.as_deref().filter(|_| enforced()) else {
        return;
    };
    if is_entered(name) {
        return;
    }
    let entered = Profile::find(name).and_then(|profile| match profile.way() {
        Way::Change => profile.enter(),
        Way::Stack => Ok(()),
    });
    if let Err(error) = entered {
        complain(name, &error);
    }
}

/// Finds the profile of each runtime that names one. The wall holds when the warden is in its own
/// profile and each runtime's can be entered; one that cannot be is a missing wall and never entered.
pub(super) fn jails(settings: &WorkerSettings, launches: &mut [Launch]) -> Option<Way> {
    if !enforced() {
        return None;
    }
    let own = settings.warden.apparmor.as_deref();
    let mut all = true;
    let mut way = None;
    for (runtime, launch) in settings.runtimes.iter().zip(launches) {
        let Some(name) = &runtime.apparmor else {
            continue;
        };
        match Profile::find(name) {
            Ok(profile) => {
                // One that is stacked says so for all: the host is the same.
                way = match (way, profile.way()) {
                    (Some(Way::Stack), _) | (_, Way::Stack) => Some(Way::Stack),
                    (Some(Way::Change) | None, Way::Change) => Some(Way::Change),
                };
                launch.profile = Some(profile);
            }
            Err(error) => {
                complain(name, &error);
                all = false;
            }
        }
    }
    let own = way == Some(Way::Stack) || own.is_none_or(is_entered);
    way.filter(|_| all && own)
}

fn complain(name: &str, error: &io::Error) {
    eprintln!(
        "jailfleet-warden: the AppArmor profile {name} cannot be entered ({error}); \
         `cargo xtask install-profiles` or apparmor/README.md says how to load it"
    );
}
