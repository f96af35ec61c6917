# items: 62
# about: Files that all jails share can be neither written, mapped for writing, renamed nor given other owners, modes, times or attributes.
# expect: exited 0
# stdout: held
# walls: root

import mmap
import os

broken = []


def attempt(name, action):
    try:
        action()
    except OSError:
        return
    broken.append(name)


def mapped(path):
    with open(path, "rb") as file:
        mmap.mmap(file.fileno(), 1, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


for path in ("/usr/bin/python3", "/usr/lib/os-release", "/bin/sh", "/usr", "/usr/lib", "/etc/ld.so.cache", "/etc/alternatives", "/dev/null"):
    if path != "/dev/null":
        attempt(f"write {path}", lambda: os.open(path, os.O_WRONLY))
        attempt(f"append {path}", lambda: os.open(path, os.O_RDWR | os.O_APPEND))
        attempt(f"truncate {path}", lambda: os.truncate(path, 0))
    attempt(f"chmod {path}", lambda: os.chmod(path, 0o4777))
    attempt(f"chown {path}", lambda: os.chown(path, os.getuid(), os.getgid()))
    attempt(f"utime {path}", lambda: os.utime(path, (0, 0)))
    attempt(f"setxattr {path}", lambda: os.setxattr(path, "user.x", b"x"))
    attempt(f"rename {path}", lambda: os.rename(path, path + "-x"))
    attempt(f"unlink {path}", lambda: os.unlink(path))
    if os.path.isfile(path):
        attempt(f"map {path}", lambda: mapped(path))
print("BROKEN: " + ", ".join(broken) if broken else "held")
