# items: 43
# about: A program that closes its three streams at once and goes on ends as it wants to.
# expect: exited 3
# stdout:

import os

for number in (0, 1, 2):
    os.close(number)
sum(range(100_000))
os._exit(3)
