"""Saying which fleet it is: that configures Python, too."""

from __future__ import annotations

from typing import Any, Optional

from ._fleet import Fleet, call_settings, change
from .jail_code import configure


def connect(uri: Optional[str] = None, **given: Any) -> None:
    """Says which fleet runs the code, and configures the command "python".

    ``given`` are fields of :class:`Fleet` (``settings``, ``wait_s``, ``limits``, ``profiles``, ``ceiling``,
    ``runtimes``) or, by name, of :class:`jailfleet.Settings`. Nothing is connected before the first call.
    """
    ours = {name: given.pop(name) for name in list(given) if name in Fleet.__dataclass_fields__}
    if uri is not None:
        given["uri"] = uri
    if given and "settings" in ours:
        raise TypeError("give settings, or single ones by name, and not both")
    if given:
        ours["settings"] = call_settings(**given)
    change(Fleet(**ours))
    configure("python", "")
