# items: 17
# about: Memory that is shared with children counts like any other.
# expect: memory_limit
# walls: cgroup_memory
# limits: memory_bytes=67108864

import mmap

room = mmap.mmap(-1, 1 << 28)
for at in range(0, 1 << 28, mmap.PAGESIZE):
    room[at] = 1
print("BROKEN: 256 MiB")
