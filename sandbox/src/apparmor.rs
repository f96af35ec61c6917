//! AppArmor: a process enters a profile by its name, at once, and reads back that it is in it.
//!
//! A name that is not loaded leaves whoever asks for it where it was, so an answer is never taken on
//! trust: which profiles can be entered is tried when the warden starts, in a child, and each jail's
//! child reads its label before it goes on. Where no_new_privs was set before us and we are confined
//! already, the kernel lets nobody change profile, but it lets one be stacked on top.

use crate::sys::clone::{Cloned, clone_process};
use crate::sys::exec::{Patience, Waited, exit_now, wait_child};
use jailfleet::evidence::End;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{read, write};
use std::ffi::CStr;
use std::io;

/// Whether this kernel enforces AppArmor at all.
#[must_use]
pub fn enforced() -> bool {
    // The file does not exist where the module is not built in.
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|enabled| enabled.trim() == "Y")
}

/// How a profile is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It replaces the label.
    Change,
    /// It comes on top of the label that is there.
    Stack,
}

/// A profile that can be entered, with everything that this needs made ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    name: String,
    way: Way,
    command: Vec<u8>,
}

/// Where a thread's own label is read and changed.
const CURRENT: &CStr = c"/proc/thread-self/attr/apparmor/current";
/// A stacked label names each of its profiles; ours must be among the first of so many letters.
const MOST_LABEL: usize = 1024;

impl Profile {
    /// The profile of that name, if it can be entered from here; tried in a child.
    ///
    /// # Errors
    /// `ENOENT` when it is not loaded, `EPERM` or `EACCES` when we may not, `ENOEXEC` when it is
    /// loaded and does not enforce.
    pub fn find(name: &str) -> io::Result<Self> {
        let change = Self::of(name, Way::Change);
        match in_a_child(&change) {
            Ok(()) => Ok(change),
            Err(error) => match error.raw_os_error() {
                // no_new_privs came before us.
                Some(libc::EPERM | libc::EACCES) => {
                    let stack = Self::of(name, Way::Stack);
                    in_a_child(&stack).map(|()| stack)
                }
                _ => Err(error),
            },
        }
    }

    fn of(name: &str, way: Way) -> Self {
        let verb = match way {
            Way::Change => "changeprofile",
            Way::Stack => "stack",
        };
        Self {
            name: name.to_owned(),
            way,
            command: format!("{verb} {name}").into_bytes(),
        }
    }

    /// How it is entered.
    #[must_use]
    pub const fn way(&self) -> Way {
        self.way
    }

    /// Enters it for good, and reads the label back.
    ///
    /// # Async-signal-safety
    /// Safe between fork and exec: a few system calls, no allocation.
    ///
    /// # Errors
    /// What the kernel answered; `ENOEXEC` when we are not where we should be.
    ///
    /// # Source
    /// apparmor(7), aa_change_profile(2), aa_stack_profile(2)
    pub fn enter(&self) -> io::Result<()> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let current = open(CURRENT, flags, Mode::empty())?;
        if write(&current, &self.command)? != self.command.len() {
            return Err(Errno::EIO.into());
        }
        // A new look: what was opened before the change answers for the thread as it was then.
        drop(current);
        if current_names(self.name.as_bytes())? {
            Ok(())
        } else {
            Err(Errno::ENOEXEC.into())
        }
    }
}

/// Whether this thread is in the profile of that name, and it is enforced.
#[must_use]
pub fn is_entered(name: &str) -> bool {
    current_names(name.as_bytes()).unwrap_or(false)
}

fn current_names(name: &[u8]) -> io::Result<bool> {
    let current = open(CURRENT, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut label = [0; MOST_LABEL];
    let length = read(&current, &mut label)?;
    Ok(names(label.get(..length).unwrap_or_default(), name))
}

/// Whether a label says that `name` is enforced: `a//&b (enforce)`.
fn names(label: &[u8], name: &[u8]) -> bool {
    const ENFORCED: &[u8] = b" (enforce)";
    let label = label.trim_ascii_end();
    let Some(profiles) = label.strip_suffix(ENFORCED) else {
        return false;
    };
    // No profile's name holds an ampersand.
    let mut profiles = profiles.split(|letter| *letter == b'&');
    profiles.any(|profile| profile.strip_suffix(b"//").unwrap_or(profile) == name)
}

/// Enters a profile in a child that then ends.
fn in_a_child(profile: &Profile) -> io::Result<()> {
    match clone_process(0, None)? {
        Cloned::Child => {
            let errno = profile.enter().err().map(|error| error.raw_os_error());
            let errno = errno.map(|errno| errno.filter(|errno| *errno < 255).unwrap_or(255));
            exit_now(errno.unwrap_or(0))
        }
        Cloned::Parent { pid, pidfd: _ } => match wait_child(pid, Patience::Block)? {
            Waited::Ended(_, End::Exited(0)) => Ok(()),
            Waited::Ended(_, End::Exited(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Waited::Ended(..) | Waited::NoneYet | Waited::NoChild => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_label_names_each_profile_of_its_stack() {
        let ours = b"jailfleet-python";
        for label in [
            &b"jailfleet-python (enforce)\n"[..],
            b"jailfleet-python//&unconfined (enforce)\n",
            b"docker-default//&jailfleet-python (enforce)",
        ] {
            assert!(names(label, ours), "{}", String::from_utf8_lossy(label));
        }
    }

    #[test]
    fn another_label_or_one_that_is_not_enforced_is_not_ours() {
        let ours = b"jailfleet-python";
        for label in [
            &b"unconfined\n"[..],
            b"jailfleet-python (complain)\n",
            b"jailfleet-python//child (enforce)\n",
            b"other-jailfleet-python (enforce)\n",
            b"jailfleet-python2 (enforce)\n",
            b"docker-default//&jailfleet-python (mixed)\n",
            b"",
        ] {
            assert!(!names(label, ours), "{}", String::from_utf8_lossy(label));
        }
    }
}
