import sys

sys.path.insert(0, "lib")

from greetings import hello

print(hello.text())
