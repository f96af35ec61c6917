//! The slots' control groups: limits on memory and tasks, and the clock of a whole run's CPU time.
//!
//! Controllers are looked up one by one, since on a hybrid host some live in version 1 and some in
//! version 2. A slot's init sits in its groups, so a run's processes are born in them and nothing is
//! moved when a job comes.

mod find;
mod group;

use crate::init::Service;
use find::{Found, Version};
use group::Group;
use jailfleet::limits::Limits;
use jailfleet::wall::Wall;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The groups below which this warden's slots live. The lock on the first says that we live.
#[derive(Debug)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    _alive: Option<Flock<File>>,
    made: u64,
}

/// Our folder in one hierarchy.
#[derive(Debug, Clone)]
struct Hierarchy {
    version: Version,
    controllers: Vec<find::Controller>,
    folder: PathBuf,
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
    /// Out-of-memory kills.
    pub oom_kills: u64,
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
        let own = format!("w-{}", std::process::id());
        let mut hierarchies = Vec::new();
        let mut alive = None;
        for Found {
            version,
            controllers,
            folder,
        } in found
        {
            let folder = group::above_leaf(folder, name);
            let base = folder.join(name);
            if std::fs::create_dir_all(&base).is_err() {
                continue;
            }
            sweep_stale(&base);
            let own = base.join(&own);
            if version == Version::Two && group::enable(&folder, &base, &own, &controllers).is_err()
            {
                group::forget(&base, &own);
                continue;
            }
            match std::fs::create_dir(&own) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => continue,
                Ok(()) | Err(_) => {}
            }
            if alive.is_none() {
                alive = lock(&own)?;
            }
            hierarchies.push(Hierarchy {
                version,
                controllers,
                folder: own,
            });
        }
        if hierarchies.is_empty() {
            return Err(io::Error::other(
                "no hierarchy can be written; on systemd give the unit Delegate=yes",
            ));
        }
        Ok(Self {
            hierarchies,
            _alive: alive,
            made: 0,
        })
    }

    /// The walls that these groups are.
    pub fn walls(&self) -> impl Iterator<Item = Wall> {
        self.hierarchies
            .iter()
            .flat_map(|hierarchy| &hierarchy.controllers)
            .map(|controller| match controller {
                find::Controller::Memory => Wall::CgroupMemory,
                find::Controller::Pids => Wall::CgroupPids,
                find::Controller::CpuTime => Wall::CgroupCpu,
            })
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
            let folder = hierarchy.folder.join(&name);
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
            remove_tree(&hierarchy.folder);
            if let Some(base) = hierarchy.folder.parent() {
                // Another warden's group below it keeps it, as it should.
                let _kept: io::Result<()> = std::fs::remove_dir(base);
            }
        }
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

/// Takes the lock that says that the owner of this folder lives.
fn lock(folder: &Path) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(File::open(folder)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Removes the groups of wardens that nobody holds a lock on any more. A warden locks its first
/// group only, so a group without a live process in it and without a lock is stale.
fn sweep_stale(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("w-"));
        let alive = owner.is_none_or(is_a_warden);
        let locked = !matches!(lock(&entry.path()), Ok(Some(_)));
        if !alive && !locked {
            remove_tree(&entry.path());
        }
    }
}

/// Whether this process is a warden; its number may have gone to somebody else.
fn is_a_warden(pid: &str) -> bool {
    let name = std::fs::read_to_string(Path::new("/proc").join(pid).join("comm"));
    // The kernel keeps fifteen letters.
    name.is_ok_and(|name| name.trim_end() == "jailfleet-warde")
}

fn remove_tree(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        group::kill_members(&entry.path());
        // A member that is still dying keeps its group; the next start sweeps again.
        let _kept: io::Result<()> = std::fs::remove_dir(entry.path());
    }
    let _kept: io::Result<()> = std::fs::remove_dir(folder);
}
