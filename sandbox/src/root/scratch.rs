//! The scratch: a tmpfs on `/tmp` that lives as long as one run.

use crate::jail::Identity;
use crate::without::limit;
use jailfleet::limits::Limits;
use jailfleet::runtime::Cwd;
use jailfleet::wall::Wall;
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
const WAITING: Shape = Shape {
    bytes: 1 << 20,
    inodes: 64,
    executable: false,
};

/// How a scratch is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    bytes: u64,
    inodes: u64,
    executable: bool,
}

impl Shape {
    fn options(self) -> String {
        let [bytes, inodes] = [self.bytes, self.inodes].map(|most| limit(Wall::Scratch, most));
        format!("mode=0711,size={bytes},nr_inodes={inodes}")
    }

    fn flags(self) -> MsFlags {
        let always = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if self.executable {
            always
        } else {
            always | MsFlags::MS_NOEXEC
        }
    }
}

/// The scratch of one run.
#[derive(Debug)]
pub(super) struct Scratch {
    path: String,
    folder: OwnedFd,
    shape: Shape,
}

impl Scratch {
    pub(super) fn mount(random: &File, identity: Identity) -> io::Result<Self> {
        Self::mount_shaped(random, identity, WAITING)
    }

    fn mount_shaped(random: &File, identity: Identity, shape: Shape) -> io::Result<Self> {
        let options = shape.options();
        mount(
            Some("scratch"),
            PLACE,
            Some("tmpfs"),
            shape.flags(),
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
        Ok(Self {
            path,
            folder,
            shape,
        })
    }

    pub(super) fn working_directory(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    pub(super) fn working_path(&self) -> &str {
        &self.path
    }

    /// Sets the limits of a run and whether its files may be executed, where that is not set already.
    pub(super) fn fit(&mut self, limits: &Limits, executable: bool) -> io::Result<()> {
        let shape = Shape {
            bytes: limits.disk_bytes.get(),
            inodes: limits.disk_files.get().saturating_add(OWN_INODES),
            executable,
        };
        if shape != self.shape {
            let options = shape.options();
            mount(
                None::<&str>,
                PLACE,
                None::<&str>,
                MsFlags::MS_REMOUNT | shape.flags(),
                Some(options.as_str()),
            )?;
            self.shape = shape;
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
        *self = Self::mount_shaped(random, identity, self.shape)?;
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
