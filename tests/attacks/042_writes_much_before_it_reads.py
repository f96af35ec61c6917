# items: 42
# about: A program that writes most of its budget before it reads its input does not hang.
# expect: exited 0
# stdout: held

import sys

sys.stderr.write("x" * 900_000)
sys.stderr.flush()
sys.stdin.read()
print("held")
