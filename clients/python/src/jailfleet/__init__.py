"""Run code that nobody trusts, in a fleet of jails behind RabbitMQ.

``Client`` runs one job or many and blocks; ``AsyncClient`` is the same for asyncio;
``jailfleet.codejail`` has the functions of Open edX codejail.
"""

from .aio import AsyncClient
from .client import Answer, Client
from .errors import (
    Closed,
    ConfigError,
    FleetFault,
    JailfleetError,
    JobCancelled,
    JobError,
    JobExpired,
    JobRejected,
    NoResult,
    PublishError,
    ResultTooLarge,
    Unreachable,
    UnreadableResult,
)
from .job import File, Job
from .result import Artifact, ErrorDetail, LeftOut, Result
from .settings import Settings
from .version import VERSION as __version__

__all__ = [
    "Answer",
    "Artifact",
    "AsyncClient",
    "Client",
    "Closed",
    "ConfigError",
    "ErrorDetail",
    "File",
    "FleetFault",
    "JailfleetError",
    "Job",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobRejected",
    "LeftOut",
    "NoResult",
    "PublishError",
    "Result",
    "ResultTooLarge",
    "Settings",
    "Unreachable",
    "UnreadableResult",
    "__version__",
]
