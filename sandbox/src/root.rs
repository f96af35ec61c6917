//! The private root of a slot: what a program sees of the world, and the scratch that it may use.
//!
//! # Shape
//! A small tmpfs that root owns and nobody else may list; read-only binds of the host's system
//! folders; a `/proc` of the slot's own; and on `/tmp` a scratch tmpfs that is new for each run, with
//! the working directory `codejail-<8 letters>` in it. Nothing is mounted read-only that a program
//! might try to write, since codejail's users expect "permission denied" and not "read-only file
//! system".

mod scratch;

use crate::jail::Identity;
use crate::launch::Launch;
use crate::sys::mount::{Without, restrict};
use jailfleet::limits::Limits;
use jailfleet::runtime::Bind;
use jailfleet::settings::WorkerSettings;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};
use scratch::Scratch;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What a root is built from.
#[derive(Debug, Clone)]
pub struct RootPlan {
    binds: Vec<Bind>,
}

impl RootPlan {
    /// The system's binds and every runtime's, the outer folders first.
    #[must_use]
    pub fn of(settings: &WorkerSettings) -> Self {
        let runtimes = settings.runtimes.iter().flat_map(|runtime| &runtime.binds);
        let mut binds: Vec<Bind> = settings
            .warden
            .system_binds
            .iter()
            .chain(runtimes)
            .cloned()
            .collect();
        binds.sort_by(|a, b| a.target.cmp(&b.target));
        binds.dedup();
        Self { binds }
    }

    /// Whether a path of the host has the same name in the jail.
    fn shows(&self, path: &Path) -> bool {
        let same = self.binds.iter().filter(|bind| bind.source == bind.target);
        same.map(|bind| &bind.source)
            .any(|source| path.starts_with(source))
    }
}

/// A root that we have entered.
#[derive(Debug)]
pub struct Root {
    random: File,
    scratch: Scratch,
    identity: Identity,
    passwd: Readable,
    /// The last number that was given to a process here; `None` where the kernel does not let it be
    /// set.
    last_pid: Option<File>,
}

/// Whether `/etc/passwd` can be read at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readable {
    ByRoot,
    ByAll,
}

/// Where the new root is put together: a folder that every host has and no bind comes from.
const STAGING: &str = "/proc";
/// Names that answer "permission denied" instead of "no such file".
const HIDDEN_FILES: &[&str] = &[
    "etc/hosts",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/gshadow",
    "etc/resolv.conf",
    "etc/hostname",
    "etc/machine-id",
    "etc/sudoers",
    "etc/fstab",
];
const HIDDEN_FOLDERS: &[&str] = &[
    "home", "root", "var", "sys", "run", "opt", "srv", "mnt", "media",
];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

impl Root {
    /// Builds the root in the caller's own mount namespace and enters it for good.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn build(plan: &RootPlan, identity: Identity) -> io::Result<Self> {
        let random = File::open("/dev/urandom")?;
        let nothing = None::<&str>;
        mount(
            nothing,
            "/",
            nothing,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            nothing,
        )?;
        let options = Some("mode=0711,size=1m,nr_inodes=2k");
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        // Nothing but binds and names lies in it.
        let flags = quiet | MsFlags::MS_NOEXEC;
        mount(Some("jail"), STAGING, Some("tmpfs"), flags, options)?;
        let root = Path::new(STAGING);
        for bind in &plan.binds {
            place(root, bind, plan)?;
        }
        furnish(root, identity)?;
        let last_pid = mount_proc(&root.join("proc"), identity)?;
        chdir(STAGING)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        hide_proc(identity)?;
        let scratch = Scratch::mount(&random, identity)?;
        Ok(Self {
            random,
            scratch,
            identity,
            passwd: Readable::ByRoot,
            last_pid,
        })
    }

    /// Lets the numbers of processes begin anew, so that a program's own tells nothing of how many
    /// the run before had.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn number_processes_anew(&self) -> io::Result<()> {
        match &self.last_pid {
            // The init's own.
            Some(last_pid) => last_pid.write_all_at(b"1", 0),
            None => Ok(()),
        }
    }

    /// The working directory of the run to come.
    #[must_use]
    pub fn working_directory(&self) -> BorrowedFd<'_> {
        self.scratch.working_directory()
    }

    /// Its path as the program sees it.
    #[must_use]
    pub fn working_path(&self) -> &str {
        self.scratch.working_path()
    }

    /// Makes the prepared scratch fit one run.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn prepare(&mut self, launch: &Launch, limits: &Limits) -> io::Result<()> {
        self.scratch.fit(limits, launch.execute_scratch)?;
        self.scratch.own(launch.cwd, self.identity)?;
        let passwd = if launch.passwd {
            Readable::ByAll
        } else {
            Readable::ByRoot
        };
        if passwd != self.passwd {
            let mode = match passwd {
                Readable::ByAll => 0o644,
                Readable::ByRoot => 0o600,
            };
            fs::set_permissions("/etc/passwd", Permissions::from_mode(mode))?;
            self.passwd = passwd;
        }
        Ok(())
    }

    /// Throws the scratch away with all that is in it, and mounts a new one.
    ///
    /// # Errors
    /// What the kernel answered; the root is then of no use.
    pub fn replace_scratch(&mut self) -> io::Result<()> {
        self.scratch.replace(&self.random, self.identity)
    }
}

/// Puts one bind in its place. What a link leads to is bound, unless another bind shows it already
/// under the same name: then it stays the link that it is, as `/bin` on merged systems.
fn place(root: &Path, bind: &Bind, plan: &RootPlan) -> io::Result<()> {
    let source = match fs::canonicalize(&bind.source) {
        Ok(source) => source,
        Err(error) if bind.optional && error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let target = inside(root, &bind.target);
    if let Some(above) = target.parent() {
        make_folders(above)?;
    }
    let given = Path::new(&bind.source);
    if fs::symlink_metadata(given)?.is_symlink() && plan.shows(&source) {
        return symlink(fs::read_link(given)?, target);
    }
    if source.is_dir() {
        make_folders(&target)?;
    } else {
        touch(&target, 0o644)?;
    }
    let nothing = None::<&str>;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&source), &target, nothing, flags, nothing)?;
    restrict(&target, Without::Writing)
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn make_folders(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
}

fn touch(path: &Path, mode: u32) -> io::Result<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Everything that is not a bind.
fn furnish(root: &Path, identity: Identity) -> io::Result<()> {
    for folder in ["proc", "tmp", "dev", "etc"] {
        make_folders(&root.join(folder))?;
    }
    for folder in HIDDEN_FOLDERS {
        let folder = root.join(folder);
        // A bind below it stands already; then the folder must let its names be reached.
        if !folder.exists() {
            make_folders(&folder)?;
            fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        }
    }
    for file in HIDDEN_FILES {
        touch(&root.join(file), 0o600)?;
    }
    let (Identity::Leased { uid, gid } | Identity::Mapped { uid, gid }) = identity;
    let line = format!("jail:x:{uid}:{gid}:jail:/tmp:/bin/sh\n");
    let passwd = root.join("etc/passwd");
    if fs::metadata(&passwd)?.len() == 0 {
        OpenOptions::new()
            .write(true)
            .open(&passwd)?
            .write_all(line.as_bytes())?;
    }
    let nothing = None::<&str>;
    for device in DEVICES {
        let target = root.join("dev").join(device);
        touch(&target, 0o600)?;
        let source = Path::new("/dev").join(device);
        mount(Some(&source), &target, nothing, MsFlags::MS_BIND, nothing)?;
        restrict(&target, Without::Programs)?;
    }
    for (link, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("shm", scratch::SHM),
    ] {
        symlink(to, root.join("dev").join(link))?;
    }
    Ok(())
}

/// What of `/proc` steers the kernel and is root's to write: the child is root, if one without powers,
/// while it unpacks what a stranger sent.
const STEERING: &[&str] = &[
    "sys",
    "sysrq-trigger",
    "irq",
    "bus",
    "fs",
    "acpi",
    "scsi",
    "mtrr",
];

/// A `/proc` of the slot's own. What it says of processes of others, the init included, Landlock keeps
/// from the program with the "permission denied" that codejail's users expect; where there is no
/// Landlock the mount does, with "operation not permitted".
///
/// Answers with the file of the last process number, opened while it can be written.
fn mount_proc(place: &Path, identity: Identity) -> io::Result<Option<File>> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = match identity {
        Identity::Leased { .. } if crate::landlock::abi() == 0 => Some("hidepid=noaccess"),
        Identity::Leased { .. } | Identity::Mapped { .. } => None,
    };
    mount(Some("proc"), place, Some("proc"), flags, options)?;
    // Files in memory are not executed, since no other wall sees them; kernels before 6.3 cannot say so.
    if let Some(memfd_noexec) = steer(place, "sys/vm/memfd_noexec", identity)? {
        memfd_noexec.write_all_at(b"2", 0)?;
    }
    let last_pid = steer(place, "sys/kernel/ns_last_pid", identity)?;
    for name in STEERING {
        let steering = place.join(name);
        let bound = MsFlags::MS_BIND | MsFlags::MS_REC;
        match mount(
            Some(&steering),
            &steering,
            None::<&str>,
            bound,
            None::<&str>,
        ) {
            Ok(()) => restrict(&steering, Without::Writing)?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(last_pid)
}

/// Opens what steers the namespace; `None` where the kernel has no such file, or a plain user may not
/// write it.
fn steer(proc: &Path, name: &str, identity: Identity) -> io::Result<Option<File>> {
    match OpenOptions::new().write(true).open(proc.join(name)) {
        Ok(file) => Ok(Some(file)),
        Err(error) => match (error.kind(), identity) {
            (io::ErrorKind::NotFound, _)
            | (io::ErrorKind::PermissionDenied, Identity::Mapped { .. }) => Ok(None),
            (_, Identity::Leased { .. } | Identity::Mapped { .. }) => Err(error),
        },
    }
}

/// Nobody lists `/proc`; whoever knows a name there may still look. A plain user's jail has nobody
/// else to hide it from, and may not change a mode that its user does not own.
fn hide_proc(identity: Identity) -> io::Result<()> {
    match identity {
        Identity::Leased { .. } => fs::set_permissions("/proc", Permissions::from_mode(0o511)),
        Identity::Mapped { .. } => Ok(()),
    }
}
