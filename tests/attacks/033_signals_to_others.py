# items: 33
# about: Signals reach nobody but the program's own tree, by whatever call they are sent.
# expect: exited 0
# stdout: held
# walls: pidns

import os
import signal

broken = []
for pid in (1, os.getppid()):
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGCHLD):
        try:
            os.kill(pid, number)
            # The kernel keeps signals without a handler from an init; that they are sent is no harm.
        except OSError:
            pass
    try:
        handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        pass
    group = os.getpgid(pid)
    # Zero is a group of another namespace; to kill it would mean ourselves.
    if group not in (0, os.getpgid(0)):
        broken.append(f"the group {group} of the init is seen")
child = os.fork()
if child == 0:
    while True:
        signal.pause()
# Everybody whom we may reach, but for ourselves.
os.kill(-1, signal.SIGKILL)
if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
    broken.append("kill(-1) left the child")
# The init lives and adopts.
ours, theirs = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        while os.getppid() != 1:
            os.sched_yield()
        os.write(theirs, b"adopted")
        os._exit(0)
    os._exit(0)
os.wait()
if os.read(ours, 7) != b"adopted":
    broken.append("the init does not adopt")
print("BROKEN: " + ", ".join(broken) if broken else "held")
