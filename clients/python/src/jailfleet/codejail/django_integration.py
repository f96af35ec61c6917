"""Applies ``settings.CODE_JAIL`` when Django starts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed

from .django_integration_utils import apply_django_settings


class ConfigureCodeJailMiddleware:
    """Reads the settings once, and is not used as a middleware."""

    def __init__(self, get_response: Any) -> None:
        apply_django_settings(getattr(settings, "CODE_JAIL", {}))
        raise MiddlewareNotUsed
