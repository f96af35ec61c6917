import os
import time

while True:
    try:
        if os.fork() == 0:
            time.sleep(3600)
    except BlockingIOError:
        print("contained", flush=True)
        # The children sleep on: ending them is the jail's work.
        os._exit(0)
