# items: 50 51 75
# about: Three descriptors are open, none of them leads to a folder, and the working directory lies in the jail.
# expect: exited 0
# stdout: held
# walls: descriptors

import os
import stat

broken = []
found = []
for number in range(65536):
    try:
        kind = os.fstat(number).st_mode
    except OSError:
        continue
    found.append(number)
    if stat.S_ISDIR(kind):
        broken.append(f"{number} is a folder")
if found != [0, 1, 2]:
    broken.append(f"open: {found}")
if not os.getcwd().startswith("/tmp/codejail-"):
    broken.append(f"the working directory is {os.getcwd()}")
# The input is sealed: nothing can be left in it, and its size says nothing but the truth.
for action in (
    lambda: os.write(0, b"x"),
    lambda: os.ftruncate(0, 100),
    lambda: os.pwrite(os.open("/proc/self/fd/0", os.O_RDWR), b"x", 0),
):
    try:
        action()
        broken.append("the input can be changed")
    except OSError:
        pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
