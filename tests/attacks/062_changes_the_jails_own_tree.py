# items: 62
# about: The jail's own folders and files, which a slot keeps from run to run, get no other owners, modes, times or attributes.
# expect: exited 0
# stdout: held
# walls: root
# known_hole: (userns) a plain user's program owns the tree; its slot serves one run and is thrown away

import os

broken = []


def attempt(name, action):
    try:
        action()
    except OSError:
        return
    broken.append(name)


for path in ("/", "/etc", "/etc/passwd", "/dev", "/proc", "/tmp", "/home", "/root", ".", "jailed_code"):
    attempt(f"chmod {path}", lambda: os.chmod(path, 0o777))
    attempt(f"chown {path}", lambda: os.chown(path, os.getuid(), os.getgid()))
    attempt(f"utime {path}", lambda: os.utime(path, (0, 0)))
    attempt(f"setxattr {path}", lambda: os.setxattr(path, "user.x", b"x"))
    attempt(f"rename {path}", lambda: os.rename(path, path + "-x"))
    attempt(f"unlink {path}", lambda: os.unlink(path))
print("BROKEN: " + ", ".join(broken) if broken else "held")
