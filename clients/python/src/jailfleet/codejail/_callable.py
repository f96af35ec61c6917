"""A module that can be called.

Codejail has modules named ``jail_code`` and ``safe_exec`` with functions of the same names in them, and
people use both: ``from codejail import jail_code; jail_code.configure(...)``, ``from codejail.safe_exec
import safe_exec``. Here ``jailfleet.codejail.jail_code`` is that module, and calling it calls its function.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """Calls the function that has the module's own name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function())

    def _function(self) -> Any:
        return vars(self)[self.__name__.rpartition(".")[2]]


def make_callable(name: str) -> None:
    """Makes the module `name` callable."""
    sys.modules[name].__class__ = CallableModule
