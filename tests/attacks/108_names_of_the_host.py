# items: 108
# about: The host's name and identities are hidden or the same for every jail.
# expect: exited 0
# stdout: held
# walls: utsns root

import os
import socket

broken = []
if os.uname().nodename != "jail" or socket.gethostname() != "jail":
    broken.append(f"the name is {os.uname().nodename}")
if os.getuid() == 0 or os.getgid() == 0 or os.getgroups():
    broken.append(f"we are {os.getuid()} {os.getgid()} {os.getgroups()}")
for path in (
    "/etc/hostname", "/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/sys/class/net/eth0/address",
    "/sys/class/dmi/id/product_serial", "/proc/cmdline",
):
    try:
        with open(path) as file:
            said = file.read(64)
        broken.append(f"{path} says {said!r}")
    except OSError:
        pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
