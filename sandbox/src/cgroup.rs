//! The slots' control groups: limits on memory and tasks, and the clock of a whole run's CPU time.
//!
//! Controllers are looked up one by one, since on a hybrid host some live in version 1 and some in
//! version 2. A slot's init sits in its groups, so a run's processes are born in them and nothing is
//! moved when a job comes.

mod find;
mod given;
mod group;
mod own;
mod swap;

use crate::init::Service;
use find::{Found, Version};
pub use given::memory_bytes as memory_given_bytes;
use group::Group;
use jailfleet::limits::Limits;
use jailfleet::wall::Wall;
use own::Own;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The groups below which this warden's slots live.
#[derive(Debug)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    made: u64,
}

/// Our group in one hierarchy.
#[derive(Debug)]
struct Hierarchy {
    version: Version,
    controllers: Vec<find::Controller>,
    own: Own,
    /// The host has swap, and these groups no limit on it.
    swap_unlimited: bool,
}

/// The groups of one slot.
#[derive(Debug)]
pub struct SlotCgroup {
    groups: Vec<Group>,
    entry: Entry,
    armed: Option<Limits>,
}

/// How a process enters the groups of a slot.
#[derive(Debug)]
pub struct Entry {
    /// The group of version 2, in which a process can be born.
    born_in: Option<File>,
    /// The lists of members of the groups of version 1, into which it must move.
    members: Vec<File>,
}

/// What a slot's groups have counted since they exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// CPU time of everything that ever ran in them.
    pub cpu: Option<Duration>,
    /// Out-of-memory kills, whichever limit it was that was met: theirs, one above them, the host's.
    pub oom_kills: u64,
    /// How often their own limit left no room.
    pub memory_refusals: Option<u64>,
    /// `cpu.pressure`, full, total.
    pub pressure_full: Option<Duration>,
}

/// Tasks of a slot that are not the program's: the init.
const OWN_TASKS: u64 = 1;

impl Entry {
    /// The group to be born in, where there is one: nothing is moved then, and everything counts from
    /// the first instruction.
    #[must_use]
    pub fn born_in(&self) -> Option<BorrowedFd<'_>> {
        self.born_in.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process into the others.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn enter(&self) -> io::Result<()> {
        self.members
            .iter()
            .try_for_each(|members| group::put(members, "0"))
    }
}

impl Cgroups {
    /// Finds the usable hierarchies, removes what dead wardens left below `name`, and makes this
    /// warden's own groups there.
    ///
    /// # Errors
    /// When no hierarchy can be used at all.
    pub fn open(name: &str) -> io::Result<Self> {
        let found = find::find()?;
        let mut hierarchies = Vec::new();
        for Found {
            version,
            controllers,
            folder,
        } in found
        {
            let folder = group::above_leaf(folder, name);
            let base = folder.join(name);
            own::sweep_stale(&base);
            let own = match Own::take(&base) {
                Ok(own) => own,
                Err(error) => {
                    let base = base.display();
                    eprintln!("jailfleet-warden: no control group below {base}: {error}");
                    continue;
                }
            };
            let enabled = match version {
                Version::One => Ok(()),
                Version::Two => group::enable(&folder, &base, own.folder(), &controllers),
            };
            if enabled.is_err() {
                own.remove();
                continue;
            }
            let swap_unlimited = controllers.contains(&find::Controller::Memory)
                && swap::is_unlimited(version, own.folder());
            hierarchies.push(Hierarchy {
                version,
                controllers,
                own,
                swap_unlimited,
            });
        }
        if hierarchies.is_empty() {
            return Err(io::Error::other(
                "no hierarchy can be written; on systemd give the unit Delegate=yes",
            ));
        }
        Ok(Self {
            hierarchies,
            made: 0,
        })
    }

    /// The walls that these groups are. A limit on memory is none where pages above it go to swap.
    pub fn walls(&self) -> impl Iterator<Item = Wall> {
        self.hierarchies.iter().flat_map(Hierarchy::walls)
    }

    /// Whether runs can have any amount of the host's swap, so that their memory is not limited.
    #[must_use]
    pub fn swap_is_unlimited(&self) -> bool {
        self.hierarchies
            .iter()
            .any(|hierarchy| hierarchy.swap_unlimited)
    }

    /// Makes the groups of a slot. Each call makes new ones: a slot that is replaced must not
    /// inherit what its predecessor could not be cleaned of.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn slot(&mut self, number: u16, service: Service) -> io::Result<SlotCgroup> {
        self.made = self.made.saturating_add(1);
        let name = format!("s{number}-{}", self.made);
        let mut groups = Vec::new();
        let mut entry = Entry {
            born_in: None,
            members: Vec::new(),
        };
        for hierarchy in &self.hierarchies {
            let folder = hierarchy.own.folder().join(&name);
            std::fs::create_dir(&folder)?;
            match hierarchy.version {
                Version::Two => entry.born_in = Some(File::open(&folder)?),
                Version::One => {
                    let members = group::open_to_write(&folder.join("cgroup.procs"))?;
                    entry.members.push(members);
                }
            }
            groups.push(Group::open(
                hierarchy.version,
                &hierarchy.controllers,
                folder,
                service,
            )?);
        }
        Ok(SlotCgroup {
            groups,
            entry,
            armed: None,
        })
    }

    /// Removes this warden's own groups, which must be empty.
    pub fn remove(&mut self) {
        for hierarchy in self.hierarchies.drain(..) {
            hierarchy.own.remove();
        }
    }
}

/// What follows where the host has swap that no group limits, and what to do.
pub const SWAP_UNLIMITED: &str = "this host has swap, and no group can limit how much of it a run takes, so that the \
                                  limit on memory is none";
/// See [`SWAP_UNLIMITED`].
pub const LIMIT_SWAP: &str = "boot with swapaccount=1, or do without swap: swapoff --all";

impl Hierarchy {
    fn walls(&self) -> impl Iterator<Item = Wall> {
        let controllers = self.controllers.iter();
        controllers.filter_map(|controller| match controller {
            find::Controller::Memory => (!self.swap_unlimited).then_some(Wall::CgroupMemory),
            find::Controller::Pids => Some(Wall::CgroupPids),
            find::Controller::CpuTime => Some(Wall::CgroupCpu),
        })
    }
}

impl SlotCgroup {
    /// How to get in.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether the groups limit tasks.
    #[must_use]
    pub fn limits_tasks(&self) -> bool {
        self.groups.iter().any(Group::limits_tasks)
    }

    /// Whether the groups limit memory.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.groups.iter().any(Group::limits_memory)
    }

    /// Sets the limits of a run, where they differ from the last one's, and forgets the peaks.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn arm(&mut self, limits: &Limits) -> io::Result<()> {
        for group in &self.groups {
            group.forget_peaks()?;
            if self.armed.as_ref() != Some(limits) {
                let tasks = limits.processes.get().saturating_add(OWN_TASKS);
                group.limit(limits.memory_bytes.get(), tasks)?;
            }
        }
        self.armed = Some(*limits);
        Ok(())
    }

    /// Lets the slot have more memory than the run that has just ended. The next run is armed anew.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn make_room(&mut self, more_bytes: u64) -> io::Result<()> {
        let Some(limits) = self.armed.take() else {
            return Ok(());
        };
        let memory_bytes = limits.memory_bytes.get().saturating_add(more_bytes);
        let tasks = limits.processes.get().saturating_add(OWN_TASKS);
        for group in &self.groups {
            group.limit(memory_bytes, tasks)?;
        }
        Ok(())
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for group in &self.groups {
            group.count(&mut counters);
        }
        counters
    }

    /// CPU time alone, for the looks while a program runs.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        self.groups.iter().find_map(Group::cpu_time)
    }

    /// The highest use of memory since [`SlotCgroup::arm`].
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        self.groups.iter().find_map(Group::peak_memory)
    }

    /// The highest number of the program's tasks, where the kernel keeps it for each run.
    #[must_use]
    pub fn peak_processes(&self) -> Option<u64> {
        self.groups
            .iter()
            .find_map(Group::peak_tasks)
            .map(|peak| peak.saturating_sub(OWN_TASKS))
    }

    /// Kills whoever is left in the groups and removes them.
    ///
    /// # Errors
    /// `EBUSY` while somebody is still dying in one.
    pub fn remove(&mut self) -> io::Result<()> {
        while let Some(group) = self.groups.last() {
            group.remove()?;
            self.groups.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::find::{Controller, Version};
    use super::{Cgroups, Hierarchy};
    use crate::cgroup::own::Own;
    use jailfleet::wall::Wall;

    #[test]
    fn a_limit_on_memory_is_no_wall_where_nothing_limits_swap() {
        for swap_unlimited in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let hierarchy = Hierarchy {
                version: Version::Two,
                controllers: vec![Controller::Memory, Controller::Pids],
                own: Own::take(&folder.path().join("base")).expect("a group"),
                swap_unlimited,
            };
            let mut cgroups = Cgroups {
                hierarchies: vec![hierarchy],
                made: 0,
            };
            let held: Vec<Wall> = cgroups.walls().collect();
            assert_eq!(held.contains(&Wall::CgroupMemory), !swap_unlimited);
            assert!(held.contains(&Wall::CgroupPids));
            assert_eq!(cgroups.swap_is_unlimited(), swap_unlimited);
            cgroups.remove();
        }
    }
}
