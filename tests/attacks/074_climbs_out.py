# items: 74
# about: No way leads above the root: not by dots, not by the links of /proc, not by a new root, and no old one is left.
# expect: exited 0
# stdout: held
# walls: root mountns

import os

broken = []
for way in ("/" + "../" * 40, "/proc/self/root/..", "/proc/self/cwd/../..", "/proc/1/root", "/proc/1/cwd", "/proc/self/fd/0/..", "/proc/self/task/../../1/root"):
    try:
        broken.append(f"{way} lists {os.listdir(way)[:3]}")
    except OSError:
        pass
os.chdir("/")
for _ in range(40):
    os.chdir("..")
if os.getcwd() != "/" or os.stat(".").st_ino != os.stat("/").st_ino:
    broken.append(f"the root is {os.getcwd()}")
for name in (".old", "old", "old_root", "oldroot", "put_old", ".pivot_root", "host", "rootfs"):
    if os.path.lexists("/" + name):
        broken.append(f"there is /{name}")
try:
    os.chroot("tmp")
    broken.append("chroot")
except OSError:
    pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
