//! The closed list of walls, and which of them each named set requires.

/// One wall of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is named as in the documentation's table of walls")]
pub enum Wall {
    Rlimits, NoNewPrivs, Descriptors, Uid, Caps, Userns, Pidns, Mountns, Netns, Ipcns, Utsns,
    Cgroupns, Root, Scratch, CgroupMemory, CgroupPids, CgroupCpu, Apparmor, Landlock, Seccomp,
}
/// A wall that holds, with its detail (`landlock:7`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldWall { /// Which.
    pub wall: Wall, /// The detail after the colon.
    pub detail: Option<String> }

/// Which walls an operator requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallSet { /// What a well-kept host has.
    Full, /// A well-configured unprivileged container.
    Container, /// Best effort, said loudly.
    Laptop }
