# items: 82
# about: Where the runtime does not say so, no nameless file in memory can be executed either.
# expect: exited 0
# stdout: held
# known_hole: no wall covers nameless files; what is executed so has the same walls, and python could map the code as well

import os
import subprocess

memory = os.memfd_create("program", 0)
with open("/bin/true", "rb") as file:
    os.write(memory, file.read())
try:
    subprocess.run([f"/proc/self/fd/{memory}"], pass_fds=[memory])
    print("BROKEN: it ran")
except PermissionError:
    print("held")
