import os
import tempfile

folder = tempfile.mkdtemp()
try:
    for number in range(1_000_000):
        open(os.path.join(folder, str(number)), "wb").close()
except OSError as error:
    print(error.strerror)
