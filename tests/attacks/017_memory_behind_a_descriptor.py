# items: 17
# about: Files without a name that live in memory count as memory, all of them together.
# expect: memory_limit
# walls: cgroup_memory
# limits: memory_bytes=67108864

import os

# Each stays below the limit of one file; only their sum is too much.
for number in range(60):
    memory = os.memfd_create(f"hoard-{number}")
    for _ in range(4):
        os.write(memory, b"x" * (1 << 20))
print("BROKEN: 240 MiB")
