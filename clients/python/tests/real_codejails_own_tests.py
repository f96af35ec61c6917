"""The tests that codejail brings along on PyPI, with our functions in the place of its own.

They run as they are, beside a package of the name ``codejail`` that holds ours. Those that fail are named
here, each for a row of the tables in docs/from-codejail.md: one more or one less is news.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from tests.support import PATIENCE_S, settings

GUIDE = Path(__file__).parents[3] / "docs/from-codejail.md"

#: A link that leads outside is not there, instead of being closed to the code.
LEFT_OUT = ("is `FileNotFoundError`", "FileNotFoundError: ")
#: What fails: words of the row that says why, and words of the failure, so that it is for no other reason.
DIFFERENT = {
    "TestFeatures.test_slugs_get_logged": ("`Executed jailed code SLUG on HOST, as job ID`", ", with PID "),
    "TestLimits.test_cant_use_too_much_time": ("`Killed the job ID on HOST`", "WARNING: Killing process"),
    "TestSymlinks.test_symlinks_in_directories_wont_copy_data": LEFT_OUT,
    "TestSymlinks.test_symlinks_wont_copy_data": LEFT_OUT,
    **{
        f"TestNotSafeExec.{name}": ("to use either is a `RuntimeError`", "does not run code without a jail")
        for name in (
            "test_complex_globals",
            "test_extra_files",
            "test_extra_files_as_pythonpath_zipfile",
            "test_files_are_copied",
            "test_functions_calling_each_other",
            "test_importing_lots_of_crap",
            "test_printing_stuff_when_you_shouldnt",
            "test_python_path",
            "test_raising_exceptions",
            "test_set_values",
        )
    },
}
#: What codejail's own run passes over, too; of the first there is a test of ours.
PASSED_OVER = {
    "TestLimits.test_cant_write_many_small_temp_files",
    "TestMalware.test_crash_cpython",
    "TestProxyProcess.test_crash_proxy",
    "TestProxyProcess.test_proxy_is_persistent",
}

STAND_IN = f"""
import sys

import jailfleet.codejail
from jailfleet.codejail import django_integration, django_integration_utils, jail_code, safe_exec

for module in (django_integration, django_integration_utils, jail_code, safe_exec):
    sys.modules["codejail." + module.__name__.rpartition(".")[2]] = module
# Six and numpy have to be in the sandbox, there as here.
jailfleet.codejail.connect(runtimes={{"python": "python-numpy"}}, wait_s={PATIENCE_S})
# A second is not enough on a machine that is busy with other tests.
jail_code.set_limit("CPU", 3)
jail_code.set_limit("REALTIME", 30)
"""
#: The names that the tests import beside these, for the log and for the proxy.
BESIDE = {"subproc.py": 'import logging\n\nlog = logging.getLogger("codejail")\n', "proxy.py": ""}


class TheirTests(unittest.TestCase):
    def outcomes(self, folder):
        """What became of codejail's tests: their names with the words of their failures."""
        theirs = Path(importlib.util.find_spec("codejail").origin).parent / "tests"
        package = folder / "codejail"
        # Without what pip compiled: they look at the folders that they copy.
        shutil.copytree(theirs, package / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        (package / "__init__.py").write_text(STAND_IN, encoding="utf-8")
        for name, text in BESIDE.items():
            (package / name).write_text(text, encoding="utf-8")
        report = folder / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
        ended = subprocess.run(
            [*words, str(package / "tests")],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        self.assertIn(ended.returncode, (0, 1), ended.stdout + ended.stderr)
        found = defaultdict(dict)
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            name = case.get("classname").rpartition(".")[2] + "." + case.get("name")
            words = "".join(child.text or "" for child in case)
            found[kinds.pop() if kinds else "passed"][name] = words
        return found, ended.stdout

    def test_codejails_own_tests_pass_but_for_those_that_the_tables_explain(self):
        settings()
        with tempfile.TemporaryDirectory() as folder:
            found, said = self.outcomes(Path(folder))
        self.assertEqual(set(found["failure"]) | set(found["error"]), set(DIFFERENT), said)
        for name, (_row, words) in DIFFERENT.items():
            self.assertIn(words, found["failure"][name])
        self.assertEqual(set(found["skipped"]), PASSED_OVER)
        self.assertGreater(len(found["passed"]), 50)
        print(
            f"of codejail's own tests {len(found['passed'])} pass, {len(found['failure'])} differ as the "
            f"tables say, {len(found['skipped'])} are passed over",
            file=sys.stderr,
        )

    def test_each_difference_has_its_row(self):
        guide = GUIDE.read_text(encoding="utf-8")
        for name, (row, _words) in DIFFERENT.items():
            with self.subTest(name):
                self.assertIn(row, guide)
