"""The gateway as the platform speaks to it: by `requests`, in both encodings, with packages behind it."""

import io
import json
import math
import os
import subprocess
import unittest
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

import jailfleet.codejail as codejail
from tests.generated import COUNT, SEED, calls, outcome, said, same_about
from tests.support import PATIENCE_S, settings, wait_until

SERVE = os.environ.get("JAILFLEET_PYTHON_GATEWAY", "")
#: The platform's own, but for a machine that is busy with other tests.
TIMEOUT = (0.5, PATIENCE_S)


def library():
    """A course's python_lib.zip, as the platform hands it to `requests`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("course_lib.py", "def triple(x): return x * 3\n")
    return [("python_lib.zip", packed.getvalue())]


class Gateway(unittest.TestCase):
    """A gateway of the tests' own, before the fleet that runs already."""

    @classmethod
    def setUpClass(cls):
        settings()
        words = [SERVE, "serve", "--listen", "127.0.0.1:0"]
        for setting in (
            "serve.admin_listen=127.0.0.1:0",
            "serve.runtime=python-numpy",
            "serve.profile=course",
            f"serve.read_timeout_ms={int(PATIENCE_S * 1000)}",
        ):
            words += ["--set", setting]
        cls.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.process.stderr.close)
        cls.addClassCleanup(cls.stop)
        said = cls.process.stderr.readline()
        cls.host = "http://" + said.split("http://")[1].split(",")[0]
        wait_until("the safety checks", lambda: requests.get(f"{cls.host}/health/").ok)

    @classmethod
    def stop(cls):
        cls.process.terminate()
        if cls.process.wait(PATIENCE_S) != 0:
            raise AssertionError(f"the gateway ended with {cls.process.returncode}")

    def call(self, code, names=None, files=None, **given):
        """What the platform's client does with a call."""
        data = {
            "code": code,
            "globals_dict": {} if names is None else names,
            "python_path": [],
            "limit_overrides_context": "course-v1:Org+Any+2026",
            "slug": "block-v1:Org+Any+2026+type@problem+block@1",
            "unsafely": False,
            **given,
        }
        url = f"{self.host}/api/v0/code-exec"
        said = requests.post(url, files=files, data={"payload": json.dumps(data)}, timeout=TIMEOUT)
        said.raise_for_status()
        self.assertEqual(said.headers["Content-Type"], "application/json")
        return said.json()

    def left(self, code, names=None, files=None, **given):
        """The globals of code that ends well."""
        answer = self.call(code, names, files, **given)
        self.assertEqual(list(answer), ["globals_dict"], answer)
        return answer["globals_dict"]


class Encodings(Gateway):
    def test_without_a_library_requests_sends_a_form_and_with_one_a_multipart_form(self):
        for files in (None, []):
            self.assertEqual(self.left("y = x + 1", {"x": 16}, files), {"x": 16, "y": 17})
        given = {"python_path": ["python_lib.zip"]}
        left = self.left("import course_lib; x = course_lib.triple(7)", {}, library(), **given)
        self.assertEqual(left, {"x": 21})

    def test_values_that_json_hardly_says_survive_in_both(self):
        names = {
            "nan": math.nan,
            "inf": [math.inf, -math.inf],
            "huge": 10**400,
            "half": "\ud800",
            "é": "鍵 \U0001f600",
        }
        for files in (None, library()):
            left = self.left("huge += 1; half += 'x'", dict(names), files)
            self.assertEqual(left["huge"], 10**400 + 1)
            self.assertEqual((left["half"], left["é"], left["inf"]), ("\ud800x", names["é"], names["inf"]))
            self.assertTrue(math.isnan(left["nan"]))

    def test_a_failure_brings_the_globals_back_and_a_message_in_both(self):
        for files in (None, library()):
            answer = self.call("x.append(2); 1/0", {"x": [1]}, files)
            self.assertEqual(answer["globals_dict"], {"x": [1]})
            self.assertTrue(
                answer["emsg"].startswith("Couldn't execute jailed code: stdout: b'', stderr: b'Tra")
            )
            self.assertTrue(
                answer["emsg"].endswith("ZeroDivisionError: division by zero\\n' with status code: 1")
            )

    def test_a_refusal_is_a_status_that_requests_raises_for(self):
        for files in (None, [("/tmp/test.txt", b"x")]):
            with self.assertRaises(requests.HTTPError) as raised:
                self.call("x = 1", {}, files, unsafely=True)
            self.assertEqual(raised.exception.response.status_code, 400)

    def test_one_session_makes_many_calls(self):
        with requests.Session() as session:
            for number in range(10):
                payload = json.dumps({"code": "n += 1", "globals_dict": {"n": number}})
                said = session.post(
                    f"{self.host}/api/v0/code-exec", data={"payload": payload}, timeout=TIMEOUT
                )
                self.assertEqual(said.json(), {"globals_dict": {"n": number + 1}})


class Packages(Gateway):
    """What the service's own live tests import, under codejail's limits: see the profile in worker.toml."""

    def test_networkx_works(self):
        left = self.left("import networkx as nx\nn = nx.path_graph(5).number_of_edges()\ndel nx")
        self.assertEqual(left["n"], 4)

    def test_numpy_works_and_its_numbers_come_back_where_they_are_pythons(self):
        code = "import numpy as np\na = np.array([1, 2, 3])\nlist = a.tolist()\nmean = np.float64(a.mean())"
        self.assertEqual(self.left(code), {"list": [1, 2, 3], "mean": 2.0})

    def test_a_plot_of_matplotlib_is_saved_in_tmp(self):
        # The platform says so in front of each problem, and the older service's users do without.
        for prolog in ("", "import os\nos.environ['MPLCONFIGDIR'] = os.environ['TMPDIR']\n"):
            code = (
                f"{prolog}import matplotlib.pyplot as plt\nplt.plot([1, 2, 4])\nplt.savefig('tmp/plot.png')\n"
                "kind = open('tmp/plot.png', 'rb').read()[1:4].decode()\nprolog = ''"
            )
            self.assertEqual(self.left(code)["kind"], "PNG")

    def test_random_numbers_are_those_of_the_platforms_generator(self):
        code = "import random2\nr = random2.Random(5)\nseen = [r.random() for _ in range(3)]"
        again = self.left(code)["seen"]
        self.assertEqual((len(set(again)), self.left(code)["seen"]), (3, again))


class Generated(Gateway):
    """The calls that real_beside_codejail gives to codejail, by HTTP and by the function in its place."""

    def test_generated_calls_have_the_results_of_the_function_that_codejail_is_compared_with(self):
        profiles = {"limits": "profiles", "profiles": {"a course": "course"}}
        codejail.connect(runtimes={"python": "python-numpy"}, wait_s=PATIENCE_S, **profiles)
        self.addCleanup(codejail.connect, wait_s=PATIENCE_S)
        given = calls(SEED, COUNT)

        def by_function(call):
            names = json.loads(json.dumps(call["globals"]))
            course = {"limit_overrides_context": "a course"}
            return outcome(lambda names: codejail.safe_exec(call["code"], names, **course), names)

        with ThreadPoolExecutor(4) as threads:
            ours = list(threads.map(by_function, given))
            theirs = list(threads.map(self.by_http, given))
        differ = [found for found in zip(given, ours, theirs) if found[1] != found[2]]
        self.assertEqual(differ, [])

    def by_http(self, call):
        """What the service says, in the words of the function that it calls."""
        answer = self.call(call["code"], call["globals"])
        names, emsg = said(answer["globals_dict"]), answer.get("emsg")
        if emsg is None:
            return {"globals": names}
        if emsg == "Sandboxed code produced corrupted stdout.":
            return {
                "raised": "JSONDecodeError",
                "words": "Expecting value: line 1 column 1 (char 0)",
                "globals": names,
            }
        return {"raised": "SafeExecException", "words": same_about(emsg), "globals": names}


class Away(unittest.TestCase):
    def test_a_gateway_that_is_not_there_is_a_connection_error_and_no_answer(self):
        with self.assertRaises(requests.ConnectionError):
            requests.post("http://127.0.0.1:1/api/v0/code-exec", data={"payload": "{}"}, timeout=TIMEOUT)

    def test_the_gateway_that_is_tested_is_there(self):
        self.assertTrue(Path(SERVE).is_file(), "run `cargo xtask python`")
