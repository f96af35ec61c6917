"""Calls of safe_exec, made by chance from a seed, and what is the same about two answers to one."""

import json
import os
import random
import re

SEED = 20_260_101
COUNT = int(os.environ.get("JAILFLEET_PYTHON_CALLS", "100"))

NAMES = ("x", "y", "expect", "ans", "ключ", "a_b")
WORDS = ("", "a", "héllo", "鍵", "\U0001f600", "it's", 'say "no"', "back\\slash", "line\nbreak", "\x00\x7f")


def value(chance, depth=0):
    """A value that JSON can say."""
    kinds = ["int", "float", "str", "bool", "none", "special"] + ["list", "dict"] * (depth < 3)
    kind = chance.choice(kinds)
    if kind == "int":
        return chance.choice([0, -1, 7, 2**63, -(10**30), chance.randrange(10**6)])
    if kind == "float":
        return chance.choice([0.1, -0.0, 1e300, 5e-324, chance.random()])
    if kind == "str":
        return chance.choice(WORDS)
    if kind == "bool":
        return chance.random() < 0.5
    if kind == "none":
        return None
    if kind == "special":
        return chance.choice([float("nan"), float("inf"), float("-inf"), "\ud800"])
    if kind == "list":
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(WORDS): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def sets(chance):
    """Statements that end well."""
    name, other = chance.choice(NAMES), chance.choice(NAMES)
    return chance.choice(
        [
            f"{name} = {value(chance)!r}".replace("nan", "float('nan')").replace("inf", "float('inf')"),
            f"{name} = str(globals().get({other!r}))",
            f"{name} = (1, (2, [b'x']), {{3: b'y', None: True}})",
            f"{name} = b'\\xff'",
            f"{name} = object()",
            f"def {name}(n): return n if n < 2 else {name}(n - 1) + {name}(n - 2)\n{other} = {name}(7)",
            f"{name} = [n * n for n in range({chance.randrange(9)})]",
            "import math, collections\np = collections.namedtuple('P', 'a b')(1, math.pi)",
            "import random\nrandom.seed(5)\nr = [random.random() for _ in range(3)]",
            f"try:\n    {name} = 1 // 0\nexcept ZeroDivisionError as error:\n    {name} = str(error)",
            "print('out', flush=True)",
            "import sys\nsys.stderr.write('err\\n')",
            f"globals().pop({name!r}, None)",
            f"{name} = sorted(key for key in globals() if not key.startswith('__'))",
            f"{name} = {{'nested': {{'list': [[], {{}}], 'text': {chance.choice(WORDS)!r}}}}}",
            "import os\ncwd = sorted(os.listdir('.'))",
            f"{name} = 10 ** {chance.choice([20, 4000, 5000])}",
            f"{name} = '\\udfff' * 2",
            f"{name} = __name__",
            "class C:\n    def __init__(self): self.n = 3\nc = C(); n = c.n",
            "import json\njson.dumps({'a': 1})\nx = json.loads('[1, 2]')",
        ]
    )


def fails(chance):
    """Statements that end the run."""
    return chance.choice(
        [
            "1 / 0",
            'raise ValueError("That\'s not how you pour soup!")',
            "raise KeyError('é' * 3)",
            "def f(n):\n    return g(n)\ndef g(n):\n    return n.nothing\nf(3)",
            "x = 1\nx +",
            "x = '''",
            "import nothing_like_it",
            "import sys\nsys.exit(0)",
            f"import sys\nsys.exit({chance.randrange(1, 200)})",
            "raise SystemExit('words')",
            "import os\nos._exit(4)",
            "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('k') from error",
            "import sys\nsys.stderr.write('before ')\nundefined_name",
            "import os\nos.kill(os.getpid(), 15)",
            "open('mine.txt', 'w')",
            "assert not 'empty', 'words'",
            "import os\nx = 1\nos._exit(0)",
        ]
    )


def call(chance):
    """One call: code and globals."""
    names = {chance.choice(NAMES): value(chance) for _ in range(chance.randrange(4))}
    lines = [sets(chance) for _ in range(chance.randrange(1, 5))]
    if chance.random() < 0.4:
        lines.insert(chance.randrange(len(lines) + 1), fails(chance))
    return {"code": "\n".join(lines), "globals": names}


def calls(seed, count):
    """So many calls, the same for the same seed."""
    chance = random.Random(seed)
    return [call(chance) for _ in range(count)]


def outcome(run, names):
    """What a call came to, in words that both can say. Runs anywhere codejail or its stand-in is."""
    try:
        run(names)
    except Exception as error:
        kind = type(error).__name__
        return {"raised": kind, "words": same_about(str(error)), "globals": said(names)}
    return {"globals": said(names)}


def said(names):
    """Globals as a text: NaN is equal to itself then. Addresses of objects are nobody's own."""
    return re.sub("0x[0-9a-f]{6,}", "<ADDRESS>", json.dumps(names, sort_keys=True))


#: The wrapper's frame, which is codejail's own; the header, which a syntax error of ours goes without.
FRAME = r'  File "/tmp/codejail-\w+/jailed_code", line \d+, in <module>\\n    exec\(code, g_dict\)\\n'
HEADER = r"Traceback \(most recent call last\):\\n"


def same_about(words):
    """A failure's words without what the parity table says is different."""
    words = re.sub(HEADER, "", re.sub(FRAME, "", words))
    return re.sub(r"/tmp/codejail-\w+", "<HERE>", words)
