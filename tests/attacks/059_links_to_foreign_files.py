# items: 59
# about: No hard link can be made to a file of the host or of the jail's own tree.
# expect: exited 0
# stdout: held
# walls: root

import os

broken = []
for target in ("/usr/bin/python3", "/bin/sh", "/etc/passwd", "jailed_code", "/dev/null", "/proc/self/fd/0", "/proc/self/exe"):
    for place in ("tmp/link", "/dev/shm/link"):
        for follow in (True, False):
            try:
                os.link(target, place, follow_symlinks=follow)
            except OSError:
                continue
            # A link to one of our own symbolic links leads nowhere new.
            if not os.path.islink(place):
                broken.append(f"{place} to {target}")
            os.unlink(place)
print("BROKEN: " + ", ".join(broken) if broken else "held")
