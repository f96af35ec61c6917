"""What edx-platform calls in place of its HTTP client, so that it talks AMQP.

In the platform's settings::

    ENABLE_CODEJAIL_REST_SERVICE = True
    CODE_JAIL_REST_SERVICE_REMOTE_EXEC = "jailfleet.codejail.remote_exec.send_safe_exec_request_v0"

with ``JAILFLEET__AMQP__URI`` in the environment of its processes. As with the service, the limits are
those of the workers: ``limit_overrides_context`` is the name of a limit profile (where it is another,
``connect(profiles={...})`` says which), and the runtime's configuration says
``unknown_profile = "default"`` for courses that have none.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any, Optional

from ..errors import ConfigError
from . import _fleet
from .jail_code import run
from .safe_exec import SafeExecException, globals_of, job_of

#: The only file that a course brings.
LIBRARY = "python_lib.zip"
#: How long the platform waits for an answer where Django does not say: its own default, in seconds.
READ_TIMEOUT_S = 3.5


def send_safe_exec_request_v0(data: dict[str, Any]) -> tuple[Optional[str], Optional[Exception]]:
    """Runs what the platform would send to a codejail service.

    :param data: ``code``, ``globals_dict``, ``python_path``, ``limit_overrides_context``, ``slug``,
        ``unsafely`` and ``extra_files``. The globals that the code leaves are in ``globals_dict`` then.
    :returns: None twice, or the words of what the code did wrong and an exception with them.
    :raises jailfleet.JailfleetError: when nothing ran. The platform keeps what is returned with the
        problem and not what is raised: trouble of the fleet must not become a wrong answer.
    """
    globals_dict = data["globals_dict"]
    extra_files = [(name, content) for name, content in data.pop("extra_files", None) or ()]
    python_path = [entry for entry in data.get("python_path") or () if entry is not None]
    if set(python_path) - {LIBRARY}:
        raise ConfigError(f"Only allowed entry in 'python_path' is '{LIBRARY}'")
    if {name for name, _ in extra_files} - {LIBRARY}:
        raise ConfigError(f"Only allowed name for uploaded file is '{LIBRARY}'")
    if data.get("unsafely"):
        raise ConfigError("Refusing codejail execution with unsafely=true")
    if set(python_path) and not extra_files:
        raise ConfigError(f"'{LIBRARY}' is in 'python_path' and was not uploaded")
    context, slug = data.get("limit_overrides_context"), data.get("slug")
    job = job_of(data["code"], globals_dict, None, python_path, slug, extra_files)
    job = replace(job, limit_profile=_fleet.fleet().profile(context))
    result = run(job, context, slug, _read_timeout_s())
    try:
        globals_dict.update(globals_of(result))
    except SafeExecException as failure:
        emsg = str(failure)
    except json.JSONDecodeError:
        emsg = "Sandboxed code produced corrupted stdout."
    else:
        return None, None
    return emsg, _exception(f"{emsg}. For more information check Codejail Service logs.")


def _exception(words: str) -> Exception:
    """An exception of the class that the platform knows, which is that of its own codejail."""
    theirs = getattr(sys.modules.get("codejail.safe_exec"), "SafeExecException", None)
    kind: type[Exception] = theirs or SafeExecException
    return kind(words)


def _read_timeout_s() -> float:
    django = sys.modules.get("django.conf")
    settings = getattr(django, "settings", None)
    if settings is None or not getattr(settings, "configured", False):
        return READ_TIMEOUT_S
    return float(getattr(settings, "CODE_JAIL_REST_SERVICE_READ_TIMEOUT", READ_TIMEOUT_S))
