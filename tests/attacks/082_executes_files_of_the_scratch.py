# items: 82
# about: Where the runtime does not say so, no file of the scratch can be executed.
# expect: exited 0
# stdout: held
# walls: landlock

import os
import shutil
import subprocess

broken = []
for folder in ("tmp", "/dev/shm"):
    with open(f"{folder}/script", "w") as file:
        file.write("#!/bin/sh\necho ran\n")
    os.chmod(f"{folder}/script", 0o755)
    shutil.copy("/bin/true", f"{folder}/true")
    for name in ("script", "true"):
        try:
            subprocess.run([f"{folder}/{name}"], capture_output=True)
            broken.append(f"{folder}/{name}")
        except PermissionError:
            pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
