//! Small stages: session, descriptors, the parent, Landlock and the exec itself.

use crate::apparmor::Profile;
use crate::jail::{Identity, Run, Side};
use crate::launch::complete_environment;
use crate::protocol::{SIDE_DESCRIPTORS, SIDE_PLACES};
use crate::sys::exec::execve;
use crate::sys::restrict::{close_on_exec_from, landlock_restrict_self};
use crate::without::stands;
use jailfleet::wall::Wall;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, dup2, dup2_stderr, dup2_stdin, dup2_stdout, getppid, setsid, write};
use std::io;

/// A session without a terminal, no blocked signal, and first in line when memory runs out: the
/// kernel must never pick the init, which has to tell of it.
pub(super) fn own_session(identity: Identity) -> io::Result<()> {
    setsid()?;
    SigSet::empty().thread_set_mask()?;
    match identity {
        Identity::Leased { .. } => {}
        // The files in `/proc` of a process that cannot be dumped belong to root, and in a user
        // namespace we are not root.
        Identity::Mapped { .. } => set_dumpable(true)?,
    }
    let score = open(
        c"/proc/self/oom_score_adj",
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    write(&score, b"1000")?;
    Ok(())
}

/// The first number that no stream has.
const FIRST_AFTER_THE_STREAMS: u32 = SIDE_PLACES[0].cast_unsigned();
/// The first number that a harness's descriptors do not have either.
const FIRST_AFTER_THE_SIDE: u32 = SIDE_PLACES[SIDE_DESCRIPTORS - 1].cast_unsigned() + 1;

/// The three streams in their places, and a harness's two; whatever else is open closes at the exec.
pub(super) fn descriptors(run: &mut Run<'_>) -> io::Result<()> {
    let [stdin, stdout, stderr] = run.stdio;
    dup2_stdin(stdin)?;
    dup2_stdout(stdout)?;
    dup2_stderr(stderr)?;
    let first_to_close = match &mut run.side {
        None => FIRST_AFTER_THE_STREAMS,
        Some(Side { from, places }) => {
            for (from, place) in from.iter().zip(places.iter_mut()) {
                dup2(from, place)?;
            }
            FIRST_AFTER_THE_SIDE
        }
    };
    if !stands(Wall::Descriptors) {
        return Ok(());
    }
    close_on_exec_from(first_to_close)
}

/// The runtime's AppArmor profile, at once and not at the exec: an exec that changes the label clears
/// the parent-death signal, which is asked for next.
pub(super) fn enter_profile(run: &Run<'_>) -> io::Result<()> {
    run.launch.profile.as_ref().map_or(Ok(()), Profile::enter)
}

/// The kernel kills us when the init goes; if it went before we asked, we go by ourselves.
pub(super) fn die_with_the_init() -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == Pid::from_raw(1) {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// The ruleset, with our own `/proc` folder added: its inode did not exist when the rest was made.
pub(super) fn restrict_files(run: &Run<'_>) -> io::Result<()> {
    let Some(ruleset) = run.ruleset else {
        return Ok(());
    };
    crate::landlock::allow_own_proc(ruleset)?;
    landlock_restrict_self(ruleset)
}

/// Completes the environment and leaves for the program; returns only the reason why not.
pub(super) fn become_the_program(run: &mut Run<'_>) -> io::Error {
    if !complete_environment(&mut run.env, run.launch, run.clean) {
        return Errno::E2BIG.into();
    }
    execve(&run.launch.program, &run.argv, &run.env)
}

#[cfg(test)]
mod tests {
    use super::{FIRST_AFTER_THE_SIDE, FIRST_AFTER_THE_STREAMS};
    use crate::protocol::SIDE_PLACES;

    #[test]
    fn the_places_of_a_harness_follow_the_streams_and_nothing_else_stays_open() {
        let places = (FIRST_AFTER_THE_STREAMS..FIRST_AFTER_THE_SIDE).map(u32::cast_signed);
        assert!(places.eq(SIDE_PLACES));
        assert_eq!(
            FIRST_AFTER_THE_STREAMS.cast_signed(),
            libc::STDERR_FILENO + 1
        );
    }
}
