# items: 96 97
# about: No socket of the host can be reached by a path, by an abstract name or in the trees that the jail shows.
# expect: exited 0
# stdout: held
# walls: root netns
# limits: cpu_ms=20000 wall_ms=60000 processes=8

import socket
import subprocess

broken = []
for path in (
    "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/systemd/private",
    "/run/dbus/system_bus_socket", "/run/systemd/journal/socket", "/dev/log", "/run/rabbitmq/rabbitmq.sock",
    "/run/jailfleet/warden.sock", "/tmp/.X11-unix/X0", "/run/systemd/journal/stdout",
    "\0/tmp/.X11-unix/X0", "\0/org/freedesktop/systemd1/notify", "\0/containerd-shim/x", "\0jailfleet",
):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        try:
            socket.socket(socket.AF_UNIX, kind).connect(path)
            broken.append(f"connected to {path!r}")
        except OSError:
            pass
search = ["find", "/usr", "/bin/", "/lib/", "/dev/shm/", "tmp", "-type", "s", "-o", "-type", "p"]
found = subprocess.run(search, capture_output=True, text=True).stdout.split()
broken += [f"there is {path}" for path in found]
print("BROKEN: " + ", ".join(broken) if broken else "held")
