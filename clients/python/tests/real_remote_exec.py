"""The function that edx-platform is told to call in place of its HTTP client."""

import copy
import io
import json
import logging
import sys
import types
import zipfile
from unittest import mock

import jailfleet.codejail as codejail
from jailfleet import ConfigError, JobError, NoResult
from jailfleet.codejail.remote_exec import send_safe_exec_request_v0
from tests.support import OnFleet, channel


def request(code, names=None, **given):
    """What the platform hands over."""
    return {
        "code": code,
        "globals_dict": {} if names is None else names,
        "python_path": [],
        "limit_overrides_context": "course-v1:Org+Any+2026",
        "slug": "block-v1:Org+Any+2026+type@problem+block@1",
        "unsafely": False,
        "extra_files": None,
        **given,
    }


def library():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("course_lib.py", "def triple(x): return x * 3")
    return [("python_lib.zip", packed.getvalue())]


class Remote(OnFleet):
    def test_globals_come_back_in_place_and_nothing_is_said(self):
        names = {"x": 16, "bytes": b"b", "object": object()}
        self.assertEqual(send_safe_exec_request_v0(request("x += 1; y = bytes", names)), (None, None))
        self.assertEqual((names["x"], names["y"]), (17, "b"))

    def test_a_courses_library_is_imported_and_handed_over_once(self):
        data = request(
            "import course_lib; x = course_lib.triple(7)",
            python_path=["python_lib.zip"],
            extra_files=library(),
        )
        self.assertEqual(send_safe_exec_request_v0(data), (None, None))
        self.assertEqual(data["globals_dict"], {"x": 21})
        self.assertNotIn("extra_files", data)
        json.dumps(data)  # The platform does so after the call.

    def test_a_failure_is_returned_with_the_words_of_the_service_and_globals_stay(self):
        names = {"x": [1]}
        emsg, exception = send_safe_exec_request_v0(request("x.append(2); print('out'); 1/0", names))
        self.assertTrue(emsg.startswith("Couldn't execute jailed code: stdout: b'', stderr: b'Traceback"))
        self.assertTrue(emsg.endswith("ZeroDivisionError: division by zero\\n' with status code: 1"))
        self.assertIsInstance(exception, codejail.SafeExecException)
        self.assertEqual(str(exception), f"{emsg}. For more information check Codejail Service logs.")
        self.assertEqual(names, {"x": [1]})

    def test_sys_exit_is_a_failure_and_with_zero_a_corrupted_output(self):
        emsg, _ = send_safe_exec_request_v0(request("import sys; sys.exit(1)"))
        self.assertIn("Couldn't execute jailed code", emsg)
        self.assertNotIn("SystemExit", emsg)
        emsg, _ = send_safe_exec_request_v0(request("import sys; sys.exit(0)"))
        self.assertEqual(emsg, "Sandboxed code produced corrupted stdout.")

    def test_the_exception_is_of_the_class_that_the_platform_knows(self):
        theirs = types.ModuleType("codejail.safe_exec")
        theirs.SafeExecException = type("SafeExecException", (Exception,), {})
        with mock.patch.dict(sys.modules, {"codejail.safe_exec": theirs}):
            _, exception = send_safe_exec_request_v0(request("1/0"))
        self.assertIs(type(exception), theirs.SafeExecException)

    def test_limits_are_those_of_the_courses_profile_and_without_one_those_of_all(self):
        codejail.connect(profiles={"course-v1:Org+Slow+2026": "short"})
        self.addCleanup(codejail.connect)
        slow = request("import time; time.sleep(1)", limit_overrides_context="course-v1:Org+Slow+2026")
        emsg, _ = send_safe_exec_request_v0(slow)
        self.assertEqual(emsg, "Couldn't execute jailed code: stdout: b'', stderr: b'' with status code: -9")
        for context in ("course-v1:Org+Any+2026", None):
            fast = request("import time; time.sleep(1)", limit_overrides_context=context)
            self.assertEqual(send_safe_exec_request_v0(fast), (None, None))

    def test_what_the_service_refuses_is_refused_in_its_words(self):
        for words, given in [
            ("Only allowed entry in 'python_path' is 'python_lib.zip'", {"python_path": ["/etc"]}),
            (
                "Only allowed name for uploaded file is 'python_lib.zip'",
                {"extra_files": [("/tmp/test.txt", b"")]},
            ),
            ("Refusing codejail execution with unsafely=true", {"unsafely": True}),
        ]:
            with self.subTest(words), self.assertRaises(ConfigError) as raised:
                send_safe_exec_request_v0(request("x = 1", **given))
            self.assertEqual(str(raised.exception), words)

    def test_special_numbers_survive_in_and_out(self):
        names = {"nan": float("nan"), "inf": float("inf")}
        self.assertEqual(send_safe_exec_request_v0(request("low = -inf", names)), (None, None))
        self.assertEqual(names["low"], float("-inf"))
        self.assertNotEqual(names["nan"], names["nan"])

    def test_two_requests_have_globals_of_their_own(self):
        first = request("a = [1]")
        second = copy.deepcopy(first)
        send_safe_exec_request_v0(first)
        self.assertEqual(second["globals_dict"], {})

    def test_trouble_of_the_fleet_is_raised_and_never_returned(self):
        codejail.connect(pool="python-tests")
        self.addCleanup(codejail.connect)
        conf = types.ModuleType("django.conf")
        conf.settings = types.SimpleNamespace(configured=True, CODE_JAIL_REST_SERVICE_READ_TIMEOUT=0.3)
        with channel() as beside, mock.patch.dict(sys.modules, {"django.conf": conf}):
            queue = beside.queue_declare("", exclusive=True).method.queue
            beside.queue_bind(queue, "jailfleet.jobs", "python-tests.interactive")
            with self.assertRaises(NoResult):
                send_safe_exec_request_v0(request("x = 1"))
            _, _, body = beside.basic_get(queue, auto_ack=True)
            self.assertIn("deadline", json.loads(body))
        codejail.connect(runtimes={"python": "cobol"})
        with self.assertRaisesRegex(JobError, "unknown_runtime"):
            send_safe_exec_request_v0(request("x = 1"))

    def test_runs_are_logged_by_the_problem(self):
        with self.assertLogs("codejail", logging.INFO) as said:
            send_safe_exec_request_v0(request("x = 1"))
        self.assertIn("type@problem+block@1", said.output[1])
