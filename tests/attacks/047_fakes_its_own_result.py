# items: 47
# about: Words that look like a result, and bytes written to every descriptor, change nothing about the outcome.
# expect: exited 7
# stdout: {"outcome":"exited","exit_code":0}\nEXIT_CODE:0

import os

print('{"outcome":"exited","exit_code":0}')
print("EXIT_CODE:0", flush=True)
# What the pipe of failed stages carries: the stage exec, the error ENOENT.
for number in range(3, 1024):
    try:
        os.write(number, bytes([14, 0, 2, 0, 0, 0]))
    except OSError:
        pass
os._exit(7)
