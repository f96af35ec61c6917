"""A result counts once, and only with the secret of its job."""

import unittest

from jailfleet.ledger import Ledger, Reception, new_correlation_id


class Books(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger()
        self.ledger.expect("a", "secret")

    def receive(self, secret="secret", job_id="a", outcome="exited", digest="d"):
        return self.ledger.receive(secret, job_id, outcome, digest)

    def test_the_first_result_counts_and_equal_ones_after_it_are_dropped(self):
        self.assertIs(self.receive(), Reception.ACCEPTED)
        self.assertIs(self.receive(), Reception.DUPLICATE)
        self.assertIs(self.receive(digest="e"), Reception.CONFLICT)
        self.assertEqual(self.ledger.counts[Reception.CONFLICT], 1)

    def test_without_the_secret_of_its_job_a_result_is_a_strangers(self):
        for secret in (None, "", "other", "SECRET"):
            self.assertIs(self.receive(secret), Reception.STRANGER)
        self.assertIs(self.receive(job_id="b"), Reception.STRANGER)
        self.assertIs(self.receive(job_id=None), Reception.ACCEPTED)

    def test_worker_lost_waits_for_a_real_result(self):
        self.assertIs(self.receive(outcome="worker_lost"), Reception.HELD)
        self.assertIs(self.receive(outcome="worker_lost"), Reception.DUPLICATE)
        self.assertIs(self.receive(), Reception.ACCEPTED)
        self.assertIs(self.receive(outcome="worker_lost"), Reception.DUPLICATE)
        self.assertFalse(self.ledger.expire("secret"))

    def test_an_outcome_that_is_not_known_here_is_a_result_as_any_other(self):
        self.assertIs(self.receive(outcome="worker_lost"), Reception.HELD)
        self.assertIs(self.receive(outcome="other"), Reception.ACCEPTED)
        self.assertIs(self.receive(outcome="other"), Reception.DUPLICATE)
        self.assertIs(self.receive(outcome="worker_lost"), Reception.DUPLICATE)
        self.assertIs(self.receive(digest="e"), Reception.CONFLICT)

    def test_a_worker_lost_that_waited_long_enough_is_the_result(self):
        self.assertFalse(self.ledger.expire("secret"))
        self.receive(outcome="worker_lost")
        self.assertTrue(self.ledger.expire("secret"))
        self.assertIs(self.receive(), Reception.CONFLICT)
        self.assertIs(self.receive(outcome="worker_lost"), Reception.DUPLICATE)

    def test_a_result_that_nobody_waits_for_any_more_is_late(self):
        self.ledger.give_up("secret")
        self.assertIs(self.receive(), Reception.LATE)
        self.assertIs(self.receive(job_id="b"), Reception.STRANGER)

    def test_the_books_of_a_client_that_lives_long_stay_small(self):
        ledger = Ledger(remembered=3)
        for number in range(10):
            ledger.expect(f"j{number}", f"s{number}")
            ledger.receive(f"s{number}", f"j{number}", "exited", "d")
        self.assertIs(ledger.receive("s9", "j9", "exited", "d"), Reception.DUPLICATE)
        self.assertIs(ledger.receive("s6", "j6", "exited", "d"), Reception.STRANGER)

    def test_secrets_have_128_bits_that_all_vary(self):
        ones, zeros = 0, 0
        for _ in range(256):
            secret = new_correlation_id()
            self.assertRegex(secret, "^[0-9a-f]{32}$")
            ones, zeros = ones | int(secret, 16), zeros | ~int(secret, 16)
        self.assertEqual((ones, zeros & (1 << 128) - 1), ((1 << 128) - 1,) * 2)
