//! Becoming another program, leaving without one, and how children ended.

use jailfleet::evidence::End;
use std::ffi::{CStr, c_char};
use std::io;

/// A null-terminated list of strings for `execve`, with its room reserved ahead of the fork.
#[derive(Debug)]
pub struct Strings<'a> {
    texts: Vec<&'a CStr>,
    pointers: Vec<*const c_char>,
}

impl<'a> Strings<'a> {
    /// An empty list with room for `room` strings.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        let mut pointers = Vec::with_capacity(room.saturating_add(1));
        pointers.push(std::ptr::null());
        Self {
            texts: Vec::with_capacity(room),
            pointers,
        }
    }

    /// Appends a string; `false` when there is no room. Never allocates.
    #[must_use]
    pub fn push(&mut self, text: &'a CStr) -> bool {
        if self.texts.len() == self.texts.capacity()
            || self.pointers.len() == self.pointers.capacity()
        {
            return false;
        }
        self.texts.push(text);
        if let Some(last) = self.pointers.last_mut() {
            *last = text.as_ptr();
        }
        self.pointers.push(std::ptr::null());
        true
    }

    /// The strings.
    pub fn iter(&self) -> impl Iterator<Item = &'a CStr> + '_ {
        self.texts.iter().copied()
    }
}

/// Replaces this process by `program`; returns only the reason why that failed.
///
/// # Source
/// execve(2)
#[must_use]
pub fn execve(program: &CStr, argv: &Strings<'_>, env: &Strings<'_>) -> io::Error {
    // SAFETY: execve demands NUL-terminated strings in null-terminated arrays that live through the
    // call: `Strings` keeps the null at the end and its lifetime keeps the strings.
    unsafe {
        libc::execve(
            program.as_ptr(),
            argv.pointers.as_ptr(),
            env.pointers.as_ptr(),
        )
    };
    io::Error::last_os_error()
}

/// Ends this process at once: no destructor, no handler, no buffer is flushed.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no precondition and does not return.
    unsafe { libc::_exit(status) }
}

/// What a wait found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// This child ended like this, and is gone.
    Ended(i32, End),
    /// Children are there, none has ended.
    NoneYet,
    /// There is no child at all.
    NoChild,
}

/// Whether a wait blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Return at once.
    Poll,
    /// Sleep until a child ends.
    Block,
}

/// Reaps one child (`-1`: any). Unlike the safe wrappers it knows the real-time signals.
///
/// # Errors
/// None but `EINVAL` for a foolish pid.
///
/// # Source
/// waitpid(2)
pub fn wait_child(pid: i32, patience: Patience) -> io::Result<Waited> {
    let flags = match patience {
        Patience::Poll => libc::WNOHANG,
        Patience::Block => 0,
    } | libc::__WALL;
    loop {
        let mut status = 0;
        // SAFETY: waitpid demands a pointer to an int that it may write; `status` is one.
        let found = unsafe { libc::waitpid(pid, &raw mut status, flags) };
        if found == 0 {
            return Ok(Waited::NoneYet);
        }
        if found < 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ECHILD) => return Ok(Waited::NoChild),
                Some(libc::EINTR) => continue,
                _ => return Err(error),
            }
        }
        if libc::WIFEXITED(status) {
            return Ok(Waited::Ended(found, End::Exited(libc::WEXITSTATUS(status))));
        }
        if libc::WIFSIGNALED(status) {
            return Ok(Waited::Ended(found, End::Signaled(libc::WTERMSIG(status))));
        }
    }
}

/// Whether this child has ended by a signal. It is not reaped.
///
/// # Errors
/// `ECHILD` when it is no child of ours.
///
/// # Source
/// waitid(2), WNOWAIT
pub fn was_killed(pid: i32) -> io::Result<bool> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut seen: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: waitid demands a pointer to a siginfo_t that it may write; `seen` is one.
    let done = unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), &raw mut seen, flags) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // Without an ended child the structure stays zero, and no code is zero.
    Ok(matches!(seen.si_code, libc::CLD_KILLED | libc::CLD_DUMPED))
}
