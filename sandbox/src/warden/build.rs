//! What all slots share, and the building of one slot.

use super::runs::log;
use super::{Stand, Warden, WardenError};
use crate::apparmor::Way;
use crate::cgroup::{Cgroups, Entry, LIMIT_SWAP, SWAP_UNLIMITED, SlotCgroup};
use crate::init::{Blueprint, HeldBy, Service, become_init};
use crate::jail::Identity;
use crate::lease::Leases;
use crate::protocol::Walls;
use crate::root::RootPlan;
use crate::seccomp;
use crate::slot::{Building, Jail, Slot};
use crate::sweep::{self, By, GET_PKILL, NO_PKILL};
use crate::sys::clone::{Cloned, clone_process};
use crate::without::stands;
use jailfleet::settings::WorkerSettings;
use jailfleet::wall::Wall;
use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Gid, Uid, getegid, geteuid};
use std::io;
use std::time::{Duration, Instant};

/// How long an init may take to stand.
const BUILD_DEADLINE: Duration = Duration::from_secs(20);
/// How long a place stays vacant after a build that failed.
pub(super) const BUILD_AGAIN: Duration = Duration::from_secs(5);
/// The uid and gid inside a plain user's jail.
const MAPPED_ID: u32 = 1000;

/// What the host gives to every slot.
#[derive(Debug)]
pub struct Host {
    leases: Option<Leases>,
    sweeps_by: Option<By>,
    cgroups: Option<Cgroups>,
    apparmor: Option<Way>,
    filter: Vec<libc::sock_filter>,
    filter_alone: Vec<libc::sock_filter>,
    listener: Vec<libc::sock_filter>,
    collector: Vec<libc::sock_filter>,
    root: RootPlan,
    cores: u32,
}

impl Host {
    /// Prepares locks, cgroups, the filter and the plan of the root; sweeps what dead wardens left.
    ///
    /// # Errors
    /// [`WardenError::Make`] for what could not be made.
    pub fn prepare(settings: &WorkerSettings, apparmor: Option<Way>) -> Result<Self, WardenError> {
        let make = |what| move |source| WardenError::Make { what, source };
        let mut leases = if geteuid().is_root() {
            Some(Leases::open(&settings.warden).map_err(make("the leases of the slots' uids"))?)
        } else {
            None
        };
        let cgroups = match Cgroups::open(&settings.warden.cgroup_name) {
            Ok(cgroups) => {
                if cgroups.swap_is_unlimited() {
                    eprintln!("jailfleet-warden: {SWAP_UNLIMITED}: {LIMIT_SWAP}");
                }
                Some(cgroups)
            }
            Err(error) => {
                eprintln!("jailfleet-warden: no cgroups: {error}");
                None
            }
        };
        let counts = |wall| {
            let mut walls = cgroups.iter().flat_map(Cgroups::walls);
            held_by(walls.any(|held| held == wall))
        };
        let memory = counts(Wall::CgroupMemory);
        Ok(Self {
            filter: seccomp::filter(memory).map_err(make("the system call filter"))?,
            filter_alone: seccomp::filter_alone(memory).map_err(make("the system call filter"))?,
            listener: seccomp::listener().map_err(make("the filter that counts"))?,
            collector: seccomp::collector_filter()
                .map_err(make("the system call filter of collectors"))?,
            sweeps_by: leases.as_mut().and_then(rehearsed),
            leases,
            cgroups,
            apparmor,
            root: RootPlan::of(settings),
            cores: std::thread::available_parallelism()
                .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
        })
    }

    /// Cores that programs can run on at one time.
    #[must_use]
    pub fn cores(&self) -> usize {
        usize::try_from(self.cores).unwrap_or(1)
    }

    pub(super) const fn cores_u32(&self) -> u32 {
        self.cores
    }

    /// The walls of a slot that stands: what its building and its stages insist on, and what this
    /// host has on top.
    pub(super) fn walls(&self, landlock_abi: u16) -> Walls {
        let always = [
            Wall::Rlimits,
            Wall::NoNewPrivs,
            Wall::Descriptors,
            Wall::Caps,
            Wall::Pidns,
            Wall::Mountns,
            Wall::Netns,
            Wall::Ipcns,
            Wall::Utsns,
            Wall::Root,
            Wall::Scratch,
            Wall::Seccomp,
        ];
        let walls = always.into_iter().fold(Walls::default(), Walls::with);
        let walls = match (&self.leases, self.sweeps_by) {
            (Some(_), Some(By::KillAndPkill)) => walls.with(Wall::Uid),
            // What a run leaves is swept by its uid: without both ways to do so the wall is not whole.
            (Some(_), Some(By::KillAlone) | None) => walls,
            (None, _) => walls.with(Wall::Userns),
        };
        let walls = self
            .cgroups
            .iter()
            .flat_map(Cgroups::walls)
            .fold(walls, Walls::with);
        let walls = if self.cgroups.is_some() {
            walls.with(Wall::Cgroupns)
        } else {
            walls
        };
        let walls = self.apparmor.map_or(walls, |way| walls.with_apparmor(way));
        if landlock_abi == 0 {
            walls
        } else {
            walls.with_landlock(landlock_abi)
        }
    }

    /// Removes the groups that held the slots' own.
    pub(super) fn remove_groups(&mut self) {
        if let Some(cgroups) = &mut self.cgroups {
            cgroups.remove();
        }
    }

    fn identity(uid: Option<Uid>) -> Identity {
        match uid {
            Some(uid) => Identity::Leased {
                uid,
                gid: Gid::from_raw(uid.as_raw()),
            },
            None => {
                let uid = Uid::from_raw(MAPPED_ID);
                Identity::Mapped {
                    uid,
                    gid: Gid::from_raw(MAPPED_ID),
                }
            }
        }
    }
}

impl Warden {
    /// Forks the init of a new slot.
    pub(super) fn build(
        &mut self,
        number: u16,
        now: Instant,
    ) -> Result<Slot<Building>, WardenError> {
        let failed = |source: io::Error| WardenError::Slot {
            slot: number,
            reason: source.to_string(),
        };
        let lease = self
            .host
            .leases
            .as_mut()
            .map(Leases::take)
            .transpose()
            .map_err(failed)?;
        let uid = lease.as_ref().map(|lease| lease.uid().user());
        let service = if uid.is_some() {
            Service::ManyRuns
        } else {
            Service::OneRun
        };
        let cgroups = self.host.cgroups.as_mut();
        let cgroup = cgroups.map(|cgroups| cgroups.slot(number, service));
        let cgroup = cgroup.transpose().map_err(failed)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|errno| failed(errno.into()))?;
        let namespaces = match lease {
            Some(_) => namespaces(),
            None => namespaces().union(CloneFlags::CLONE_NEWUSER),
        };
        // Asked for here: in a new user namespace nobody is anybody before the map is written.
        let maps = uid.is_none().then(|| (geteuid(), getegid()));
        let entry = cgroup.as_ref().map(SlotCgroup::entry);
        let born_in = entry.and_then(Entry::born_in);
        match clone_process(namespaces.bits(), born_in).map_err(failed)? {
            Cloned::Child => {
                drop(ours);
                let blueprint = Blueprint {
                    identity: Host::identity(uid),
                    service,
                    launches: &self.launches,
                    filter: &self.host.filter,
                    filter_alone: &self.host.filter_alone,
                    listener: &self.host.listener,
                    collector: &self.host.collector,
                    tasks: held_by(cgroup.as_ref().is_some_and(SlotCgroup::limits_tasks)),
                    memory: held_by(cgroup.as_ref().is_some_and(SlotCgroup::limits_memory)),
                    cgroup: entry,
                    root: &self.host.root,
                    maps,
                };
                become_init(&blueprint, theirs)
            }
            Cloned::Parent { pid, pidfd } => {
                drop(theirs);
                let jail = Jail {
                    pid,
                    pidfd,
                    link: ours,
                    lease,
                    cgroup,
                    sweeper: None,
                    sweep_trouble: None,
                };
                let deadline = now.checked_add(BUILD_DEADLINE).unwrap_or(now);
                Ok(Slot {
                    build: self.building(number),
                    jail,
                    state: Building { deadline },
                })
            }
        }
    }

    /// A build that failed ends a warden that never stood, and is tried again in one that did.
    pub(super) fn build_failed(
        &mut self,
        slot: Slot<Building>,
        reason: &io::Error,
        now: Instant,
    ) -> Result<Stand, WardenError> {
        match self.greeting {
            super::Greeting::Awaited | super::Greeting::Heard => {
                let number = slot.number();
                super::runs::signal_init(&slot);
                self.put(
                    usize::from(number),
                    Stand::Ending(slot.into_state(ended_now(now))),
                );
                Err(WardenError::Slot {
                    slot: number,
                    reason: reason.to_string(),
                })
            }
            super::Greeting::Answered => {
                log(
                    slot.number(),
                    &format!("the jail could not be built: {reason}"),
                );
                self.give_up(slot, crate::protocol::Residue::Build, now)
            }
        }
    }
}

/// What sweeps are done by here; `None` where they fail.
fn rehearsed(leases: &mut Leases) -> Option<By> {
    let lease = match leases.take() {
        Ok(lease) => lease,
        Err(error) => {
            eprintln!("jailfleet-warden: no uid could be leased to try a sweep with: {error}");
            return None;
        }
    };
    match sweep::rehearse(lease.uid()) {
        Ok(By::KillAlone) => {
            eprintln!("jailfleet-warden: {NO_PKILL}: {GET_PKILL}");
            Some(By::KillAlone)
        }
        Ok(By::KillAndPkill) => Some(By::KillAndPkill),
        Err(error) => {
            eprintln!("jailfleet-warden: no uid can be swept here: {error}");
            None
        }
    }
}

const fn held_by(cgroup: bool) -> HeldBy {
    if cgroup {
        HeldBy::Cgroup
    } else {
        HeldBy::Rlimit
    }
}

fn ended_now(now: Instant) -> crate::slot::Ending {
    crate::slot::Ending {
        deadline: now,
        reaped: false,
        stuck: false,
        build_at: now,
    }
}

/// The namespaces that an init is born in.
fn namespaces() -> CloneFlags {
    let all = [
        (Wall::Pidns, CloneFlags::CLONE_NEWPID),
        (Wall::Mountns, CloneFlags::CLONE_NEWNS),
        (Wall::Netns, CloneFlags::CLONE_NEWNET),
        (Wall::Ipcns, CloneFlags::CLONE_NEWIPC),
        (Wall::Utsns, CloneFlags::CLONE_NEWUTS),
    ];
    let standing = all.into_iter().filter(|(wall, _)| stands(*wall));
    standing.map(|(_, flag)| flag).collect()
}
