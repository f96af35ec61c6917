# items: 4
# about: Grandchildren that burn on after the program's exit end with it.
# expect: exited 0
# stdout: held
# walls: pidns
# limits: cpu_ms=2000 wall_ms=5000

import os

for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                pass
        os._exit(0)
print("held", flush=True)
os._exit(0)
