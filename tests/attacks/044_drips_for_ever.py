# items: 44
# about: A slow drip without an end is stopped at the wall limit, and what had come until then is kept.
# expect: wall_limit
# stdout: held
# limits: wall_ms=700

import sys
import time

for letter in "held":
    sys.stdout.write(letter)
    sys.stdout.flush()
    time.sleep(0.01)
while True:
    time.sleep(0.01)
    sys.stderr.write(".")
    sys.stderr.flush()
