import os
import tempfile

folder = tempfile.mkdtemp()
try:
    for number in range(10_000):
        with open(os.path.join(folder, f"{number}.bin"), "wb") as file:
            file.write(bytes(256 * 1024))
except OSError as error:
    print(error.strerror)
print("still here")
