//! The walls, as the list that a jail's child walks between fork and exec.
//!
//! The child has one thread and everything it needs was made before the fork: it takes no lock,
//! allocates nothing, logs nothing, and leaves by exec or by `_exit`. A stage that fails is told
//! through a close-on-exec pipe, so that no failure of ours can look like the program's.

pub mod collect;
mod identity;
mod start;
mod unpack;

use crate::launch::{CleanEnvironment, Launch};
use crate::marks::Marks;
use crate::protocol::SIDE_DESCRIPTORS;
use crate::rlimits::Rlimits;
use crate::sys::exec::{Strings, exit_now};
use crate::sys::map::Mapping;
use crate::without;
use jailfleet::evidence::Stage;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The walk. The order carries meaning: files are written while we may still own them, limits come
/// before the identity because root may set them all, and each lock is shut from the inside.
pub const STAGES: &[Stage] = &[
    Stage::Session,
    Stage::Descriptors,
    Stage::Unpack,
    Stage::WorkingDirectory,
    Stage::Rlimits,
    Stage::Identity,
    Stage::Apparmor,
    Stage::ParentDeath,
    Stage::NoNewPrivs,
    Stage::Landlock,
    Stage::Seccomp,
    Stage::Exec,
];

fn perform(stage: Stage, run: &mut Run<'_>) -> io::Result<()> {
    if !without::performs(stage) {
        return Ok(());
    }
    match stage {
        Stage::Session => start::own_session(run.identity),
        Stage::Descriptors => start::descriptors(run),
        Stage::Unpack => unpack::write_files(run),
        Stage::WorkingDirectory => Ok(nix::unistd::fchdir(run.cwd)?),
        Stage::Rlimits => run.rlimits.apply(),
        Stage::Identity => identity::become_the_slot(run.identity),
        Stage::Apparmor => start::enter_profile(run),
        Stage::ParentDeath => start::die_with_the_init(),
        Stage::NoNewPrivs => Ok(nix::sys::prctl::set_no_new_privs()?),
        Stage::Landlock => start::restrict_files(run),
        Stage::Seccomp => crate::sys::restrict::seccomp_set_filter(run.filter),
        Stage::Exec => Err(start::become_the_program(run)),
        // The init did these before it forked us.
        Stage::Namespaces | Stage::Cgroup | Stage::Fork => Ok(()),
    }
}

/// Who the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A leased uid and gid of the host.
    Leased {
        /// The uid.
        uid: Uid,
        /// The gid; the same number.
        gid: Gid,
    },
    /// The one user that the slot's user namespace maps: ourselves.
    Mapped {
        /// The uid inside.
        uid: Uid,
        /// The gid inside.
        gid: Gid,
    },
}

/// What a harness is given and where its answer goes, and the numbers that both are put at.
#[derive(Debug)]
pub struct Side<'a> {
    /// What it is given, and where its answer goes.
    pub from: [BorrowedFd<'a>; SIDE_DESCRIPTORS],
    /// What holds their places until then.
    pub places: &'a mut [OwnedFd; SIDE_DESCRIPTORS],
}

/// Everything that the child of one run needs.
#[derive(Debug)]
pub struct Run<'a> {
    /// The runtime.
    pub launch: &'a Launch,
    /// PATH, HOME, TMPDIR for this scratch.
    pub clean: &'a CleanEnvironment,
    /// Who the program is.
    pub identity: Identity,
    /// Its resource limits.
    pub rlimits: &'a Rlimits,
    /// Its working directory.
    pub cwd: BorrowedFd<'a>,
    /// Its standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// The two descriptors more of a harness.
    pub side: Option<Side<'a>>,
    /// What the stranger sent; mapped, not yet read by anybody.
    pub payload: &'a Mapping,
    /// The Landlock ruleset, where the host has Landlock.
    pub ruleset: Option<BorrowedFd<'a>>,
    /// The system call filter.
    pub filter: &'a [libc::sock_filter],
    /// Room for the arguments.
    pub argv: Strings<'a>,
    /// Room for the environment.
    pub env: Strings<'a>,
    /// Where the end of each stage is noted.
    pub marks: &'a Marks,
}

/// Walks the stages and becomes the program, or tells `failure` which stage failed and ends.
pub fn walk(mut run: Run<'_>, failure: BorrowedFd<'_>) -> ! {
    let Err((stage, error)) = stages(&mut run);
    let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
    // Nobody is left to tell if this write fails; the init then sees an end without a word.
    let _told: Result<usize, Errno> = nix::unistd::write(failure.as_fd(), &encode(stage, errno));
    exit_now(FAILED_STATUS)
}

/// The status of a child that never became the program. Only the pipe's word counts.
const FAILED_STATUS: i32 = 125;

fn stages(run: &mut Run<'_>) -> Result<Infallible, (Stage, io::Error)> {
    run.marks.note(Stage::Fork);
    for stage in STAGES {
        perform(*stage, run).map_err(|error| (*stage, error))?;
        run.marks.note(*stage);
    }
    Err((Stage::Exec, io::ErrorKind::Unsupported.into()))
}

/// How many bytes tell a failed stage.
pub const FAILURE_BYTES: usize = 6;

fn encode(stage: Stage, errno: i32) -> [u8; FAILURE_BYTES] {
    let [stage_low, stage_high] = stage.number().to_le_bytes();
    let [a, b, c, d] = errno.to_le_bytes();
    [stage_low, stage_high, a, b, c, d]
}

/// What the bytes on the pipe say; `None` for a stage that does not exist.
#[must_use]
pub fn decode(bytes: [u8; FAILURE_BYTES]) -> Option<(Stage, i32)> {
    let [stage_low, stage_high, a, b, c, d] = bytes;
    let stage = Stage::from_u16(u16::from_le_bytes([stage_low, stage_high]))?;
    Some((stage, i32::from_le_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::{STAGES, decode, encode};
    use jailfleet::evidence::Stage;

    fn place(stage: Stage) -> usize {
        STAGES
            .iter()
            .position(|listed| *listed == stage)
            .expect("every stage asked for is listed")
    }

    #[test]
    fn files_are_written_before_the_file_size_limit_and_the_identity() {
        assert!(place(Stage::Unpack) < place(Stage::Rlimits));
        assert!(place(Stage::Unpack) < place(Stage::Identity));
    }

    #[test]
    fn the_parent_death_signal_is_set_after_what_clears_it() {
        assert!(place(Stage::Identity) < place(Stage::ParentDeath));
        assert!(place(Stage::Apparmor) < place(Stage::ParentDeath));
    }

    #[test]
    fn the_profile_is_entered_before_no_new_privs_forbids_it() {
        assert!(place(Stage::Apparmor) < place(Stage::NoNewPrivs));
    }

    #[test]
    fn landlock_and_seccomp_come_last_and_after_no_new_privs() {
        let end = [
            Stage::NoNewPrivs,
            Stage::Landlock,
            Stage::Seccomp,
            Stage::Exec,
        ];
        assert!(STAGES.ends_with(&end));
    }

    #[test]
    fn a_failure_is_read_back_as_it_was_written() {
        assert_eq!(decode(encode(Stage::Unpack, 28)), Some((Stage::Unpack, 28)));
        assert_eq!(decode([0xff; 6]), None);
    }
}
