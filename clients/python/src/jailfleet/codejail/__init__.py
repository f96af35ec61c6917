"""The functions of Open edX codejail, over a jailfleet.

``import jailfleet.codejail as codejail`` is what a program has to change. With
``JAILFLEET__AMQP__URI`` in the environment Python is configured; else :func:`connect` says which fleet
it is, or :func:`configure` takes the broker on this machine. ``docs/from-codejail.md`` has every
difference.
"""

from typing import TYPE_CHECKING

from ._connect import connect
from ._fleet import Fleet, close
from ._limits import Ceiling
from .django_integration_utils import apply_django_settings
from .jail_code import (
    COMMANDS,
    DEFAULT_LIMITS,
    LIMIT_OVERRIDES,
    LIMITS,
    JailResult,
    configure,
    get_effective_limits,
    is_configured,
    override_limit,
    set_limit,
)
from .remote_exec import send_safe_exec_request_v0
from .safe_exec import SafeExecException, json_safe, not_safe_exec

if TYPE_CHECKING:
    # For who checks types they are functions; at run time they are modules that can be called.
    from .jail_code import jail_code
    from .safe_exec import safe_exec
else:
    from . import jail_code, safe_exec

__all__ = [
    "COMMANDS",
    "DEFAULT_LIMITS",
    "LIMITS",
    "LIMIT_OVERRIDES",
    "Ceiling",
    "Fleet",
    "JailResult",
    "SafeExecException",
    "apply_django_settings",
    "close",
    "configure",
    "connect",
    "get_effective_limits",
    "is_configured",
    "jail_code",
    "json_safe",
    "not_safe_exec",
    "override_limit",
    "safe_exec",
    "send_safe_exec_request_v0",
    "set_limit",
]
