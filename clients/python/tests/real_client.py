"""The client against a real broker and a real worker."""

import asyncio
import hashlib
import itertools
import json
import logging
import os
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import pika

from jailfleet import (
    Artifact,
    AsyncClient,
    Client,
    Closed,
    ConfigError,
    File,
    Job,
    JobExpired,
    LeftOut,
    NoResult,
    PublishError,
    Unreachable,
    UnreadableResult,
)
from jailfleet.door import Door
from tests.support import PATIENCE_S, Relay, WithClient, answer, channel, settings, wait_until


def nobodys(**fields):
    """A job that no worker takes: its pool has a queue of the test's own, or none."""
    return Job(pool="python-tests", code="", **fields)


class NobodysPool(WithClient):
    """Tests that answer jobs themselves: they read what the client publishes."""

    def setUp(self):
        super().setUp()
        connection = pika.BlockingConnection(pika.URLParameters(settings().uri))
        self.addCleanup(connection.close)
        self.channel = connection.channel()
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(self.queue, "jailfleet.jobs", "python-tests.interactive")

    def published(self):
        """The next job: its properties and its body."""
        found = []

        def look():
            method, properties, body = self.channel.basic_get(self.queue, auto_ack=True)
            found.append((properties, body))
            return method is not None

        wait_until("a job", look)
        return found[-1]


class One(WithClient):
    def test_a_job_runs_and_its_whole_result_comes_back(self):
        job = Job(
            code="import sys, os\nprint(sys.stdin.read(), sys.argv[1:], os.environ['X'])\n"
            "print(open('d/f').read())\n"
            "sys.stderr.buffer.write(bytes([255]))\nsys.exit(3)",
            stdin="in",
            argv=["--a", "b c"],
            env={"X": "é"},
            files=[File("d/f", b"content"), File("e/")],
            slug="a test",
            batch="tests",
            limits={"wall_ms": 5000},
        )
        result = self.client.run(job, PATIENCE_S)
        self.assertEqual((result.outcome, result.exit_code), ("exited", 3))
        self.assertEqual(result.stdout, "in ['--a', 'b c'] é\ncontent\n".encode())
        self.assertEqual(result.stderr, b"\xff")
        self.assertEqual((result.job_id, result.slug, result.batch), (job.id, "a test", "tests"))
        self.assertEqual(result.limits["wall_ms"], 5000)
        self.assertTrue(result.walls and result.worker["host"] and result.usage["wall_ms"] > 0)

    def test_the_digest_of_a_real_result_is_the_one_that_its_worker_sent(self):
        # Were it not, each of these would be an UnreadableResult.
        for code in (
            "print('\\x00\\x1f\\x7f\"\\\\/\\u2028 é \U0001f600')",
            "import sys; sys.stdout.buffer.write(bytes(range(256)))",
            "x = float('nan')",
            "1/0",
        ):
            result = self.client.run(Job(code=code, globals="{}"), PATIENCE_S)
            self.assertRegex(result.digest, "^[0-9a-f]{64}$")

    def test_files_that_a_job_leaves_come_back_and_what_is_missing_is_named(self):
        code = "open('tmp/r.bin', 'wb').write(b'\\x00\\xff')"
        job = Job(code=code, artifacts=["tmp/r.bin", "tmp/plots/"])
        result = self.client.run(job, PATIENCE_S).raise_for_trouble()
        self.assertEqual(result.artifacts, (Artifact("tmp/r.bin", b"\x00\xff"),))
        self.assertEqual(result.artifacts_left_out, (LeftOut("tmp/plots/", "missing"),))

    def test_an_outcome_is_data_and_no_exception(self):
        for code, limits, outcome in [
            ("while True: pass", {"cpu_ms": 300}, "cpu_limit"),
            ("import time; time.sleep(60)", {"wall_ms": 300}, "wall_limit"),
            ("while True: print('x' * 1000)", {"output_bytes": 5000}, "output_limit"),
            ("import os; os.kill(os.getpid(), 11)", {}, "signaled"),
            ("", {"cpu_ms": 10**9}, "rejected"),
        ]:
            result = self.client.run(Job(code=code, limits=limits), PATIENCE_S)
            self.assertEqual(result.outcome, outcome)

    def test_a_job_whose_deadline_passed_is_not_run(self):
        result = self.client.run(Job(code="", deadline="2026-01-01T00:00:00Z"), PATIENCE_S)
        with self.assertRaises(JobExpired):
            result.raise_for_trouble()

    def test_threads_share_a_client(self):
        def ask(number):
            return int(self.client.run(Job(code=f"print({number} * 2)"), PATIENCE_S).stdout)

        with ThreadPoolExecutor(8) as threads:
            self.assertEqual(list(threads.map(ask, range(24))), [number * 2 for number in range(24)])

    def test_a_closed_client_leaves_no_queue_and_says_that_it_is_closed(self):
        queue = self.client.reply_queue
        self.client.close()
        with channel() as beside, self.assertRaisesRegex(pika.exceptions.ChannelClosedByBroker, "404"):
            beside.queue_declare(queue, passive=True)
        with self.assertRaises(Closed):
            self.client.run(Job(code=""))
        self.client.close()

    def test_a_job_that_is_too_large_is_refused_before_it_is_sent(self):
        with self.assertRaisesRegex(ConfigError, "message_bytes"):
            self.client.run(Job(code=os.urandom(7 << 20)))


class Trust(NobodysPool):
    def test_a_job_is_published_as_the_wire_format_says(self):
        job = nobodys(id="exam-7:a")
        self.client.submit(job)
        properties, body = self.published()
        self.assertEqual(json.loads(body)["id"], "exam-7:a")
        self.assertEqual(properties.message_id, "exam-7:a")
        self.assertRegex(properties.correlation_id, "^[0-9a-f]{32}$")
        self.assertEqual(properties.reply_to, self.client.reply_queue)
        self.assertEqual((properties.delivery_mode, properties.type), (2, "jailfleet.job.v1"))
        self.assertEqual(properties.content_type, "application/json")
        published_s = properties.headers["jailfleet-published-ms"] / 1000
        self.assertAlmostEqual(published_s, time.time(), delta=PATIENCE_S)

    def test_duplicates_are_dropped_conflicts_kept_and_strangers_not_believed(self):
        future = self.client.submit(nobodys(id="d"))
        secret = self.published()[0].correlation_id
        with self.assertLogs("jailfleet", logging.WARNING) as said:
            answer(self.client, "0" * 32, job_id="d", stdout="forged")
            answer(self.client, None, job_id="d", stdout="forged")
            answer(self.client, secret, job_id="other", stdout="forged")
            answer(self.client, secret, job_id="d", stdout="right")
            answer(self.client, secret, job_id="d", stdout="right", worker={"attempt": 2})
            answer(self.client, secret, job_id="d", stdout="changed")
            answer(self.client, secret, job_id="d", outcome="worker_lost")
            self.assertEqual(future.result(PATIENCE_S).stdout, b"right")
            wait_until("all of them", lambda: sum(self.client.received().values()) == 7)
        counts = self.client.received()
        self.assertEqual((counts["stranger"], counts["duplicate"], counts["conflict"]), (3, 2, 1))
        self.assertEqual([result.stdout for result in self.client.conflicts], [b"changed"])
        self.assertNotIn(secret, " ".join(said.output))

    def test_a_result_with_another_digest_than_it_was_sent_with_is_told_as_such(self):
        future = self.client.submit(nobodys(id="d"))
        secret = self.published()[0].correlation_id
        digest = hashlib.sha256(b"another").hexdigest()
        answer(self.client, secret, digest=digest, job_id="d")
        with self.assertRaisesRegex(UnreadableResult, "digest"):
            future.result(PATIENCE_S)

    def test_what_is_no_result_is_told_when_it_has_the_secret_and_else_passed_over(self):
        future = self.client.submit(nobodys(id="d"))
        secret = self.published()[0].correlation_id
        answer(self.client, None, body=b"not json")
        answer(self.client, secret, body=b'{"v":1}')
        with self.assertRaisesRegex(UnreadableResult, "no result of version 1"):
            future.result(PATIENCE_S)

    def test_a_result_above_the_cap_is_not_read(self):
        with Client.connect(settings(result_bytes=500)) as client:
            future = client.submit(nobodys(id="d"))
            secret = self.published()[0].correlation_id
            answer(client, secret, job_id="d", stdout="x" * 600)
            with self.assertRaisesRegex(UnreadableResult, "allowed are 500"):
                future.result(PATIENCE_S)

    def test_worker_lost_waits_for_a_real_result(self):
        future = self.client.submit(nobodys(id="d"))
        secret = self.published()[0].correlation_id
        answer(self.client, secret, job_id="d", outcome="worker_lost")
        wait_until("it", lambda: self.client.received()["held"])
        self.assertFalse(future.done())
        answer(self.client, secret, job_id="d", stdout="real")
        self.assertEqual(future.result(PATIENCE_S).stdout, b"real")

    def test_worker_lost_is_the_result_when_nothing_better_comes_in_time(self):
        door = Door(settings(), "python-grace", grace_s=0.2)
        door.open(PATIENCE_S)
        client = Client(door)
        self.addCleanup(client.close)
        future = client.submit(nobodys(id="d"))
        answer(client, self.published()[0].correlation_id, job_id="d", outcome="worker_lost")
        self.assertEqual(future.result(PATIENCE_S).outcome, "worker_lost")

    def test_a_caller_who_does_not_wait_that_long_gets_worker_lost(self):
        results = []
        waiter = threading.Thread(target=lambda: results.append(self.client.run(nobodys(id="d"), 2.0)))
        waiter.start()
        answer(self.client, self.published()[0].correlation_id, job_id="d", outcome="worker_lost")
        waiter.join()
        self.assertEqual(results[0].outcome, "worker_lost")

    def test_no_result_in_time_is_told_and_what_comes_then_is_late(self):
        with self.assertRaisesRegex(NoResult, "d within 0.2 s"):
            self.client.run(nobodys(id="d"), 0.2)
        answer(self.client, self.published()[0].correlation_id, job_id="d")
        wait_until("it", lambda: self.client.received()["late"])

    def test_a_cancelled_future_is_given_up(self):
        future = self.client.submit(nobodys(id="d"))
        secret = self.published()[0].correlation_id
        self.assertTrue(future.cancel())
        answer(self.client, secret, job_id="d")
        wait_until("it", lambda: self.client.received()["late"])

    def test_who_still_waits_when_a_client_closes_is_told(self):
        future = self.client.submit(nobodys(id="d"))
        self.published()
        self.client.close()
        with self.assertRaises(Closed):
            future.result(0)


class Broker(unittest.TestCase):
    def relay(self, **given):
        address = settings().address()
        relay = Relay(address)
        self.addCleanup(relay.close)
        uri = f"amqp://{address.user}:{address.password}@127.0.0.1:{relay.port}/%2f"
        return relay, settings(uri=uri, backoff_max_ms=300, **given)

    def test_a_connection_that_is_cut_again_and_again_loses_and_doubles_nothing(self):
        relay, through = self.relay(window=8)
        count, answers = 60, []
        with Client.connect(through) as client, self.assertLogs("jailfleet", logging.WARNING):
            jobs = [Job(id=f"cut.{number}", code=f"print({number})") for number in range(count)]
            for answered in client.bulk(jobs, idle_timeout_s=PATIENCE_S):
                answers.append(answered)
                if len(answers) % 12 == 0 and len(answers) < count:
                    relay.cut()
            self.assertEqual(client.received()["conflict"], 0)
        self.assertGreater(relay.connections, 3)
        found = {answered.job.id: int(answered.unwrap().stdout) for answered in answers}
        self.assertEqual(found, {f"cut.{number}": number for number in range(count)})
        self.assertEqual(len(answers), count)

    def test_a_job_given_while_the_broker_is_away_goes_out_when_it_is_back(self):
        relay, through = self.relay()
        with Client.connect(through) as client, self.assertLogs("jailfleet", logging.WARNING):
            relay.accepts = False
            relay.cut()
            wait_until("the trouble", lambda: client.trouble)
            future = client.submit(Job(code="print(1)"))
            relay.accepts = True
            self.assertEqual(future.result(PATIENCE_S).stdout, b"1\n")
            self.assertIsNone(client.trouble)

    def test_a_broker_that_is_not_there_is_told_without_the_password(self):
        relay, _ = self.relay()
        relay.close()
        uri = f"amqp://somebody:s3cret@127.0.0.1:{relay.port}/%2f"
        with (
            self.assertLogs("jailfleet", logging.WARNING) as said,
            self.assertRaises(Unreachable) as raised,
        ):
            Client.connect(uri=uri, within_s=0.5)
        self.assertIn("somebody:***@127.0.0.1", str(raised.exception))
        self.assertNotIn("s3cret", str(raised.exception) + " ".join(said.output))

    def test_a_refused_login_is_told_without_the_password(self):
        address = settings().address()
        uri = f"amqp://guest:s3cret@{address.host}:{address.port}/%2f"
        with (
            self.assertLogs(level=logging.WARNING) as said,
            self.assertRaisesRegex(Unreachable, "ACCESS_REFUSED") as raised,
        ):
            Client.connect(uri=uri, within_s=3.0)
        self.assertNotIn("s3cret", str(raised.exception) + " ".join(said.output))

    def test_an_exchange_that_is_not_there_is_told_with_what_to_do(self):
        words = "nobodys.jobs.*start a worker"
        with Client.connect(settings(prefix="nobodys")) as client:
            with self.assertRaisesRegex(PublishError, words):
                client.run(Job(code=""), PATIENCE_S)
            # Once is not for ever: it connects again, and says so again.
            with self.assertRaisesRegex(PublishError, words):
                client.run(Job(code=""), PATIENCE_S)

    def test_the_rights_of_a_producer_are_enough_and_fewer_are_told(self):
        uri = os.environ["JAILFLEET_PYTHON_PRODUCER"]
        for mode in ("default", "exchange"):
            with Client.connect(settings(uri=uri, reply_mode=mode)) as client:
                self.assertEqual(client.run(Job(code="print(1)"), PATIENCE_S).stdout, b"1\n")
        words = "403.*rights that a producer needs"
        with self.assertLogs("jailfleet"), self.assertRaisesRegex(Unreachable, words):
            Client.connect(settings(uri=uri, prefix="others"), within_s=3.0)

    def test_results_come_through_the_results_exchange_to_a_bound_queue(self):
        with Client.connect(settings(reply_mode="exchange")) as client, channel() as beside:
            future = client.submit(nobodys(id="d"))
            [secret] = client._door._orders
            # Before its job is on the way an answer is a stranger's.
            wait_until("the job's entry", lambda: secret in client._door.ledger._waiting)
            body = json.dumps({"v": 1, "job_id": "d", "outcome": "exited", "exit_code": 0}).encode()
            properties = pika.BasicProperties(correlation_id=secret)
            beside.basic_publish("jailfleet.results", client.reply_queue, body, properties)
            self.assertEqual(future.result(PATIENCE_S).exit_code, 0)


class Many(WithClient):
    def test_a_bulk_yields_each_answer_once_and_holds_no_more_than_its_window(self):
        taken, told = 0, 0

        def jobs():
            nonlocal taken
            for number in range(120):
                taken += 1
                self.assertLessEqual(taken - told, 10)
                yield Job(id=f"bulk.{number}", lane="bulk", code=f"print({number})")

        found = {}
        for answered in self.client.bulk(jobs(), window=10, idle_timeout_s=PATIENCE_S):
            told += 1
            found[answered.job.id] = int(answered.unwrap().stdout)
        self.assertEqual(found, {f"bulk.{number}": number for number in range(120)})
        self.assertEqual(told, 120)

    def test_a_job_that_cannot_be_sent_is_an_answer_with_an_error_and_ends_nothing(self):
        jobs = [Job(code="print(1)"), Job(id="a b"), Job(code="print(2)")]
        answers = list(self.client.bulk(jobs, idle_timeout_s=PATIENCE_S))
        self.assertEqual(len(answers), 3)
        [failed] = [answered for answered in answers if answered.error]
        self.assertEqual(failed.job.id, "a b")
        with self.assertRaises(ConfigError):
            failed.unwrap()

    def test_a_bulk_that_is_left_gives_its_jobs_up(self):
        with channel() as beside:
            queue = beside.queue_declare("", exclusive=True).method.queue
            beside.queue_bind(queue, "jailfleet.jobs", "python-tests.interactive")
            jobs = itertools.chain([Job(code="")], (nobodys(id=f"n{n}") for n in range(10**9)))
            bulk = self.client.bulk(jobs, window=5, idle_timeout_s=PATIENCE_S)
            next(bulk)
            bulk.close()
            wait_until("no order", lambda: not self.client._door._orders)

    def test_a_bulk_without_any_answer_ends_with_the_names_of_its_jobs(self):
        with channel() as beside, self.assertRaisesRegex(NoResult, "only"):
            queue = beside.queue_declare("", exclusive=True).method.queue
            beside.queue_bind(queue, "jailfleet.jobs", "python-tests.interactive")
            list(self.client.bulk([nobodys(id="only")], idle_timeout_s=0.3))


class Async(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = await AsyncClient.connect(settings())

    async def asyncTearDown(self):
        await self.client.close()

    async def test_jobs_run_side_by_side(self):
        jobs = [Job(code=f"print({number})") for number in range(12)]
        results = await asyncio.gather(*(self.client.run(job, PATIENCE_S) for job in jobs))
        self.assertEqual([int(result.stdout) for result in results], list(range(12)))

    async def test_a_loop_that_is_blocked_costs_the_connection_nothing(self):
        async with await AsyncClient.connect(settings(heartbeat_s=1)) as client:
            time.sleep(4)
            self.assertIsNone(client.client.trouble)
            self.assertEqual((await client.run(Job(code="print(1)"), PATIENCE_S)).stdout, b"1\n")

    async def test_a_cancelled_task_gives_its_job_up(self):
        with channel() as beside:
            queue = beside.queue_declare("", exclusive=True).method.queue
            beside.queue_bind(queue, "jailfleet.jobs", "python-tests.interactive")
            task = asyncio.ensure_future(self.client.run(nobodys(), PATIENCE_S))
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(wait_until, "no order", lambda: not self.client.client._door._orders)

    async def test_no_result_in_time_is_told(self):
        with channel() as beside:
            queue = beside.queue_declare("", exclusive=True).method.queue
            beside.queue_bind(queue, "jailfleet.jobs", "python-tests.interactive")
            with self.assertRaises(NoResult):
                await self.client.run(nobodys(), 0.2)

    async def test_a_bulk_yields_each_answer_once_from_either_kind_of_source(self):
        def jobs(kind):
            for number in range(30):
                yield Job(id=f"{kind}.{number}", code=f"print({number})" if number else "1/0")
            yield Job(id="a b")

        async def slowly():
            for job in jobs("async"):
                await asyncio.sleep(0.001)
                yield job

        for source in (jobs("plain"), slowly()):
            answers = [a async for a in self.client.bulk(source, window=7, idle_timeout_s=PATIENCE_S)]
            self.assertEqual(len({answered.job.id for answered in answers}), 31)
            self.assertEqual(len(answers), 31)
            self.assertEqual(sum(answered.error is not None for answered in answers), 1)

    async def test_answers_do_not_wait_for_a_slow_source(self):
        more = asyncio.Event()

        async def source():
            yield Job(code="print(1)")
            await more.wait()
            yield Job(code="print(2)")

        found = []
        async for answered in self.client.bulk(source(), idle_timeout_s=PATIENCE_S):
            found.append(answered.unwrap().stdout)
            more.set()
        self.assertEqual(found, [b"1\n", b"2\n"])
