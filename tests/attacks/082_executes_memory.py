# items: 82
# about: Where the runtime does not say so, no nameless file in memory can be executed either.
# expect: exited 0
# stdout: held
# known_hole: (linux < 6.3) the kernel knows no vm.memfd_noexec; what is executed so has the same walls, and python could map the code as well

import os
import subprocess

broken = []
MFD_EXEC = 0x10
for name, flags in (("silent", 0), ("asked for", MFD_EXEC)):
    try:
        memory = os.memfd_create("program", flags)
        with open("/bin/true", "rb") as file:
            os.write(memory, file.read())
        os.fchmod(memory, 0o755)
        subprocess.run([f"/proc/self/fd/{memory}"], pass_fds=[memory])
        broken.append(name)
    except OSError:
        # Where there is no such flag or no such file at all, nothing was executed, too.
        pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
