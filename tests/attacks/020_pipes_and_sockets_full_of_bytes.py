# items: 20
# about: Pipes and sockets are bounded in number, what lies in them counts, and descriptors in flight are bounded as well.
# expect: exited 0
# stdout: held
# walls: rlimits
# limits: open_files=64

import os
import resource
import socket

broken = []
most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
held = []
try:
    while True:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        held.append((ours, theirs))
        try:
            while True:
                ours.send(b"x" * 65536)
        except BlockingIOError:
            pass
except OSError:
    pass
if len(held) * 2 > most:
    broken.append(f"{len(held)} pairs of sockets")
held.clear()
# Each message carries a descriptor that nobody has open any more.
in_flight = 0
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
ours.setblocking(False)
carriers = [(ours, theirs)]
try:
    while in_flight < 100 * most:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        ours, _ = carriers[-1]
        socket.send_fds(ours, [b"x"], [near.fileno(), far.fileno()])
        in_flight += 2
        near.close()
        far.close()
except OSError:
    pass
if in_flight > 4 * most:
    broken.append(f"{in_flight} descriptors in flight")
print("BROKEN: " + ", ".join(broken) if broken else "held")
