//! Whether this host may take jobs at all: the walls that hold against those required, the memory
//! against what the slots may use.

use std::fmt::{self, Display, Formatter};

use jailfleet::settings::WorkerSettings;
use jailfleet::wall::{self, HeldWall, Wall, WallSet};
use jailfleet_sandbox::apparmor;
use jailfleet_sandbox::cgroup::memory_given_bytes;
use thiserror::Error;

use crate::programs::Offer;

/// Why this worker must not take jobs here.
#[derive(Debug, Error)]
pub enum Unfit {
    /// Walls of the required set are missing.
    #[error(
        "raise the walls that the set {set} requires; nothing was consumed. Missing: {missing}. Run `jailfleet-worker doctor` for the whole picture, or choose a weaker set with --walls if nobody's life depends on it"
    )]
    Walls {
        /// The set.
        set: WallSet,
        /// The walls, with a way to raise each.
        missing: Missing,
    },
    /// The slots could use more memory than there is.
    #[error(
        "fit {slots} slots of up to {ceiling_mib} MiB (the highest memory ceiling, runtime {runtime}) into {memory_mib} MiB of memory, which is what this host or the worker's control group has: lower worker.slots or that runtime's ceiling, or set worker.overcommit_memory = true"
    )]
    Memory {
        /// How many slots.
        slots: usize,
        /// The highest ceiling.
        ceiling_mib: u64,
        /// Whose it is.
        runtime: String,
        /// What there is: the host's, or what the worker's control group may use.
        memory_mib: u64,
    },
}

/// Walls that are missing.
#[derive(Debug)]
pub struct Missing(pub Vec<Wall>);

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, wall) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{wall} ({})", fix(*wall))?;
        }
        Ok(())
    }
}

/// How to raise a wall, in one phrase.
#[must_use]
pub const fn fix(wall: Wall) -> &'static str {
    match wall {
        Wall::Rlimits | Wall::NoNewPrivs | Wall::Descriptors | Wall::Caps | Wall::Scratch => {
            "needs Linux 5.15 or newer"
        }
        Wall::Uid | Wall::Userns => {
            "start as root on a host that has pkill (procps), or allow unprivileged user namespaces: \
             sysctl kernel.unprivileged_userns_clone=1"
        }
        Wall::Pidns | Wall::Mountns | Wall::Netns | Wall::Ipcns | Wall::Utsns | Wall::Root => {
            "start as root with CAP_SYS_ADMIN, or allow unprivileged user namespaces"
        }
        Wall::Cgroupns => "start as root on a kernel with CONFIG_CGROUPS",
        Wall::CgroupMemory => {
            "delegate a cgroup with the memory controller to the worker; on a host with swap, one that \
             counts it: swapaccount=1"
        }
        Wall::CgroupPids => "delegate a cgroup with the pids controller to the worker",
        Wall::CgroupCpu => "delegate a cgroup with the cpu (v1: cpuacct) controller to the worker",
        Wall::Apparmor => {
            "load the profiles: cargo xtask install-profiles, or see apparmor/README.md"
        }
        Wall::Landlock => "needs a kernel with CONFIG_SECURITY_LANDLOCK and lsm=landlock,…",
        Wall::Seccomp => "needs a kernel with CONFIG_SECCOMP_FILTER",
    }
}

/// The walls that `set` requires on this host and that do not hold.
#[must_use]
pub fn missing_walls(set: WallSet, held: &[HeldWall], apparmor_offered: bool) -> Vec<Wall> {
    let mut required = set.required().to_vec();
    for wall in set.required_where_offered() {
        if *wall != Wall::Apparmor || apparmor_offered {
            required.push(*wall);
        }
    }
    wall::missing(&required, held)
}

/// Checks the walls that hold against the set that is required.
///
/// # Errors
/// [`Unfit::Walls`] naming each missing wall and how to raise it.
pub fn check_walls(set: WallSet, held: &[HeldWall]) -> Result<(), Unfit> {
    let missing = missing_walls(set, held, apparmor::enforced());
    if missing.is_empty() {
        return Ok(());
    }
    Err(Unfit::Walls {
        set,
        missing: Missing(missing),
    })
}

/// Checks what the slots may use together against the memory that there is.
///
/// # Errors
/// [`Unfit::Memory`] when it does not suffice and the settings do not say that this is wanted.
pub fn check_memory(
    settings: &WorkerSettings,
    offer: &Offer,
    slots: usize,
    memory_bytes: Option<u64>,
) -> Result<(), Unfit> {
    let highest = settings
        .runtimes
        .iter()
        .enumerate()
        .filter(|(index, _)| offer.has(*index))
        .map(|(_, runtime)| (runtime.ceiling.0.memory_bytes.get(), runtime))
        .max_by_key(|(bytes, _)| *bytes);
    let (Some((ceiling, runtime)), Some(memory_bytes)) = (highest, memory_bytes) else {
        return Ok(());
    };
    let together = ceiling.saturating_mul(u64::try_from(slots).unwrap_or(u64::MAX));
    if together <= memory_bytes || settings.worker.overcommit_memory {
        return Ok(());
    }
    Err(Unfit::Memory {
        slots,
        ceiling_mib: ceiling >> 20,
        runtime: runtime.name.as_str().to_owned(),
        memory_mib: memory_bytes >> 20,
    })
}

/// The memory that there is for slots: the host's, as `/proc/meminfo` has it, or less where the control group
/// that this worker was started in may use less, as in a container.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let host = std::fs::read_to_string("/proc/meminfo").ok();
    let host = host.as_deref().and_then(total_of);
    let given = memory_given_bytes().unwrap_or_else(|error| {
        tracing::debug!(%error, "the control groups that limit this worker are not known");
        None
    });
    host.into_iter().chain(given).min()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::settings::worker_settings;

    #[test]
    fn the_total_of_meminfo_is_read_in_kibibytes() {
        assert_eq!(
            total_of("MemTotal:       24683372 kB\nMemFree: 1 kB\n"),
            Some(24_683_372 << 10)
        );
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
    }

    /// The settings, the offer of all runtimes and the highest of their memory ceilings.
    fn with_slots(overcommit: &str) -> (WorkerSettings, Offer, u64) {
        let flags = [("worker.overcommit_memory".to_owned(), overcommit.to_owned())];
        let settings = worker_settings(None, &[], &flags).expect("the defaults are good");
        let ceilings = settings.runtimes.iter();
        let ceilings = ceilings.map(|runtime| runtime.ceiling.0.memory_bytes.get());
        let highest = ceilings.max().expect("there are runtimes");
        let offer = Offer::of_all(&settings);
        (settings, offer, highest)
    }

    #[test]
    fn slots_that_fit_exactly_are_taken_and_one_byte_less_is_too_little() {
        let (settings, offer, highest) = with_slots("false");
        let check = |slots, memory| check_memory(&settings, &offer, slots, memory);
        check(3, Some(3 * highest)).expect("it is just enough");
        let words = check(3, Some(3 * highest - 1)).expect_err("too little");
        let words = words.to_string();
        assert!(words.contains("fit 3 slots"), "{words}");
        assert!(words.contains("worker.overcommit_memory"), "{words}");
        check(usize::MAX, Some(highest)).expect_err("a sum without an end");
        check(3, None).expect("nobody knows how much there is");
    }

    #[test]
    fn whoever_wants_more_slots_than_memory_gets_them_by_saying_so() {
        let (settings, offer, highest) = with_slots("true");
        check_memory(&settings, &offer, 3, Some(highest)).expect("it was said");
    }

    #[test]
    fn a_runtime_that_is_not_offered_takes_no_memory() {
        let (settings, _, _) = with_slots("false");
        check_memory(&settings, &Offer::default(), 3, Some(1)).expect("no job can come");
    }

    #[test]
    fn a_missing_wall_is_named_with_its_fix() {
        let held: Vec<HeldWall> = WallSet::Full
            .required()
            .iter()
            .filter(|wall| **wall != Wall::CgroupPids)
            .map(|wall| HeldWall::plain(*wall))
            .collect();
        let missing = missing_walls(WallSet::Full, &held, false);
        assert_eq!(missing, [Wall::CgroupPids]);
        let text = Unfit::Walls {
            set: WallSet::Full,
            missing: Missing(missing),
        }
        .to_string();
        assert!(text.contains("cgroup_pids (delegate a cgroup"), "{text}");
    }

    #[test]
    fn apparmor_is_required_only_where_the_kernel_has_it() {
        let held: Vec<HeldWall> = WallSet::Full
            .required()
            .iter()
            .map(|wall| HeldWall::plain(*wall))
            .collect();
        assert!(missing_walls(WallSet::Full, &held, false).is_empty());
        assert_eq!(missing_walls(WallSet::Full, &held, true), [Wall::Apparmor]);
    }

    #[test]
    fn a_user_namespace_stands_for_a_uid() {
        let held = [
            Wall::Rlimits,
            Wall::NoNewPrivs,
            Wall::Pidns,
            Wall::Seccomp,
            Wall::Userns,
        ];
        let held: Vec<HeldWall> = held.iter().map(|wall| HeldWall::plain(*wall)).collect();
        assert!(missing_walls(WallSet::Laptop, &held, true).is_empty());
    }
}
