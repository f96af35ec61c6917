//! A warden's own group in a hierarchy, below a name that all wardens of the host share: how it is taken,
//! how others see that its owner lives, and who may remove it.
//!
//! A group is its warden's for as long as the warden holds the lock on it. Wardens come and go beside each
//! other, so nothing here believes that what was there a moment ago still is: the folder of the shared name
//! may vanish with the last group in it, and is made again; a group is looked at anew once it is locked; and
//! what nobody owns is removed only under its lock, so that nobody can take it meanwhile.

use super::group;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A group that is ours, and the lock that says so.
#[derive(Debug)]
pub(super) struct Own {
    folder: PathBuf,
    _alive: Flock<File>,
}

/// How often the taking of a group is tried. Each try fails only when another warden of this host starts
/// or ends in the same moment.
const TRIES: u32 = 100;

impl Own {
    /// Takes a group of our own below `base`, which is made where it is not there.
    ///
    /// # Errors
    /// What the kernel answered; `WouldBlock` when others were always faster.
    pub(super) fn take(base: &Path) -> io::Result<Self> {
        for attempt in 0..TRIES {
            // A process of the same number may be a warden too, in another pid namespace.
            let folder = base.join(format!("w-{}-{attempt}", std::process::id()));
            let made = std::fs::create_dir_all(base).and_then(|()| std::fs::create_dir(&folder));
            match made {
                Ok(()) => {}
                Err(error) if is_of_others(&error) => continue,
                Err(error) => return Err(error),
            }
            if let Some(alive) = lock(&folder)? {
                return Ok(Self {
                    folder,
                    _alive: alive,
                });
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes it with all that is in it, and the folder of the shared name with the last of its groups.
    pub(super) fn remove(self) {
        remove_tree(&self.folder);
        let Some(base) = self.folder.parent() else {
            return;
        };
        match std::fs::remove_dir(base).map_err(|error| error.raw_os_error()) {
            // Another warden's group below it keeps it, as it should, or another one removed it.
            Ok(()) | Err(Some(libc::ENOENT | libc::ENOTEMPTY | libc::EBUSY)) => {}
            Err(errno) => eprintln!(
                "jailfleet-warden: {} is empty and stays: {errno:?}",
                base.display()
            ),
        }
    }
}

/// Whether somebody else was in the same place in the same moment.
fn is_of_others(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
    )
}

/// Takes the lock on a folder; `None` where somebody has it, or where the folder is gone by now.
fn lock(folder: &Path) -> io::Result<Option<Flock<File>>> {
    let opened = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let lock = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    // Whoever had the lock before us may have removed what it was on.
    let there = std::fs::symlink_metadata(folder).map(|there| (there.dev(), there.ino()));
    let locked = lock.metadata().map(|locked| (locked.dev(), locked.ino()))?;
    Ok(there.is_ok_and(|there| there == locked).then_some(lock))
}

/// Removes the groups below `base` that no warden owns any more.
pub(super) fn sweep_stale(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix("w-")) else {
            continue;
        };
        // A warden of an older version named its groups by its number alone, and locked the first of them
        // only. Where there is more to the name, the lock says it all: the number may be another warden's.
        if !owner.contains('-') && is_a_warden(owner) {
            continue;
        }
        let folder = entry.path();
        // Kept until it is gone, or a warden that starts could take what we are about to remove.
        let Ok(Some(_lock)) = lock(&folder) else {
            continue;
        };
        remove_tree(&folder);
    }
}

/// Whether this process is a warden; its number may have gone to somebody else.
fn is_a_warden(pid: &str) -> bool {
    let name = std::fs::read_to_string(Path::new("/proc").join(pid).join("comm"));
    // The kernel keeps fifteen letters.
    name.is_ok_and(|name| name.trim_end() == "jailfleet-warde")
}

fn remove_tree(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        group::kill_members(&entry.path());
        // A member that is still dying keeps its group; the next start sweeps again.
        let _kept: io::Result<()> = std::fs::remove_dir(entry.path());
    }
    let _kept: io::Result<()> = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::{Own, sweep_stale};
    use std::fs::{create_dir, create_dir_all};
    use std::path::{Path, PathBuf};

    /// A folder in place of a hierarchy, and the shared name in it.
    fn hierarchy() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().join("jailfleet");
        (folder, base)
    }

    /// A slot's group in the warden's own.
    fn slot_of(own: &Own) -> PathBuf {
        let slot = own.folder().join("s0-1");
        create_dir(&slot).expect("a folder");
        slot
    }

    #[test]
    fn wardens_that_end_while_another_starts_never_keep_it_from_its_group() {
        const ROUNDS: usize = 3000;
        let (_folder, base) = hierarchy();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        // All that a warden does which ends at once.
                        Own::take(&base).expect("its own").remove();
                        sweep_stale(&base);
                    }
                });
            }
            for _ in 0..ROUNDS {
                let own = Own::take(&base).expect("its own, whoever else comes and goes");
                let slot = slot_of(&own);
                sweep_stale(&base);
                assert!(slot.exists(), "it was removed while its warden lives");
                own.remove();
            }
        });
        sweep_stale(&base);
        assert!(!base.exists() || base.read_dir().is_ok_and(|mut left| left.next().is_none()));
    }

    #[test]
    fn what_a_live_warden_holds_is_left_alone_also_where_its_number_means_nothing() {
        let (_folder, base) = hierarchy();
        // This process is no warden by its name, as one of another pid namespace is none by its number.
        let own = Own::take(&base).expect("its own");
        let slot = slot_of(&own);
        let other = Own::take(&base).expect("another of the same number");
        assert_ne!(own.folder(), other.folder());
        sweep_stale(&base);
        assert!(slot.exists() && other.folder().exists());
        other.remove();
        assert!(slot.exists());
        let folder = own.folder().to_owned();
        drop(own);
        // Its warden was killed: the kernel gave the lock back.
        sweep_stale(&base);
        assert!(!folder.exists());
    }

    #[test]
    fn a_number_says_that_a_warden_lives_only_of_a_group_that_its_version_may_not_have_locked() {
        let (_folder, base) = hierarchy();
        let named = base.clone();
        let as_a_warden = std::thread::Builder::new().name("jailfleet-warden".to_owned());
        let sweeping = as_a_warden.spawn(move || {
            // A thread has a number of its own, and a name at that number.
            let number = nix::unistd::gettid();
            let [older, dead] = ["", "-0"].map(|end| named.join(format!("w-{number}{end}")));
            create_dir_all(&older).expect("a folder");
            create_dir(&dead).expect("a folder");
            sweep_stale(&named);
            (older.exists(), dead.exists())
        });
        let left = sweeping.expect("a thread").join().expect("no panic");
        assert_eq!(left, (true, false), "what nobody has locked is nobody's");
    }

    #[test]
    fn what_is_no_wardens_is_no_concern_of_ours() {
        let (_folder, base) = hierarchy();
        let others = base.join("somebody");
        create_dir_all(&others).expect("a folder");
        sweep_stale(&base);
        Own::take(&base).expect("its own").remove();
        assert!(Path::new(&others).exists());
    }
}
