"""A grader as people write them; the one thing that is not fixed is which codejail it imports.

python grading_script.py MODULE [PYTHON-OF-THE-SANDBOX UID]
"""

import importlib
import json
import sys
import time

ANSWERS = {
    "right": "def area(w, h):\n    return w * h",
    "wrong": "def area(w, h):\n    return w + h",
    "raises": "def area(w, h):\n    raise ValueError(w)",
    "broken": "def area(w, h)\n    return 1",
    "endless": "def area(w, h):\n    while True: pass",
    "exits": "def area(w, h):\n    raise SystemExit(2)",
}
CASES = [(2, 3), (0, 5), (7, 7)]
#: Submissions of a class, one after the other, and no endless one among them: that takes its whole second.
CLASS = 30


def grade(codejail, answer):
    names = {"cases": CASES, "results": []}
    try:
        codejail.safe_exec.safe_exec(
            answer + "\nfor case in cases:\n    results.append(area(*case))\n", names, slug="grade"
        )
    except codejail.safe_exec.SafeExecException as error:
        return "failed with " + str(error).rpartition("with status code: ")[2]
    points = sum(got == w * h for got, (w, h) in zip(names["results"], CASES))
    return f"{points} of {len(CASES)}"


def main(module, *sandbox):
    codejail = importlib.import_module(module)
    for name in ("safe_exec", "jail_code"):
        importlib.import_module(f"{module}.{name}")
    if sandbox:
        from codejail_driver import configured

        configured(*sandbox)
    codejail.jail_code.set_limit("REALTIME", 10)
    print(json.dumps({name: grade(codejail, answer) for name, answer in ANSWERS.items()}))
    quick = [answer for name, answer in ANSWERS.items() if name != "endless"]
    start = time.perf_counter()
    for number in range(CLASS):
        grade(codejail, quick[number % len(quick)])
    print(time.perf_counter() - start, file=sys.stderr)
    said = codejail.jail_code.jail_code(
        "python", code="import sys; print(sys.argv, input())", argv=["-x"], stdin="line\n"
    )
    print(said.status, said.stdout, said.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
