//! The loopback interface, the only one that the guest has.

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::AsRawFd;

/// Switches it on, by a netlink message: the older ioctl has no safe wrapper.
///
/// # Source
/// rtnetlink(7): a `nlmsghdr` of 16 bytes, then an `ifinfomsg` of 16 bytes.
pub(crate) fn loopback_up() -> Result<()> {
    let route = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .context("open a netlink socket")?;
    let request = set_link_up();
    let kernel = NetlinkAddr::new(0, 0);
    sendto(route.as_raw_fd(), &request, &kernel, MsgFlags::empty())
        .context("ask for the loopback interface")?;
    let mut answer = [0; 256];
    let length = recv(route.as_raw_fd(), &mut answer, MsgFlags::empty())
        .context("read the answer about the loopback interface")?;
    let refused = answer
        .get(..length)
        .and_then(|answer| answer.get(16..20))
        .context("understand the answer about the loopback interface")?;
    ensure!(
        refused == [0; 4],
        "switch the loopback interface on: the kernel answers {refused:?}"
    );
    Ok(())
}

fn set_link_up() -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_WITH_ANSWER: u16 = 1 | 4;
    const LOOPBACK_INDEX: i32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    message.extend([0; 8]); // sequence and sender: there is but this one message
    message.extend([0; 4]); // family, padding, kind of device
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // which of the flags the message speaks of
    message
}
