# items: 81
# about: The files that are executed, its own and the init's, cannot be opened for writing by any of their names.
# expect: exited 0
# stdout: held
# walls: root

import os

broken = []
for path in ("/proc/self/exe", "/proc/1/exe", f"/proc/{os.getppid()}/exe", "/proc/thread-self/exe", os.path.realpath("/proc/self/exe")):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC):
        try:
            os.open(path, flags)
            broken.append(path)
        except OSError:
            pass
# By a handle that is only a place first, as a helper that is executed would be caught.
handle = os.open("/proc/self/exe", os.O_PATH)
try:
    os.open(f"/proc/self/fd/{handle}", os.O_WRONLY)
    broken.append("by a handle")
except OSError:
    pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
