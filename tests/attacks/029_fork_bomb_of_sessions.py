# items: 29
# about: A fork bomb whose every child leads a session of its own and ignores what it can is dead at the end.
# expect: wall_limit
# walls: cgroup_pids
# limits: wall_ms=700 cpu_ms=60000 processes=20

import os
import signal

for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
first = os.getpid()
while True:
    try:
        if os.fork() == 0:
            os.setsid()
        elif os.getpid() != first:
            os._exit(0)
    except OSError:
        os.sched_yield()
