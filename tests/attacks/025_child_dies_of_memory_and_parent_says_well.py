# items: 25
# about: A child that was killed for memory is told although its parent exits 0.
# expect: memory_limit
# stdout: all is well
# walls: cgroup_memory
# limits: memory_bytes=67108864

import os

if os.fork() == 0:
    hoard = [bytearray(b"x" * (1 << 20)) for _ in range(256)]
    os._exit(0)
os.wait()
print("all is well")
