//! The system call filter.

use std::io;

/// The filter of every program.
///
/// # Errors
/// When it does not compile.
pub fn filter() -> io::Result<Vec<libc::sock_filter>> {
    Ok(vec![libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }])
}
