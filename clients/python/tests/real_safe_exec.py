"""safe_exec does what codejail's own tests of it assert, each here under the name of its behaviour."""

import datetime
import io
import json
import logging
import os
import signal
import tempfile
import textwrap
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import jailfleet.codejail as codejail
from jailfleet import NoResult
from jailfleet.codejail import SafeExecException, _fleet, json_safe, not_safe_exec, safe_exec, set_limit
from jailfleet.codejail import jail_code as jail_module
from tests.support import PATIENCE_S, OnFleet, channel


def executed(code, **given):
    """What code leaves of globals that begin empty."""
    names = {}
    safe_exec(textwrap.dedent(code), names, **given)
    return names


class Execution(OnFleet):
    def setUp(self):
        super().setUp()
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.here = Path(holder.name)

    def test_values_that_are_set_come_back(self):
        self.assertEqual(executed("a = 17"), {"a": 17})

    def test_globals_of_every_kind_are_given_as_json_has_them(self):
        names = {
            b"bytes": {b"k": [b"v", (1, 2)], 3: 4},
            "bad": b"\xff",
            "object": object(),
            "nan": float("inf"),
        }
        safe_exec("kinds = str(bytes); seen = sorted(k for k in globals() if k[0] != '_')", names)
        self.assertEqual(names["kinds"], "{'k': ['v', [1, 2]], '3': 4}")
        self.assertEqual(names["seen"], ["bytes", "kinds", "nan"])
        self.assertEqual(names["nan"], float("inf"))

    def test_a_global_that_the_code_deletes_keeps_its_old_value(self):
        names = {"a": 1, "b": 2}
        safe_exec("del a; b = 3", names)
        self.assertEqual(names, {"a": 1, "b": 3})

    def test_the_dictionary_is_changed_in_place_and_what_json_cannot_say_stays_as_it_was(self):
        inner, thing = [1], object()
        names = {"inner": inner, "thing": thing}
        safe_exec("inner.append(2)", names)
        self.assertEqual((names["inner"], inner), ([1, 2], [1]))
        self.assertIs(names["thing"], thing)

    def test_files_are_copied(self):
        (self.here / "hello.txt").write_text("Hello there.")
        left = executed("a = 'Look: ' + open('hello.txt').read()", files=[self.here / "hello.txt"])
        self.assertEqual(left["a"], "Look: Hello there.")

    def test_a_directory_of_python_path_can_be_imported_from(self):
        (self.here / "lib").mkdir()
        (self.here / "lib" / "module.py").write_text("const = 42")
        left = executed("import module; a = module.const", python_path=[str(self.here / "lib")])
        self.assertEqual(left, {"a": 42})

    def test_functions_call_each_other(self):
        left = executed("def f(): return 1723\ndef g(): return f()\nx = g()")
        self.assertEqual(left, {"x": 1723})

    def test_printing_when_you_should_not_does_no_harm(self):
        self.assertEqual(executed("print('hi'); a = 17"), {"a": 17})

    def test_a_large_package_can_be_poured_into_the_globals(self):
        set_limit("REALTIME", 10)
        set_limit("CPU", 10)
        codejail.connect(runtimes={"python": "python-numpy"}, wait_s=PATIENCE_S)
        self.addCleanup(codejail.connect, wait_s=PATIENCE_S)
        left = executed("import os\nos.environ['OPENBLAS_NUM_THREADS'] = '1'\nfrom numpy import *\na = 1723")
        self.assertEqual(left["a"], 1723)
        self.assertAlmostEqual(left["pi"], 3.14159, 4)

    def test_an_exception_is_a_safe_exec_exception_with_its_words(self):
        with self.assertRaises(SafeExecException) as raised:
            executed('raise ValueError("That\'s not how you pour soup!")')
        self.assertRegex(str(raised.exception), r"ValueError: That\\?'s not how you pour soup!")
        self.assertTrue(
            str(raised.exception).startswith("Couldn't execute jailed code: stdout: b'', stderr: b")
        )
        self.assertTrue(str(raised.exception).endswith(" with status code: 1"))
        self.assertEqual(raised.exception.result.outcome, "exited")

    def test_globals_are_as_they_were_after_an_exception(self):
        names = {"a": [1]}
        with self.assertRaises(SafeExecException):
            safe_exec("a.append(2); b = 1; 1/0", names)
        self.assertEqual(names, {"a": [1]})

    def test_a_run_that_takes_too_long_has_the_words_that_graders_compare(self):
        for code in ("import time; time.sleep(5)", "print('out', flush=True)\nimport time; time.sleep(5)"):
            with self.assertRaises(SafeExecException) as raised:
                executed(code)
            self.assertEqual(
                str(raised.exception),
                "Couldn't execute jailed code: stdout: b'', stderr: b'' with status code: -9",
            )

    def test_too_much_cpu_time_has_the_words_that_graders_compare(self):
        set_limit("REALTIME", 10)
        with self.assertRaisesRegex(SafeExecException, "stdout: b'', stderr: b'' with status code: -24$"):
            executed("while True: pass")

    def test_sys_exit_with_a_code_is_that_status_and_with_zero_an_unreadable_output(self):
        with self.assertRaisesRegex(SafeExecException, "stderr: b'' with status code: 3$"):
            executed("import sys; sys.exit(3)")
        with self.assertRaises(json.JSONDecodeError) as raised:
            executed("import sys; sys.exit(0)")
        self.assertEqual(str(raised.exception), "Expecting value: line 1 column 1 (char 0)")

    def test_extra_files_arrive_byte_for_byte(self):
        left = executed(
            "text = open('extra.txt').read(); data = list(open('extra.dat', 'rb').read())",
            extra_files=[("extra.txt", b"I'm extra!\n"), ("extra.dat", b"\x01\xff\x02\xfe")],
        )
        self.assertEqual((left["text"], left["data"]), ("I'm extra!\n", [1, 255, 2, 254]))

    def test_an_extra_file_that_is_a_zip_can_be_imported_from(self):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("zipped_module1.py", "const = 17")
            archive.writestr("zipped_module2.py", "import zipped_module1; const = 2 * zipped_module1.const")
        left = executed(
            "import zipped_module2 as m; a = m.const",
            python_path=["extra.zip"],
            extra_files=[("extra.zip", packed.getvalue())],
        )
        self.assertEqual(left, {"a": 34})

    def test_text_of_any_language_survives(self):
        names = {"ключ": "значение", "鍵": ["値", "\U0001f600"]}
        safe_exec("ñ = ключ + '\U0001f600'", names)
        self.assertEqual(names["ñ"], "значение\U0001f600")

    def test_each_half_of_a_surrogate_pair_does_no_harm_as_a_value_and_as_a_key(self):
        halves = [chr(number) for number in range(0xD800, 0xE000)]
        names = {"values": list(halves), **{half: half for half in halves}}
        safe_exec("same = all(globals()[half] == half for half in values)", names)
        self.assertTrue(names["same"])
        self.assertEqual(names["values"], halves)

    def test_half_a_surrogate_pair_in_the_code_is_the_codes_failure(self):
        with self.assertRaisesRegex(SafeExecException, "SyntaxError|UnicodeError"):
            executed("a = '\ud800'")

    def test_special_numbers_survive(self):
        names = {"nan": float("nan"), "huge": 10**4000, "inf": [float("-inf")]}
        safe_exec("nan2 = nan; huge += 1", names)
        self.assertNotEqual(names["nan2"], names["nan2"])
        self.assertEqual((names["huge"], names["inf"]), (10**4000 + 1, [float("-inf")]))


class Configuration(OnFleet):
    def test_without_configuration_it_is_told_as_codejail_tells_it(self):
        with mock.patch.dict(jail_module.COMMANDS, clear=True):
            with self.assertRaises(RuntimeError) as raised:
                safe_exec("a = 17", {})
            self.assertEqual(str(raised.exception), "safe_exec has not been configured for Python")

    def test_always_be_unsafe_goes_to_not_safe_exec_with_the_same_arguments_and_that_refuses(self):
        module = safe_exec
        given = {
            "files": ["f"],
            "python_path": ["p"],
            "limit_overrides_context": "c",
            "slug": "s",
            "extra_files": [("e", b"")],
        }
        always = mock.patch.object(module, "ALWAYS_BE_UNSAFE", True)
        unsafe = mock.patch.object(module, "not_safe_exec")
        asked = mock.patch.object(jail_module, "is_configured")
        with always, unsafe as called, asked as was_asked:
            safe_exec("a = 17", {}, **given)
        called.assert_called_once_with("a = 17", {}, **given)
        was_asked.assert_not_called()
        with always, self.assertRaisesRegex(RuntimeError, "without a jail"):
            safe_exec("a = 17", {})

    def test_not_safe_exec_runs_nothing(self):
        names = {}
        with self.assertRaisesRegex(RuntimeError, "without a jail"):
            not_safe_exec("a = 17", names)
        self.assertEqual(names, {})

    def test_a_call_waits_for_a_free_slot_as_long_as_it_was_told(self):
        codejail.connect(pool="python-tests", wait_s=0.2)
        self.addCleanup(codejail.connect, wait_s=PATIENCE_S)
        with channel() as beside, mock.patch.object(_fleet, "TRAVEL_S", 0.1):
            queue = beside.queue_declare("", exclusive=True).method.queue
            beside.queue_bind(queue, "jailfleet.jobs", "python-tests.interactive")
            before = datetime.datetime.now(datetime.timezone.utc)
            # It waits for a slot, then for the run, then for the way back.
            with self.assertRaisesRegex(NoResult, "within 1.3 s"):
                executed("a = 17")
            _, _, body = beside.basic_get(queue, auto_ack=True)
        deadline = datetime.datetime.fromisoformat(json.loads(body)["deadline"].replace("Z", "+00:00"))
        self.assertAlmostEqual((deadline - before).total_seconds(), 0.2, delta=PATIENCE_S / 2)

    def test_code_is_logged_when_somebody_asks_for_it(self):
        asked = mock.patch.object(safe_exec, "LOG_ALL_CODE", True)
        with asked, self.assertLogs("codejail", logging.DEBUG) as said:
            executed("a = 17")
        self.assertIn("a = 17", said.output[0])


class JsonSafe(unittest.TestCase):
    def test_bytes_are_decoded_keys_become_strings_and_tuples_lists(self):
        given = {b"foo": b"bar", "dict": {1: b"x", b"y": (1, (2,))}, None: True, 7: 1.5}
        self.assertEqual(
            json_safe(given), {"foo": "bar", "dict": {"1": "x", "y": [1, [2]]}, "null": True, "7": 1.5}
        )

    def test_an_entry_whose_key_is_no_text_is_dropped(self):
        self.assertEqual(json_safe({b"\xff": 1, "a": {b"\xff": 1}, "b": 2}), {"b": 2})

    def test_an_entry_whose_value_is_no_text_is_dropped(self):
        self.assertEqual(json_safe({"a": b"\xff", "b": [[b"\xff"]], "c": 2}), {"c": 2})

    def test_what_json_cannot_say_is_dropped_whole(self):
        circle = []
        circle.append(circle)
        given = {"f": len, "n": [object()], "s": {1}, "circle": circle, "__builtins__": {}, "long": 10**5000}
        self.assertEqual(json_safe({**given, "a": 1}), {"a": 1})


class Processes(OnFleet):
    def test_a_fork_of_the_caller_has_a_connection_of_its_own(self):
        self.assertEqual(executed("a = 1"), {"a": 1})
        # As where another thread of the caller's is about to connect: in the child it holds it for ever.
        _fleet._CONNECTION._lock.acquire()
        child = os.fork()
        if child != 0:
            _fleet._CONNECTION._lock.release()
        else:
            try:
                signal.alarm(int(PATIENCE_S))
                right = executed("a = 2") == {"a": 2}
                codejail.close()
                os._exit(0 if right else 1)
            finally:
                os._exit(2)
        self.assertEqual(executed("a = 3"), {"a": 3})
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(executed("a = 4"), {"a": 4})
