//! Every descriptor that the worker hands over is what it should be, or the order is refused.

use crate::client::SEALS;
use crate::protocol::{Extras, RunDescriptors};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::OwnedFd;

/// Why descriptors were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadDescriptor {
    #[error("the payload is not a sealed memfd")]
    Payload,
    #[error("the standard input is not a sealed memfd")]
    Stdin,
    #[error("an output is not a pipe open for writing only")]
    Output,
    #[error("what a harness is given is not a sealed memfd")]
    Given,
    #[error("what is wanted of a run is not a sealed memfd")]
    Wanted,
    #[error("the number of descriptors is wrong")]
    Number,
}

/// Checks payload, stdin, stdout and stderr of one run, a harness's two where it has one, and two more
/// where its artifacts are wanted.
pub(super) fn check(extras: Extras, fds: &[OwnedFd]) -> Result<(), BadDescriptor> {
    let told = RunDescriptors::of(extras, fds).ok_or(BadDescriptor::Number)?;
    let [payload, stdin, stdout, stderr] = told.run;
    if let Some([given, answer]) = told.side {
        if !is_sealed_memfd(given) {
            return Err(BadDescriptor::Given);
        }
        if !is_write_end(answer) {
            return Err(BadDescriptor::Output);
        }
    }
    if let Some([wanted, out]) = told.artifacts {
        if !is_sealed_memfd(wanted) {
            return Err(BadDescriptor::Wanted);
        }
        if !is_write_end(out) {
            return Err(BadDescriptor::Output);
        }
    }
    if !is_sealed_memfd(payload) {
        Err(BadDescriptor::Payload)
    } else if !is_sealed_memfd(stdin) {
        Err(BadDescriptor::Stdin)
    } else if !is_write_end(stdout) || !is_write_end(stderr) {
        Err(BadDescriptor::Output)
    } else {
        Ok(())
    }
}

fn is_sealed_memfd(fd: &OwnedFd) -> bool {
    // Only a memfd has seals at all; for every other file the question is an error.
    let sealed = fcntl(fd, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS));
    sealed && is_kind(fd, SFlag::S_IFREG) && !is_executable(fd)
}

fn is_executable(fd: &OwnedFd) -> bool {
    fstat(fd).map_or(true, |stat| stat.st_mode & 0o111 != 0)
}

fn is_write_end(fd: &OwnedFd) -> bool {
    let write_only = fcntl(fd, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE == OFlag::O_WRONLY);
    write_only && is_kind(fd, SFlag::S_IFIFO)
}

fn is_kind(fd: &OwnedFd, kind: SFlag) -> bool {
    fstat(fd).is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind)
}

#[cfg(test)]
mod tests {
    use super::BadDescriptor;
    use crate::client::{SEALS, output_pipe, sealed_memfd};
    use crate::protocol::Extras;
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::stat::{Mode, fchmod};
    use std::os::fd::OwnedFd;

    fn check(fds: &[OwnedFd]) -> Result<(), BadDescriptor> {
        super::check(Extras::NONE, fds)
    }

    fn good() -> Vec<OwnedFd> {
        let (_, stdout) = output_pipe().expect("a pipe");
        let (_, stderr) = output_pipe().expect("a pipe");
        let memfd = |name| sealed_memfd(name, b"x").expect("a memfd");
        vec![memfd("payload"), memfd("stdin"), stdout, stderr]
    }

    #[test]
    fn the_descriptors_of_a_client_are_accepted() {
        assert_eq!(check(&good()), Ok(()));
    }

    #[test]
    fn a_file_that_can_still_be_written_is_refused_as_payload() {
        let mut fds = good();
        fds[0] = std::fs::File::open("/dev/null").expect("a file").into();
        assert_eq!(check(&fds), Err(BadDescriptor::Payload));
    }

    #[test]
    fn a_memfd_that_could_be_executed_is_refused() {
        let mut fds = good();
        let every = Mode::from_bits_retain(0o755);
        match fchmod(&fds[1], every) {
            // Where the kernel seals that, nobody can make it so any more.
            Err(errno) => assert_eq!(errno, Errno::EPERM),
            Ok(()) => assert_eq!(check(&fds), Err(BadDescriptor::Stdin)),
        }
        let plain = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memfd = memfd_create("stdin", plain).expect("a memfd");
        fcntl(&memfd, FcntlArg::F_ADD_SEALS(SEALS)).expect("it can be sealed");
        fchmod(&memfd, every).expect("it is ours");
        fds[1] = memfd;
        assert_eq!(check(&fds), Err(BadDescriptor::Stdin));
    }

    #[test]
    fn the_reading_end_of_a_pipe_is_refused_as_output() {
        let mut fds = good();
        let (read, write) = output_pipe().expect("a pipe");
        fds[3] = read;
        assert_eq!(check(&fds), Err(BadDescriptor::Output));
        drop(write);
    }

    #[test]
    fn a_missing_descriptor_is_refused() {
        let mut fds = good();
        fds.pop();
        assert_eq!(check(&fds), Err(BadDescriptor::Number));
    }

    #[test]
    fn a_harness_has_exactly_two_more_a_sealed_memfd_and_a_pipe_to_write() {
        let answer = || output_pipe().expect("a pipe").1;
        let given = || sealed_memfd("given", b"x").expect("a memfd");
        let with = |side: Vec<OwnedFd>| {
            let mut fds = good();
            fds.extend(side);
            super::check(Extras::NONE.with_harness(), &fds)
        };
        assert_eq!(with(vec![given(), answer()]), Ok(()));
        assert_eq!(with(vec![given()]), Err(BadDescriptor::Number));
        assert_eq!(
            with(vec![given(), answer(), answer()]),
            Err(BadDescriptor::Number)
        );
        assert_eq!(with(vec![answer(), answer()]), Err(BadDescriptor::Given));
        assert_eq!(with(vec![given(), given()]), Err(BadDescriptor::Output));
        assert_eq!(with(vec![]), Err(BadDescriptor::Number));
    }

    #[test]
    fn artifacts_have_exactly_two_more_a_sealed_memfd_and_a_pipe_to_write() {
        let out = || output_pipe().expect("a pipe").1;
        let wanted = || sealed_memfd("wanted", b"x").expect("a memfd");
        let with = |extras, more: Vec<OwnedFd>| {
            let mut fds = good();
            fds.extend(more);
            super::check(extras, &fds)
        };
        let alone = Extras::NONE.with_artifacts();
        assert_eq!(with(alone, vec![wanted(), out()]), Ok(()));
        assert_eq!(with(alone, vec![wanted()]), Err(BadDescriptor::Number));
        assert_eq!(with(alone, vec![out(), out()]), Err(BadDescriptor::Wanted));
        assert_eq!(
            with(alone, vec![wanted(), wanted()]),
            Err(BadDescriptor::Output)
        );
        let both = alone.with_harness();
        let four = || vec![wanted(), out(), wanted(), out()];
        assert_eq!(with(both, four()), Ok(()));
        assert_eq!(with(alone, four()), Err(BadDescriptor::Number));
        assert_eq!(
            with(Extras::NONE, vec![wanted(), out()]),
            Err(BadDescriptor::Number)
        );
    }
}
