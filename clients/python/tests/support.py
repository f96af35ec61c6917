"""What the real tests share: a client for the broker that the environment names, and a thing in between."""

import contextlib
import json
import os
import select
import socket
import ssl
import threading
import time
import unittest
from pathlib import Path

import pika

import jailfleet.codejail as codejail
from jailfleet import Client, Settings
from jailfleet.codejail import jail_code as jail_module

TESTS = Path(__file__).parent
#: Longer than anything takes here; a test that waits so long has failed.
PATIENCE_S = 60.0


def require(holds, what):
    """Ends a test aloud that this machine cannot run; where nothing may be skipped, it fails."""
    if holds:
        return
    if os.environ.get("JAILFLEET_NO_SKIPS"):
        raise AssertionError(f"this machine has no {what}")
    raise unittest.SkipTest(f"this machine has no {what}")


def settings(**given):
    """Settings for the test run's broker."""
    if "JAILFLEET__AMQP__URI" not in os.environ:
        raise AssertionError("no broker: run `cargo xtask python`")
    return Settings.from_environment(**{"lane": "interactive", **given})


class OnFleet(unittest.TestCase):
    """Tests of the codejail functions, with limits that no other test changed."""

    @classmethod
    def setUpClass(cls):
        settings()
        codejail.connect(wait_s=PATIENCE_S)

    def setUp(self):
        limits, overrides = dict(jail_module.LIMITS), dict(jail_module.LIMIT_OVERRIDES)

        def restore():
            jail_module.LIMITS.clear()
            jail_module.LIMITS.update(limits)
            jail_module.LIMIT_OVERRIDES.clear()
            jail_module.LIMIT_OVERRIDES.update(overrides)

        self.addCleanup(restore)


class WithClient(unittest.TestCase):
    """Tests of a client of their own."""

    def setUp(self):
        self.client = Client.connect(settings())
        self.addCleanup(self.client.close)


@contextlib.contextmanager
def channel():
    """A channel beside the client's, as a neighbour has it."""
    connection = pika.BlockingConnection(pika.URLParameters(settings().uri))
    try:
        yield connection.channel()
    finally:
        connection.close()


def answer(client, correlation, digest=None, body=None, **fields):
    """Sends a result to a client, as a worker does."""
    message = {"v": 1, "outcome": "exited", "exit_code": 0, "stdout": "", **fields}
    body = json.dumps(message).encode() if body is None else body
    headers = {"jailfleet-result-digest": digest} if digest else {}
    with channel() as beside:
        beside.basic_publish(
            "",
            client.reply_queue,
            body,
            pika.BasicProperties(correlation_id=correlation, headers=headers),
        )


def wait_until(what, found):
    """Waits for something that another thread or process does."""
    end = time.monotonic() + PATIENCE_S
    while not found():
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.02)


class Relay:
    """Stands between a client and the broker, and cuts or holds what goes through it. With a context it
    speaks TLS to the client."""

    def __init__(self, address, context=None):
        self._target = (address.host, address.port)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs = []
        self._lock = threading.Lock()
        self._open = True
        self.accepts = True
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self):
        """Ends every connection at once."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._open = False
        self._listener.close()
        self.cut()

    def _serve(self):
        while self._open:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.accepts:
                near.close()
                continue
            self.connections += 1
            if self._context is not None:
                try:
                    near = self._context.wrap_socket(near, server_side=True)
                except OSError:
                    near.close()
                    continue
            far = socket.create_connection(self._target)
            with self._lock:
                self._pairs.append((near, far))
            threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()

    @staticmethod
    def _pass_on(near, far):
        other = {near: far, far: near}
        with contextlib.suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(65_536)
                    while isinstance(ready, ssl.SSLSocket) and ready.pending():
                        data += ready.recv(65_536)
                    if not data:
                        raise OSError
                    other[ready].sendall(data)
        near.close()
        far.close()
