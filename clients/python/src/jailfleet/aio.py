"""The same for asyncio. The broker is served by a thread of its own (see ``door``), so that nothing
that the caller's event loop waits for, or is blocked by, can cost the connection its heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Optional, Union

from .client import Answer, Client
from .errors import JailfleetError, NoResult
from .job import Job
from .result import Result
from .settings import Settings


class AsyncClient:
    """A client whose waiting is awaiting.

    >>> async with await AsyncClient.connect() as client:  # doctest: +SKIP
    ...     result = await client.run(Job(code="print(6 * 7)"))
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    @classmethod
    async def connect(
        cls,
        settings: Optional[Settings] = None,
        *,
        within_s: Optional[float] = None,
        **given: Any,
    ) -> AsyncClient:
        """As :meth:`Client.connect`."""
        return cls(await asyncio.to_thread(Client.connect, settings, within_s=within_s, **given))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def run(self, job: Job, timeout_s: float = 60.0) -> Result:
        """As :meth:`Client.run`. A task that is cancelled gives its job up."""
        order = self.client.order(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(order.future), timeout_s)
        except asyncio.TimeoutError:
            if order.provisional is not None:
                return order.provisional
            raise NoResult(job.id, timeout_s, self.client.trouble) from None

    async def bulk(
        self,
        jobs: Union[Iterable[Job], AsyncIterable[Job]],
        *,
        window: Optional[int] = None,
        idle_timeout_s: Optional[float] = None,
    ) -> AsyncIterator[Answer]:
        """As :meth:`Client.bulk`; ``jobs`` may be asynchronous, and then answers do not wait for it."""
        window = window or self.client.settings.window
        idle_s = idle_timeout_s or self.client.settings.idle_timeout_ms / 1000
        source = _iterate(jobs)
        fetch: Optional[asyncio.Task[Optional[Job]]] = None
        out: set[asyncio.Task[Answer]] = set()
        more = True
        try:
            while more or out:
                if more and fetch is None and len(out) < window:
                    fetch = asyncio.ensure_future(_next(source))
                waited: set[asyncio.Task[Any]] = {*out, fetch} if fetch else set(out)
                # A source that is slow is the caller's own; only answers can be overdue.
                done, _ = await asyncio.wait(
                    waited,
                    timeout=idle_s if out else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    raise NoResult("?", idle_s, self.client.trouble)
                if fetch is not None and fetch in done:
                    done.discard(fetch)
                    job = fetch.result()
                    fetch = None
                    if job is None:
                        more = False
                    else:
                        out.add(asyncio.ensure_future(self._answer(job)))
                for task in done:
                    out.discard(task)
                    yield task.result()
        finally:
            left: list[asyncio.Task[Any]] = [*out, *([fetch] if fetch else [])]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _answer(self, job: Job) -> Answer:
        try:
            result: Result = await asyncio.wrap_future(self.client.submit(job))
            return Answer(job, result=result)
        except JailfleetError as error:
            return Answer(job, error=error)

    async def close(self, within_s: float = 10.0) -> None:
        """As :meth:`Client.close`."""
        await asyncio.to_thread(self.client.close, within_s)


async def _iterate(jobs: Union[Iterable[Job], AsyncIterable[Job]]) -> AsyncIterator[Job]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job


async def _next(source: AsyncIterator[Job]) -> Optional[Job]:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return None
