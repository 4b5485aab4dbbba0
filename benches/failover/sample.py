"""One proxy and one fault: two masters, the gateway's load, the fault in the middle of it, and what was written down."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import judge
import measure
import process
import proxies
from process import Failed

HERE = pathlib.Path(__file__).resolve().parent
CONVERSATIONS = 100
# What a master has to do for each webhook; at 400 a second four are under way when the fault comes.
WORK_SECONDS = 0.01
# Before the load: by then every proxy has probed the masters. Nothing of ours is busy, so others are seen.
CALM_SECONDS = 2.0
# Load before the fault.
LEAD_SECONDS = 2.0
# Between the start of the load's program and the first webhook: it prepares all of them first.
START_SECONDS = 1.5
# After the load: copies that come late, and messages that are still stored.
SETTLE_SECONDS, SETTLE_MOST_SECONDS = 2.0, 20.0


class Kind:
    """A fault: the signal for the master that serves, and how long the load goes on."""

    def __init__(self, name, number, told, seconds=6.0, phase=1.0):
        self.name, self.signal, self.told, self.seconds = name, number, told, seconds
        # The fault comes at a random moment of this many seconds, so that it has no place of its own among the probes.
        self.phase = phase


KINDS = {
    kind.name: kind
    for kind in (
        Kind("crash", signal.SIGKILL, "the process is killed"),
        Kind("hang", signal.SIGSTOP, "the process is stopped: connections stay, nothing answers"),
        Kind("refused", signal.SIGUSR1, "it closes its socket and its idle connections, and ends what it has begun"),
        Kind("5xx", signal.SIGUSR2, "it answers webhooks 503, and probes 200"),
        # Three of Baton's probes, with their spread, and some more.
        Kind("probes", signal.SIGHUP, "it answers probes 503, and webhooks 200", seconds=20.0, phase=5.0),
    )
}


class Master:
    def __init__(self, directory, number, port):
        self.number, self.journal = number, directory / f"journal-{number}"
        argv = [sys.executable, "-B", HERE / "master.py", "--port", port, "--journal", self.journal, "--work", WORK_SECONDS]
        self.process = process.Process(f"master {number}", argv, measure.LOAD_CORE, directory / f"master-{number}.log")
        self.process.wait_until_it_answers(port, path="/health")

    def tell(self, number):
        os.kill(self.process.child.pid, number)

    def events(self):
        for line in self.journal.read_text().splitlines():
            at, kind, number = line.split()
            yield judge.Event(int(at), kind, int(number), self.number)


def others_cores():
    """Cores in use while nothing of ours is."""
    before, began = process.busy_seconds(), time.monotonic()
    time.sleep(CALM_SECONDS)
    return (process.busy_seconds() - before) / (time.monotonic() - began)


def load(directory, port, rate, seconds, strike_after, strike):
    """Runs the load, strikes in the middle of it; the moment of the fault, and the webhooks."""
    begin = time.monotonic_ns() + int(START_SECONDS * 1e9)
    argv = [sys.executable, "-B", HERE / "gateway.py", "--port", port, "--begin", begin, "--rate", rate]
    argv += ["--seconds", seconds, "--conversations", CONVERSATIONS, "--secret", proxies.SECRET]
    written = directory / "webhooks"
    with open(written, "wb") as output:
        running = process.Process("gateway", argv, measure.LOAD_CORE, directory / "gateway.log", stdout=output)
    try:
        time.sleep(max(0.0, begin / 1e9 + strike_after - time.monotonic()))
        struck = time.monotonic_ns()
        strike()
        if running.child.wait(seconds + 60) != 0:
            raise Failed(f"the gateway ended with {running.child.returncode}:\n{running.tail()}")
    except subprocess.TimeoutExpired:
        raise Failed(f"the gateway does not end; see {directory}") from None
    finally:
        running.stop()
    return struck, [judge.Sent(*map(int, line.split())) for line in written.read_text().splitlines()]


def settle(masters, sent):
    """Waits until what the gateway was told is well has been answered by a master, and copies have come."""
    deadline = time.monotonic() + SETTLE_MOST_SECONDS
    time.sleep(SETTLE_SECONDS)
    while True:
        events = [event for master in masters for event in master.events()]
        if not judge.lost(sent, judge.first_answers(judge.readings(events))) or time.monotonic() > deadline:
            return events
        time.sleep(0.5)


def take(name, proxy, kind, rate, seed, work):
    """The figures of one run; `seed` decides when the fault comes."""
    directory = work / f"failover-{name}-{kind.name}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    port, *ports = process.free_ports(3)
    running, masters = [], []
    try:
        for number, at in enumerate(ports):
            masters.append(Master(directory, number, at))
        argv = proxy.command(directory, port, ports, proxies.PROFILE)
        running.append(process.Process(name, argv, measure.PROXY_CORE, directory / "output.log", env=proxy.env))
        running[0].wait_until_it_answers(port, path="/health")
        others = others_cores()
        strike_after = LEAD_SECONDS + random.Random(seed).uniform(0, kind.phase)
        seconds = strike_after + kind.seconds
        struck, sent = load(directory, port, rate, seconds, strike_after, lambda: masters[0].tell(kind.signal))
        undone = None
        if kind.signal == signal.SIGSTOP:
            undone = time.monotonic_ns()
            masters[0].tell(signal.SIGCONT)
        events = settle(masters, sent)
        running[0].check()
    finally:
        for each in running + [master.process for master in masters]:
            each.stop()
    before = [each for each in sent if each.answered and each.answered < struck]
    if not before or any(not each.acknowledged for each in before):
        raise Failed(f"{name} did not answer 2xx before the fault already; see {directory}")
    return {**judge.figures(sent, events, judge.Fault(struck, undone), CONVERSATIONS), "others": others}
