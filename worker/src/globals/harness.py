"""Runs a job's code as exec(code, globals) does, and tells which globals it left.

The worker puts this text in the place of the job's main file. Descriptor 3 holds what it is given: a
line with two sizes, then the code, the globals as JSON, and the entries of python_path with a NUL
after each. Descriptor 4 is a pipe to the worker: the answer, one JSON object.

The code shares a process with this file, so the answer is its word and no evidence. What follows
protects code that means no harm from accidents: a print, a fork, a name of ours that it redefines.
Every import costs each run its time; that of `json` would cost more than everything else here.
"""

import builtins
import os
import sys

GIVEN = 3
ANSWER = 4
PIECE_BYTES = 1 << 20

# The kinds of values that come back. A subclass counts as its base, as JSON has no word for it.
KINDS = (type(None), int, float, bytes, str, list, tuple, dict)

# The functions below find these names here, and not where the code can rebind them.
globals().update(
    (name, value) for name, value in vars(builtins).items() if not name.startswith("__")
)


def json_without_its_package():
    """Answers with a reader and a writer of JSON, those of CPython's own accelerator if it has one."""
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner
    except ImportError:
        import json

        return json.loads, lambda value: json.dumps(value, default=text_of_bytes)

    class Reading:
        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_int = int
        parse_float = float
        parse_constant = {
            "NaN": float("nan"),
            "Infinity": float("inf"),
            "-Infinity": float("-inf"),
        }.__getitem__

    scan = make_scanner(Reading)

    def read(text):
        return scan(text, 0)[0]

    def write(value):
        # A writer of its own for each value: one that failed half-way still holds its markers.
        encode = make_encoder(
            {}, text_of_bytes, encode_basestring_ascii, None, ": ", ", ", False, False, True
        )
        return "".join(encode(value, 0))

    return read, write


def text_of_bytes(value):
    """What the writer asks about values that JSON does not know."""
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError


def with_bytes_as_text(value):
    """The same value with all bytes in it decoded, those of keys too, which the writer never asks about."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {with_bytes_as_text(key): with_bytes_as_text(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_bytes_as_text(inner) for inner in value]
    return value


def entry(name, value, write):
    """One global as a member of a JSON object; None for one that JSON cannot say."""
    # Values may have classes of the code's own, which can raise anything.
    try:
        if name == "__builtins__" or not isinstance(value, KINDS):
            return None
        try:
            return write({name: value})[1:-1]
        except TypeError:
            return write(with_bytes_as_text({name: value}))[1:-1]
    except Exception:
        return None


def take_what_is_given():
    """The code, the text of the globals, and the entries of python_path."""
    pieces = []
    while True:
        piece = os.read(GIVEN, PIECE_BYTES)
        if not piece:
            break
        pieces.append(piece)
    os.close(GIVEN)
    sizes, _, rest = b"".join(pieces).partition(b"\n")
    code_bytes, globals_bytes = map(int, sizes.split())
    after = code_bytes + globals_bytes
    code = rest[:code_bytes]
    try:
        code = code.decode()
    except UnicodeDecodeError:
        pass  # As bytes, it gets Python's own words about an encoding that it does not name.
    path = rest[after:].decode().split("\0")[:-1]
    return code, rest[code_bytes:after].decode(), path


def hide_our_frames():
    """Has a traceback begin in the code, where its author can do something about it."""
    hook = getattr(sys, "excepthook", None)
    ours = hide_our_frames.__code__.co_filename
    if hook is None:
        return

    def shown(kind, error, trace):
        while trace is not None and trace.tb_frame.f_code.co_filename == ours:
            trace = trace.tb_next
        hook(kind, error.with_traceback(trace), trace)

    sys.excepthook = shown


def main():
    read, write = json_without_its_package()
    code, text, path = take_what_is_given()
    # A program that the code starts has no business with the answer.
    os.set_inheritable(ANSWER, False)
    put, close, getpid = os.write, os.close, os.getpid
    owner = getpid()
    here = os.getcwd()
    sys.path.extend(here + "/" + place for place in path)
    names = read(text)
    names["__builtins__"] = vars(builtins)
    try:
        exec(compile(code, "<string>", "exec", dont_inherit=True), names)
    except SystemExit:
        raise
    except BaseException:
        hide_our_frames()
        raise
    if getpid() != owner:
        return  # A fork of the code came to its end, too. Only one of them may answer.
    # A copy, made in one step: threads of the code may go on writing.
    entries = (entry(name, value, write) for name, value in list(names.items()))
    answer = "{" + ", ".join(text for text in entries if text) + "}"
    left = memoryview(answer.encode("ascii"))
    try:
        while left:
            left = left[put(ANSWER, left) :]
        close(ANSWER)
    except OSError:
        pass  # The code closed it, or the worker has read as much as it takes and says so.


if __name__ == "__main__":
    main()
