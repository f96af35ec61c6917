"""A result, and how it is read and checked."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Optional

from .errors import (
    FleetFault,
    JobCancelled,
    JobExpired,
    JobRejected,
    ResultTooLarge,
    UnreadableResult,
)
from .job import read_blob
from .words import CODES, DID_NOT_RUN, LEFT_OUT, OTHER, RAN

DIGEST_HEADER = "jailfleet-result-digest"
#: What honest attempts at one job may differ in.
CIRCUMSTANCES = ("usage", "timing", "worker", "walls")


@dataclass(frozen=True)
class ErrorDetail:
    """A code from the closed list of the wire format, and words for people.

    A code that only a newer worker knows is ``other``; ``Result.message`` has it as it came.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Artifact:
    """A file that the run left: the program's word, never evidence.

    Its path was looked at: it is relative, and leads nowhere else. What lies at that path on a disk of
    yours was not.
    """

    path: str
    content: bytes
    executable: bool = False

    def __repr__(self) -> str:
        # What a stranger's program wrote does not belong into logs.
        return f"Artifact(path={self.path!r}, {len(self.content)} bytes)"


@dataclass(frozen=True)
class LeftOut:
    """What was wanted and is not delivered; a folder's path ends in a slash.

    A reason that only a newer worker knows is ``other``.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Result:
    """What became of a job.

    An outcome that only a newer worker knows is ``other``: nothing that could be judged here.
    """

    outcome: str
    job_id: Optional[str] = None
    slug: Optional[str] = None
    batch: Optional[str] = None
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    #: Absent where nothing ran.
    stdout: Optional[bytes] = None
    stderr: Optional[bytes] = None
    truncated: tuple[str, ...] = ()
    #: The text of a JSON object, by Python's rules. The program's word, never evidence.
    globals: Optional[str] = None
    #: The files that the job asked for and that the run left.
    artifacts: tuple[Artifact, ...] = ()
    #: What it asked for and does not get.
    artifacts_left_out: tuple[LeftOut, ...] = ()
    error: Optional[ErrorDetail] = None
    usage: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    walls: tuple[str, ...] = ()
    worker: Mapping[str, Any] = field(default_factory=dict)
    grade: Any = None
    #: Hex SHA-256 over all but the circumstances, computed here.
    digest: str = ""
    #: The whole message, with fields that only a newer worker knows.
    message: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        # What a stranger's program printed does not belong into logs.
        end = self.exit_code if self.signal is None else f"signal {self.signal}"
        return f"Result(job_id={self.job_id!r}, outcome={self.outcome!r}, end={end!r})"

    @property
    def ran(self) -> bool:
        """Whether the outcome is the program's own."""
        return self.outcome in RAN

    def raise_for_trouble(self) -> Result:
        """Returns itself where a program ran and all of its result came.

        :raises JobError: the kind that fits, where it did not.
        """
        code = self.error.code if self.error else ""
        words = self.error.message if self.error else ""
        if self.outcome == "rejected":
            raise JobRejected(code, words, self)
        if self.outcome == "expired":
            raise JobExpired(f"the job was not started in time: {words}", self)
        if self.outcome == "cancelled":
            raise JobCancelled(f"the job was cancelled: {words}", self)
        if self.outcome == OTHER:
            told = self.message.get("outcome")
            raise FleetFault(
                f"the worker is newer and tells the outcome {told!r:.66}, which is not known here; "
                f"a newer jailfleet knows it: {words}",
                self,
            )
        if not self.ran:
            raise FleetFault(f"the fleet could not run the job: {code}: {words}", self)
        if code == "result_too_large":
            raise ResultTooLarge(f"the job ran ({self.outcome}), and {words}", self)
        return self


def digest_of(text: str) -> str:
    """The digest of a result's text: numbers count as they are written."""
    mark = secrets.token_hex(16)

    def marked(number: str) -> str:
        return f"{mark}{number}{mark}"

    lasting = json.loads(text, parse_int=marked, parse_float=marked, parse_constant=_refuse_constant)
    for name in CIRCUMSTANCES:
        lasting.pop(name, None)
    written = json.dumps(lasting, ensure_ascii=False, separators=(",", ":"))
    written = written.replace(f'"{mark}', "").replace(f'{mark}"', "")
    return hashlib.sha256(written.encode()).hexdigest()


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def read_result(body: bytes, sent_digest: Optional[str], most_bytes: int) -> Result:
    """Reads a message and checks it against the digest that travelled with it.

    :raises UnreadableResult: what is wrong with it.
    """
    if len(body) > most_bytes:
        raise UnreadableResult(f"the result has {len(body)} bytes, allowed are {most_bytes}")
    try:
        text = body.decode()
        message = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(message, dict):
            raise ValueError("it is no object")
        digest = digest_of(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableResult(f"the result does not read: {error}") from None
    if sent_digest is not None and sent_digest != digest:
        raise UnreadableResult("the result is not the one that was sent: its digest is another")
    try:
        return _typed(message, digest)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableResult(f"the message is no result of version 1: {error!r}") from None


def _typed(message: dict[str, Any], digest: str) -> Result:
    if message["v"] != 1 or isinstance(message["v"], bool):
        raise ValueError("v")
    outcome = _of(str, message["outcome"], "outcome")
    values: dict[str, Any] = {"outcome": outcome if outcome in RAN + DID_NOT_RUN else OTHER}
    for name, kind in _PLAIN.items():
        if name in message:
            values[name] = _of(kind, message[name], name)
    for name in ("stdout", "stderr"):
        if name in message:
            values[name] = read_blob(message[name])
    for name in ("truncated", "walls"):
        if name in message:
            values[name] = tuple(_of(str, item, name) for item in _of(list, message[name], name))
    if "artifacts" in message:
        values["artifacts"] = tuple(map(_artifact, _of(list, message["artifacts"], "artifacts")))
    if "artifacts_left_out" in message:
        left_out = _of(list, message["artifacts_left_out"], "artifacts_left_out")
        values["artifacts_left_out"] = tuple(map(_left_out, left_out))
    if "error" in message:
        error = _of(dict, message["error"], "error")
        code = _of(str, error["code"], "error.code")
        values["error"] = ErrorDetail(
            code if code in CODES else OTHER, _of(str, error["message"], "error.message")
        )
    return Result(digest=digest, message=message, grade=message.get("grade"), **values)


def _artifact(message: Any) -> Artifact:
    message = _of(dict, message, "artifacts")
    executable = message.get("executable", False)
    if not isinstance(executable, bool):
        raise TypeError("executable is no bool")
    return Artifact(_path(message["path"]), read_blob(message["content"]), executable)


def _left_out(message: Any) -> LeftOut:
    message = _of(dict, message, "artifacts_left_out")
    path = _of(str, message["path"], "path")
    _path(path[:-1] if path.endswith("/") else path)
    reason = _of(str, message["reason"], "reason")
    return LeftOut(path, reason if reason in LEFT_OUT else OTHER)


def _path(value: Any) -> str:
    """A path that cannot leave the folder that it is relative to."""
    path: str = _of(str, value, "path")
    if len(path.encode()) > 1024 or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("path leads elsewhere")
    return path


_PLAIN: dict[str, type] = {
    "job_id": str,
    "slug": str,
    "batch": str,
    "globals": str,
    "exit_code": int,
    "signal": int,
    "usage": dict,
    "limits": dict,
    "timing": dict,
    "worker": dict,
}


def _of(kind: type, value: Any, name: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is no {kind.__name__}")
    return value
