//! Uids of slots, leased under a lock so that no two workers of a host ever share one.
//!
//! A uid that a user, a group, a subordinate range or a process of somebody else has is never
//! leased: whatever runs under a leased uid is ours to kill. Users are looked up in the files of the
//! host only; where a directory service names users, `warden.uid_base` must lie outside its range.

use crate::clock;
use crate::sweep::{self, Sweeper};
use jailfleet::settings::WardenSection;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A uid that we hold the lease of. Nothing else can be swept: there is no other way to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeasedUid(u32);

impl LeasedUid {
    /// The number; the slot's gid is the same.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The user of that number.
    #[must_use]
    pub const fn user(self) -> Uid {
        Uid::from_raw(self.0)
    }
}

/// A leased uid; returned when dropped, or by the kernel when the warden dies.
#[derive(Debug)]
pub struct Lease {
    uid: LeasedUid,
    _lock: Flock<File>,
}

impl Lease {
    /// The uid.
    #[must_use]
    pub const fn uid(&self) -> LeasedUid {
        self.uid
    }
}

/// Where uids are leased from.
#[derive(Debug)]
pub struct Leases {
    folder: PathBuf,
    base: u32,
    count: u32,
    /// Offset of the next one to try: a quarantined uid rests while the others are used.
    next: u32,
    taken: Vec<std::ops::RangeInclusive<u32>>,
}

/// What a lease file holds once its uid has been leased: only then may what runs under the uid be
/// taken for the rest of a warden that died.
const MARK: &[u8] = b"leased to a slot of jailfleet\n";

impl Leases {
    /// Opens the folder of locks and reads which uids belong to somebody.
    ///
    /// # Errors
    /// When the folder cannot be made or is not root's alone, or the host's users cannot be read.
    pub fn open(section: &WardenSection) -> io::Result<Self> {
        let folder = PathBuf::from(&section.state_dir);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let stat = std::fs::symlink_metadata(&folder)?;
        if !stat.is_dir()
            || stat.uid() != nix::unistd::geteuid().as_raw()
            || stat.mode() & 0o022 != 0
        {
            return Err(io::Error::other(format!(
                "{} must be a folder that only we may write; set warden.state_dir to another",
                section.state_dir
            )));
        }
        let (base, count) = (section.uid_base, section.uid_count);
        Ok(Self {
            folder,
            base,
            count,
            next: 0,
            taken: taken_on_this_host()?,
        })
    }

    /// Leases a uid that nobody has.
    ///
    /// # Errors
    /// When none is left, with what to change; or when the locks cannot be used.
    pub fn take(&mut self) -> io::Result<Lease> {
        // Read anew: a user may have been made since, and what runs under his uid is no leftover.
        self.taken = taken_on_this_host()?;
        for _ in 0..self.count {
            let uid = self.base.saturating_add(self.next);
            self.next = self
                .next
                .saturating_add(1)
                .checked_rem(self.count)
                .unwrap_or(0);
            if self.taken.iter().any(|range| range.contains(&uid)) {
                continue;
            }
            if let Some(lease) = try_lease(&self.folder, uid)? {
                return Ok(lease);
            }
        }
        Err(io::Error::other(format!(
            "none of the {} uids from {} on is free; raise warden.uid_count or move warden.uid_base",
            self.count, self.base
        )))
    }
}

fn try_lease(folder: &Path, uid: u32) -> io::Result<Option<Lease>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(folder.join(format!("uid-{uid}")))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let mut mark = Vec::new();
    lock.read_to_end(&mut mark)?;
    let leased_before = mark == MARK;
    let lease = Lease {
        uid: LeasedUid(uid),
        _lock: lock,
    };
    if sweep::look(lease.uid).is_ok() {
        if !leased_before {
            (&*lease._lock).write_all(MARK)?;
        }
        return Ok(Some(lease));
    }
    if leased_before {
        // We hold the lock, so this is what a warden left that was killed: end it. The uid rests
        // this once; whoever asks next finds it free.
        if let Err(error) = Sweeper::start(lease.uid, clock::now())?.wait() {
            eprintln!("jailfleet-warden: the sweep of uid {uid} failed: {error}");
        }
        if sweep::look(lease.uid).is_ok() {
            return Ok(Some(lease));
        }
    }
    Ok(None)
}

/// The uids and gids that the host's files give to somebody.
fn taken_on_this_host() -> io::Result<Vec<std::ops::RangeInclusive<u32>>> {
    let mut taken = Vec::new();
    for (path, field) in [("/etc/passwd", 2), ("/etc/passwd", 3), ("/etc/group", 2)] {
        taken.extend(ids_in(&read_if_there(path)?, field));
    }
    for path in ["/etc/subuid", "/etc/subgid"] {
        taken.extend(ranges_in(&read_if_there(path)?));
    }
    Ok(taken)
}

fn read_if_there(path: &str) -> io::Result<String> {
    match std::fs::read(path) {
        // Names may be in any encoding; the numbers are ASCII.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The ids in one field of passwd(5) or group(5).
fn ids_in(text: &str, field: usize) -> impl Iterator<Item = std::ops::RangeInclusive<u32>> + '_ {
    let id = move |line: &str| line.split(':').nth(field)?.parse::<u32>().ok();
    text.lines().filter_map(id).map(|id| id..=id)
}

/// The ranges of subuid(5): `name:first:count`.
fn ranges_in(text: &str) -> impl Iterator<Item = std::ops::RangeInclusive<u32>> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1).map(str::parse::<u32>);
        let first = fields.next()?.ok()?;
        let count = fields.next()?.ok()?;
        Some(first..=first.saturating_add(count.checked_sub(1)?))
    })
}

#[cfg(test)]
mod tests {
    use super::{ids_in, ranges_in};

    #[test]
    fn users_and_their_groups_are_read_from_passwd_lines() {
        let text = "root:x:0:0:root:/root:/bin/sh\n+::::::\nada:x:1000:1001::/home/ada:/bin/sh\n";
        assert_eq!(ids_in(text, 2).collect::<Vec<_>>(), [0..=0, 1000..=1000]);
        assert_eq!(ids_in(text, 3).collect::<Vec<_>>(), [0..=0, 1001..=1001]);
    }

    #[test]
    fn subordinate_ranges_are_read_with_both_ends_and_empty_ones_are_none() {
        let text = "ada:100000:65536\nbob:70000:1\neve:5:0\nbroken\n";
        assert_eq!(
            ranges_in(text).collect::<Vec<_>>(),
            [100_000..=165_535, 70_000..=70_000]
        );
    }
}
