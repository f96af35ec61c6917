"""What can go wrong, in four families that are never mixed.

What became of a *program* is data: a result with an outcome, and no exception. Exceptions are for the
caller's mistakes (:class:`ConfigError`, :class:`JobRejected`), for jobs that were not run or whose
fleet was in trouble (:class:`JobError`), and for a broker or a fleet that does not answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from .result import Result


class JailfleetError(Exception):
    """Everything that this package raises of itself."""


class ConfigError(JailfleetError, ValueError):
    """A setting or a job that cannot be used as it is. Nothing was published."""


class Unreachable(JailfleetError, ConnectionError):
    """The broker could not be reached in time, or does not let us in."""


class Closed(JailfleetError):
    """The client was closed while somebody waited, or before somebody asked."""


class PublishError(JailfleetError):
    """The broker did not take a job."""

    def __init__(self, job_id: str, why: str) -> None:
        super().__init__(f"could not publish the job {job_id}: {why}")
        self.job_id = job_id


class NoResult(JailfleetError, TimeoutError):
    """No result came in time. The job may still run, unless its deadline passed before."""

    def __init__(self, job_id: str, within: float, trouble: Optional[str] = None) -> None:
        what = trouble or "is a worker of its pool and lane running?"
        super().__init__(f"no result of the job {job_id} within {within:g} s: {what}")
        self.job_id = job_id


class UnreadableResult(JailfleetError):
    """A message that carries the job's secret and is no result, or not the one that was sent."""


class JobError(JailfleetError):
    """The fleet's answer says nothing about the program; ``result`` is that answer."""

    def __init__(self, words: str, result: Optional[Result] = None) -> None:
        super().__init__(words)
        self.result = result


class JobRejected(JobError):
    """The job has a mistake; ``code`` is from the closed list of the wire format, or ``other``."""

    def __init__(self, code: str, message: str, result: Optional[Result] = None) -> None:
        super().__init__(f"the job was refused: {code}: {message}", result)
        self.code = code


class JobExpired(JobError):
    """The job's deadline passed before a slot was free. It was not run."""


class JobCancelled(JobError):
    """Somebody cancelled the job."""


class FleetFault(JobError):
    """Trouble of the fleet (``engine_fault``, ``worker_lost``), after retries, or an outcome that only a
    newer worker knows (``other``). Never a verdict."""


class ResultTooLarge(JobError):
    """The result was too large to travel: its outcome is known, its output and globals are not."""
