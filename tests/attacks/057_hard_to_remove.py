# items: 57
# about: Names, modes and depths that break clean-ups are left in every place; the next run sees none of them.
# expect: exited 0
# stdout: held
# walls: scratch
# limits: disk_files=8192 cpu_ms=20000 wall_ms=30000

import os

names = [b"-rf", b"new\nline", b"\xff\xfe", b"x" * 255, b" ", b"*", b"$(reboot)", "\u202e".encode(), b".", b".."]
for place in (b"tmp", b"/dev/shm"):
    here = os.getcwd()
    for name in names:
        try:
            os.mkdir(place + b"/" + name)
        except FileExistsError:
            pass
    os.symlink("/", place + b"/to-the-root")
    os.symlink("loop", place + b"/loop")
    os.mkfifo(place + b"/pipe", 0)
    with open(place + b"/set-user-id", "wb") as file:
        os.fchmod(file.fileno(), 0o6777)
    # Deeper than any path can say.
    os.chdir(place)
    for _ in range(3000):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
    os.mkdir(place + b"/locked")
    os.mkdir(place + b"/locked/inner")
    os.chmod(place + b"/locked", 0)
    os.chmod(place, 0)
print("held")
