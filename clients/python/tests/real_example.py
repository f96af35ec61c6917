"""The example needs pika and nothing of ours, and its words about itself are true."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

import pika

from tests.support import settings

EXAMPLE = Path(__file__).parents[1] / "examples" / "plain_pika.py"


class Example(unittest.TestCase):
    def test_plain_pika_runs_a_program(self):
        self.assertNotIn("import jailfleet", EXAMPLE.read_text(encoding="utf-8"))
        # Where pika is, and nothing of ours.
        environment = {**os.environ, "PYTHONPATH": str(Path(pika.__file__).parents[1])}
        ended = subprocess.run(
            [sys.executable, str(EXAMPLE), settings().uri],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        self.assertEqual((ended.stdout, ended.returncode), ("exited 0 42\n\n", 0), ended.stderr)
