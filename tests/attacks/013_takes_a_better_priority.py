# items: 13
# about: No other policy, priority or I/O class and no foreign processor can be had, not even a worse one: who yields to all others looks like one whom the host keeps from running.
# expect: exited 0
# stdout: held
# walls: rlimits seccomp

import ctypes
import os

broken = []
libc = ctypes.CDLL(None, use_errno=True)
IOPRIO_SET, IOPRIO_CLASS_RT = 251, 1


def attempt(name, action):
    try:
        action()
    except OSError:
        return
    broken.append(name)


def io_class():
    # Numbers of x86_64; elsewhere the call is another one, and refused or harmless.
    if os.uname().machine == "x86_64":
        if libc.syscall(IOPRIO_SET, 1, 0, IOPRIO_CLASS_RT << 13) == 0:
            return
    raise PermissionError


attempt("SCHED_FIFO", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("SCHED_RR", lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)))
attempt("SCHED_IDLE", lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)))
attempt("SCHED_BATCH", lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)))
attempt("nice 1", lambda: os.nice(1))
attempt("nice -1", lambda: os.nice(-1))
attempt("priority -20", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
attempt("priority of the group", lambda: os.setpriority(os.PRIO_PGRP, 0, -20))
attempt("priority of the init", lambda: os.setpriority(os.PRIO_PROCESS, 1, -20))
attempt("real-time I/O", io_class)
attempt("a processor that is not there", lambda: os.sched_setaffinity(0, {1023}))
print("BROKEN: " + ", ".join(broken) if broken else "held")
