"""amqps: the broker has to prove who it is."""

import shutil
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

from jailfleet import Client, Job, Unreachable
from tests.support import PATIENCE_S, Relay, require, settings


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        require(shutil.which("openssl"), "openssl, which makes a certificate")
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.certificate, key = Path(holder.name, "cert.pem"), Path(holder.name, "key.pem")
        words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        make = ["openssl", *words.split(), "-addext", "subjectAltName=DNS:localhost"]
        subprocess.run(
            [*make, "-keyout", str(key), "-out", str(cls.certificate)], check=True, capture_output=True
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cls.certificate, key)
        cls.address = settings().address()
        cls.relay = Relay(cls.address, context)
        cls.addClassCleanup(cls.relay.close)

    def through(self, host, **given):
        uri = f"amqps://{self.address.user}:{self.address.password}@{host}:{self.relay.port}/%2f"
        return settings(uri=uri, **given)

    def refused(self, words, through):
        with (
            self.assertLogs(),
            self.assertRaisesRegex(Unreachable, words),
        ):
            Client.connect(through, within_s=3.0)

    def test_a_broker_with_the_right_certificate_is_talked_to(self):
        with Client.connect(self.through("localhost", ca_file=str(self.certificate))) as client:
            result = client.run(Job(code="print('x' * 100000)"), PATIENCE_S)
        self.assertEqual(len(result.stdout), 100_001)

    def test_a_certificate_of_nobody_known_is_refused(self):
        self.refused("CERTIFICATE_VERIFY_FAILED", self.through("localhost"))

    def test_a_certificate_for_another_name_is_refused(self):
        self.refused("(?i)mismatch", self.through("127.0.0.1", ca_file=str(self.certificate)))

    def test_a_file_that_is_not_there_is_told_by_its_settings_name(self):
        self.refused("ca_file", self.through("localhost", ca_file="/nothing/here.pem"))
