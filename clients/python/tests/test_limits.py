"""Codejail's limits mean on the wire what they mean there."""

import re
import unittest
from dataclasses import fields
from pathlib import Path

from jailfleet.codejail import DEFAULT_LIMITS, Ceiling
from jailfleet.codejail._limits import DISK_BYTES, wire_limits

CONFIG = Path(__file__).parents[3] / "config" / "worker.toml"
CEILING = Ceiling()


def on_the_wire(**limits):
    return wire_limits({**DEFAULT_LIMITS, **limits}, CEILING)


class Limits(unittest.TestCase):
    def test_the_defaults_are_a_second_nothing_written_and_fifteen_processes(self):
        self.assertEqual(
            on_the_wire(),
            {
                "cpu_ms": 1000,
                "wall_ms": 1000,
                "memory_bytes": CEILING.memory_bytes,
                "file_bytes": 0,
                "processes": 15,
                "output_bytes": CEILING.output_bytes,
            },
        )

    def test_a_limit_of_zero_is_the_ceiling_but_for_files(self):
        limits = on_the_wire(CPU=0, REALTIME=0, VMEM=0, NPROC=0, FSIZE=0)
        self.assertEqual(
            (limits["cpu_ms"], limits["wall_ms"], limits["processes"], limits["file_bytes"]),
            (CEILING.cpu_ms, CEILING.wall_ms, CEILING.processes, 0),
        )
        self.assertNotIn("address_space_bytes", limits)

    def test_vmem_is_address_space_with_memory_enough_that_memory_error_comes_first(self):
        limits = on_the_wire(VMEM=80_000_000)
        self.assertEqual(limits["address_space_bytes"], 80_000_000)
        self.assertGreater(limits["memory_bytes"], 80_000_000)

    def test_a_limit_above_the_ceiling_is_sent_as_it_is_for_the_worker_to_refuse(self):
        for vmem in (CEILING.memory_bytes, 1 << 40):
            limits = on_the_wire(VMEM=vmem)
            self.assertEqual(limits["address_space_bytes"], vmem)
            self.assertGreater(limits["memory_bytes"], vmem)
        self.assertEqual(on_the_wire(FSIZE=1 << 40)["disk_bytes"], 1 << 40)
        times = on_the_wire(CPU=10**6, REALTIME=10**6, NPROC=10**6)
        self.assertEqual((times["cpu_ms"], times["wall_ms"], times["processes"]), (10**9, 10**9, 10**6))

    def test_fractions_of_a_second_count(self):
        self.assertEqual(on_the_wire(REALTIME=0.25)["wall_ms"], 250)

    def test_a_large_file_size_needs_room_for_the_file(self):
        self.assertNotIn("disk_bytes", on_the_wire(FSIZE=1 << 20))
        self.assertEqual(on_the_wire(FSIZE=50 << 20)["disk_bytes"], 50 << 20)

    def test_what_is_no_limit_is_refused_by_name(self):
        for value in (-1, "1", None, float("nan"), float("inf")):
            with self.subTest(value), self.assertRaisesRegex(ValueError, "CPU"):
                on_the_wire(CPU=value)

    def test_the_ceiling_is_that_of_the_workers_defaults(self):
        text = CONFIG.read_text(encoding="utf-8")
        ceiling = text.partition("[runtime_defaults.ceiling]")[2].partition("\n[")[0]
        usual = text.partition("[runtime_defaults.limits]")[2].partition("\n[")[0]
        for field in fields(Ceiling):
            self.assertEqual(str(field.default), re.search(rf"^{field.name} = (\d+)", ceiling, re.M)[1])
        self.assertEqual(str(DISK_BYTES), re.search(r"^disk_bytes = (\d+)", usual, re.M)[1])
