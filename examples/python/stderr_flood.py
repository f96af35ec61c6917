import sys

print("only this", flush=True)
while True:
    sys.stderr.write("spam " * 1000)
