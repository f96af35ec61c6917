# items: 5
# about: A program that ignores SIGXCPU does not get more CPU time than one that dies of it.
# expect: cpu_limit
# walls: rlimits
# limits: cpu_ms=500 wall_ms=10000

import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    pass
