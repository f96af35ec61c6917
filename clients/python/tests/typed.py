"""A program of somebody who checks types; mypy reads it in strict mode, and nobody runs it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Optional

import jailfleet.codejail as codejail
from jailfleet import AsyncClient, Client, File, Job, Result
from jailfleet.codejail import JailResult, SafeExecException, set_limit
from jailfleet.codejail.jail_code import configure, jail_code
from jailfleet.codejail.remote_exec import send_safe_exec_request_v0
from jailfleet.codejail.safe_exec import json_safe, safe_exec


def one(client: Client) -> Optional[bytes]:
    job = Job(code="print(1)", files=[File("data", b"in")], limits={"wall_ms": 1000})
    future: Future[Result] = client.submit(job)
    future.cancel()
    result: Result = client.run(job, timeout_s=5.0)
    return result.raise_for_trouble().stdout


def many(client: Client, jobs: list[Job]) -> list[str]:
    return [answer.unwrap().outcome for answer in client.bulk(jobs, window=8)]


async def awaited(job: Job) -> Result:
    async with await AsyncClient.connect(lane="interactive") as client:
        async for answer in client.bulk([job]):
            return answer.unwrap()
        return await client.run(job)


def as_codejail(names: dict[str, Any]) -> str:
    configure("python", "/a/bin/python", user="sandbox")
    set_limit("CPU", 2)
    # Both ways of importing are in use.
    for execute in (codejail.safe_exec, safe_exec):
        try:
            execute("x = 1", names, slug="a", extra_files=[("f", b"")], python_path=["f"])
        except SafeExecException as error:
            return str(error)
    answer: JailResult = codejail.jail_code("python", code="")
    again: JailResult = jail_code("python", argv=["f"], files=["f"], stdin="")
    _emsg, _exception = send_safe_exec_request_v0({"code": "", "globals_dict": json_safe(names)})
    return str(answer.status) + str(again.status)
