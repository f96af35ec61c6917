//! The Landlock ruleset of a run: which files a program may reach, said a second time by the kernel,
//! whatever modes and mounts allow.
//!
//! # Shape
//! Everything is denied that the newest version both sides know can deny; then a short list is
//! allowed. Nothing of the network is on it. A folder that can be read but not listed, as codejail's
//! users expect of `/` and `/proc`, is one without `ReadDir`.

use crate::launch::Launch;
use crate::sys;
use jailfleet::runtime::Cwd;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The newest version that this code was written for. What a later one can deny is unknown here,
/// and denying the unknown breaks programs.
const NEWEST: u16 = 10;

/// The version that rulesets are made for on this host; 0 where there is no Landlock.
#[must_use]
pub fn abi() -> u16 {
    sys::landlock::abi().min(NEWEST)
}

/// What of `/proc` a program may read beside its own folder: what says how large the machine is.
const PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/uptime",
    "/proc/version",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/vm/overcommit_memory",
];
/// Devices without memory of who used them.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];
const PASSWD: &str = "/etc/passwd";
/// Where `/dev/shm` leads.
const SHARED_MEMORY: &str = "/tmp/shm";

/// The ruleset for a runtime in this working directory, made inside the jail's root; `None` where
/// the host has no Landlock.
///
/// # Errors
/// When the kernel does not enforce all that its version promises: better no run than half a wall.
pub fn ruleset(launch: &Launch, working_path: &str) -> io::Result<Option<OwnedFd>> {
    let version = abi();
    if version == 0 {
        return Ok(None);
    }
    let rights = Rights::of(ABI::from(i32::from(version)), launch);
    let mut ruleset = empty(rights.abi).map_err(io::Error::other)?;
    for path in launch
        .readable
        .iter()
        .map(String::as_str)
        .chain(PROC.iter().copied())
    {
        ruleset = allow(ruleset, path, rights.system, rights.abi)?;
    }
    if launch.passwd {
        ruleset = allow(ruleset, PASSWD, AccessFs::ReadFile.into(), rights.abi)?;
    }
    for device in DEVICES {
        ruleset = allow(ruleset, device, rights.device, rights.abi)?;
    }
    ruleset = allow(ruleset, working_path, rights.working_directory, rights.abi)?;
    ruleset = allow(
        ruleset,
        &format!("{working_path}/tmp"),
        rights.scratch,
        rights.abi,
    )?;
    ruleset = allow(ruleset, SHARED_MEMORY, rights.scratch, rights.abi)?;
    Ok(ruleset.into())
}

/// A ruleset that allows nothing at all, for a trial; `None` where the host has no Landlock.
///
/// # Errors
/// When the kernel does not enforce all that its version promises.
pub fn empty_ruleset() -> io::Result<Option<OwnedFd>> {
    match abi() {
        0 => Ok(None),
        version => Ok(empty(ABI::from(i32::from(version)))
            .map_err(io::Error::other)?
            .into()),
    }
}

/// A ruleset that allows no more than to list and read what lies beneath an open folder; `None` where the
/// host has no Landlock.
///
/// # Errors
/// When the kernel does not enforce all that its version promises.
pub fn only_reading(folder: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let Some(ruleset) = empty_ruleset()? else {
        return Ok(None);
    };
    sys::landlock::allow_beneath(ruleset.as_fd(), folder, READ_FILE_AND_DIR)?;
    Ok(Some(ruleset))
}

/// As the kernel numbers them.
const READ_FILE_AND_DIR: u64 = AccessFs::ReadFile as u64 | AccessFs::ReadDir as u64;

/// A ruleset that denies everything, or an error: never a part of it.
fn empty(abi: ABI) -> Result<RulesetCreated, landlock::RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let network = AccessNet::from_all(abi);
    if !network.is_empty() {
        ruleset = ruleset.handle_access(network)?;
    }
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    ruleset.create()
}

/// Rights by kind of place, for one runtime.
struct Rights {
    abi: ABI,
    system: BitFlags<AccessFs>,
    device: BitFlags<AccessFs>,
    working_directory: BitFlags<AccessFs>,
    scratch: BitFlags<AccessFs>,
}

impl Rights {
    fn of(abi: ABI, launch: &Launch) -> Self {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let execute = if launch.execute_scratch {
            AccessFs::Execute.into()
        } else {
            BitFlags::EMPTY
        };
        let no_devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::Execute;
        let scratch = (AccessFs::from_all(abi) & !no_devices) | execute;
        let device =
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        Self {
            abi,
            system: read | AccessFs::Execute,
            device: device & AccessFs::from_all(abi),
            working_directory: match launch.cwd {
                Cwd::ReadOnly => read | execute,
                Cwd::Writable => scratch,
            },
            scratch,
        }
    }
}

/// Adds a rule for `path`; one that is not in this jail needs none.
fn allow(
    ruleset: RulesetCreated,
    path: &str,
    access: BitFlags<AccessFs>,
    abi: ABI,
) -> io::Result<RulesetCreated> {
    let access = match std::fs::metadata(path) {
        Ok(seen) if seen.is_dir() => access,
        // A file has no rights of a folder, and asking for them is an error.
        Ok(_) => access & AccessFs::from_file(abi),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ruleset),
        Err(error) => return Err(error),
    };
    let path = PathFd::new(Path::new(path)).map_err(io::Error::other)?;
    ruleset
        .add_rule(PathBeneath::new(path, access))
        .map_err(io::Error::other)
}

/// Lets a process see its own `/proc` folder, whose inode did not exist when the ruleset was made.
///
/// # Async-signal-safety
/// Safe between fork and exec: two system calls, no allocation.
///
/// # Errors
/// What the kernel answered.
pub fn allow_own_proc(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let own = open(c"/proc/self", flags, Mode::empty())?;
    sys::landlock::allow_beneath(ruleset, own.as_fd(), READ_FILE_AND_DIR)
}
