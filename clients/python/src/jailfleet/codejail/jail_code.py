"""Run code in a jail: codejail's ``jail_code`` over a jailfleet.

Same parameters, results and exceptions; ``docs/from-codejail.md`` lists what differs and why. What
codejail does on this machine with sudo, a worker does on another: paths of interpreters and names of
users are accepted and mean nothing here.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable
from typing import Any, Optional

from ..job import Job
from ..result import Result
from . import _fleet
from ._callable import make_callable
from ._files import Name, Tree
from ._limits import wire_limits

log = logging.getLogger("codejail")

#: With one of these in the environment, "python" is configured from the start.
CONFIGURES = ("JAILFLEET__AMQP__URI", "JAILFLEET__AMQP__URI_FILE")

#: The commands that are configured, by name.
COMMANDS: dict[str, dict[str, Any]] = {}


def configure(command: str, bin_path: str, user: Optional[str] = None) -> None:
    """Configures a command: the name of a runtime of the workers.

    `bin_path` and `user` are kept for who looks at them. The workers' configuration says which
    program a runtime is, and each run has a user of its own.
    """
    cmdline_start = [bin_path, "-E", "-B"] if command == "python" else [bin_path]
    COMMANDS[command] = {"cmdline_start": cmdline_start, "user": user}


def is_configured(command: str) -> bool:
    """Whether `jail_code` has been configured for `command`."""
    return command in COMMANDS


if any(os.environ.get(name) for name in CONFIGURES):
    configure("python", "")


DEFAULT_LIMITS: dict[str, Any] = {
    # Seconds of CPU, of the whole run.
    "CPU": 1,
    # Seconds.
    "REALTIME": 1,
    # Bytes of address space of each process; 0: none but that of memory.
    "VMEM": 0,
    # Bytes of one file; 0: no file may grow.
    "FSIZE": 0,
    # Processes and threads of the run.
    "NPROC": 15,
    # Without meaning here: there is no proxy process.
    "PROXY": None,
}

#: The limits in force. Modified by `set_limit`.
LIMITS: dict[str, Any] = DEFAULT_LIMITS.copy()

#: The same by context. Modified by `override_limit`.
LIMIT_OVERRIDES: dict[str, dict[str, Any]] = {}


def set_limit(limit_name: str, value: Any) -> None:
    """Sets a limit for all runs of this process: CPU, REALTIME, VMEM, FSIZE or NPROC.

    Zero means what the workers grant at most, and for FSIZE that nothing may be written.
    """
    LIMITS[limit_name] = value


def get_effective_limits(overrides_context: Optional[str] = None) -> dict[str, Any]:
    """The limits of a context; those of all where it has none, or is None."""
    overrides = LIMIT_OVERRIDES.get(overrides_context, {}) if overrides_context else {}
    return {**LIMITS, **overrides}


def override_limit(limit_name: str, value: Any, limit_overrides_context: str) -> None:
    """Sets a limit in one context. PROXY cannot be overridden."""
    if limit_name == "PROXY" and LIMITS["PROXY"] != value:
        log.error(
            "Tried to override value of PROXY to %s. "
            "Overriding PROXY on a per-context basis is not permitted. "
            "Will use globally-configured value instead: %s.",
            value,
            LIMITS["PROXY"],
        )
        return
    LIMIT_OVERRIDES.setdefault(limit_overrides_context, {})[limit_name] = value


class JailResult:
    """What a run came to: `status` as of `subprocess.Popen.returncode`, `stdout` and `stderr` as bytes.

    `result` is the whole of the fleet's answer, with an outcome that says what -9 does not.
    """

    def __init__(self) -> None:
        self.status: Any = None
        self.stdout: Any = None
        self.stderr: Any = None
        self.result: Optional[Result] = None


def jail_code(
    command: str,
    code: Optional[str] = None,
    files: Optional[Iterable[Name]] = None,
    extra_files: Optional[Iterable[tuple[str, bytes]]] = None,
    argv: Optional[list[str]] = None,
    stdin: Optional[str] = None,
    limit_overrides_context: Optional[str] = None,
    slug: Optional[str] = None,
) -> JailResult:
    """Runs code in a jail and returns what it printed and how it ended.

    :param command: a command that was configured.
    :param code: the code; without it, `argv` names one of the files.
    :param files: files and folders to copy into the working directory, by their last names. Links
        that stay inside are followed, others are left out.
    :param extra_files: pairs of a name and bytes, to be written there.
    :param argv: arguments.
    :param stdin: text.
    :param limit_overrides_context: whose limits apply.
    :param slug: a name for logs and results.
    :raises Exception: when the command is not configured.
    :raises jailfleet.JailfleetError: when nothing ran: the fleet cannot be reached, refuses the job, or
        is in trouble of its own. That is never a `status`.
    """
    if not is_configured(command):
        raise Exception(f"jail_code needs to be configured for {command!r}")
    tree = Tree()
    tree.copy(files or ())
    tree.add(extra_files or ())
    job = Job(
        runtime=_fleet.fleet().runtimes.get(command, command),
        code=bytes(code, "utf8") if code else None,
        files=tree.files(),
        argv=list(argv or []),
        stdin=bytes(stdin, "utf-8") if stdin else None,
        slug=label_of(slug),
        **limits_of(limit_overrides_context),
    )
    result = run(job, limit_overrides_context, slug)
    answer = JailResult()
    answer.status, answer.result = status_of(result), result
    answer.stdout, answer.stderr = result.stdout or b"", result.stderr or b""
    return answer


def limits_of(context: Optional[str]) -> dict[str, Any]:
    """What a job says of its limits."""
    fleet = _fleet.fleet()
    if fleet.limits == "profiles":
        return {"limit_profile": fleet.profile(context)}
    return {"limits": wire_limits(get_effective_limits(context), fleet.ceiling)}


def run(job: Job, context: Optional[str], slug: Optional[str], within_s: Optional[float] = None) -> Result:
    """Runs a job, with the words in the log that codejail has there.

    :param within_s: how long the caller waits, all in all. Left out: as long as a job may wait for a
        slot, and run.
    """
    if slug:
        log.info(
            "Preparing to execute jailed code %r (overrides context = %r, resource limits = %r).",
            slug,
            context,
            get_effective_limits(context),
        )
    # Where the workers alone know the limits, a run may take as long as any.
    wall_ms = job.limits.get("wall_ms", _fleet.fleet().ceiling.wall_ms)
    result = _fleet.run(job, wall_ms / 1000, within_s)
    host = result.worker.get("host", "?")
    if slug:
        log.info("Executed jailed code %s on %s, as job %s", slug, host, job.id)
    if result.outcome == "wall_limit":
        spent = result.usage.get("wall_ms", wall_ms) / 1000
        log.warning("Killed the job %s on %s, ran too long: %.1fs", job.id, host, spent)
    return result


#: By what signal codejail's runs end at these limits.
_SIGNALS = {
    "cpu_limit": signal.SIGXCPU,
    "wall_limit": signal.SIGKILL,
    "memory_limit": signal.SIGKILL,
    "output_limit": signal.SIGKILL,
}


def status_of(result: Result) -> int:
    """The exit code, or minus the signal that ended the run."""
    if result.outcome in _SIGNALS:
        return -int(_SIGNALS[result.outcome])
    if result.signal is not None:
        return -result.signal
    return result.exit_code or 0


def label_of(slug: Optional[str]) -> Optional[str]:
    """A slug as a job may carry it: no control characters, at most 256 bytes."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(slug or ""))
    return text.encode()[:256].decode(errors="ignore") or None


make_callable(__name__)
