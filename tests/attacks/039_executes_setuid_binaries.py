# items: 39
# about: Executing a set-user-id binary changes no identity, and every mount says that none can.
# expect: exited 0
# stdout: held
# walls: no_new_privs

import os
import subprocess

broken = []
with open("/proc/self/status") as file:
    if "NoNewPrivs:\t1\n" not in file.read():
        broken.append("new privileges are allowed")
for path in ("/", "/usr", "/bin", "/tmp", "/dev/shm", "tmp"):
    if not os.statvfs(path).f_flag & os.ST_NOSUID:
        broken.append(f"{path} is mounted with set-user-id")
found = []
for folder in ("/usr/bin", "/usr/sbin"):
    for entry in os.scandir(folder):
        if entry.stat(follow_symlinks=False).st_mode & 0o6000:
            found.append(entry.path)
for path in found:
    # The loader tells who it runs as and leaves; in a privileged program it would tell nothing.
    told = subprocess.run(
        [path],
        env={"LD_SHOW_AUXV": "1", "LD_TRACE_LOADED_OBJECTS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout
    lines = dict(line.split(":", 1) for line in told.splitlines() if line.startswith("AT_"))
    ids = [lines.get(name, "?").strip() for name in ("AT_EUID", "AT_EGID", "AT_SECURE")]
    if ids != [str(os.geteuid()), str(os.getegid()), "0"]:
        broken.append(f"{path} runs as {ids}")
print("BROKEN: " + ", ".join(broken) if broken else "held")
