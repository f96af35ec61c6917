"""Codejail's limits, and what they are on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: What a job's scratch may hold by the workers' own default (``disk_bytes``).
DISK_BYTES = 16_777_216
#: A run's memory is more than its address space: scratch files and the kernel's own pages count too.
MEMORY_BESIDE = 33_554_432


@dataclass(frozen=True)
class Ceiling:
    """The most that the workers grant. The defaults are those of ``config/worker.toml``.

    Zero switches a limit off in codejail. Nothing here is without a limit: zero is the ceiling. What is
    asked for is sent as it is, above the ceiling too: the worker refuses it by name.
    """

    cpu_ms: int = 60_000
    wall_ms: int = 120_000
    memory_bytes: int = 805_306_368
    processes: int = 128
    output_bytes: int = 8_388_608


def wire_limits(effective: Mapping[str, Any], ceiling: Ceiling) -> dict[str, int]:
    """The limits of a job, from codejail's dictionary.

    :raises ValueError: for a limit that is no number, or is below zero.
    """

    def limit(name: str, scale: int = 1) -> int:
        value = effective[name]
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ValueError(f"the limit {name} is {value!r}: set a number, 0 or more")
        return math.ceil(value * scale)

    vmem, fsize = limit("VMEM"), limit("FSIZE")
    limits = {
        "cpu_ms": limit("CPU", 1000) or ceiling.cpu_ms,
        "wall_ms": limit("REALTIME", 1000) or ceiling.wall_ms,
        "memory_bytes": vmem + MEMORY_BESIDE if vmem else ceiling.memory_bytes,
        # Zero is the one that means what it says: no file may grow.
        "file_bytes": fsize,
        "processes": limit("NPROC") or ceiling.processes,
        "output_bytes": ceiling.output_bytes,
    }
    if vmem:
        limits["address_space_bytes"] = vmem
    if fsize > DISK_BYTES:
        limits["disk_bytes"] = fsize
    return limits
