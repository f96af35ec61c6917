//! What a process does to itself on the way to the program: descriptors, Landlock, seccomp.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
///
/// # Source
/// close_range(2)
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC no descriptor is closed, so nobody's ownership is touched.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    answer(done)
}

/// Puts a Landlock ruleset in force for this thread.
///
/// # Errors
/// `EPERM` when no_new_privs is not set.
///
/// # Source
/// landlock_restrict_self(2)
pub fn landlock_restrict_self(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes a descriptor and flags by value and touches no memory of ours.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    answer(done)
}

/// Puts a system call filter in force for this thread.
///
/// # Errors
/// `EINVAL` for a filter that the kernel does not accept or that is too long.
///
/// # Source
/// seccomp(2)
pub fn seccomp_set_filter(filter: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_long| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions at `filter`, which the slice covers, and copies
    // them before it returns; it never writes there.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    answer(done)
}

fn answer(done: libc::c_long) -> io::Result<()> {
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Closes every descriptor from 3 on but those of `keep`.
///
/// A fresh fork calls this to let go of the copies that it got of its parent's descriptors. Their
/// owners in this process are copies, too, and the caller never touches them again.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
///
/// # Source
/// close_range(2)
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep
        .iter()
        .map(|fd| fd.as_raw_fd().cast_unsigned())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd.saturating_add(1));
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the descriptors in the range belong to the parent's structures, of which this fork
    // holds copies that it never uses; nothing of ours is closed under its owner.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    answer(done)
}
