//! At the network, where the host listens.

use super::printed;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

#[test]
fn no_abstract_socket_of_the_host_can_be_reached() {
    // Where the host listens on an abstract address, which no file permission guards.
    let name = format!("jailfleet-attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("a listener");
    let out = printed(&format!(
        "
import socket
host = socket.socket(socket.AF_UNIX)
try: host.connect('\\0{name}'); print('reached the host')
except (ConnectionRefusedError, PermissionError): pass
own = socket.socket(socket.AF_UNIX)
own.bind('tmp/own'); own.listen()
friend = socket.socket(socket.AF_UNIX); friend.connect('tmp/own')
print('own sockets work')
"
    ));
    assert_eq!(out, "own sockets work\n");
}
