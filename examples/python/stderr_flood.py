import sys
import time

print("only this", flush=True)
# The flood must not use up the limit before the line above is taken out of its pipe.
time.sleep(0.2)
while True:
    sys.stderr.write("spam " * 1000)
