//! What a guest is made of. The cache is keyed by this file and by those that follow it.

use clap::ValueEnum;
use std::fmt;

/// The kernels that a guest can have: the oldest that we support with AppArmor, and one that has
/// Landlock's scopes and peaks that can be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12's own.
    #[value(name = "6.1")]
    V6_1,
    /// From Debian 12's backports.
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    /// All of them, the quickest to build first.
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// The suite that has it.
    pub(crate) fn suite(self) -> Suite {
        match self {
            Self::V6_1 => Suite::Stable,
            Self::V6_12 => Suite::Backports,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        })
    }
}

/// A suite of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Debian 12 itself.
    Stable,
    /// What was built for it from later versions.
    Backports,
}

impl Suite {
    /// As a source list has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stable => "bookworm",
            Self::Backports => "bookworm-backports",
        }
    }
}

/// The C library of that suite: programs built against a newer one do not start in the guest.
pub(crate) const C_LIBRARY: (u32, u32) = (2, 36);

/// The metapackage that leads to a suite's newest kernel.
pub(crate) const KERNEL_PACKAGE: &str = "linux-image-amd64";

/// Modules that the first process loads; what they depend on comes with them.
pub(crate) const MODULES: [&str; 6] = [
    "virtio_pci",
    "virtio_blk",
    "9pnet_virtio",
    "9p",
    // Ext4's checksums, which it asks for by the name of the algorithm and not of the module.
    "crc32c_generic",
    "ext4",
];

/// Packages of the root; what they depend on comes with them.
pub(crate) const ROOT_PACKAGES: [&str; 14] = [
    "bash",
    "dash",
    "coreutils",
    "findutils",
    "grep",
    "sed",
    "libc-bin",
    "mount",
    // ipcs, ipcmk, setpriv and unshare.
    "util-linux",
    // For whoever wants to know why something fails in there.
    "strace",
    // pkill, the second line of a slot's clean-up.
    "procps",
    // The parser and the abstractions that profiles include.
    "apparmor",
    "python3",
    "nodejs",
];

/// Folders of those packages that nothing in a guest reads.
pub(crate) const UNREAD: [&str; 7] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/lib/x86_64-linux-gnu/gconv",
];

/// Packages of the host, each with what it is for.
pub(crate) const HOST_PACKAGES: [(&str, &str); 5] = [
    (
        "qemu-system-x86",
        "runs the guest, in which AppArmor and cgroup v2 are what this host may lack",
    ),
    ("e2fsprogs", "makes the guest's disk"),
    ("xz-utils", "unpacks kernels and modules"),
    ("zstd", "unpacks kernels and modules"),
    (
        "debian-archive-keyring",
        "proves that the guest's packages are Debian's",
    ),
];

/// Files that the packages' own scripts would have written; none of those scripts is run.
pub(crate) const FILES: [(&str, &str); 5] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n\
         plain:x:1000:1000::/home/plain:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nplain:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost guest\n"),
    ("etc/hostname", "guest\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];
