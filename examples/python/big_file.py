import os
import tempfile

path = os.path.join(tempfile.gettempdir(), "big.bin")
descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(descriptor, bytes(4096))
except OSError as error:
    print(error.strerror)
print(os.stat(path).st_size)
