//! Fork with namespaces, with a pid file descriptor and, on cgroup v2, straight into a cgroup.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Which of the two processes we are after [`clone_process`].
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The process that called.
    Parent {
        /// The child as this pid namespace numbers it; for waits and for writing, never for kills.
        pid: i32,
        /// The child itself.
        pidfd: OwnedFd,
    },
}

/// Forks with the `CLONE_NEW*` bits of `namespaces`, into `cgroup` where one is given.
///
/// # Async-signal-safety
/// glibc's fork handlers do not run. The caller must have a single thread, so that no lock is held
/// in the child; then the child may do what its parent may.
///
/// # Errors
/// The kernel's: `EPERM` for namespaces without privilege, `EAGAIN` at a process limit.
///
/// # Source
/// clone(2)
pub fn clone_process(namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    // SAFETY: all-zero is a valid value of this plain structure and means "nothing asked".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(namespaces.cast_unsigned()) | PIDFD;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX);
    }
    // SAFETY: clone3 demands a structure of the given size that outlives the call, and a stack only
    // with CLONE_VM, which is never passed: the child has its own copy of all memory.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(Cloned::Child),
        Ok(pid) if pid > 0 => {
            // SAFETY: with CLONE_PIDFD the kernel stored a fresh descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

const PIDFD: u64 = 0x1000;
const INTO_CGROUP: u64 = 0x2_0000_0000;
