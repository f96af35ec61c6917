"""Settings come from where jailfleet-producer takes them, and passwords go nowhere."""

import random
import re
import string
import tempfile
import traceback
import unittest
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote

from jailfleet import ConfigError, Settings

CONFIG = Path(__file__).parents[3] / "config" / "producer.toml"


def written(uri):
    address = Settings(uri=uri).address()
    return address.host, address.port, address.user, address.password, address.vhost, address.tls


class Addresses(unittest.TestCase):
    def test_a_uri_is_taken_apart_as_the_other_programs_do(self):
        for uri, parts in {
            "amqp://guest:guest@127.0.0.1:5672/%2f": ("127.0.0.1", 5672, "guest", "guest", "/", False),
            "amqps://u%40x:p%3a%2f@b.example/v%2Fw": ("b.example", 5671, "u@x", "p:/", "v/w", True),
            "amqp://b": ("b", 5672, "guest", "guest", "/", False),
            "amqp://u:p@[::1]:7/x?heartbeat=5": ("::1", 7, "u", "p", "x", False),
        }.items():
            self.assertEqual(written(uri), parts)
        self.assertTrue(Settings(uri="amqps://b/?auth_mechanism=EXTERNAL").address().external)

    def test_a_password_is_in_no_error_repr_or_traceback(self):
        chance = random.Random(2)
        letters = string.ascii_letters + string.digits + "/:@%?#[] é"
        for _ in range(300):
            password = "Zq9" + "".join(chance.choices(letters, k=12)) + "Zq9"
            for uri in (f"amqp://user:{password}@host/%2f", f"{password}@host", f"amqp://host:{password}"):
                try:
                    said = repr(Settings(uri=uri)) + Settings(uri=uri).redacted_uri()
                except ConfigError as error:
                    said = "".join(traceback.format_exception(type(error), error, error.__traceback__))
                    said = "".join(line for line in said.splitlines(True) if "uri=uri" not in line)
                self.assertNotIn(password, said, uri)
        self.assertNotIn("s3:/", repr(Settings(uri="amqp://u:s3%3a%2f@host").address()))
        with self.assertRaisesRegex(ConfigError, "%2f"):
            Settings(uri="amqp://user:123/s3cret@host")

    def test_somebody_elses_words_lose_the_password(self):
        address = Settings(uri="amqp://u:" + quote("s3cret/", safe="") + "@h").address()
        self.assertEqual(address.scrubbed("login s3cret/ refused"), "login *** refused")

    def test_files_are_read_again_each_time(self):
        with tempfile.TemporaryDirectory() as folder:
            uri, password = Path(folder, "uri"), Path(folder, "password")
            uri.write_text("amqp://u:x@one/%2f\n", encoding="utf-8")
            password.write_text("first\n", encoding="utf-8")
            settings = Settings(uri_file=str(uri), password_file=str(password))
            self.assertEqual((settings.address().host, settings.address().password), ("one", "first"))
            password.write_text("second", encoding="utf-8")
            self.assertEqual(settings.address().password, "second")
            uri.unlink()
            with self.assertRaisesRegex(ConfigError, "uri_file.*No such file"):
                settings.address()


class Values(unittest.TestCase):
    def test_the_defaults_are_those_of_the_producer(self):
        text = CONFIG.read_text(encoding="utf-8")
        for field in fields(Settings):
            found = re.search(rf'^{field.name} = (?:"(.*)"|(\d+))$', text, re.MULTILINE)
            self.assertIsNotNone(found, field.name)
            value = found[1] if found[2] is None else int(found[2])
            self.assertEqual(field.default, value, field.name)

    def test_every_setting_has_the_variable_that_the_producer_has(self):
        environment = {
            "JAILFLEET__AMQP__URI": "amqp://b/x",
            "JAILFLEET__AMQP__HEARTBEAT_S": "7",
            "JAILFLEET__PRODUCER__LANE": "interactive",
            "JAILFLEET__PRODUCER__WINDOW": "3",
            "JAILFLEET__WORKER__SLOTS": "4",
        }
        settings = Settings.from_environment(environment, window=5)
        self.assertEqual(
            (settings.uri, settings.heartbeat_s, settings.lane, settings.window),
            ("amqp://b/x", 7, "interactive", 5),
        )
        with self.assertRaisesRegex(ConfigError, "HEARTBEAT_S"):
            Settings.from_environment({"JAILFLEET__AMQP__HEARTBEAT_S": "soon"})

    def test_values_that_cannot_be_are_refused_by_name(self):
        for name, value in {
            "lane": "slow",
            "reply_mode": "x",
            "window": 0,
            "heartbeat_s": True,
            "prefetch": 70_000,
            "uri": "http://b",
        }.items():
            with self.subTest(name), self.assertRaisesRegex(ConfigError, name):
                Settings(**{name: value})
