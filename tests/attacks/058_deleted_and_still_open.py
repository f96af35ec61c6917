# items: 58
# about: Files that are deleted and kept open by a child that outlives the program take no space from the next run.
# expect: exited 0
# stdout: held
# walls: scratch pidns
# limits: disk_bytes=16777216 file_bytes=16777216

import os
import time

file = open("tmp/gone", "wb", buffering=0)
os.unlink("tmp/gone")
try:
    while True:
        file.write(b"x" * 65536)
except OSError:
    pass
if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(1000)
print("held", flush=True)
os._exit(0)
