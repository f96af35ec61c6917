//! One group of one slot, with its files held open: a run reads and writes them by position.

use super::Counters;
use super::find::{Controller, Version};
use super::swap;
use crate::init::Service;
use crate::without::{limit, stands};
use jailfleet::wall::Wall;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Group {
    version: Version,
    folder: PathBuf,
    memory: Option<Memory>,
    pids: Option<Pids>,
    cpu: Option<Cpu>,
}

#[derive(Debug)]
struct Memory {
    limit: File,
    /// Memory and swap together (version 1), or swap alone (version 2).
    swap: Option<File>,
    events: File,
    /// Of what is limited: where `swap` is a limit of both together, of both together.
    peak: Option<File>,
}

#[derive(Debug)]
struct Pids {
    limit: File,
    peak: Option<File>,
}

#[derive(Debug)]
struct Cpu {
    time: File,
    pressure: Option<File>,
}

impl Group {
    pub(super) fn open(
        version: Version,
        controllers: &[Controller],
        folder: PathBuf,
        service: Service,
    ) -> io::Result<Self> {
        let has = |controller| controllers.contains(&controller);
        let memory = has(Controller::Memory)
            .then(|| Memory::open(version, &folder))
            .transpose()?;
        let pids = has(Controller::Pids)
            .then(|| Pids::open(&folder, service))
            .transpose()?;
        let cpu = has(Controller::CpuTime)
            .then(|| Cpu::open(version, &folder))
            .transpose()?;
        Ok(Self {
            version,
            folder,
            memory,
            pids,
            cpu,
        })
    }

    pub(super) const fn limits_tasks(&self) -> bool {
        self.pids.is_some()
    }

    pub(super) const fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    pub(super) fn limit(&self, memory_bytes: u64, tasks: u64) -> io::Result<()> {
        if let Some(memory) = &self.memory {
            memory.limit(self.version, limit(Wall::CgroupMemory, memory_bytes))?;
        }
        let tasks = limit(Wall::CgroupPids, tasks);
        match &self.pids {
            Some(pids) => put(&pids.limit, &tasks.to_string()),
            None => Ok(()),
        }
    }

    pub(super) fn forget_peaks(&self) -> io::Result<()> {
        // Version 2 forgets for this descriptor alone and only since Linux 6.12; before, the peak
        // is that of the slot and not told.
        match (
            self.version,
            self.memory.as_ref().and_then(|memory| memory.peak.as_ref()),
        ) {
            (Version::One, Some(peak)) => put(peak, "0"),
            (Version::Two, Some(peak)) => put(peak, "reset"),
            (_, None) => Ok(()),
        }
    }

    pub(super) fn count(&self, counters: &mut Counters) {
        if let Some(memory) = &self.memory {
            counters.oom_kills = field(&memory.events, "oom_kill").unwrap_or(0);
            counters.memory_refusals = memory.refused(self.version);
        }
        if let Some(cpu) = &self.cpu {
            counters.cpu = self.cpu_time();
            let total = cpu.pressure.as_ref().and_then(pressure_full);
            counters.pressure_full = total.map(Duration::from_micros);
        }
    }

    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let cpu = self.cpu.as_ref().filter(|_| stands(Wall::CgroupCpu))?;
        match self.version {
            Version::One => number(&cpu.time).map(Duration::from_nanos),
            Version::Two => field(&cpu.time, "usage_usec").map(Duration::from_micros),
        }
    }

    pub(super) fn peak_memory(&self) -> Option<u64> {
        number(self.memory.as_ref()?.peak.as_ref()?)
    }

    pub(super) fn peak_tasks(&self) -> Option<u64> {
        number(self.pids.as_ref()?.peak.as_ref()?)
    }

    /// Kills what is left inside and removes the group.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                kill_members(&self.folder);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }
}

impl Memory {
    fn open(version: Version, folder: &Path) -> io::Result<Self> {
        let (limit, events) = match version {
            Version::One => ("memory.limit_in_bytes", "memory.oom_control"),
            Version::Two => ("memory.max", "memory.events"),
        };
        // Where there is no such file and the host has swap, the wall is missing (see `swap`). One that is there
        // and cannot be used is no reason to go on without.
        let swap = match open_both(&folder.join(swap::limit_file(version))) {
            Ok(swap) => Some(swap),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let peak = match (version, &swap) {
            // The limit that is met first is that of both; pages that are put out to swap count towards it,
            // and not towards the other.
            (Version::One, Some(_)) => "memory.memsw.max_usage_in_bytes",
            (Version::One, None) => "memory.max_usage_in_bytes",
            (Version::Two, _) => "memory.peak",
        };
        let peak = open_both(&folder.join(peak)).ok();
        let peak = peak.filter(|peak| version == Version::One || put(peak, "reset").is_ok());
        Ok(Self {
            limit: open_both(&folder.join(limit))?,
            swap,
            events: File::open(folder.join(events))?,
            peak,
        })
    }

    /// How often the group's own limit left no room and nothing could be taken back. What version 1 counts in
    /// `failcnt` leaves out the limit of memory and swap together, on some kernels, and that is met first.
    fn refused(&self, version: Version) -> Option<u64> {
        match version {
            Version::One => None,
            Version::Two => field(&self.events, "oom"),
        }
    }

    fn limit(&self, version: Version, bytes: u64) -> io::Result<()> {
        let text = bytes.to_string();
        match (version, &self.swap) {
            // The sum may never be below the limit: which of the two goes first depends on the
            // direction, so the one that is refused first is tried again.
            (Version::One, Some(sum)) => {
                if put(sum, &text).is_ok() {
                    put(&self.limit, &text)
                } else {
                    put(&self.limit, &text)?;
                    put(sum, &text)
                }
            }
            (Version::Two, Some(swap)) => {
                put(swap, "0")?;
                put(&self.limit, &text)
            }
            (_, None) => put(&self.limit, &text),
        }
    }
}

impl Pids {
    fn open(folder: &Path, service: Service) -> io::Result<Self> {
        Ok(Self {
            limit: open_both(&folder.join("pids.max"))?,
            // The kernel cannot forget it, so that it is of use only in a group that serves one run.
            peak: match service {
                Service::OneRun => File::open(folder.join("pids.peak")).ok(),
                Service::ManyRuns => None,
            },
        })
    }
}

impl Cpu {
    fn open(version: Version, folder: &Path) -> io::Result<Self> {
        let name = match version {
            Version::One => "cpuacct.usage",
            Version::Two => "cpu.stat",
        };
        Ok(Self {
            time: File::open(folder.join(name))?,
            pressure: File::open(folder.join("cpu.pressure")).ok(),
        })
    }
}

/// Makes the controllers usable below `own`. A group that has processes of its own may not have
/// controllers below it, so that this works in a delegated group only.
pub(super) fn enable(
    parent: &Path,
    base: &Path,
    own: &Path,
    controllers: &[Controller],
) -> io::Result<()> {
    let words: Vec<&str> = controllers
        .iter()
        .filter_map(|controller| match controller {
            Controller::Memory => Some("+memory"),
            Controller::Pids => Some("+pids"),
            Controller::CpuTime => None,
        })
        .collect();
    if words.is_empty() {
        return Ok(());
    }
    let words = words.join(" ");
    let control = |folder: &Path| {
        open_to_write(&folder.join("cgroup.subtree_control")).and_then(|file| put(&file, &words))
    };
    if control(parent).is_err() {
        move_aside(parent, base)?;
        control(parent)?;
    }
    control(base)?;
    control(own)
}

/// Moves the processes of our own group into a leaf of it. They must be ours to move: the worker and
/// the warden alone in their unit, or whatever runs in a container that sees its own group only.
fn move_aside(parent: &Path, base: &Path) -> io::Result<()> {
    let pids = std::fs::read_to_string(parent.join("cgroup.procs"))?;
    let us = [std::process::id(), std::os::unix::process::parent_id()].map(|pid| pid.to_string());
    let alone = pids.lines().all(|pid| us.iter().any(|ours| ours == pid));
    let top = parent
        .parent()
        .is_none_or(|above| !above.join("cgroup.procs").exists());
    if !alone && !top {
        return Err(io::Error::other(
            "processes of others share our control group; start the worker as a unit of its own",
        ));
    }
    let leaf = leaf(base);
    std::fs::create_dir_all(&leaf)?;
    let members = open_to_write(&leaf.join("cgroup.procs"))?;
    pids.lines().try_for_each(|pid| put(&members, pid))
}

/// Beside our groups, the one for the processes that were in the group given to us.
fn leaf(base: &Path) -> PathBuf {
    base.with_extension("main")
}

/// The group given to us, when we were started in its leaf by somebody whom an earlier warden moved
/// there: otherwise each warden would go one deeper, and what a killed one left would be no sibling.
pub(super) fn above_leaf(own: PathBuf, name: &str) -> PathBuf {
    match own.parent() {
        Some(parent) if own == leaf(&parent.join(name)) => parent.to_owned(),
        Some(_) | None => own,
    }
}

/// Kills every process in a group.
pub(super) fn kill_members(folder: &Path) {
    let killed = open_to_write(&folder.join("cgroup.kill")).and_then(|file| put(&file, "1"));
    if killed.is_ok() {
        return;
    }
    let Ok(pids) = std::fs::read_to_string(folder.join("cgroup.procs")) else {
        return;
    };
    for pid in pids.lines().filter_map(|pid| pid.parse::<i32>().ok()) {
        // A pid read here could be reused before the kill: the descriptor is opened first, and the
        // list read again.
        let Some(pid) = rustix::process::Pid::from_raw(pid) else {
            continue;
        };
        let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        else {
            continue;
        };
        let again = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        if again
            .lines()
            .any(|line| line == pid.as_raw_nonzero().to_string())
        {
            // It may have ended by itself in between.
            let _gone = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        }
    }
}

pub(super) fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn open_both(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

pub(super) fn put(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)
}

/// The file's text, at most one page of it.
fn with_text<T>(file: &File, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let mut bytes = [0; 4096];
    let length = file.read_at(&mut bytes, 0).ok()?;
    read(std::str::from_utf8(bytes.get(..length)?).ok()?)
}

fn number(file: &File) -> Option<u64> {
    with_text(file, |text| text.trim().parse().ok())
}

fn field(file: &File, name: &str) -> Option<u64> {
    with_text(file, |text| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            if key == name {
                value.trim().parse().ok()
            } else {
                None
            }
        })
    })
}

fn pressure_full(file: &File) -> Option<u64> {
    with_text(file, |text| {
        let line = text.lines().find(|line| line.starts_with("full "))?;
        line.rsplit_once("total=")?.1.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests;
