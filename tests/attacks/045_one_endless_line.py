# items: 45
# about: A single line of more than the budget is cut like any other flood.
# expect: output_limit
# limits: wall_ms=10000

import os

while True:
    os.write(1, b"x" * 65536)
