# items: 63 64 65
# about: The folders and files that the warden made cannot be swapped for links, and links in the scratch lead nowhere.
# expect: exited 0
# stdout: held
# walls: root scratch

import os

broken = []
here = os.getcwd()


def attempt(name, action):
    try:
        action()
    except OSError:
        return
    broken.append(name)


for path in ("/tmp", "/dev/shm", "/proc", "/etc", here, here + "/tmp", here + "/jailed_code", "/tmp/shm"):
    attempt(f"move {path}", lambda: os.rename(path, here + "/tmp/moved"))
    attempt(f"remove {path}", lambda: os.rmdir(path))
    attempt(f"plant {path}-x", lambda: os.symlink("/etc", path + "-x"))
for name in ("run.sh", "compile.sh", "stdin", "stdout", "result.json", "meta"):
    attempt(f"plant {name}", lambda: os.symlink("/etc/passwd", f"{here}/{name}"))
    os.symlink("/etc/shadow", f"tmp/{name}")
    attempt(f"follow tmp/{name}", lambda: open(f"tmp/{name}", "rb").read())
os.symlink("/root", "tmp/folder")
attempt("write through a link", lambda: open("tmp/folder/x", "w"))
print("BROKEN: " + ", ".join(broken) if broken else "held")
