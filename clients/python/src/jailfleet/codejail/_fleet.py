"""The fleet behind these functions: one client for the whole process, made when it is first needed."""

from __future__ import annotations

import atexit
import datetime
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..client import Client
from ..errors import ConfigError
from ..job import Job
from ..result import Result
from ..settings import Settings
from ._limits import Ceiling

#: From the end of the longest run to the arrival of its result.
TRAVEL_S = 10.0


@dataclass(frozen=True)
class Fleet:
    """How calls become jobs."""

    settings: Optional[Settings] = None
    #: How long a job may wait for a free slot; after that it is not started any more.
    wait_s: float = 60.0
    #: "sent": set_limit and override_limit go with each job, as codejail has it. "profiles": the context
    #: is the name of a limit profile of the workers, who alone know the limits.
    limits: str = "sent"
    #: Profiles by context, where the names differ. A profile may bear a course's name as it is.
    profiles: Mapping[str, str] = field(default_factory=dict)
    ceiling: Ceiling = field(default_factory=Ceiling)
    #: Runtimes of the workers by command, where the names differ.
    runtimes: Mapping[str, str] = field(default_factory=dict)

    def profile(self, context: Optional[str]) -> Optional[str]:
        """The limit profile of a context."""
        return self.profiles.get(context, context) if context else None

    def __post_init__(self) -> None:
        if self.limits not in ("sent", "profiles"):
            raise ConfigError(f'limits: {self.limits!r} is neither "sent" nor "profiles"')
        if not 0 < self.wait_s < 86_400:
            raise ConfigError(f"wait_s: {self.wait_s!r} is no number of seconds below a day")


def call_settings(**given: Any) -> Settings:
    # Somebody waits for each of these calls, unless it is said that nobody does.
    if "JAILFLEET__PRODUCER__LANE" not in os.environ:
        given.setdefault("lane", "interactive")
    return Settings.from_environment(**given)


class _Connection:
    """The client of this process. A fork makes its own: two processes cannot share a connection."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self._lock = threading.Lock()
        self._client: Optional[Client] = None
        self._pid = 0

    def change(self, fleet: Fleet) -> None:
        self.close()
        self.fleet = fleet

    def client(self) -> Client:
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client, self._pid = Client.connect(self.fleet.settings or call_settings()), os.getpid()
            return self._client

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def forget(self) -> None:
        """In a fork: the lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        self._client = None


_CONNECTION = _Connection()
atexit.register(_CONNECTION.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CONNECTION.forget)


def fleet() -> Fleet:
    """What is in force."""
    return _CONNECTION.fleet


def change(fleet: Fleet) -> None:
    """Disconnects; what is called from now on goes to another fleet."""
    _CONNECTION.change(fleet)


def close() -> None:
    """Disconnects; the next call connects again."""
    _CONNECTION.close()


def run(job: Job, wall_s: float, within_s: Optional[float] = None) -> Result:
    """Runs a job within the time that a caller waits. After that it is not started any more.

    :raises JailfleetError: where no program ran, or not all of its result came.
    """
    wait_s = _CONNECTION.fleet.wait_s if within_s is None else within_s
    now = datetime.datetime.now(datetime.timezone.utc)
    job = replace(job, deadline=now + datetime.timedelta(seconds=wait_s))
    total_s = wait_s + wall_s + TRAVEL_S if within_s is None else within_s
    return _CONNECTION.client().run(job, total_s).raise_for_trouble()
