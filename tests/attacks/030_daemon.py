# items: 30
# about: A daemon that forked twice, closed everything and ignores hang-ups is dead at the end.
# expect: exited 0
# stdout: held
# walls: pidns
# limits: wall_ms=5000

import os
import signal
import time

if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() == 0:
        os.chdir("/")
        os.closerange(0, 1024)
        while True:
            time.sleep(1000)
    os._exit(0)
os.wait()
print("held")
