//! Capabilities of this thread.

use std::io;

/// A set of capabilities, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps(pub u64);

impl Caps {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// What the change of identity needs: CAP_SETGID and CAP_SETUID.
    pub const IDENTITY: Self = Self((1 << 6) | (1 << 7));
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Sets the effective and the permitted set; the inheritable one becomes empty, and with it the
/// ambient one.
///
/// # Errors
/// `EPERM` for a capability that is not permitted now.
///
/// # Source
/// capset(2)
pub fn set_capabilities(effective: Caps, permitted: Caps) -> io::Result<()> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| Half {
        effective: low_half(effective.0 >> shift),
        permitted: low_half(permitted.0 >> shift),
        inheritable: 0,
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 demands a header and two halves that outlive the call; both are on this
    // stack and the kernel only reads them.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

const fn low_half(bits: u64) -> u32 {
    (bits & 0xffff_ffff) as u32
}

/// Takes every capability out of the bounding set, so that no exec below can ever gain one. What is
/// permitted now stays.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
///
/// # Source
/// capabilities(7), PR_CAPBSET_DROP
pub fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64_u64 {
        // SAFETY: this prctl takes numbers only.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if done < 0 {
            let error = io::Error::last_os_error();
            // The kernel answers EINVAL for the first number that it has no capability for.
            return if error.raw_os_error() == Some(libc::EINVAL) {
                Ok(())
            } else {
                Err(error)
            };
        }
    }
    Ok(())
}
