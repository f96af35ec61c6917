# items: 95 98
# about: No socket but a unix one can be made, so that there is neither network nor loopback, and no name can be looked up.
# expect: exited 0
# stdout: held
# walls: seccomp netns

import socket

broken = []
for family in range(2, 64):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        for make in (socket.socket, socket.socketpair):
            try:
                make(family, kind)
                broken.append(f"family {family} type {kind}")
            except PermissionError as error:
                if error.errno != 13:
                    broken.append(f"family {family} answered {error.errno}")
for host in ("example.com", "localhost", "127.0.0.1"):
    try:
        socket.create_connection((host, 1), 1)
        broken.append(f"connected to {host}")
    except OSError:
        pass
try:
    socket.getaddrinfo("example.com", 80)
    broken.append("a name was looked up")
except OSError:
    pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
