//! The slots' control groups.

use jailfleet::limits::Limits;
use jailfleet::wall::Wall;
use std::io;
use std::time::Duration;

/// The hierarchy that this warden may use.
#[derive(Debug)]
pub struct Cgroups(());
/// The groups of one slot.
#[derive(Debug)]
pub struct SlotCgroup {
    entry: Entry,
}
/// How a process enters the groups of a slot.
#[derive(Debug)]
pub struct Entry(());
/// What a slot's groups have counted since they exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// CPU time.
    pub cpu: Option<Duration>,
    /// Out-of-memory kills.
    pub oom_kills: u64,
    /// `cpu.pressure`, full, total.
    pub pressure_full: Option<Duration>,
}
impl Entry {
    /// Moves the caller in.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn enter(&self) -> io::Result<()> {
        Ok(())
    }
}
impl Cgroups {
    /// Opens.
    ///
    /// # Errors
    /// Why not.
    pub fn open(_name: &str) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The walls.
    pub fn walls(&self) -> impl Iterator<Item = Wall> {
        std::iter::empty()
    }
    /// Makes a slot's groups.
    ///
    /// # Errors
    /// Why not.
    pub fn slot(&mut self, _number: u16) -> io::Result<SlotCgroup> {
        Ok(SlotCgroup { entry: Entry(()) })
    }
}
impl SlotCgroup {
    /// How to get in.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }
    /// Whether it limits tasks.
    #[must_use]
    pub const fn limits_tasks(&self) -> bool {
        false
    }
    /// Sets the limits of a run.
    ///
    /// # Errors
    /// Why not.
    pub fn arm(&mut self, _limits: &Limits) -> io::Result<()> {
        Ok(())
    }
    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
    /// Peak memory.
    #[must_use]
    pub const fn peak_memory(&self) -> Option<u64> {
        None
    }
    /// Peak tasks.
    #[must_use]
    pub const fn peak_processes(&self) -> Option<u64> {
        None
    }
    /// Removes the groups.
    ///
    /// # Errors
    /// `EBUSY` while somebody is in them.
    pub fn remove(&mut self) -> io::Result<()> {
        Ok(())
    }
}
