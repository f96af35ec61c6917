"""Which of the arriving results count: pure bookkeeping.

Delivery is at least once, a neighbour may write to our queue, and a reaper may say ``worker_lost`` of
a job that a slow worker still answers. So a result counts only with the secret that was made for its
job; equal ones after the first are dropped; one that differs is a conflict that somebody must see;
and ``worker_lost`` waits a while for something better.
"""

from __future__ import annotations

import enum
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Optional

#: How long a ``worker_lost`` waits for the real result of the same job, in seconds.
PROVISIONAL_GRACE_S = 60.0
#: Jobs that are remembered after their result came, so that duplicates are known as such.
REMEMBERED = 10_000


def new_correlation_id() -> str:
    """128 random bits. Whoever does not know them cannot answer the job."""
    return secrets.token_hex(16)


class Reception(enum.Enum):
    """What to do with a result."""

    ACCEPTED = "accepted"  # The job's first real result: hand it on.
    HELD = "held"  # worker_lost: it waits for a better one.
    DUPLICATE = "duplicate"  # Says nothing new: drop it.
    CONFLICT = "conflict"  # Differs from the one that was handed on: keep both in view.
    LATE = "late"  # Nobody waits for it any more.
    STRANGER = "stranger"  # Answers no job of ours.


class _Standing(enum.Enum):
    WAITING = 1
    HELD = 2
    STORED = 3
    GIVEN_UP = 4


@dataclass
class _Place:
    job_id: str
    standing: _Standing = _Standing.WAITING
    digest: str = ""


class Ledger:
    """The books of one client."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._waiting: dict[str, _Place] = {}
        self._settled: OrderedDict[str, _Place] = OrderedDict()
        self._remembered = remembered
        #: How many results there were of each kind.
        self.counts = dict.fromkeys(Reception, 0)

    def expect(self, job_id: str, correlation: str) -> None:
        """Enters a job that a result is expected for."""
        self._waiting[correlation] = _Place(job_id)

    def receive(
        self, correlation: Optional[str], job_id: Optional[str], outcome: str, digest: str
    ) -> Reception:
        """Takes notice of a result and says what to do with it."""
        reception = self._judge(correlation or "", job_id, outcome, digest)
        self.counts[reception] += 1
        return reception

    def _judge(self, correlation: str, job_id: Optional[str], outcome: str, digest: str) -> Reception:
        place = self._waiting.get(correlation) or self._settled.get(correlation)
        if place is None or (job_id is not None and job_id != place.job_id):
            return Reception.STRANGER
        if place.standing is _Standing.GIVEN_UP:
            return Reception.LATE
        if outcome == "worker_lost":
            # A provisional word never stands against another word, whatever it says.
            if place.standing is not _Standing.WAITING:
                return Reception.DUPLICATE
            place.standing = _Standing.HELD
            return Reception.HELD
        if place.standing is not _Standing.STORED:
            self._settle(correlation, _Standing.STORED, digest)
            return Reception.ACCEPTED
        # An empty digest is that of a worker_lost that waited long enough: what comes now is another.
        return Reception.DUPLICATE if place.digest == digest else Reception.CONFLICT

    def expire(self, correlation: str) -> bool:
        """Whether the job's ``worker_lost`` is still all there is: from now on that is its result."""
        place = self._waiting.get(correlation)
        if place is None or place.standing is not _Standing.HELD:
            return False
        self._settle(correlation, _Standing.STORED, "")
        return True

    def give_up(self, correlation: str) -> None:
        """Notes that nobody waits for this job's result any more."""
        if correlation in self._waiting:
            self._settle(correlation, _Standing.GIVEN_UP, "")

    def _settle(self, correlation: str, standing: _Standing, digest: str) -> None:
        place = self._waiting.pop(correlation)
        place.standing, place.digest = standing, digest
        self._settled[correlation] = place
        while len(self._settled) > self._remembered:
            self._settled.popitem(last=False)
