# items: 31
# about: An orphan that keeps the output open delays nobody: the run ends with its main process, long before the wall limit.
# expect: exited 0
# stdout: held
# walls: pidns
# limits: wall_ms=3000

import os
import time

if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(1000)
print("held")
