//! AppArmor as the warden sees to it: a profile for each runtime that names one, and its own.

use crate::apparmor::{Profile, Way, enforced, is_entered};
use crate::launch::Launch;
use jailfleet::settings::WorkerSettings;
use std::io;

/// Finds the profile of each runtime, then enters the warden's own. The wall holds when both could be
/// done for all that are named; a profile that cannot be entered is a missing wall, and never entered.
pub(super) fn confine(settings: &WorkerSettings, launches: &mut [Launch]) -> Option<Way> {
    if !enforced() {
        return None;
    }
    let way = jails(settings, launches)?;
    let every_jail = launches.iter().all(|launch| launch.profile.is_some());
    ourselves(settings, way, every_jail).then_some(way)
}

/// How the runtimes' profiles are entered; `None` when one of them cannot be, or none is named.
fn jails(settings: &WorkerSettings, launches: &mut [Launch]) -> Option<Way> {
    let mut all = true;
    let mut ways = Vec::new();
    for (runtime, launch) in settings.runtimes.iter().zip(launches) {
        let Some(name) = &runtime.apparmor else {
            continue;
        };
        match Profile::find(name) {
            Ok(profile) => {
                ways.push(profile.way());
                launch.profile = Some(profile);
            }
            Err(error) => {
                complain(name, &error);
                all = false;
            }
        }
    }
    // One that is stacked says so for all: the host is the same.
    let stacked = ways.contains(&Way::Stack);
    let way = ways.first().copied().filter(|_| all)?;
    Some(if stacked { Way::Stack } else { way })
}

/// Enters the warden's own profile, where the settings name one; whether it is where it should be.
///
/// It stays with the label that it was started in where a profile can only be stacked, since what it
/// puts on top of itself every jail would carry, and no program may do only what both a warden and a
/// python may; and where a runtime has no profile, whose programs would be left in the warden's, in
/// which nothing may be executed.
fn ourselves(settings: &WorkerSettings, way: Way, every_jail: bool) -> bool {
    let Some(name) = settings.warden.apparmor.as_deref() else {
        return true;
    };
    if way == Way::Stack || is_entered(name) {
        return true;
    }
    if !every_jail {
        eprintln!("jailfleet-warden: a runtime has no AppArmor profile, so the warden enters none");
        return true;
    }
    match Profile::find(name).and_then(|profile| profile.enter()) {
        Ok(()) => true,
        Err(error) => {
            complain(name, &error);
            false
        }
    }
}

fn complain(name: &str, error: &io::Error) {
    eprintln!(
        "jailfleet-warden: the AppArmor profile {name} cannot be entered ({error}); \
         `cargo xtask install-profiles` or apparmor/README.md says how to load it"
    );
}
