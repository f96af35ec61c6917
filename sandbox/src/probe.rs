//! What this host offers, wall by wall: tried, not guessed, with what to do where it is missing.
//!
//! A trial is a child that makes the wall around itself and ends. The walls that a worker reports in
//! its results are the warden's own word about slots that stand; this page is for the person who
//! wonders why one is missing there.

mod notes;
mod trial;

use crate::apparmor::{self, Profile, Way};
use crate::cgroup::{Cgroups, LIMIT_SWAP, SWAP_UNLIMITED};
use crate::lease::Leases;
use crate::root::RootPlan;
use crate::sweep::{self, By, GET_PKILL, NO_PKILL};
use jailfleet::settings::WorkerSettings;
use jailfleet::wall::{HeldWall, Wall};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Uid, geteuid};
use std::collections::BTreeSet;
use std::io;

/// Whether a wall can be had on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was tried, and holds.
    Held,
    /// It holds, but less than it could.
    Degraded,
    /// It cannot be had.
    Missing,
}

/// What was found of one wall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WallReport {
    /// Which.
    pub wall: Wall,
    /// Whether it holds.
    pub state: State,
    /// What was seen.
    pub evidence: String,
    /// What the host's keeper can do about it.
    pub fix: Option<String>,
    /// What follows the colon where results name the wall.
    pub detail: Option<String>,
}

impl WallReport {
    fn new(wall: Wall, state: State, evidence: impl Into<String>) -> Self {
        Self {
            wall,
            state,
            evidence: evidence.into(),
            fix: None,
            detail: None,
        }
    }

    fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }
}

/// Tries every wall, in the order of the closed list. Leaves nothing behind.
///
/// The caller must have a single thread: trials are forks that may allocate.
#[must_use]
pub fn probe(settings: &WorkerSettings) -> Vec<WallReport> {
    let host = Host {
        settings,
        uid: geteuid(),
    };
    Wall::ALL.iter().map(|wall| host.look_at(*wall)).collect()
}

/// What is no wall and yet worth knowing of this host. The caller must have a single thread.
#[must_use]
pub fn notes() -> Vec<String> {
    notes::all()
}

/// The walls that hold, as results name them.
#[must_use]
pub fn held_walls(reports: &[WallReport]) -> Vec<HeldWall> {
    let held = reports
        .iter()
        .filter(|report| report.state != State::Missing);
    held.map(|report| HeldWall {
        wall: report.wall,
        detail: report.detail.clone(),
    })
    .collect()
}

struct Host<'a> {
    settings: &'a WorkerSettings,
    uid: Uid,
}

/// The namespaces that a slot's init is born in.
const ALL_NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWPID
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS);
/// What helps against most refusals.
const AS_ROOT: &str = "start jailfleet-worker as root (it becomes worker.user by itself), or allow user \
                       namespaces: sysctl -w kernel.unprivileged_userns_clone=1 \
                       kernel.apparmor_restrict_unprivileged_userns=0";

impl Host<'_> {
    fn look_at(&self, wall: Wall) -> WallReport {
        match wall {
            Wall::Rlimits => self.rlimits(),
            Wall::NoNewPrivs => tried(wall, trial::no_new_privs(), "set in a child"),
            Wall::Descriptors => tried(wall, trial::descriptors(), "closed by range in a child")
                .or_fix("use Linux 5.11 or later"),
            Wall::Uid => self.uid(),
            Wall::Caps => tried(wall, trial::capabilities(), "dropped in a child"),
            Wall::Userns => self.userns(),
            Wall::Pidns => self.namespace(wall, CloneFlags::CLONE_NEWPID),
            Wall::Mountns => self.namespace(wall, CloneFlags::CLONE_NEWNS),
            Wall::Netns => self.namespace(wall, CloneFlags::CLONE_NEWNET),
            Wall::Ipcns => self.namespace(wall, CloneFlags::CLONE_NEWIPC),
            Wall::Utsns => self.namespace(wall, CloneFlags::CLONE_NEWUTS),
            Wall::Cgroupns => self.cgroupns(),
            Wall::Root | Wall::Scratch => self.root(wall),
            Wall::CgroupMemory | Wall::CgroupPids | Wall::CgroupCpu => self.cgroup(wall),
            Wall::Apparmor => self.apparmor(),
            Wall::Landlock => landlock(),
            Wall::Seccomp => tried(
                wall,
                trial::seccomp(),
                "the filter was put in force in a child",
            )
            .or_fix("use a kernel with CONFIG_SECCOMP_FILTER"),
        }
    }

    fn rlimits(&self) -> WallReport {
        let asked = self
            .settings
            .runtimes
            .iter()
            .map(|runtime| runtime.ceiling.0.open_files.get());
        let asked = asked.max().unwrap_or(0);
        match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((_, hard)) if hard < asked => {
                let seen = format!("a ceiling of {asked} open files, and {hard} in this service");
                WallReport::new(Wall::Rlimits, State::Degraded, seen)
                    .fix("raise LimitNOFILE= of the unit, or lower ceiling.open_files")
            }
            Ok((_, hard)) => {
                let seen = format!("all can be set; open files up to {hard}");
                WallReport::new(Wall::Rlimits, State::Held, seen)
            }
            Err(errno) => WallReport::new(Wall::Rlimits, State::Missing, errno.to_string()),
        }
    }

    fn uid(&self) -> WallReport {
        if !self.uid.is_root() {
            let seen = format!("started as uid {}: slots share it", self.uid);
            return WallReport::new(Wall::Uid, State::Missing, seen)
                .fix("start jailfleet-worker as root; it becomes worker.user by itself");
        }
        let lease = Leases::open(&self.settings.warden).and_then(|mut leases| leases.take());
        let swept = lease.and_then(|lease| Ok((sweep::rehearse(lease.uid())?, lease.uid().get())));
        match swept {
            Ok((By::KillAndPkill, uid)) => {
                let seen = format!("uid {uid} could be leased and swept");
                WallReport::new(Wall::Uid, State::Held, seen)
            }
            Ok((By::KillAlone, uid)) => {
                let seen = format!("uid {uid} could be leased, but {NO_PKILL}");
                WallReport::new(Wall::Uid, State::Missing, seen).fix(GET_PKILL)
            }
            Err(error) => WallReport::new(Wall::Uid, State::Missing, error.to_string())
                .fix("set warden.state_dir, warden.uid_base and warden.uid_count"),
        }
    }

    fn userns(&self) -> WallReport {
        if self.uid.is_root() {
            return WallReport::new(
                Wall::Userns,
                State::Missing,
                "not used: as root, each slot has a uid of its own instead",
            );
        }
        self.namespace(Wall::Userns, CloneFlags::empty())
    }

    /// Namespaces of a plain user come with a user namespace.
    fn with_user(&self, flags: CloneFlags) -> CloneFlags {
        if self.uid.is_root() {
            flags
        } else {
            flags.union(CloneFlags::CLONE_NEWUSER)
        }
    }

    fn namespace(&self, wall: Wall, flags: CloneFlags) -> WallReport {
        tried(
            wall,
            trial::namespaces(self.with_user(flags)),
            "a child was born in a new one",
        )
        .or_fix(AS_ROOT)
    }

    fn cgroupns(&self) -> WallReport {
        let cgroups = Cgroups::open(&self.settings.warden.cgroup_name);
        let made = trial::namespaces(self.with_user(CloneFlags::CLONE_NEWCGROUP));
        match cgroups {
            Ok(mut cgroups) => {
                cgroups.remove();
                tried(Wall::Cgroupns, made, "a child was born in a new one").or_fix(AS_ROOT)
            }
            // Without groups of their own, slots have nothing that such a namespace would hide.
            Err(error) => without_cgroups(Wall::Cgroupns, &error),
        }
    }

    fn root(&self, wall: Wall) -> WallReport {
        let plan = RootPlan::of(self.settings);
        let made = trial::root(&plan, self.with_user(ALL_NAMESPACES));
        tried(wall, made, "the jail's tree was built in a child").or_fix(
            "look whether every warden.system_binds and runtime bind exists; in a container, allow \
             mounts (CAP_SYS_ADMIN and no seccomp rule against them)",
        )
    }

    fn apparmor(&self) -> WallReport {
        let wall = Wall::Apparmor;
        if !apparmor::enforced() {
            return WallReport::new(wall, State::Missing, "this kernel does not enforce it")
                .fix("boot a kernel with apparmor=1 security=apparmor");
        }
        let runtimes = self.settings.runtimes.iter();
        let jails = runtimes.filter_map(|runtime| runtime.apparmor.as_deref());
        let mut names: BTreeSet<&str> = jails
            .chain(self.settings.warden.apparmor.as_deref())
            .collect();
        if names.is_empty() {
            return WallReport::new(wall, State::Missing, "no runtime names a profile")
                .fix("set apparmor of the runtimes to the profiles of this repository");
        }
        // The worker takes the wall away from its jails where it cannot enter its own.
        let worker = self.settings.worker.apparmor.as_deref();
        names.extend(worker.filter(|name| !apparmor::is_entered(name)));
        let mut stacked = false;
        for name in &names {
            match Profile::find(name) {
                Ok(profile) => stacked |= profile.way() == Way::Stack,
                Err(error) => {
                    let seen = format!("the profile {name} could not be entered: {error}");
                    return WallReport::new(wall, State::Missing, seen).fix(
                        "load the profiles: cargo xtask install-profiles, or copy the two files of \
                         apparmor/ as apparmor/README.md says",
                    );
                }
            }
        }
        let seen = format!("{} profiles were entered in a child", names.len());
        if stacked {
            WallReport::new(
                wall,
                State::Held,
                format!("{seen}, on top of our own label"),
            )
        } else {
            WallReport::new(wall, State::Held, seen)
        }
    }

    fn cgroup(&self, wall: Wall) -> WallReport {
        match Cgroups::open(&self.settings.warden.cgroup_name) {
            Ok(mut cgroups) => {
                let holds = cgroups.walls().any(|held| held == wall);
                let by_swap = wall == Wall::CgroupMemory && cgroups.swap_is_unlimited();
                cgroups.remove();
                if holds {
                    WallReport::new(wall, State::Held, "a group was made and removed")
                } else if by_swap {
                    WallReport::new(wall, State::Missing, SWAP_UNLIMITED).fix(LIMIT_SWAP)
                } else {
                    WallReport::new(wall, State::Missing, "no hierarchy that we may use has it")
                        .fix("give the unit Delegate=yes, or enable the controller in the kernel")
                }
            }
            Err(error) => without_cgroups(wall, &error),
        }
    }
}

fn without_cgroups(wall: Wall, error: &io::Error) -> WallReport {
    WallReport::new(wall, State::Missing, error.to_string())
        .fix("give the unit Delegate=yes; in a container, mount /sys/fs/cgroup writable")
}

/// Scopes for signals and abstract sockets came with this version.
const WITH_SCOPES: u16 = 6;

fn landlock() -> WallReport {
    let abi = crate::landlock::abi();
    if abi == 0 {
        return WallReport::new(
            Wall::Landlock,
            State::Missing,
            "this kernel does not enable it",
        )
        .fix("add landlock to lsm= on the kernel's command line (Linux 5.13 or later)");
    }
    let made = trial::landlock();
    let report = tried(
        Wall::Landlock,
        made,
        format!("a ruleset of version {abi} was put in force in a child"),
    );
    let report = WallReport {
        detail: Some(abi.to_string()),
        ..report
    };
    if report.state == State::Held && abi < WITH_SCOPES {
        let report = WallReport {
            state: State::Degraded,
            ..report
        };
        return report.fix("Linux 6.12 and later also shut in signals and abstract sockets");
    }
    report
}

fn tried(wall: Wall, trial: io::Result<()>, evidence: impl Into<String>) -> WallReport {
    match trial {
        Ok(()) => WallReport::new(wall, State::Held, evidence),
        Err(error) => WallReport::new(wall, State::Missing, format!("a trial failed: {error}")),
    }
}

impl WallReport {
    /// Says what to do where the wall does not hold.
    fn or_fix(self, fix: &str) -> Self {
        match self.state {
            State::Held => self,
            State::Degraded | State::Missing => self.fix(fix),
        }
    }
}
