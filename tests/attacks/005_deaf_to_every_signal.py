# items: 5
# about: A program that ignores, blocks and catches every signal is killed at its wall limit.
# expect: wall_limit
# stdout: held
# limits: wall_ms=400

import signal
import time

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass  # SIGKILL, SIGSTOP, and the two that the C library keeps
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
print("held", flush=True)
while True:
    time.sleep(1000)
