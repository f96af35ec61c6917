# items: 38
# about: Nothing in the init's folder of /proc can be read or followed: its socket to the warden stays out of reach.
# expect: exited 0
# stdout: held
# walls: pidns landlock

import os

broken = []
names = ["mem", "environ", "cmdline", "maps", "stat", "status", "auxv", "exe", "cwd", "root", "fd", "task", "ns/mnt"]
names += [f"fd/{number}" for number in range(64)] + [f"fdinfo/{number}" for number in range(8)]
for pid in {1, os.getppid()}:
    for name in names:
        path = f"/proc/{pid}/{name}"
        for action in (os.readlink, os.listdir, lambda path: os.open(path, os.O_RDONLY)):
            try:
                action(path)
                broken.append(path)
            except OSError:
                pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
