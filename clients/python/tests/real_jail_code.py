"""jail_code does what codejail's own tests of it assert, each here under the name of its behaviour."""

import json
import logging
import os
import signal
import tempfile
import textwrap
from pathlib import Path

import jailfleet.codejail as codejail
from jailfleet import JobRejected
from jailfleet.codejail import jail_code, set_limit
from tests.support import PATIENCE_S, OnFleet

ALL_LETTERS = "".join(chr(number) for number in range(256))


def python(code, **given):
    """Runs code as codejail's tests do."""
    return jail_code("python", code=textwrap.dedent(code), **given)


class Jail(OnFleet):
    def setUp(self):
        super().setUp()
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.here = Path(holder.name)

    def assert_ok(self, result):
        self.assertEqual((result.stderr, result.status), (b"", 0))

    def assert_killed(self, result, status):
        self.assertEqual((result.stdout, result.status), (b"", status))


class Features(Jail):
    def test_hello_world(self):
        result = python("print('Hello, world!')")
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"Hello, world!\n")

    def test_argv_arrives_intact(self):
        result = python(
            "import sys; print(':'.join(sys.argv[1:]))",
            argv=["Hello", "world", "-x", "", "a b"],
            slug="a slug",
        )
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"Hello:world:-x::a b\n")

    def test_code_that_ends_with_an_exception_leaves_its_traceback(self):
        result = python("raise Exception('FAIL')")
        self.assertNotEqual(result.status, 0)
        self.assertEqual(result.stdout, b"")
        self.assertRegex(
            result.stderr.decode(),
            r'^Traceback \(most recent call last\):\n  File "(/.*/)?jailed_code", line 1, in <module>\n'
            r"(.*\n)+Exception: FAIL\n$",
        )

    def test_stdin_is_provided(self):
        code = "import json, sys; print(sum(json.load(sys.stdin)))"
        result = python(code, stdin="[1, 2.5, 33]")
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"36.5\n")

    def test_stdin_can_be_large_and_binary(self):
        set_limit("REALTIME", 10)
        result = python("import sys; print(sum(sys.stdin.buffer.read()))", stdin=ALL_LETTERS * 10_000)
        self.assert_ok(result)
        self.assertEqual(int(result.stdout), sum(ALL_LETTERS.encode()) * 10_000)

    def test_stdout_can_be_large_and_binary(self):
        set_limit("REALTIME", 10)
        result = python("print(''.join(chr(i) for i in range(256)) * 10000, end='')")
        self.assert_ok(result)
        self.assertEqual(result.stdout, (ALL_LETTERS * 10_000).encode())

    def test_stderr_can_be_large_and_binary(self):
        set_limit("REALTIME", 10)
        result = python(
            "import sys; sys.stderr.write(''.join(chr(i) for i in range(256)) * 10000); print('OK!')"
        )
        self.assertEqual((result.status, result.stdout), (0, b"OK!\n"))
        self.assertEqual(result.stderr, (ALL_LETTERS * 10_000).encode())

    def test_files_are_copied_under_their_last_name(self):
        (self.here / "hello.txt").write_text("Hello there.")
        result = python("print(repr(open('hello.txt').read()))", files=[str(self.here / "hello.txt")])
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"'Hello there.'\n")

    def test_directories_are_copied_and_the_working_directory_holds_nothing_else(self):
        (self.here / "pylib").mkdir()
        (self.here / "pylib" / "module.py").write_text("const = 42")
        (self.here / "hello.txt").write_text("x")
        result = python(
            """\
            import os
            print(sorted(os.listdir(".")), sorted(os.listdir("pylib")))
            import pylib.module; print(pylib.module.const)
            """,
            files=[self.here / "hello.txt", self.here / "pylib"],
        )
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"['hello.txt', 'jailed_code', 'pylib', 'tmp'] ['module.py']\n42\n")

    def test_a_copied_file_is_executed_where_there_is_no_code(self):
        (self.here / "run.py").write_text("import sys; print(sys.argv)")
        result = jail_code("python", files=[self.here / "run.py"], argv=["run.py", "hello", "world"])
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"['run.py', 'hello', 'world']\n")

    def test_extra_files_are_executed_and_read_and_nothing_else_is_there(self):
        run = b"import os; print(sorted(os.listdir('.'))); print(list(open('also.txt', 'rb').read()))"
        result = jail_code(
            "python",
            extra_files=[("run.py", run), ("also.txt", b"also \xff\n")],
            argv=["run.py"],
        )
        self.assert_ok(result)
        self.assertEqual(
            result.stdout.decode(), f"['also.txt', 'run.py', 'tmp']\n{list(b'also ' + bytes([255, 10]))}\n"
        )

    def test_temporary_files_of_every_kind_are_removed_and_the_run_is_well(self):
        set_limit("FSIZE", 1000)
        for _ in range(4):  # More than there are slots: one of them comes again.
            result = python(
                """\
                import os, shutil, tempfile
                tmp = os.environ["TMPDIR"]
                print(sorted(os.listdir(tmp)))
                os.makedirs(tmp + "/one/.two")
                for name in ("one/three", "one/.two/four", ".five"):
                    open(tmp + "/" + name, "w").close()
                    os.chmod(tmp + "/" + name, 0)
                """
            )
            self.assert_ok(result)
            self.assertEqual(result.stdout, b"[]\n")

    def test_a_run_is_logged_by_its_slug(self):
        with self.assertLogs("codejail", logging.INFO) as said:
            result = python("0", slug="HELLO")
        self.assert_ok(result)
        self.assertRegex(
            said.output[0], "Preparing to execute jailed code 'HELLO' .*resource limits = {'CPU': 1"
        )
        self.assertRegex(said.output[1], f"Executed jailed code HELLO on .*, as job {result.result.job_id}")

    def test_a_run_without_a_slug_is_not_logged(self):
        with self.assertLogs("codejail", logging.INFO) as said:
            python("0")
            logging.getLogger("codejail").info("something has to be")
        self.assertEqual(len(said.output), 1)

    def test_any_slug_does_no_harm(self):
        for slug in ("a\nb\x00c", "é" * 300, "\ud800", " "):
            self.assert_ok(python("0", slug=slug))

    def test_an_unconfigured_command_is_told_as_codejail_tells_it(self):
        with self.assertRaises(Exception) as raised:
            jail_code("cobol", code="")
        self.assertIs(type(raised.exception), Exception)
        self.assertEqual(str(raised.exception), "jail_code needs to be configured for 'cobol'")

    def test_other_languages_run_by_the_name_of_their_runtime(self):
        codejail.configure("bash", "/bin/bash", user="sandbox")
        self.addCleanup(codejail.COMMANDS.pop, "bash")
        result = jail_code("bash", code='echo "$1"', argv=["hi"])
        self.assertEqual((result.stdout, result.status), (b"hi\n", 0))


class Limits(Jail):
    GREEDY = "print(len(bytearray(100000000)))"

    def test_too_much_memory_is_a_memory_error(self):
        set_limit("VMEM", 80_000_000)
        result = python(self.GREEDY)
        self.assertEqual((result.stdout, result.status), (b"", 1))
        self.assertIn(b"MemoryError", result.stderr)

    def test_a_higher_vmem_limit_lets_the_same_code_pass(self):
        set_limit("VMEM", 160_000_000)
        result = python(self.GREEDY)
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"100000000\n")

    def test_without_a_vmem_limit_memory_is_bounded_by_the_ceiling_alone(self):
        set_limit("VMEM", 0)
        self.assertEqual(python("print(len(bytearray(50000000)))").stdout, b"50000000\n")

    def test_too_much_cpu_time_ends_with_sigxcpu(self):
        set_limit("CPU", 1)
        set_limit("REALTIME", 10)
        result = python("total = 0\nwhile True: total += 1")
        self.assert_killed(result, -signal.SIGXCPU)
        self.assertEqual((result.stderr, result.result.outcome), (b"", "cpu_limit"))

    def test_too_much_time_ends_with_sigkill_and_is_logged(self):
        set_limit("REALTIME", 1)
        with self.assertLogs("codejail", logging.WARNING) as said:
            result = python("import time; time.sleep(1.5); print('Done!')")
        self.assert_killed(result, -signal.SIGKILL)
        self.assertEqual(result.result.outcome, "wall_limit")
        self.assertRegex(said.output[0], r"Killed the job \S+ on \S+, ran too long: \d+\.\ds")

    def test_a_child_that_leaves_the_session_does_not_outlast_the_time_limit(self):
        set_limit("REALTIME", 1)
        result = python("import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(30)\ntime.sleep(30)")
        self.assert_killed(result, -signal.SIGKILL)
        self.assertLess(result.result.usage["wall_ms"], 5000)

    def test_a_higher_realtime_limit_lets_the_same_code_pass(self):
        set_limit("REALTIME", 3)
        self.assertEqual(python("import time; time.sleep(1.5); print('Done!')").stdout, b"Done!\n")

    def test_a_realtime_limit_of_zero_is_the_ceiling(self):
        set_limit("REALTIME", 0)
        result = python("import time; time.sleep(1.5); print('Done!')")
        self.assertEqual((result.stdout, result.result.limits["wall_ms"]), (b"Done!\n", 120_000))

    def test_memory_and_output_without_end_are_a_kill_whose_outcome_says_why(self):
        set_limit("CPU", 10)
        set_limit("REALTIME", 20)
        for code, outcome in (
            ("kept = []\nwhile True: kept.append(bytearray(10_000_000))", "memory_limit"),
            ("while True: print('x' * 10_000)", "output_limit"),
        ):
            result = python(code)
            self.assertEqual((result.status, result.result.outcome), (-signal.SIGKILL, outcome))
            self.assertLessEqual(len(result.stdout), 8_388_608)

    def test_an_override_applies_in_its_context_alone(self):
        codejail.override_limit("REALTIME", 3, "course")
        code = "import time; time.sleep(1.5); print('Done!')"
        self.assertEqual(python(code, limit_overrides_context="course").stdout, b"Done!\n")
        self.assertEqual(python(code, limit_overrides_context="other").status, -9)

    def test_files_cannot_be_written_beside_the_code(self):
        result = python("print('Trying')\nopen('mydata.txt', 'w')")
        self.assertNotEqual(result.status, 0)
        self.assertEqual(result.stdout, b"Trying\n")
        self.assertIn(b"ermission denied", result.stderr)

    def test_temporary_files_can_be_written(self):
        set_limit("FSIZE", 1000)
        result = python(
            """\
            import os, tempfile
            f, path = tempfile.mkstemp()
            os.write(f, b"hello"); os.close(f)
            print(open(path).read())
            """
        )
        self.assert_ok(result)
        self.assertEqual(result.stdout, b"hello\n")

    LARGE = """\
        import os, tempfile
        f, path = tempfile.mkstemp()
        print("Trying")
        with os.fdopen(f, "w") as file: file.write("x" * 6000)
        print("Done")
        """

    def test_large_temporary_files_cannot_be_written(self):
        set_limit("FSIZE", 1000)
        result = python(self.LARGE)
        self.assertNotEqual(result.status, 0)
        self.assertIn(b"File too large", result.stderr)
        self.assertNotIn(b"Done", result.stdout)

    def test_a_file_size_of_zero_lets_nothing_be_written(self):
        result = python(
            """\
            with open("tmp/empty", "w"): print("made")
            with open("tmp/full", "w") as file: file.write("x")
            """
        )
        self.assertEqual(result.stdout, b"made\n")
        self.assertIn(b"File too large", result.stderr)

    def test_many_temporary_files_cannot_be_written_either(self):
        set_limit("FSIZE", 1_000_000)
        set_limit("REALTIME", 10)
        for size, count in ((1_000_000, 250), (0, 3000)):
            result = python(
                f"""\
                import os, tempfile
                for i in range({count}):
                    f, path = tempfile.mkstemp()
                    os.write(f, b"x" * {size}); os.close(f)
                """
            )
            self.assertNotEqual(result.status, 0)
            self.assertIn(b"No space left on device", result.stderr)

    def test_what_passes_the_workers_ceiling_is_refused_and_not_lowered(self):
        set_limit("CPU", 10_000)
        with self.assertRaisesRegex(JobRejected, "above_ceiling.*cpu_ms"):
            python("0")

    def test_forks_are_limited(self):
        set_limit("NPROC", 1)
        result = python("print('Forking')\nimport os\nos.fork()")
        self.assertNotEqual(result.status, 0)
        self.assertIn(b"BlockingIOError", result.stderr)

    def test_proxy_is_taken_and_changes_nothing(self):
        set_limit("PROXY", 1)
        self.assertEqual(python("print(1)").stdout, b"1\n")
        with self.assertLogs("codejail", logging.ERROR):
            codejail.override_limit("PROXY", 0, "course")
        self.assertEqual(codejail.get_effective_limits("course")["PROXY"], 1)


class Walls(Jail):
    def denied(self, code, words, **given):
        result = python(code, **given)
        self.assertNotEqual(result.status, 0)
        self.assertIn(words, result.stderr.decode())
        return result

    def test_the_network_cannot_be_used_by_name(self):
        set_limit("REALTIME", 10)
        code = "import urllib.request as u; print(len(u.urlopen('http://example.com').read()))"
        self.denied(code, "URLError")

    def test_the_network_cannot_be_used_by_address(self):
        code = "import urllib.request as u; print(len(u.urlopen('http://216.239.32.21').read()))"
        self.denied(code, "URLError")

    def test_variables_of_the_caller_are_not_seen(self):
        os.environ["HONEY_BOO_BOO"] = "Look!"
        self.addCleanup(os.environ.pop, "HONEY_BOO_BOO")
        result = python("import os; print('HONEY_BOO_BOO' in os.environ)")
        self.assertEqual(result.stdout, b"False\n")

    def test_random_numbers_can_be_read_and_an_endless_read_is_ended(self):
        result = python("print(len(open('/dev/urandom', 'rb').read(10)))")
        self.assertEqual(result.stdout, b"10\n")
        set_limit("VMEM", 100_000_000)
        result = python("open('/dev/urandom', 'rb').read()")
        self.assertNotEqual(result.status, 0)

    def links(self):
        (self.here / "outside.txt").write_text("outside")
        inside = self.here / "copied"
        inside.mkdir()
        (inside / "here.txt").write_text("012345")
        (inside / "link.txt").symlink_to("here.txt")
        (inside / "herelink.txt").symlink_to(self.here / "outside.txt")
        return inside

    def test_links_in_directories_do_not_copy_what_is_outside_and_inner_ones_work(self):
        result = python(
            "print(open('copied/link.txt').read())\nopen('copied/herelink.txt')", files=[self.links()]
        )
        self.assertEqual(result.stdout, b"012345\n")
        self.assertNotEqual(result.status, 0)
        self.assertIn(b"FileNotFoundError", result.stderr)

    def test_links_among_the_files_do_not_copy_what_is_outside(self):
        inside = self.links()
        result = python(
            "print(open('here.txt').read())\nprint(open('link.txt').read())\nopen('herelink.txt')",
            files=[inside / name for name in ("here.txt", "link.txt", "herelink.txt")],
        )
        self.assertEqual(result.stdout, b"012345\n012345\n")
        self.assertIn(b"FileNotFoundError", result.stderr)

    def test_a_crash_of_the_interpreter_is_the_runs_own(self):
        result = python("import ctypes; ctypes.string_at(0)")
        self.assertEqual((result.status, result.result.outcome), (-signal.SIGSEGV, "signaled"))

    def test_the_password_file_cannot_be_read(self):
        for path in ("/etc/passwd", "/etc/hosts", "/proc/1/cmdline"):
            self.denied(f"open({path!r}).read()", f"PermissionError: [Errno 13] Permission denied: '{path}'")

    def test_other_sandboxes_cannot_be_found(self):
        for path in ("..", "/tmp", "/", "/etc", "/proc"):
            self.denied(f"import os; os.listdir({path!r})", "PermissionError: [Errno 13]")
        for path in ("/home", "/var"):
            result = python(f"import os; os.listdir({path!r})")
            self.assertNotEqual(result.status, 0)

    def test_the_environment_is_clean(self):
        names = json.loads(python("import json, os; print(json.dumps(sorted(os.environ)))").stdout)
        self.assertFalse([name for name in names if name.startswith(("SUDO_", "JAILFLEET", "PYTHON"))])
        self.assertIn("TMPDIR", names)


class Profiles(Jail):
    def test_with_profiles_the_workers_know_the_limits_and_not_the_caller(self):
        codejail.connect(limits="profiles", profiles={"course": "short"}, wait_s=PATIENCE_S)
        self.addCleanup(codejail.connect, wait_s=PATIENCE_S)
        set_limit("REALTIME", 60)
        result = python("import time; time.sleep(20)", limit_overrides_context="course")
        self.assert_killed(result, -signal.SIGKILL)
        self.assertEqual(result.result.limits["profile"], "short")
        self.assert_ok(python("0", limit_overrides_context="unknown"))
        self.assert_ok(python("0"))
