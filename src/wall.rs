//! The closed list of walls, and which of them each named set requires.

macro_rules! walls {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One wall of the jail.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Wall {
            $($(#[$doc])* $name,)*
        }

        impl Wall {
            /// Every wall, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The wall's name as it travels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

walls! {
    /// Every resource limit of the process is set.
    Rlimits = "rlimits",
    /// No exec can gain privileges.
    NoNewPrivs = "no_new_privs",
    /// Nothing but the three standard descriptors is open.
    Descriptors = "descriptors",
    /// A uid and gid that nobody else on the host has.
    Uid = "uid",
    /// No capability is left.
    Caps = "caps",
    /// A user namespace that maps one id.
    Userns = "userns",
    /// A pid namespace with an init of its own.
    Pidns = "pidns",
    /// A mount namespace.
    Mountns = "mountns",
    /// A network namespace with nothing in it.
    Netns = "netns",
    /// An IPC namespace.
    Ipcns = "ipcns",
    /// A host name of its own.
    Utsns = "utsns",
    /// A cgroup namespace.
    Cgroupns = "cgroupns",
    /// A private root tree.
    Root = "root",
    /// A scratch with limits on bytes and inodes.
    Scratch = "scratch",
    /// Memory of the whole run is limited.
    CgroupMemory = "cgroup_memory",
    /// Tasks of the whole run are limited.
    CgroupPids = "cgroup_pids",
    /// CPU time of the whole run is counted.
    CgroupCpu = "cgroup_cpu",
    /// An AppArmor profile confines the program.
    Apparmor = "apparmor",
    /// A Landlock ruleset confines the program.
    Landlock = "landlock",
    /// A system call filter.
    Seccomp = "seccomp",
}

impl Wall {
    /// The wall that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|wall| wall.as_str() == text)
    }
}

impl std::fmt::Display for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A wall that holds, with its detail (`landlock:7`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldWall {
    /// Which.
    pub wall: Wall,
    /// The detail after the colon.
    pub detail: Option<String>,
}

impl HeldWall {
    /// A wall without a detail.
    #[must_use]
    pub const fn plain(wall: Wall) -> Self {
        Self { wall, detail: None }
    }

    /// A wall with a detail.
    #[must_use]
    pub fn detailed(wall: Wall, detail: impl Into<String>) -> Self {
        Self {
            wall,
            detail: Some(detail.into()),
        }
    }

    /// Reads `landlock:7` or `netns`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((name, detail)) => Some(Self::detailed(Wall::parse(name)?, detail)),
            None => Some(Self::plain(Wall::parse(text)?)),
        }
    }
}

impl std::fmt::Display for HeldWall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}:{detail}", self.wall),
            None => f.write_str(self.wall.as_str()),
        }
    }
}

/// Which walls an operator requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WallSet {
    /// What a well-kept host of a supported distribution has.
    Full,
    /// What a well-configured unprivileged container has.
    Container,
    /// Best effort, said loudly.
    Laptop,
}

impl WallSet {
    /// Every set, the strictest first.
    pub const ALL: &'static [Self] = &[Self::Full, Self::Container, Self::Laptop];

    /// The set's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Container => "container",
            Self::Laptop => "laptop",
        }
    }

    /// The set that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|set| set.as_str() == text)
    }

    /// The walls without which a worker of this set does not consume. `uid` stands for `uid` or
    /// `userns`: either of them satisfies it.
    #[must_use]
    pub const fn required(self) -> &'static [Wall] {
        match self {
            Self::Full => FULL,
            Self::Container => CONTAINER,
            Self::Laptop => LAPTOP,
        }
    }

    /// The walls that are required where the host's kernel offers them, and not asked for where it
    /// does not: AppArmor is a choice of the distribution, not of its keeper.
    #[must_use]
    pub const fn required_where_offered(self) -> &'static [Wall] {
        match self {
            Self::Full => &[Wall::Apparmor],
            Self::Container | Self::Laptop => &[],
        }
    }
}

impl std::fmt::Display for WallSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

const FULL: &[Wall] = &[
    Wall::Rlimits,
    Wall::NoNewPrivs,
    Wall::Descriptors,
    Wall::Uid,
    Wall::Caps,
    Wall::Pidns,
    Wall::Mountns,
    Wall::Netns,
    Wall::Ipcns,
    Wall::Utsns,
    Wall::Cgroupns,
    Wall::Root,
    Wall::Scratch,
    Wall::CgroupMemory,
    Wall::CgroupPids,
    Wall::CgroupCpu,
    Wall::Landlock,
    Wall::Seccomp,
];

// A container's cgroup tree is mostly read-only, and its runtime has already taken a cgroup
// namespace: what is required is what a container can be given without the host's root.
const CONTAINER: &[Wall] = &[
    Wall::Rlimits,
    Wall::NoNewPrivs,
    Wall::Descriptors,
    Wall::Uid,
    Wall::Caps,
    Wall::Pidns,
    Wall::Mountns,
    Wall::Netns,
    Wall::Ipcns,
    Wall::Root,
    Wall::Scratch,
    Wall::Landlock,
    Wall::Seccomp,
];

const LAPTOP: &[Wall] = &[Wall::Rlimits, Wall::NoNewPrivs, Wall::Pidns, Wall::Seccomp];

/// The required walls that do not hold. `uid` and `userns` satisfy each other: either of them keeps
/// the program from being anybody on the host.
#[must_use]
pub fn missing(required: &[Wall], held: &[HeldWall]) -> Vec<Wall> {
    let holds = |wall: Wall| held.iter().any(|one| one.wall == wall);
    let satisfied = |wall: Wall| match wall {
        Wall::Uid | Wall::Userns => holds(Wall::Uid) || holds(Wall::Userns),
        Wall::Rlimits
        | Wall::NoNewPrivs
        | Wall::Descriptors
        | Wall::Caps
        | Wall::Pidns
        | Wall::Mountns
        | Wall::Netns
        | Wall::Ipcns
        | Wall::Utsns
        | Wall::Cgroupns
        | Wall::Root
        | Wall::Scratch
        | Wall::CgroupMemory
        | Wall::CgroupPids
        | Wall::CgroupCpu
        | Wall::Apparmor
        | Wall::Landlock
        | Wall::Seccomp => holds(wall),
    };
    required
        .iter()
        .copied()
        .filter(|wall| !satisfied(*wall))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_of_uid_and_userns_satisfies_both() {
        let held = |wall| [HeldWall::plain(wall)];
        assert_eq!(missing(&[Wall::Uid], &held(Wall::Userns)), []);
        assert_eq!(missing(&[Wall::Userns], &held(Wall::Uid)), []);
        assert_eq!(missing(&[Wall::Uid], &held(Wall::Netns)), [Wall::Uid]);
    }

    #[test]
    fn a_stricter_set_requires_whatever_a_looser_one_does() {
        for wall in WallSet::Laptop.required() {
            assert!(WallSet::Container.required().contains(wall), "{wall}");
        }
        for wall in WallSet::Container.required() {
            assert!(WallSet::Full.required().contains(wall), "{wall}");
        }
    }

    #[test]
    fn the_full_set_names_every_wall_of_the_closed_list() {
        for wall in Wall::ALL
            .iter()
            .copied()
            .filter(|wall| *wall != Wall::Userns)
        {
            let full = WallSet::Full;
            assert!(
                full.required().contains(&wall) || full.required_where_offered().contains(&wall),
                "{wall} is required by nobody",
            );
        }
    }

    #[test]
    fn held_walls_read_back_with_their_details() {
        for text in [
            "netns",
            "landlock:7",
            "apparmor:jailfleet-python",
            "apparmor:a//&b:c",
        ] {
            let held = HeldWall::parse(text).expect("a wall of the list");
            assert_eq!(held.to_string(), text);
        }
        assert_eq!(HeldWall::parse("moat:7"), None);
        assert_eq!(HeldWall::parse(""), None);
    }
}
