"""What the door decides about a connection, without one."""

import time
import unittest
from unittest import mock

from jailfleet.door import Door, Order
from jailfleet.settings import Settings

LIMIT_S = 30.0


class Confirms(unittest.TestCase):
    """A broker that confirms nothing is given up; one that takes nothing for now is waited for."""

    def setUp(self):
        self.door = Door(Settings(confirm_timeout_ms=int(LIMIT_S * 1000)), "python-test")
        self.addCleanup(self.door._loop.close)
        for patch in (
            mock.patch.object(self.door, "_loop"),
            mock.patch.object(self.door, "_drop_session"),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.door.trouble = None
        self.now = time.monotonic()
        clock = mock.patch("jailfleet.door.time.monotonic", side_effect=lambda: self.now)
        clock.start()
        self.addCleanup(clock.stop)
        order = Order("a", "secret", "default.bulk", b"{}", None)
        self.door._unconfirmed[1] = (order, self.now)

    def given_up(self):
        self.door._watch()
        return self.door._drop_session.called

    def test_a_broker_that_confirms_nothing_for_too_long_is_given_up(self):
        self.now += LIMIT_S
        self.assertFalse(self.given_up())
        self.now += 1
        self.assertTrue(self.given_up())

    def test_while_the_broker_says_that_it_takes_nothing_it_is_not_given_up(self):
        with self.assertLogs("jailfleet"):
            self.door._blocked(None, None)
        self.now += 10 * LIMIT_S
        self.assertFalse(self.given_up())

    def test_a_block_does_not_count_as_waiting_for_a_confirm(self):
        self.now += LIMIT_S / 2
        with self.assertLogs("jailfleet"):
            self.door._blocked(None, None)
        self.now += 10 * LIMIT_S
        self.door._unblocked(None, None)
        self.assertFalse(self.given_up())
        # From now on it counts again.
        self.now += LIMIT_S
        self.assertFalse(self.given_up())
        self.now += 1
        self.assertTrue(self.given_up())
