# items: 73
# about: Nothing can be made or written outside the run's own scratch.
# expect: exited 0
# stdout: held
# walls: root

import os

broken = []
folders = ("/", "/usr", "/usr/bin", "/usr/local", "/bin", "/etc", "/dev", "/dev/pts", "/proc", "/proc/self", "/proc/sys/kernel", "/tmp", "/var/tmp", "/run", "/sys", "/home", "/root", ".", "..")
for folder in folders:
    for name, action in (
        ("file", lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY))),
        ("folder", os.mkdir),
        ("pipe", os.mkfifo),
        ("link", lambda path: os.symlink("x", path)),
        ("nameless file", lambda path: os.close(os.open(os.path.dirname(path), os.O_TMPFILE | os.O_WRONLY))),
    ):
        try:
            action(f"{folder}/attack")
            broken.append(f"{name} in {folder}")
        except OSError:
            pass
for path in ("/dev/null", "/dev/zero"):
    # They may be written, but not changed.
    for action in (lambda: os.chmod(path, 0), lambda: os.unlink(path), lambda: os.rename(path, "/dev/x")):
        try:
            action()
            broken.append(f"{path} was changed")
        except OSError:
            pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
