//! Which wall a test has taken down, to see what the others are worth.
//!
//! What is shipped has no such thing: without the feature `wall-removal` each wall stands, and that is a
//! constant. With it, only the program `jailfleet-warden-without` can take one down.

use jailfleet::evidence::Stage;
use jailfleet::wall::Wall;

#[cfg(feature = "wall-removal")]
static DOWN: std::sync::OnceLock<Wall> = std::sync::OnceLock::new();

/// Whether this wall is to be built.
#[cfg(not(feature = "wall-removal"))]
#[must_use]
pub(crate) const fn stands(_wall: Wall) -> bool {
    true
}

/// Whether this wall is to be built.
///
/// # Async-signal-safety
/// Safe between fork and exec: one atomic load.
#[cfg(feature = "wall-removal")]
#[must_use]
pub(crate) fn stands(wall: Wall) -> bool {
    DOWN.get() != Some(&wall)
}

/// Whether a stage is to be performed: all but the one that builds the wall which is down.
pub(crate) fn performs(stage: Stage) -> bool {
    match stage {
        Stage::Rlimits => stands(Wall::Rlimits),
        Stage::Apparmor => stands(Wall::Apparmor),
        Stage::NoNewPrivs => stands(Wall::NoNewPrivs),
        Stage::Landlock => stands(Wall::Landlock),
        Stage::Seccomp => stands(Wall::Seccomp),
        // These do more than one thing, and ask at the place.
        Stage::Namespaces
        | Stage::Cgroup
        | Stage::Fork
        | Stage::Session
        | Stage::Descriptors
        | Stage::Unpack
        | Stage::WorkingDirectory
        | Stage::Identity
        | Stage::ParentDeath
        | Stage::Exec => true,
    }
}

/// What is left of a limit whose wall is down. It is eight times as high and not gone: no test shall
/// harm the machine that it runs on.
pub(crate) fn limit(wall: Wall, limit: u64) -> u64 {
    if stands(wall) {
        limit
    } else {
        limit.saturating_mul(8)
    }
}

/// Whether a sweep begins with the kill of all that its uid has: always, but where a test looks at what
/// pkill does alone.
#[cfg(not(feature = "wall-removal"))]
#[must_use]
pub(crate) const fn kills() -> bool {
    true
}

/// Whether a sweep begins with the kill of all that its uid has.
///
/// # Async-signal-safety
/// Safe between fork and exec: one atomic load.
#[cfg(feature = "wall-removal")]
#[must_use]
pub(crate) fn kills() -> bool {
    !NO_KILL.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(feature = "wall-removal")]
static NO_KILL: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Leaves every sweep of this process to pkill alone.
#[cfg(feature = "wall-removal")]
pub fn leave_out_the_kill() {
    NO_KILL.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Takes a wall down, for all slots of this process and until it ends.
///
/// # Errors
/// The name of the wall, where it is not one that a test may take down, or another one is down already.
#[cfg(feature = "wall-removal")]
pub fn take_down(wall: Wall) -> Result<(), Wall> {
    match why_never(wall) {
        Some(_reason) => Err(wall),
        None => DOWN.set(wall),
    }
}

/// Why no test takes this wall down; `None` for those that can go.
#[cfg(feature = "wall-removal")]
#[must_use]
pub const fn why_never(wall: Wall) -> Option<&'static str> {
    match wall {
        Wall::Pidns => Some("the end of each run kills everything in it: that would be the host"),
        Wall::Mountns => Some("the private root is put together in it: that would be the host's"),
        Wall::Root => Some("runtimes, scratch and every path of a run are in it"),
        Wall::Userns => Some("a plain user has no other way to any of the rest"),
        Wall::Rlimits
        | Wall::NoNewPrivs
        | Wall::Descriptors
        | Wall::Uid
        | Wall::Caps
        | Wall::Netns
        | Wall::Ipcns
        | Wall::Utsns
        | Wall::Cgroupns
        | Wall::Scratch
        | Wall::CgroupMemory
        | Wall::CgroupPids
        | Wall::CgroupCpu
        | Wall::Apparmor
        | Wall::Landlock
        | Wall::Seccomp => None,
    }
}
