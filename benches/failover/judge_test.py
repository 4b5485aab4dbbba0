#!/usr/bin/env python3
"""What the figures mean, by small cases: `benches/failover/judge_test.py`."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from judge import Event, Fault, Sent, figures

MS = 1_000_000
FAULT = Fault(struck=100 * MS)


def sent(number, due, status=200):
    return Sent(number, due * MS, due * MS, (due + 20) * MS, status)


def read(number, master, at, answered=None):
    """A webhook read by a master, and answered later or never."""
    found = [Event(at * MS, "read", number, master)]
    return found + ([Event(answered * MS, "answered", number, master)] if answered else [])


def seen(webhooks, *masters, fault=FAULT, conversations=10):
    return figures(webhooks, [event for each in masters for event in each], fault, conversations)


class Judge(unittest.TestCase):
    def test_what_is_held_up_counts_until_the_new_owner_has_answered_it(self):
        webhooks = [sent(0, 50), sent(1, 95), sent(2, 110), sent(3, 400)]
        masters = read(0, 0, 51, 60), read(1, 0, 96), read(1, 1, 300, 310), read(2, 1, 290, 300), read(3, 1, 401, 410)
        self.assertEqual(seen(webhooks, *masters)["taken_over_ms"], 210)

    def test_what_is_sent_to_the_dead_master_after_others_went_to_the_new_one_counts_too(self):
        webhooks = [sent(0, 90), sent(1, 110), sent(2, 111)]
        masters = read(0, 1, 290, 300), read(1, 1, 301, 310), read(2, 1, 350, 360)
        self.assertEqual(seen(webhooks, *masters)["taken_over_ms"], 260)

    def test_without_a_new_owner_there_is_no_time(self):
        self.assertIsNone(seen([sent(0, 90, 503)], read(0, 0, 91))["taken_over_ms"])

    def test_a_webhook_is_lost_when_the_gateway_was_told_otherwise(self):
        webhooks = [sent(0, 90, 200), sent(1, 91, 503), sent(2, 92, 200)]
        found = seen(webhooks, read(0, 0, 91), read(2, 1, 110, 120))
        self.assertEqual((found["lost"], found["failed"]), (1, 1))

    def test_a_copy_of_what_died_unanswered_is_not_needless(self):
        found = seen([sent(0, 90)], read(0, 0, 95), read(0, 1, 110, 120))
        self.assertEqual((found["again"], found["needless"]), (1, 0))

    def test_a_copy_of_what_was_answered_is_needless(self):
        found = seen([sent(0, 80)], read(0, 0, 85, 95), read(0, 1, 110, 120))
        self.assertEqual((found["again"], found["needless"]), (1, 1))

    def test_what_a_stopped_master_reads_when_it_goes_on_is_not_needless(self):
        fault = Fault(struck=100 * MS, undone=500 * MS)
        found = seen([sent(0, 98)], read(0, 1, 200, 210), read(0, 0, 510, 520), fault=fault)
        self.assertEqual((found["again"], found["needless"], found["disorder"]), (1, 0, 0))

    def test_order_is_that_of_each_conversation_over_both_masters(self):
        webhooks = [sent(0, 90), sent(1, 91), sent(2, 92), sent(3, 93)]
        masters = read(0, 1, 130, 140), read(1, 0, 91, 99), read(2, 1, 120, 130), read(3, 1, 121, 131)
        self.assertEqual(seen(webhooks, *masters, conversations=2)["disorder"], 1)


if __name__ == "__main__":
    unittest.main()
