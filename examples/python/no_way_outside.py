import errno
import os
import tempfile


def answer(attempt):
    try:
        attempt()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]


print(
    answer(lambda: open("jailed_code", "a")),
    answer(lambda: open("new.txt", "w")),
    answer(lambda: open("/etc/passwd")),
    answer(lambda: os.listdir("/")),
    answer(lambda: os.listdir("/tmp")),
)
with tempfile.TemporaryFile("w+") as file:
    file.write("mine")
    file.seek(0)
    print(file.read())
