# items: 55
# about: One file stays below its limit, however it grows, and all of them together below theirs.
# expect: exited 0
# stdout: held
# walls: rlimits scratch
# limits: file_bytes=1048576 disk_bytes=1572864 disk_files=100

import errno
import os

broken = []


def fill(path):
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while True:
                written += file.write(b"x" * 65536)
    except OSError as error:
        return errno.errorcode[error.errno], written


def sparse():
    with open("tmp/sparse", "wb", buffering=0) as file:
        file.seek(1 << 30)
        file.write(b"x")


def expect(name, answer, *allowed):
    if answer not in allowed:
        broken.append(f"{name}: {answer}")


def error_of(action):
    try:
        action()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]


expect("one file", fill("tmp/one"), ("EFBIG", 1 << 20))
expect("two files", fill("tmp/two")[0], "ENOSPC")
expect("shared memory", fill("/dev/shm/three")[0], "ENOSPC")
for path in ("tmp/one", "tmp/two", "/dev/shm/three"):
    os.unlink(path)
expect("sparse", error_of(sparse), "EFBIG")
with open("tmp/allocated", "wb") as file:
    expect("fallocate", error_of(lambda: os.posix_fallocate(file.fileno(), 0, 1 << 30)), "EFBIG", "ENOSPC")
    expect("truncate", error_of(lambda: os.ftruncate(file.fileno(), 1 << 40)), "EFBIG")
print("BROKEN: " + ", ".join(broken) if broken else "held")
