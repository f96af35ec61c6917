# Bounded, in case that nothing else bounds it here.
hoard = []
for _ in range(512):
    hoard.append(bytearray(b"x" * (1 << 20)))
print("took half a gigabyte")
