# items: 83
# about: Files move and shrink only within the scratch, and devices take no orders.
# expect: exited 0
# stdout: held
# walls: landlock
# known_hole: (userns, landlock < 3) a plain user's program owns its code and may truncate it; its slot serves one run and is thrown away

import fcntl
import os

broken = []


def attempt(name, action):
    try:
        action()
    except OSError:
        return
    broken.append(name)


open("tmp/own", "w").write("own")
for target in ("own", "/tmp/own", "../own", "/own", "/usr/own", "/dev/own", "jailed_code", "/dev/null"):
    attempt(f"rename to {target}", lambda: os.rename("tmp/own", target))
    attempt(f"link to {target}", lambda: os.link("tmp/own", target))
for source in ("jailed_code", "/dev/null", "/usr/bin/env", "tmp"):
    attempt(f"rename from {source}", lambda: os.rename(source, "tmp/moved"))
    attempt(f"truncate {source}", lambda: os.truncate(source, 0))
FS_IOC_SETFLAGS, FIONREAD, BLKROSET = 0x40086602, 0x541B, 0x125D
for device in ("/dev/zero", "/dev/urandom", "/dev/full"):
    with open(device, "rb") as file:
        for order in (FS_IOC_SETFLAGS, BLKROSET, 0x5203, 0x5206):
            attempt(f"{order:#x} of {device}", lambda: fcntl.ioctl(file, order, b"\0" * 8))
print("BROKEN: " + ", ".join(broken) if broken else "held")
