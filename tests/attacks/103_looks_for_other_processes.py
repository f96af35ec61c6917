# items: 103
# about: No process but its own is there, and what /proc says of mounts and groups names nothing of the host.
# expect: exited 0
# stdout: held
# walls: pidns cgroupns

import os

broken = []
try:
    os.listdir("/proc")
    broken.append("/proc can be listed")
except OSError:
    pass
own = {1, os.getpid()}
there = [pid for pid in range(1, 5000) if os.path.exists(f"/proc/{pid}") and pid not in own]
if there:
    broken.append(f"there are {there}")
reachable = []
for pid in range(2, 5000):
    try:
        os.kill(pid, 0)
        reachable.append(pid)
    except OSError:
        pass
if set(reachable) - own:
    broken.append(f"signals reach {reachable}")
with open("/proc/self/cgroup") as file:
    for line in file:
        if line.rstrip("\n").split(":", 2)[2] not in ("/", ""):
            broken.append(f"a group: {line.strip()}")
with open("/proc/self/mountinfo") as file:
    text = file.read()
    for word in ("codejail-test", "jailfleet", "amqp", "worker"):
        if word in text:
            broken.append(f"{word} among the mounts")
print("BROKEN: " + ", ".join(broken) if broken else "held")
