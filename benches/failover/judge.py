"""What a run says, from what the gateway and the masters have written down. Nothing here looks at a clock or a file.

A webhook is *answered by* the master whose 200 for it came first. A master that was stopped and goes on later answers what
it still finds; that answer counts only where there is none before it.
"""

import collections
import dataclasses
import typing

from master import ANSWERED, READ

# What takes longer than this did not just wait its turn.
HELD = 100_000_000


@dataclasses.dataclass(frozen=True)
class Sent:
    """A webhook as the gateway saw it; times in nanoseconds of the monotonic clock."""

    number: int
    due: int
    sent: int
    answered: int
    status: int

    @property
    def acknowledged(self):
        return 200 <= self.status < 300


@dataclasses.dataclass(frozen=True)
class Event:
    """A line of a master's journal."""

    time: int
    kind: str
    number: int
    master: int


@dataclasses.dataclass(frozen=True)
class Reading:
    """A webhook read by a master, and when that answered it, if it did."""

    number: int
    master: int
    read: int
    answered: typing.Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Fault:
    """What was done to the first master: when, and when it was undone, if it was."""

    struck: int
    undone: typing.Optional[int] = None


OWNER = 0


def readings(events):
    """Each reading with its answer: of those that are open at that master, an answer is the oldest one's."""
    found, opened = [], collections.defaultdict(collections.deque)
    for event in sorted(events, key=lambda event: event.time):
        key = (event.master, event.number)
        if event.kind == READ:
            opened[key].append(len(found))
            found.append(Reading(event.number, event.master, event.time))
        elif event.kind == ANSWERED:
            at = opened[key].popleft()
            found[at] = dataclasses.replace(found[at], answered=event.time)
    return found


def first_answers(found):
    """By number, the reading that was answered first."""
    first = {}
    for reading in sorted((each for each in found if each.answered), key=lambda each: each.answered):
        first.setdefault(reading.number, reading)
    return first


def taken_over(sent, first, fault):
    """Nanoseconds from the fault until all that it held up was answered by the new owner; `None` if there is none."""
    moved = [
        (webhook.due, first[webhook.number].answered)
        for webhook in sent
        if webhook.number in first
        and first[webhook.number].master != OWNER
        and first[webhook.number].answered >= fault.struck
    ]
    if not moved:
        return None
    begun = min(answered for _, answered in moved)
    end = max(answered for due, answered in moved if due <= begun)
    # What came while the last of those was still waiting, and was held up as they were.
    while True:
        held = [answered for due, answered in moved if due <= end < answered and answered - due > HELD]
        if not held:
            return end - fault.struck
        end = max(held)


def lost(sent, first):
    """Webhooks that the gateway was told are well, and that no master has answered."""
    return sum(webhook.acknowledged and webhook.number not in first for webhook in sent)


def read_again(found, fault):
    """Readings beyond the first of each webhook; and of those, how many began after a master had answered it.

    What a stopped master reads when it goes on is none of the latter: it was sent to it before that.
    """
    again = needless = 0
    seen, answered = set(), {}
    for reading in sorted(found, key=lambda each: each.read):
        if reading.number in seen:
            again += 1
            before = any(time < reading.read for time in answered[reading.number])
            left_over = reading.master == OWNER and fault.undone is not None and reading.read >= fault.undone
            needless += before and not left_over
        seen.add(reading.number)
        answered.setdefault(reading.number, []).extend([reading.answered] if reading.answered else [])
    return again, needless


def out_of_order(first, conversations):
    """Webhooks that were read after a later one of their conversation, by the readings that were answered first."""
    newest, wrong = {}, 0
    for reading in sorted(first.values(), key=lambda each: each.read):
        conversation = reading.number % conversations
        wrong += reading.number < newest.get(conversation, -1)
        newest[conversation] = max(reading.number, newest.get(conversation, -1))
    return wrong


def figures(sent, events, fault, conversations):
    found = readings(events)
    first = first_answers(found)
    after = taken_over(sent, first, fault)
    again, needless = read_again(found, fault)
    return {
        "sent": len(sent),
        # How late the gateway itself was: the time that other programs took from all that shares its core.
        "late_ms": max((each.sent - each.due for each in sent if each.sent), default=0) / 1e6,
        "failed": sum(not webhook.acknowledged for webhook in sent),
        "slowest_ms": max((each.answered - each.due for each in sent if each.status), default=0) / 1e6,
        "taken_over_ms": None if after is None else after / 1e6,
        "lost": lost(sent, first),
        "again": again,
        "needless": needless,
        "disorder": out_of_order(first, conversations),
    }
