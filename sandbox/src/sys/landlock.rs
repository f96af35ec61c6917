//! The two Landlock calls that the crate keeps to itself.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The version of Landlock that this kernel speaks; 0 where it has none or does not enable it.
///
/// # Source
/// landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION
#[must_use]
pub fn abi() -> u16 {
    const VERSION: u32 = 1;
    // SAFETY: with the version flag the kernel demands a null attribute of size 0 and reads nothing.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u64>(),
            0_usize,
            VERSION,
        )
    };
    u16::try_from(abi).unwrap_or(0)
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// Allows `access` beneath an open folder. Never allocates.
///
/// # Errors
/// `EINVAL` when the ruleset does not handle one of the rights.
///
/// # Source
/// landlock_add_rule(2)
pub fn allow_beneath(
    ruleset: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    access: u64,
) -> io::Result<()> {
    const RULE_PATH_BENEATH: i32 = 1;
    let rule = PathBeneath {
        allowed_access: access,
        parent_fd: folder.as_raw_fd(),
    };
    // SAFETY: the kernel reads one packed structure of this rule type, which outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
