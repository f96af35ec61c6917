hoard = []
try:
    while True:
        hoard.append(bytearray(1 << 20))
except MemoryError:
    hoard.clear()
    print("no more memory")
