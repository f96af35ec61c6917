//! The walls of jailfleet: a privileged process that parses nothing a stranger wrote, and the jails
//! that it forks.
//!
//! # Theory of operation
//!
//! The worker starts the **warden** ([`client`]) and talks to it in fixed-size datagrams
//! ([`protocol`]). The warden keeps numbered **slots**; each has a uid, a cgroup and an **init** that
//! lives as pid 1 in namespaces of its own with a root of its own, all made before a job arrives.
//! For a run the init forks one child, which walks the stages listed in [`jail`] and becomes the
//! program. What a stranger sent (arguments, environment, files) travels in one sealed memfd
//! ([`payload`]) that only this child opens, after it shed its capabilities. What the run leaves and the
//! worker wants ([`artifacts`]) another child of the init brings out, once nothing of the run is alive.

#![deny(unsafe_code)]

pub mod protocol;
pub mod client;
pub mod payload;
pub mod artifacts;
/// The stages of a jail's child, with their stable numbers.
pub mod stage {
    pub use jailfleet::evidence::Stage;
}
pub mod probe;
pub mod warden;
pub mod slot;
pub mod link;
pub mod init;
pub mod jail;
#[cfg(feature = "wall-removal")]
pub mod without;
#[cfg(not(feature = "wall-removal"))]
mod without;
pub mod marks;
pub mod launch;
pub mod root;
pub mod apparmor;
pub mod landlock;
pub mod seccomp;
pub mod rlimits;
pub mod cgroup;
pub mod lease;
pub mod sweep;
pub mod clock;
#[expect(
    unsafe_code,
    reason = "the only module that calls the kernel without a safe wrapper"
)]
pub mod sys;
