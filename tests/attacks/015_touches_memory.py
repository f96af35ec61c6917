# items: 15
# about: A program that takes more memory than it may have is killed for it.
# expect: memory_limit
# walls: cgroup_memory
# limits: memory_bytes=67108864

# Piece by piece: some hosts refuse a single piece that is larger than their memory.
hoard = [bytearray(b"x" * (1 << 20)) for _ in range(256)]
print("BROKEN: 256 MiB")
