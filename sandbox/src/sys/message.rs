//! Datagrams with descriptors: every descriptor that arrives is owned at once, so that none leaks.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What one receive took.
#[derive(Debug)]
pub struct Message {
    /// How many bytes were written to the buffer; 0 when the other side is gone.
    pub length: usize,
    /// The descriptors that came along, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Whether bytes or descriptors were cut off: then the sender is not one of ours.
    pub cut: bool,
}

/// The kernel lets no datagram carry more (SCM_MAX_FD): with room for all, none is ever cut off, and
/// each one that arrives has an owner.
const MOST_DESCRIPTORS: usize = 253;

/// Takes one datagram without waiting.
///
/// # Errors
/// `WouldBlock` when there is none.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Message> {
    let mut rights = nix::cmsg_space!([i32; MOST_DESCRIPTORS]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut rights), flags);
    let received = match received {
        Ok(received) => received,
        Err(Errno::ECONNRESET) => {
            return Ok(Message {
                length: 0,
                fds: Vec::new(),
                cut: false,
            });
        }
        Err(errno) => return Err(errno.into()),
    };
    let mut fds = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            for fd in raw {
                // SAFETY: the kernel installed this descriptor for this message alone, and nobody
                // else has seen its number.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    let cut = received
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    Ok(Message {
        length: received.bytes,
        fds,
        cut,
    })
}
