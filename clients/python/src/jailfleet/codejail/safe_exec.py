"""Execute Python as ``exec`` does, in a jail: codejail's ``safe_exec`` over a jailfleet."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any, NoReturn, Optional

from ..job import Job
from ..result import Result
from . import _fleet
from ._callable import make_callable
from ._files import Name, Tree
from .jail_code import label_of, limits_of, run, status_of

log = logging.getLogger("codejail")

#: The module, which is not what type checkers take its name for. What it says is asked there at each
#: call, as codejail does: tests of other people patch it there.
_jail_code = import_module(f"{__package__}.jail_code")

#: Codejail runs code without any jail where this is true. Here it makes every call fail.
ALWAYS_BE_UNSAFE = False

#: Whether code and globals are logged, at the level DEBUG.
LOG_ALL_CODE = False


class SafeExecException(Exception):
    """The code failed: it raised, exited with a code, or passed a limit.

    Trouble of the fleet is never told by it: that would be a verdict on the code, and callers keep
    these. `result` is the fleet's whole answer, with what the code printed.
    """

    result: Optional[Result] = None


def safe_exec(
    code: str,
    globals_dict: dict[str, Any],
    files: Optional[Iterable[Name]] = None,
    python_path: Optional[Iterable[Name]] = None,
    limit_overrides_context: Optional[str] = None,
    slug: Optional[str] = None,
    extra_files: Optional[Iterable[tuple[str, bytes]]] = None,
) -> None:
    """Executes code as ``exec(code, globals_dict)`` does; what it changes is in `globals_dict` then.

    :param files: files and folders to copy into the working directory, as `jail_code` does.
    :param python_path: folders and zip files to import from, each copied unless it is among
        `extra_files`.
    :param limit_overrides_context: whose limits apply.
    :param slug: a name for logs and results.
    :param extra_files: pairs of a name and bytes, to be written there.
    :raises SafeExecException: when the code fails.
    :raises json.JSONDecodeError: when the code ended with status 0 and left no globals, as
        ``sys.exit(0)`` does.
    :raises RuntimeError: when Python is not configured.
    :raises jailfleet.JailfleetError: when nothing ran.
    """
    if ALWAYS_BE_UNSAFE:
        not_safe_exec(
            code,
            globals_dict,
            files=files,
            python_path=python_path,
            limit_overrides_context=limit_overrides_context,
            slug=slug,
            extra_files=extra_files,
        )
        return  # Where somebody has put a function of his own in its place, as tests do.
    if not _jail_code.is_configured("python"):
        raise RuntimeError("safe_exec has not been configured for Python")
    job = job_of(code, globals_dict, files, python_path, slug, extra_files)
    job = replace(job, **limits_of(limit_overrides_context))
    if LOG_ALL_CODE:
        log.debug("Exec: %s", code)
        log.debug("Globals: %s", job.globals)
    result = run(job, limit_overrides_context, slug)
    globals_dict.update(globals_of(result))


def job_of(
    code: str,
    globals_dict: dict[str, Any],
    files: Optional[Iterable[Name]],
    python_path: Optional[Iterable[Name]],
    slug: Optional[str],
    extra_files: Optional[Iterable[tuple[str, bytes]]],
) -> Job:
    """The job that a call is, without limits."""
    extra_files = list(extra_files or ())
    extra_names = {name for name, _ in extra_files}
    to_copy: list[Name] = list(files or ())
    names: list[str] = []
    for entry in python_path or ():
        name = os.path.basename(os.fspath(entry))
        names.append(name)
        if name not in extra_names:
            to_copy.append(entry)
    tree = Tree()
    tree.copy(to_copy)
    tree.add(extra_files)
    return Job(
        runtime=_fleet.fleet().runtimes.get("python", "python"),
        # Half a surrogate pair travels as bytes, and is a syntax error of the code's.
        code=code.encode("utf-8", "surrogatepass"),
        files=tree.files(),
        globals=json.dumps(json_safe(globals_dict)),
        python_path=names,
        slug=label_of(slug),
    )


def globals_of(result: Result) -> dict[str, Any]:
    """What the code left.

    :raises SafeExecException: when it failed.
    :raises json.JSONDecodeError: when it left nothing.
    """
    status = status_of(result)
    if status != 0:
        # What the code prints is not in it, as in codejail, where it is thrown away.
        failure = SafeExecException(
            f"Couldn't execute jailed code: stdout: {b''!r}, "
            f"stderr: {result.stderr or b''!r} with status code: {status}"
        )
        failure.result = result
        raise failure
    if result.globals is None:
        words = result.error.message if result.error else ""
        if not words or words.startswith("no globals came"):
            words = "Expecting value"  # What codejail's reader says of an output that is empty.
        raise json.JSONDecodeError(words, "", 0)
    left: dict[str, Any] = json.loads(result.globals)
    return left


_OK_TYPES = (type(None), int, float, bytes, str, list, tuple, dict)


def json_safe(d: dict[Any, Any]) -> dict[str, Any]:
    """The part of a dictionary that JSON can say, by Python's rules.

    Bytes become the text that they are in UTF-8, tuples lists, keys strings; an entry with anything
    else in it is left out whole.
    """
    kept: dict[Any, Any] = {}
    for key, value in d.items():
        if not isinstance(value, _OK_TYPES) or key == "__builtins__":
            continue
        try:
            value = json.loads(json.dumps(_decoded(value)))
            key = json.loads(json.dumps(_decoded(key)))
            kept[key] = value
        except Exception:  # noqa: S112
            continue  # Values may have classes that raise anything.
    again: dict[str, Any] = json.loads(json.dumps(kept))
    return again


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, (list, tuple)):
        return [_decoded(inner) for inner in value]
    if isinstance(value, dict):
        return {_decoded(key): _decoded(inner) for key, inner in value.items()}
    return value


def not_safe_exec(
    code: str,
    globals_dict: dict[str, Any],
    files: Optional[Iterable[Name]] = None,
    python_path: Optional[Iterable[Name]] = None,
    limit_overrides_context: Optional[str] = None,
    slug: Optional[str] = None,
    extra_files: Optional[Iterable[tuple[str, bytes]]] = None,
) -> NoReturn:
    """Fails, always. The name is here for who imports it.

    :raises RuntimeError: code without a jail is not run.
    """
    raise RuntimeError(
        "jailfleet does not run code without a jail: there is no not_safe_exec; "
        "to debug, run a worker on this machine (jailfleet-worker --walls laptop)"
    )


make_callable(__name__)
