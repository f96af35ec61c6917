import sys

sys.stdout.buffer.write(b"\xff\x00\xfe\x80")
