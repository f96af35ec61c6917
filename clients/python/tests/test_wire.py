"""Jobs are written and results are read as docs/wire.md says."""

import base64
import contextlib
import datetime
import hashlib
import json
import random
import re
import unittest
import uuid
from pathlib import Path

from jailfleet import Artifact, ConfigError, File, FleetFault, Job, JobRejected, LeftOut, UnreadableResult
from jailfleet.job import read_blob, write_blob
from jailfleet.result import digest_of, read_result
from jailfleet.words import CODES, DID_NOT_RUN, LEFT_OUT, RAN

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "wire.md"
GOLDEN = ROOT / "tests" / "golden"
CAP = 1 << 24


def examples(kind):
    """The examples of one kind in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(rf"^```json {kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, kind
    return [json.loads(example) for example in found]


def read_newer(name):
    return read_result((GOLDEN / f"newer/results/{name}.json").read_bytes(), None, CAP)


def body(**fields):
    message = {"v": 1, "job_id": "a", "outcome": "exited", "exit_code": 0, **fields}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


class Jobs(unittest.TestCase):
    def test_every_job_of_the_document_is_written_as_it_stands_there(self):
        for example in examples("job"):
            with self.subTest(example["id"]):
                written = json.loads(Job.from_object(example).encode(CAP))
                if not example.get("artifacts"):
                    example.pop("minor", None)
                for file in example.get("files", ()):
                    if file.get("executable") is False:
                        del file["executable"]
                self.assertEqual(written, example)

    def test_an_id_is_a_uuid_of_version_7_and_later_ones_sort_later(self):
        ids = [Job().id for _ in range(200)]
        self.assertEqual(len(set(ids)), 200)
        for text in ids:
            self.assertEqual(uuid.UUID(text).version, 7)
            self.assertEqual(uuid.UUID(text).variant, uuid.RFC_4122)
        self.assertEqual(sorted(ids, key=lambda text: text[:13]), ids)

    def test_the_shorter_encoding_of_a_blob_is_chosen_and_reads_back(self):
        chance = random.Random(1)
        for _ in range(500):
            letters = chance.choice([range(256), range(128), range(32), b'"\\\n ab'])
            value = bytes(chance.choices(letters, k=chance.randrange(40)))
            chosen = write_blob(value)
            self.assertEqual(read_blob(chosen), value)
            sizes = [len(json.dumps({"base64": base64.b64encode(value).decode()}, separators=(",", ":")))]
            with contextlib.suppress(UnicodeDecodeError):
                sizes.append(len(json.dumps(value.decode(), ensure_ascii=False).encode()))
            written = json.dumps(chosen, ensure_ascii=False, separators=(",", ":")).encode()
            self.assertEqual(len(written), min(sizes), value)

    def test_what_is_no_blob_is_refused(self):
        for value in (None, 1, {}, {"base64": "?"}, {"base64": 1}, {"base64": "", "x": 1}):
            with self.subTest(value), self.assertRaises(ConfigError):
                read_blob(value)

    def test_mistakes_are_told_before_anything_is_published(self):
        naive = datetime.datetime(2026, 1, 1)
        for words, job in [
            ("id", Job(id="a b")),
            ("id", Job(id="")),
            ("runtime", Job(runtime="Python")),
            ("pool", Job(pool="")),
            ("surrogate", Job(code="'\ud800'")),
            ("surrogate", Job(slug="\ud800")),
            ("JSON", Job(limits={"cpu_ms": float("nan")})),
            ("JSON", Job(code=7)),
            ("deadline", Job(deadline=naive)),
            ("allowed are 1000", Job(code="x" * 1000)),
        ]:
            with self.subTest(words, job=job), self.assertRaisesRegex(ConfigError, words):
                job.encode(1000)

    def test_an_object_with_an_unknown_field_is_no_job(self):
        for message in ({"v": 2}, {"minor": 2}, {"cod": ""}):
            with self.subTest(message), self.assertRaises(ConfigError):
                Job.from_object(message)

    def test_a_job_with_artifacts_says_the_minor_that_brought_them_and_no_other_does(self):
        written = json.loads(Job(code="", artifacts=["tmp/report.json", "tmp/out/"]).encode(CAP))
        self.assertEqual((written["minor"], written["artifacts"]), (1, ["tmp/report.json", "tmp/out/"]))
        self.assertNotIn("minor", json.loads(Job(code="").encode(CAP)))

    def test_a_debug_print_shows_neither_code_nor_output(self):
        job = Job(code="secret", stdin="secret", globals="secret", files=[File("a", "secret")])
        result = read_result(body(stdout="secret", stderr="secret", globals="secret"), None, CAP)
        self.assertNotIn("secret", repr(job) + repr(result))


class Results(unittest.TestCase):
    def test_every_result_of_the_document_is_read(self):
        for example in examples("result"):
            text = json.dumps(example, ensure_ascii=False)
            result = read_result(text.encode(), None, CAP)
            self.assertEqual(result.outcome, example["outcome"])
            self.assertEqual(result.message, example)
        self.assertEqual({type(result.stdout)}, {type(None)})

    def test_artifacts_and_what_was_left_out_are_read(self):
        artifacts = [
            {"path": "tmp/a", "content": "é"},
            {"path": "tmp/b.sh", "content": {"base64": "AP8Q"}, "executable": True},
        ]
        left_out = [{"path": "tmp/out/", "reason": reason} for reason in ("too_many", "moon")]
        result = read_result(body(artifacts=artifacts, artifacts_left_out=left_out), None, CAP)
        expected = (Artifact("tmp/a", "é".encode()), Artifact("tmp/b.sh", b"\x00\xff\x10", True))
        self.assertEqual(result.artifacts, expected)
        self.assertEqual(
            result.artifacts_left_out,
            (LeftOut("tmp/out/", "too_many"), LeftOut("tmp/out/", "other")),
        )
        self.assertNotIn("é", repr(result.artifacts))

    def test_an_artifact_whose_path_leads_elsewhere_spoils_its_result(self):
        for path in ("../a", "/a", "a/../b", "", "a/", "a//b", ".", "a\0b", "x" * 1025, 1, None):
            artifacts = [{"path": path, "content": ""}]
            with self.subTest(path), self.assertRaises(UnreadableResult):
                read_result(body(artifacts=artifacts), None, CAP)

    def test_the_reasons_are_those_of_the_document(self):
        text = DOCUMENT.read_text(encoding="utf-8")
        section = text.split("### Why an artifact is left out")[1].split("### ")[0]
        self.assertEqual(set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)), LEFT_OUT)

    def test_streams_are_bytes_whatever_they_travelled_as(self):
        result = read_result(body(stdout="é", stderr={"base64": "AP8Q"}), None, CAP)
        self.assertEqual((result.stdout, result.stderr), ("é".encode(), b"\x00\xff\x10"))

    def test_the_digest_leaves_out_circumstances_and_keeps_order_and_the_words_of_numbers(self):
        lasting = '{"v":1,"job_id":"ä","outcome":"exited","exit_code":0,"grade":{"b":1e16,"a":[0.1,-0]}}'
        digest = hashlib.sha256(lasting.encode()).hexdigest()
        around = '"usage":{"cpu_ms":1.5},"timing":{},"walls":["uid"],"worker":{"host":"h"}'
        self.assertEqual(digest_of(lasting), digest)
        self.assertEqual(digest_of(lasting[:-1] + "," + around + "}"), digest)
        spaced = lasting.replace(",", " ,\n ").replace("ä", "\\u00e4")
        self.assertEqual(digest_of("{" + around + "," + spaced[1:]), digest)
        for other in ("1e16", "0.1", "-0"):
            self.assertNotEqual(digest_of(lasting.replace(other, "2")), digest)

    def test_a_result_that_is_not_the_one_that_was_sent_is_refused(self):
        sent = body(stdout="42\n")
        digest = digest_of(sent.decode())
        self.assertEqual(read_result(sent, digest, CAP).digest, digest)
        with self.assertRaisesRegex(UnreadableResult, "digest"):
            read_result(sent.replace(b"42", b"43"), digest, CAP)

    def test_what_is_no_result_is_refused(self):
        deep = b'{"v":1,"outcome":"exited","grade":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for bad in [
            b"",
            b"[]",
            b"{}",
            b"\xff",
            b'{"v":1,"outcome":"exited"',
            b'{"v":2,"outcome":"exited"}',
            b'{"v":true,"outcome":"exited"}',
            b'{"v":1,"outcome":7}',
            b'{"v":1,"outcome":["exited"]}',
            b'{"v":1,"outcome":"exited","exit_code":"0"}',
            b'{"v":1,"outcome":"exited","exit_code":NaN}',
            b'{"v":1,"outcome":"exited","stdout":7}',
            b'{"v":1,"outcome":"exited","walls":[1]}',
            b'{"v":1,"outcome":"exited","error":{"code":"x"}}',
            deep,
        ]:
            with self.subTest(bad[:60]), self.assertRaises(UnreadableResult):
                read_result(bad, None, CAP)
        with self.assertRaisesRegex(UnreadableResult, "allowed are 10"):
            read_result(body(), None, 10)

    def test_fields_of_a_newer_worker_are_passed_over_and_kept(self):
        self.assertEqual(read_result(body(novelty=[1]), None, CAP).message["novelty"], [1])

    def test_every_golden_result_is_read_with_the_digest_that_all_compute(self):
        digests = dict(line.split()[::-1] for line in (GOLDEN / "v1/digests").read_text().splitlines())
        paths = sorted((GOLDEN / "v1/results").iterdir())
        self.assertEqual({path.stem for path in paths}, set(digests))
        for path in paths:
            with self.subTest(path.stem):
                message = json.loads(path.read_bytes())
                result = read_result(path.read_bytes(), digests[path.stem], CAP)
                self.assertEqual(result.outcome, message["outcome"])
                self.assertEqual(result.error and result.error.code, message.get("error", {}).get("code"))

    def test_outcomes_and_codes_are_those_of_the_schema(self):
        schema = json.loads((ROOT / "docs/schema/result.v1.schema.json").read_text())
        self.assertEqual(sorted(RAN + DID_NOT_RUN), sorted(schema["properties"]["outcome"]["enum"]))
        self.assertEqual(CODES, set(schema["$defs"]["Error"]["properties"]["code"]["enum"]))

    def test_results_of_a_newer_worker_read_as_far_as_this_version_knows_words(self):
        read = {path.stem: read_newer(path.stem) for path in (GOLDEN / "newer/results").iterdir()}
        self.assertEqual(set(read), {"new-fields", "new-outcome"})
        fields, outcome = read["new-fields"], read["new-outcome"]
        self.assertEqual((fields.outcome, fields.exit_code, fields.stdout), ("exited", 0, b"2\n"))
        self.assertIs(fields.raise_for_trouble(), fields)
        self.assertEqual((outcome.outcome, outcome.error.code), ("other", "other"))
        # Who wants the words themselves finds them.
        self.assertEqual(outcome.message["outcome"], "network_limit")
        self.assertEqual(outcome.message["error"]["code"], "quota_used")

    def test_an_outcome_that_only_a_newer_worker_knows_is_trouble_and_no_word_about_the_program(self):
        result = read_newer("new-outcome")
        self.assertFalse(result.ran)
        words = "newer.*'network_limit'.*the network quota is used up"
        with self.assertRaisesRegex(FleetFault, words) as raised:
            result.raise_for_trouble()
        self.assertIs(raised.exception.result, result)

    def test_trouble_that_is_no_word_about_the_program_is_raised_by_its_kind(self):
        error = {"code": "above_ceiling", "message": "limits.cpu_ms: ask for less"}
        kinds = {}
        for outcome in ("rejected", "expired", "cancelled", "worker_lost", "engine_fault"):
            result = read_result(body(outcome=outcome, error=error), None, CAP)
            self.assertFalse(result.ran)
            with self.assertRaises(Exception) as raised:
                result.raise_for_trouble()
            self.assertIs(raised.exception.result, result)
            kinds[outcome] = type(raised.exception).__name__
        self.assertEqual(
            kinds,
            {
                "rejected": "JobRejected",
                "expired": "JobExpired",
                "cancelled": "JobCancelled",
                "worker_lost": "FleetFault",
                "engine_fault": "FleetFault",
            },
        )
        with self.assertRaises(JobRejected) as raised:
            read_result(body(outcome="rejected", error=error), None, CAP).raise_for_trouble()
        self.assertEqual(raised.exception.code, "above_ceiling")

    def test_an_outcome_of_the_program_raises_nothing(self):
        for outcome in ("exited", "signaled", "cpu_limit", "wall_limit", "memory_limit", "output_limit"):
            result = read_result(body(outcome=outcome), None, CAP)
            self.assertIs(result.raise_for_trouble(), result)
        cut = {"code": "result_too_large", "message": "the result has 9 bytes"}
        with self.assertRaisesRegex(Exception, "9 bytes"):
            read_result(body(error=cut), None, CAP).raise_for_trouble()
