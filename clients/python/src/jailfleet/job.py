"""A job, and how it is written: wire format 1."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import os
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

from .errors import ConfigError

Blob = Union[str, bytes]

#: The minor version that brought ``artifacts``, and the newest that is spoken here.
MINOR = 1

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


def new_job_id() -> str:
    """A UUID of version 7: ids that were made later sort later."""
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))


@dataclass(frozen=True)
class File:
    """A file that a job brings; without ``content`` it is a folder."""

    path: str
    content: Optional[Blob] = None
    executable: bool = False


@dataclass(frozen=True)
class Job:
    """A job. What is left out is the worker's to choose; ``docs/wire.md`` describes every field."""

    runtime: str = "python"
    code: Optional[Blob] = None
    id: str = field(default_factory=new_job_id)
    files: Sequence[File] = ()
    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: Optional[Blob] = None
    #: The text of a JSON object, by Python's rules.
    globals: Optional[str] = None
    python_path: Sequence[str] = ()
    #: Files that the run leaves and that the result is to bring; a folder's path ends in a slash.
    artifacts: Sequence[str] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    limit_profile: Optional[str] = None
    slug: Optional[str] = None
    pool: Optional[str] = None
    lane: Optional[str] = None
    batch: Optional[str] = None
    #: Not started after this moment: RFC 3339, or a datetime that knows its zone.
    deadline: Union[str, datetime.datetime, None] = None

    def __repr__(self) -> str:
        # Code and globals of strangers do not belong into logs.
        return f"Job(id={self.id!r}, runtime={self.runtime!r}, slug={self.slug!r})"

    @classmethod
    def from_object(cls, message: Mapping[str, Any]) -> Job:
        """A job from an object of the wire format, such as a line of a JSONL file."""
        values = {name: value for name, value in message.items() if name not in ("v", "minor")}
        unknown = set(values) - set(cls.__dataclass_fields__)
        if message.get("v", 1) != 1 or message.get("minor", 0) not in (0, MINOR) or unknown:
            raise ConfigError(
                f"this is no job of version 1.{MINOR} or before; unknown fields: {sorted(unknown)}"
            )
        for name in ("code", "stdin"):
            if name in values:
                values[name] = read_blob(values[name])
        values["files"] = [
            File(
                file["path"],
                None if file.get("directory") else read_blob(file.get("content", "")),
                bool(file.get("executable")),
            )
            for file in values.get("files", ())
        ]
        return cls(**values)

    def placed(self, pool: str, lane: str) -> Job:
        """The job with pool and lane filled in where it names none."""
        return replace(self, pool=self.pool or pool, lane=self.lane or lane)

    def encode(self, most_bytes: int) -> bytes:
        """The message's body.

        :raises ConfigError: for what can be seen to be wrong without a worker.
        """
        if not _ID.match(self.id):
            raise ConfigError(f"id: {self.id[:64]!r} has other characters than A-Z a-z 0-9 . _ : -")
        for name in ("runtime", "pool"):
            value = getattr(self, name)
            if value is not None and not _NAME.match(value):
                raise ConfigError(f"{name}: {value[:64]!r} is no name")
        try:
            text = json.dumps(self._message(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            body = text.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"the job {self.id} has half a surrogate pair in it: send bytes, or globals"
            ) from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the job {self.id} cannot be written as JSON: {error}") from None
        if len(body) > most_bytes:
            raise ConfigError(
                f"the job {self.id} has {len(body)} bytes, allowed are {most_bytes} "
                "(message_bytes): send less, or raise it here and at the workers"
            )
        return body

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"v": 1}
        if self.artifacts:
            # The lowest that the job needs: an older worker takes what it can.
            message["minor"] = MINOR
        message.update({"id": self.id, "runtime": self.runtime})
        for name in ("code", "stdin"):
            value = getattr(self, name)
            if value is not None:
                message[name] = write_blob(value)
        if self.files:
            message["files"] = [_file(file) for file in self.files]
        for name in ("argv", "python_path", "artifacts"):
            if getattr(self, name):
                message[name] = list(getattr(self, name))
        for name in ("env", "limits"):
            if getattr(self, name):
                message[name] = dict(getattr(self, name))
        for name in ("globals", "limit_profile", "slug", "pool", "lane", "batch"):
            value = getattr(self, name)
            if value is not None:
                message[name] = value
        if self.deadline is not None:
            message["deadline"] = _moment(self.deadline)
        return message


def _file(file: File) -> dict[str, Any]:
    if file.content is None:
        return {"path": file.path, "directory": True}
    message = {"path": file.path, "content": write_blob(file.content)}
    if file.executable:
        message["executable"] = True
    return message


def _moment(moment: Union[str, datetime.datetime]) -> str:
    if isinstance(moment, str):
        return moment
    if moment.tzinfo is None:
        raise ConfigError("deadline: has no time zone")
    return moment.isoformat()


def write_blob(value: Blob) -> Any:
    """A JSON string where the bytes are UTF-8 and that is the shorter encoding, else base64."""
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"text or bytes are wanted, not {type(value).__name__}")
    value = bytes(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and _string_bytes(value) <= _base64_bytes(len(value)):
        return text
    return {"base64": base64.b64encode(value).decode()}


_ESCAPED_SHORT = b'"\\\n\r\t\x08\x0c'
_ESCAPED_LONG = bytes(set(range(0x20)) - set(_ESCAPED_SHORT))


def _string_bytes(value: bytes) -> int:
    """How long the bytes are as a JSON string."""
    short = len(value) - len(value.translate(None, _ESCAPED_SHORT))
    long = len(value) - len(value.translate(None, _ESCAPED_LONG))
    return len(value) + short + 5 * long + 2


def _base64_bytes(count: int) -> int:
    return (count + 2) // 3 * 4 + len('{"base64":""}')


def read_blob(value: Any) -> bytes:
    """The bytes of a blob as it travels.

    :raises ValueError: for what is none.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            pass
    raise ConfigError('a blob is a string or {"base64": "..."}')
