# items: 17
# about: Files below tmp and /dev/shm count as memory where the disk limit leaves room for them.
# expect: memory_limit
# walls: cgroup_memory scratch
# limits: memory_bytes=50331648 disk_bytes=134217728 file_bytes=134217728

with open("tmp/half", "wb", buffering=0) as one, open("/dev/shm/half", "wb", buffering=0) as two:
    for _ in range(60):
        one.write(b"x" * (1 << 20))
        two.write(b"x" * (1 << 20))
print("BROKEN: 120 MiB")
