"""The blocking client: one job, or many with a bounded window."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Optional

import pika

from .door import Door, Order
from .errors import Closed, JailfleetError, NoResult
from .job import Job, new_job_id
from .ledger import Reception, new_correlation_id
from .result import Result
from .settings import Settings


@dataclass(frozen=True)
class Answer:
    """What became of one job of a bulk: a result, or why there is none."""

    job: Job
    result: Optional[Result] = None
    error: Optional[JailfleetError] = None

    def unwrap(self) -> Result:
        """The result.

        :raises JailfleetError: where there is none.
        """
        if self.result is None:
            raise self.error or Closed("there is neither a result nor an error")
        return self.result


class Client:
    """A connection with a reply queue of its own. Threads may share it; processes may not.

    >>> with Client.connect() as client:  # doctest: +SKIP
    ...     print(client.run(Job(code="print(6 * 7)")).stdout)
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    @classmethod
    def connect(
        cls,
        settings: Optional[Settings] = None,
        *,
        within_s: Optional[float] = None,
        **given: Any,
    ) -> Client:
        """Connects by settings, or by the environment's; ``given`` goes on top of the latter.

        :raises ConfigError: for settings that cannot be used.
        :raises Unreachable: when the broker does not answer, or refuses us, ``within_s``.
        """
        if settings is None:
            settings = Settings.from_environment(**given)
        elif given:
            raise TypeError("give settings, or single ones by name, and not both")
        door = Door(settings, f"python-{new_job_id().replace('-', '')}")
        door.open(within_s if within_s is not None else settings.connect_timeout_ms / 1000)
        return cls(door)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._door.settings

    @property
    def trouble(self) -> Optional[str]:
        """What the connection is in want of, for people; None while it is well."""
        return self._door.trouble

    @property
    def reply_queue(self) -> str:
        """The queue that results come to."""
        return self._door.reply_queue

    @property
    def conflicts(self) -> tuple[Result, ...]:
        """The newest results that came after another one of their job and differ from it."""
        return tuple(self._door.conflicts)

    def received(self) -> dict[str, int]:
        """How many results there were: accepted, held, duplicate, conflict, late, stranger."""
        counts = self._door.ledger.counts
        return {reception.value: counts[reception] for reception in Reception}

    def submit(self, job: Job) -> Future[Result]:
        """Publishes a job and returns the future of its result. Cancelling it gives the job up.

        What is added to it by ``add_done_callback`` runs on the connection's thread and must not block.

        :raises ConfigError: for a job that cannot be published as it is.
        """
        return self.order(job).future

    def run(self, job: Job, timeout_s: float = 60.0) -> Result:
        """Publishes one job and waits for its result, whatever the outcome.

        :raises NoResult: when none came in time.
        :raises PublishError: when the broker does not take the job.
        """
        order = self.order(job)
        try:
            return order.future.result(timeout_s)
        except (FutureTimeout, TimeoutError):
            if order.future.done():  # It came in this very moment.
                return order.future.result(0)
            self._door.abandon(order)
            # A word that the worker is lost waits for a better one, though no longer than we do.
            if order.provisional is not None:
                return order.provisional
            raise NoResult(job.id, timeout_s, self._door.trouble) from None
        except BaseException:
            self._door.abandon(order)
            raise

    def bulk(
        self,
        jobs: Iterable[Job],
        *,
        window: Optional[int] = None,
        idle_timeout_s: Optional[float] = None,
    ) -> Iterator[Answer]:
        """Publishes jobs and yields their answers as they come, in any order.

        No more than ``window`` jobs are out at one time, and a job is taken from ``jobs`` only when
        there is room: neither may be in memory as a whole. A job that could not be published, or whose
        answer does not read, is an answer with an ``error``.

        :raises NoResult: when nothing at all came for ``idle_timeout_s``.
        """
        window = window or self.settings.window
        idle_s = idle_timeout_s or self.settings.idle_timeout_ms / 1000
        source = iter(jobs)
        done: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        out: dict[str, Order] = {}
        untold, more = 0, True
        try:
            while True:
                while more and untold < window:
                    job = next(source, None)
                    if job is None:
                        more = False
                        break
                    try:
                        order = self.order(job)
                    except JailfleetError as error:
                        yield Answer(job, error=error)
                        continue
                    out[order.correlation] = order
                    untold += 1
                    order.future.add_done_callback(partial(self._deliver, done, out, order, job))
                if not untold:
                    return
                try:
                    answer = done.get(timeout=idle_s)
                except queue.Empty:
                    some = [order.job_id for order in list(out.values())[:3]]
                    raise NoResult(", ".join(some), idle_s, self.trouble) from None
                untold -= 1
                yield answer
        finally:
            for order in list(out.values()):
                self._door.abandon(order)

    @staticmethod
    def _deliver(
        done: queue.SimpleQueue[Answer],
        out: dict[str, Order],
        order: Order,
        job: Job,
        future: Future[Result],
    ) -> None:
        out.pop(order.correlation, None)
        done.put(_answer(job, future))

    def close(self, within_s: float = 10.0) -> None:
        """Deletes the reply queue if it is empty, and disconnects. Who still waits gets `Closed`."""
        self._door.close(within_s)

    def order(self, job: Job) -> Order:
        """Publishes a job; :meth:`submit` is what callers want."""
        settings = self.settings
        job = job.placed(settings.pool, settings.lane)
        body = job.encode(settings.message_bytes)
        now = time.time()
        correlation = new_correlation_id()
        properties = pika.BasicProperties(
            message_id=job.id,
            correlation_id=correlation,
            reply_to=self._door.reply_queue,
            delivery_mode=2,
            content_type="application/json",
            type="jailfleet.job.v1",
            timestamp=int(now),
            headers={"jailfleet-published-ms": int(now * 1000)},
        )
        order = Order(job.id, correlation, f"{job.pool}.{job.lane}", body, properties)
        self._door.send(order)
        order.future.add_done_callback(partial(self._forget_cancelled, order))
        return order

    def _forget_cancelled(self, order: Order, future: Future[Result]) -> None:
        if future.cancelled():
            self._door.abandon(order)


def _answer(job: Job, future: Future[Result]) -> Answer:
    """What a future that is done says."""
    if future.cancelled():
        return Answer(job, error=Closed("the job was given up"))
    error = future.exception()
    if error is None:
        return Answer(job, result=future.result())
    if not isinstance(error, JailfleetError):
        error = JailfleetError(f"the client itself is in trouble: {error!r}")
    return Answer(job, error=error)
