//! System calls that wait for somebody's answer (seccomp user notification).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// For the answer.
    pub id: u64,
    /// The call's number.
    pub number: u32,
}

/// More than the kernel's structures need, so that they may grow.
type Room = [u64; 32];

/// Puts a filter in force for this thread and all that it forks; calls for which it answers
/// `SECCOMP_RET_USER_NOTIF` wait at the descriptor.
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN or no_new_privs, `EBUSY` when there is such a filter already.
///
/// # Source
/// seccomp(2), SECCOMP_FILTER_FLAG_NEW_LISTENER
pub fn seccomp_listen(filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let length = u16::try_from(filter.len()).map_err(|_long| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions at `filter`, which the slice covers, and copies
    // them before it returns; it never writes there.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel made this descriptor, close-on-exec, and nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Takes the next call that waits; the descriptor must be readable, or this blocks.
///
/// # Errors
/// `ENOENT` when whoever called was killed in between.
///
/// # Source
/// seccomp_unotify(2), SECCOMP_IOCTL_NOTIF_RECV
pub fn next_waiting(listener: BorrowedFd<'_>) -> io::Result<Waiting> {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    let mut notification: Room = [0; 32];
    // SAFETY: the kernel demands zeroed memory for one seccomp_notif, 80 bytes, and gets 256.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, notification.as_mut_ptr()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // struct seccomp_notif: id, then pid and flags, then the call's data, which begins with its
    // number.
    let [id, _pid_and_flags, number, ..] = notification;
    let number = u32::try_from(number & 0xffff_ffff).unwrap_or(u32::MAX);
    Ok(Waiting { id, number })
}

/// Lets a call that waits fail with `errno`.
///
/// # Errors
/// `ENOENT` when whoever called was killed in between.
///
/// # Source
/// seccomp_unotify(2), SECCOMP_IOCTL_NOTIF_SEND
pub fn let_it_fail(listener: BorrowedFd<'_>, waiting: Waiting, errno: i32) -> io::Result<()> {
    const SEND: libc::c_ulong = 0xc018_2101;
    // struct seccomp_notif_resp: id, value, then the negated error and no flags.
    let error = u64::from(errno.wrapping_neg().cast_unsigned());
    let mut response: Room = [0; 32];
    let [id, _value, error_and_flags, ..] = &mut response;
    *id = waiting.id;
    *error_and_flags = error;
    // SAFETY: the kernel reads one seccomp_notif_resp, 24 bytes, and gets 256.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, response.as_mut_ptr()) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
