"""Applies a ``CODE_JAIL`` dictionary, without Django."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .jail_code import configure, override_limit, set_limit


def apply_django_settings(code_jail_settings: Mapping[str, Any]) -> None:
    """Configures Python, limits and overrides as codejail reads them from ``settings.CODE_JAIL``."""
    python_bin = code_jail_settings.get("python_bin")
    if python_bin:
        configure("python", python_bin, user=code_jail_settings["user"])
    for name, value in code_jail_settings.get("limits", {}).items():
        set_limit(name, value)
    for context, overrides in code_jail_settings.get("limit_overrides", {}).items():
        for name, value in overrides.items():
            override_limit(name, value, context)
