"""What a program finds that imports jailfleet.codejail in the place of codejail."""

import importlib
import inspect
import os
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import jailfleet.codejail as codejail
from jailfleet import FleetFault
from jailfleet.codejail import _fleet, django_integration_utils, jail_code, safe_exec
from jailfleet.result import read_result

try:
    theirs = {
        "jail_code": importlib.import_module("codejail.jail_code"),
        "safe_exec": importlib.import_module("codejail.safe_exec"),
        "django_integration_utils": importlib.import_module("codejail.django_integration_utils"),
    }
except ImportError:
    theirs = None  # Older Pythons of this test run have no codejail beside.

OURS = {"jail_code": jail_code, "safe_exec": safe_exec, "django_integration_utils": django_integration_utils}


class Names(unittest.TestCase):
    def test_each_function_of_codejail_is_there_with_its_parameters_and_defaults(self):
        if theirs is None:
            self.skipTest("no codejail beside this Python")
        for name, module in theirs.items():
            own = [
                (public, value)
                for public, value in vars(module).items()
                if inspect.isfunction(value) and value.__module__ == module.__name__
            ]
            self.assertTrue(own)
            for public, value in own:
                if public == "create_rlimits":  # Of the machine that runs code.
                    continue
                with self.subTest(f"{name}.{public}"):
                    ours = inspect.signature(getattr(OURS[name], public))
                    known = inspect.signature(value)
                    self.assertEqual(
                        [(p.name, p.default, p.kind) for p in ours.parameters.values()],
                        [(p.name, p.default, p.kind) for p in known.parameters.values()],
                    )
        self.assertEqual(codejail.DEFAULT_LIMITS, theirs["jail_code"].DEFAULT_LIMITS)

    def test_both_ways_of_importing_work(self):
        code = """
import jailfleet.codejail as codejail
from jailfleet.codejail import safe_exec, jail_code, SafeExecException
from jailfleet.codejail.safe_exec import safe_exec as function, not_safe_exec, json_safe
from jailfleet.codejail.jail_code import jail_code as other, configure, set_limit, is_configured, LIMITS
import jailfleet.codejail.safe_exec
assert codejail.safe_exec is safe_exec and codejail.safe_exec.safe_exec is function
assert codejail.jail_code.jail_code is other and codejail.jail_code.LIMITS is codejail.LIMITS
assert callable(codejail.safe_exec) and callable(jail_code)
jail_code.configure("python", "/x/python", user="sandbox")
assert codejail.is_configured("python") and codejail.COMMANDS["python"]["user"] == "sandbox"
"""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JAILFLEET")}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)

    def test_it_is_configured_from_the_start_where_the_environment_names_a_broker(self):
        code = "import jailfleet.codejail as c, sys; sys.exit(c.is_configured('python'))"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("JAILFLEET")}
        for more, known in ({}, 0), ({"JAILFLEET__AMQP__URI": "amqp://b"}, 1):
            ended = subprocess.run([sys.executable, "-c", code], env={**clean, **more})
            self.assertEqual(ended.returncode, known)

    def test_calls_go_to_the_interactive_lane_unless_somebody_says_otherwise(self):
        self.addCleanup(_fleet._CONNECTION.change, _fleet.Fleet())
        self.addCleanup(codejail.COMMANDS.pop, "python", None)
        codejail.connect("amqp://b", window=3)
        self.assertEqual(_fleet.fleet().settings.lane, "interactive")
        codejail.connect("amqp://b", lane="bulk")
        self.assertEqual(_fleet.fleet().settings.lane, "bulk")
        with mock.patch.dict(os.environ, {"JAILFLEET__PRODUCER__LANE": "bulk"}):
            self.assertEqual(_fleet.call_settings().lane, "bulk")

    def test_a_broker_and_single_settings_exclude_each_other(self):
        with self.assertRaises(TypeError):
            codejail.connect(uri="amqp://b", settings=object())


class Newer(unittest.TestCase):
    """A worker that is newer tells an outcome that is not known here."""

    def test_what_it_says_is_trouble_of_the_fleet_and_never_a_status_or_a_verdict(self):
        golden = Path(__file__).parents[3] / "tests/golden/newer/results/new-outcome.json"
        client = mock.Mock()
        client.run.return_value = read_result(golden.read_bytes(), None, 1 << 20)
        for patch in (
            mock.patch.dict(codejail.COMMANDS, {"python": {}}),
            mock.patch.object(_fleet._CONNECTION, "client", return_value=client),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        sent = {"code": "", "globals_dict": {}}
        for call in (
            lambda: codejail.jail_code("python", code=""),
            lambda: codejail.safe_exec("", {}),
            lambda: codejail.send_safe_exec_request_v0(sent),
        ):
            with self.assertRaisesRegex(FleetFault, "network_limit"):
                call()
        self.assertEqual(client.run.call_count, 3)


class Settings(unittest.TestCase):
    """What codejail's tests of its Django integration assert."""

    def setUp(self):
        for held in (codejail.COMMANDS, codejail.LIMITS, codejail.LIMIT_OVERRIDES):
            patch = mock.patch.dict(held)
            patch.start()
            self.addCleanup(patch.stop)
        codejail.COMMANDS.clear()
        codejail.LIMIT_OVERRIDES.clear()
        codejail.LIMITS.clear()
        codejail.LIMITS.update(codejail.DEFAULT_LIMITS)

    def test_without_settings_nothing_is_configured_and_the_defaults_hold(self):
        codejail.apply_django_settings({})
        self.assertFalse(codejail.is_configured("python"))
        self.assertEqual(codejail.get_effective_limits(), codejail.DEFAULT_LIMITS)
        self.assertEqual(codejail.get_effective_limits("course"), codejail.DEFAULT_LIMITS)

    def test_a_command_is_configured_with_its_path_and_user(self):
        codejail.apply_django_settings({"python_bin": "/a/bin/python", "user": "sandbox"})
        self.assertEqual(
            codejail.COMMANDS["python"],
            {"cmdline_start": ["/a/bin/python", "-E", "-B"], "user": "sandbox"},
        )
        with self.assertRaises(KeyError):
            codejail.apply_django_settings({"python_bin": "/a/bin/python"})

    def test_limits_are_laid_over_the_defaults(self):
        codejail.apply_django_settings({"limits": {"CPU": 5, "REALTIME": 6}})
        self.assertEqual(
            codejail.get_effective_limits(), {**codejail.DEFAULT_LIMITS, "CPU": 5, "REALTIME": 6}
        )

    def test_overrides_hold_in_their_context_and_that_of_proxy_is_ignored(self):
        with self.assertLogs("codejail", "ERROR"):
            codejail.apply_django_settings(
                {
                    "limits": {"CPU": 5, "PROXY": 0},
                    "limit_overrides": {"course": {"CPU": 9, "VMEM": 7, "PROXY": 1}},
                }
            )
        self.assertEqual(codejail.get_effective_limits("course")["CPU"], 9)
        self.assertEqual(codejail.get_effective_limits("course")["VMEM"], 7)
        self.assertEqual(codejail.get_effective_limits("course")["PROXY"], 0)
        self.assertEqual(codejail.get_effective_limits("other"), codejail.get_effective_limits())

    def test_the_middleware_applies_the_settings_and_is_not_used(self):
        try:
            from django.conf import settings
            from django.core.exceptions import MiddlewareNotUsed
        except ImportError:
            self.skipTest("no Django beside this Python")
        from jailfleet.codejail.django_integration import ConfigureCodeJailMiddleware

        if not settings.configured:
            settings.configure(CODE_JAIL={"limits": {"CPU": 8}})
        with self.assertRaises(MiddlewareNotUsed):
            ConfigureCodeJailMiddleware(None)
        self.assertEqual(codejail.LIMITS["CPU"], 8)
