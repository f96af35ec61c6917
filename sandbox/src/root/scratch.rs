//! The scratch: a tmpfs on `/tmp` that lives as long as one run.

use crate::jail::Identity;
use jailfleet::limits::Limits;
use jailfleet::runtime::Cwd;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, mkdir};
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

/// Where `/dev/shm` leads.
pub(super) const SHM: &str = "/tmp/shm";
const PLACE: &str = "/tmp";
/// The tmpfs' own root, the working directory, its `tmp` and the folder behind `/dev/shm`.
const OWN_INODES: u64 = 4;
/// What a scratch has before a run says what it needs.
const WAITING: Size = Size {
    bytes: 1 << 20,
    inodes: 64,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    bytes: u64,
    inodes: u64,
}

impl Size {
    fn options(self) -> String {
        format!("mode=0711,size={},nr_inodes={}", self.bytes, self.inodes)
    }
}

/// The scratch of one run.
#[derive(Debug)]
pub(super) struct Scratch {
    path: String,
    folder: OwnedFd,
    size: Size,
}

impl Scratch {
    pub(super) fn mount(random: &File, identity: Identity) -> io::Result<Self> {
        Self::mount_sized(random, identity, WAITING)
    }

    fn mount_sized(random: &File, identity: Identity, size: Size) -> io::Result<Self> {
        let options = size.options();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("scratch"),
            PLACE,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )?;
        let path = format!("{PLACE}/codejail-{}", letters(random)?);
        let (uid, gid) = ids(identity);
        mkdir(path.as_str(), Mode::from_bits_truncate(0o755))?;
        let own_folder = |path: &str| -> io::Result<()> {
            mkdir(path, Mode::from_bits_truncate(0o700))?;
            Ok(chown(path, Some(uid), Some(gid))?)
        };
        own_folder(&format!("{path}/tmp"))?;
        own_folder(SHM)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(path.as_str(), flags, Mode::empty())?;
        Ok(Self { path, folder, size })
    }

    pub(super) fn working_directory(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    pub(super) fn working_path(&self) -> &str {
        &self.path
    }

    /// Sets the limits of a run, where they are not set already.
    pub(super) fn fit(&mut self, limits: &Limits) -> io::Result<()> {
        let size = Size {
            bytes: limits.disk_bytes.get(),
            inodes: limits.disk_files.get().saturating_add(OWN_INODES),
        };
        if size != self.size {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            let options = size.options();
            mount(
                None::<&str>,
                PLACE,
                None::<&str>,
                flags,
                Some(options.as_str()),
            )?;
            self.size = size;
        }
        Ok(())
    }

    /// Gives the working directory to whom the runtime says.
    pub(super) fn own(&self, cwd: Cwd, identity: Identity) -> io::Result<()> {
        match (cwd, identity) {
            (Cwd::Writable, Identity::Leased { uid, gid }) => {
                Ok(chown(self.path.as_str(), Some(uid), Some(gid))?)
            }
            (Cwd::ReadOnly, Identity::Mapped { .. }) => {
                // The program is its owner; without Landlock this is all that stands in its way.
                fs::set_permissions(&self.path, Permissions::from_mode(0o755))
            }
            (Cwd::ReadOnly, Identity::Leased { .. }) | (Cwd::Writable, Identity::Mapped { .. }) => {
                Ok(())
            }
        }
    }

    /// The next run most likely has the limits of the last one: the new scratch starts with them.
    pub(super) fn replace(&mut self, random: &File, identity: Identity) -> io::Result<()> {
        umount2(PLACE, MntFlags::MNT_DETACH)?;
        *self = Self::mount_sized(random, identity, self.size)?;
        Ok(())
    }
}

fn ids(identity: Identity) -> (Uid, Gid) {
    let (Identity::Leased { uid, gid } | Identity::Mapped { uid, gid }) = identity;
    (uid, gid)
}

/// Eight of `[a-z0-9_]`, as codejail names its folders.
fn letters(mut random: &File) -> io::Result<String> {
    const ALPHABET: &[u8; 37] = b"abcdefghijklmnopqrstuvwxyz0123456789_";
    let mut bytes = [0; 8];
    random.read_exact(&mut bytes)?;
    Ok(bytes
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()))
        .map(|letter| char::from(*letter))
        .collect())
}
