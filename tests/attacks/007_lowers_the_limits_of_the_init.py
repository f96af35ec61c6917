# items: 7
# about: The limits of the slot's init can be neither read nor lowered: without descriptors or CPU time of its own it could not serve the next run.
# expect: exited 0
# stdout: held
# walls: pidns seccomp

import os
import resource

broken = []
for pid in (1, os.getppid()):
    for name in (name for name in dir(resource) if name.startswith("RLIMIT_")):
        number = getattr(resource, name)
        try:
            now = resource.prlimit(pid, number)
            broken.append(f"read {name} of {pid}")
            # The same again: that the kernel takes it is proof enough.
            resource.prlimit(pid, number, now)
            broken.append(f"set {name} of {pid}")
        except OSError:
            pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
