//! Mount attributes that only `mount_setattr` sets recursively.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a mount can be kept from, on top of what it is kept from already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Being written, devices, and set-id programs.
    Writing,
    /// Programs of any kind.
    Programs,
}

/// Restricts everything mounted at and below `path`. Attributes are only added, so that flags which a
/// user namespace may not clear stay.
///
/// # Errors
/// The kernel's; `ENOSYS` before Linux 5.12.
///
/// # Source
/// mount_setattr(2)
pub fn restrict(path: &Path, without: Without) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid value of this plain structure and means "change nothing".
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = match without {
        Without::Writing => {
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV
        }
        Without::Programs => libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_NOSUID,
    };
    // SAFETY: the kernel reads a NUL-terminated path and a structure of the given size; both
    // outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
