//! What is mounted where.

use anyhow::{Context, Result};
use jailfleet_guest::{Access, DESK, DESK_TAG, PLAIN_ID, Share};
use nix::mount::{MsFlags, mount};
use std::path::Path;

const QUIET: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const NEW_ROOT: &str = "/newroot";

/// The kernel's own file systems, which stay when the root changes.
pub(crate) fn kernel_interfaces() -> Result<()> {
    at("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID, "")?;
    at("proc", "/proc", "proc", QUIET, "")?;
    at("sysfs", "/sys", "sysfs", QUIET, "")
}

/// Makes the disk the root.
///
/// By moving it onto `/`, since `AppArmor` names files from the root of the mount namespace: after a
/// plain chroot every name would begin with `/newroot`, and no rule would fit.
pub(crate) fn enter_root() -> Result<()> {
    at("/dev/vda", NEW_ROOT, "ext4", MsFlags::MS_NOATIME, "")?;
    for folder in ["/dev", "/proc", "/sys"] {
        let to = format!("{NEW_ROOT}{folder}");
        moved(folder, &to)?;
    }
    std::env::set_current_dir(NEW_ROOT).context("go to the new root")?;
    moved(".", "/")?;
    nix::unistd::chroot(".").context("make the disk the root")?;
    std::env::set_current_dir("/").context("go to the root")
}

/// Folders that every system has in memory.
pub(crate) fn folders() -> Result<()> {
    let shared = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
    at("tmpfs", "/tmp", "tmpfs", shared, "mode=1777")?;
    at("tmpfs", "/run", "tmpfs", shared, "mode=755")?;
    at("tmpfs", "/dev/shm", "tmpfs", shared, "mode=1777")?;
    at(
        "devpts",
        "/dev/pts",
        "devpts",
        MsFlags::MS_NOSUID,
        "gid=5,mode=620,ptmxmode=666",
    )?;
    at("security", "/sys/kernel/security", "securityfs", QUIET, "")?;
    at("cgroup2", "/sys/fs/cgroup", "cgroup2", QUIET, "nsdelegate")?;
    // On the disk everything is root's, whoever made it.
    std::os::unix::fs::chown("/home/plain", Some(PLAIN_ID), Some(PLAIN_ID))
        .context("give the plain user its home")?;
    // What udev makes elsewhere.
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, Path::new("/dev").join(name))
            .with_context(|| format!("make /dev/{name}"))?;
    }
    Ok(())
}

/// The folder in which plan and outputs lie. Nothing of it is cached: the host reads along.
pub(crate) fn desk() -> Result<()> {
    let options = "trans=virtio,version=9p2000.L,msize=512000,cache=none";
    at(DESK_TAG, DESK, "9p", QUIET, options)
}

/// A folder of the host, at the path that the plan gives it.
pub(crate) fn share(share: &Share) -> Result<()> {
    let path = share.path.to_str().context("read a share's path")?;
    let (flags, cache) = match share.access {
        // Test programs are started again and again: their pages stay here.
        Access::Read => (MsFlags::MS_RDONLY, "loose"),
        Access::Write => (MsFlags::empty(), "none"),
    };
    let options = format!("trans=virtio,version=9p2000.L,msize=512000,cache={cache}");
    at(
        &share.tag,
        path,
        "9p",
        flags.union(MsFlags::MS_NOSUID),
        &options,
    )
}

fn at(source: &str, target: &str, kind: &str, flags: MsFlags, options: &str) -> Result<()> {
    std::fs::create_dir_all(target).with_context(|| format!("make the folder {target}"))?;
    mount(Some(source), target, Some(kind), flags, Some(options))
        .with_context(|| format!("mount {kind} on {target}"))
}

fn moved(from: &str, to: &str) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make the folder {to}"))?;
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .with_context(|| format!("move the mount {from} to {to}"))
}
