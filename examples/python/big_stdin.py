import sys

text = sys.stdin.buffer.read()
print(f"{len(text)} bytes, {text.count(10)} lines")
