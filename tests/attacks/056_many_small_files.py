# items: 56
# about: Files, folders, links and pipes are bounded in number, all of them together.
# expect: exited 0
# stdout: held
# walls: scratch
# limits: disk_files=100

import os

makers = [
    lambda path: os.close(os.open(path, os.O_CREAT)),
    os.mkdir,
    lambda path: os.symlink("nowhere", path),
    os.mkfifo,
]
made = refused = 0
while refused < len(makers) and made < 10_000:
    refused = 0
    for number, maker in enumerate(makers):
        for folder in ("tmp", "/dev/shm"):
            try:
                maker(f"{folder}/{made}-{number}")
                made += 1
            except OSError:
                refused += folder == "tmp"
print("held" if made <= 100 else f"BROKEN: {made} inodes")
