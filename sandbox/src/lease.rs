//! Uids that slots lease: one holder on this host, proved by a lock.

use jailfleet::settings::WardenSection;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// The uids that this host gives to slots.
#[derive(Debug)]
pub struct Leases {
    folder: PathBuf,
    base: u32,
    count: u32,
    next: u32,
}

/// A uid that nobody else on this host has, as long as this lives.
#[derive(Debug)]
pub struct Lease {
    uid: Uid,
    _lock: Flock<File>,
}

impl Lease {
    /// The uid; the gid is the same number.
    #[must_use]
    pub const fn uid(&self) -> Uid {
        self.uid
    }
}

impl Leases {
    /// Opens the folder of the locks.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(warden: &WardenSection) -> io::Result<Self> {
        let folder = PathBuf::from(&warden.state_dir).join("leases");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, base: warden.uid_base, count: warden.uid_count, next: 0 })
    }

    /// Leases a uid.
    ///
    /// # Errors
    /// When none is free.
    pub fn take(&mut self) -> io::Result<Lease> {
        for _ in 0..self.count {
            let number = self.base.saturating_add(self.next);
            self.next = self.next.saturating_add(1) % self.count.max(1);
            let path = self.folder.join(number.to_string());
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Ok(Lease { uid: Uid::from_raw(number), _lock: lock });
            }
        }
        Err(io::Error::other("every uid of the range is leased"))
    }
}
