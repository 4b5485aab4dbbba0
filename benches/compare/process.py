"""Processes pinned to a core, and what the kernel has counted for them.

A proxy is measured as a whole: the process that was started and every descendant, so that a master process with one
worker (nginx) and a single process (HAProxy) are counted alike.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time
import urllib.request

PR_SET_PDEATHSIG = 1
ALL_CORES = os.sched_getaffinity(0)
# Ahead of builds and the like that run on the same machine. Not a real-time class: that would starve the kernel's own
# threads, which deliver packets under load.
NICE = -15
# Every idle connection of the memory test takes one descriptor in the load and up to two in the proxy.
DESCRIPTORS = 16384
# A proxy that has not answered after this long does not work.
START_TIMEOUT = 20.0
STOP_TIMEOUT = 5.0


class Failed(Exception):
    """A step that cannot be done; the text says which and how to go on."""


def privileged():
    """Whether measured programs can go before the others; without it a busy machine shows in every tail."""
    return os.geteuid() == 0


@contextlib.contextmanager
def ahead_of_others():
    """Gives the scheduling group that its programs share their priority: between groups a nice value does not count."""
    group = pathlib.Path("/proc/self/autogroup")
    if not (privileged() and group.exists()):
        yield
        return
    before = group.read_text().split("nice")[-1].strip()
    group.write_text(str(NICE))
    try:
        yield
    finally:
        # The kernel lets a session be changed a few times a second.
        time.sleep(0.2)
        group.write_text(before)


def pinned(cores):
    """What a child does before it becomes its program: stay on these cores, or this one, and end when the benchmark ends."""

    libc = ctypes.CDLL(None)

    def prepare():
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {cores} if isinstance(cores, int) else cores)
        if privileged():
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))

    return prepare


class Process:
    """A started program with its output in a file; `stop` ends it and everything it started."""

    def __init__(self, name, argv, core, log, env=None, stdin=subprocess.DEVNULL, stdout=None):
        self.name = name
        self.log = log
        self.output = open(log, "wb")
        self.child = subprocess.Popen(
            [str(part) for part in argv],
            stdin=stdin,
            stdout=stdout or self.output,
            stderr=self.output,
            env={**os.environ, **(env or {})},
            preexec_fn=pinned(core),
        )

    def tree(self):
        """The ids of this process and its descendants."""
        found, ahead = [], [self.child.pid]
        while ahead:
            pid = ahead.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as file:
                        ahead += [int(child) for child in file.read().split()]
            except FileNotFoundError:
                continue
        return found

    def threads(self):
        """The /proc directories of all threads of the tree."""
        for pid in self.tree():
            try:
                yield from [f"/proc/{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task")]
            except FileNotFoundError:
                continue

    def cpu_seconds(self):
        """Time on a core, of all threads of all processes, in nanosecond steps."""
        total = 0
        for thread in self.threads():
            with open(f"{thread}/schedstat") as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def user_and_system_ticks(self):
        """The same in coarse steps, but told apart: in the program's own code, and in the kernel on its behalf."""
        user = system = 0
        for thread in self.threads():
            with open(f"{thread}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return user, system

    def memory_bytes(self):
        """Proportional set size: private pages, and a fair share of the shared ones."""
        total = 0
        for pid in self.tree():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        return total * 1024

    def check(self):
        if self.child.poll() is not None:
            raise Failed(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")

    def tail(self):
        with open(self.log, errors="replace") as file:
            return "".join(file.readlines()[-15:])

    def wait_until_it_answers(self, port, path="/webhook"):
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self.check()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise Failed(f"{self.name} does not answer on port {port}:\n{self.tail()}")

    def stop(self):
        pids = self.tree()
        self.child.terminate()
        try:
            self.child.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        # The group is this child's own, so whatever is left in it was started here.
        for pid in pids:
            try:
                if os.getpgid(pid) == self.child.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.output.close()


def free_ports(count):
    """Ports that nothing listens on; all are held until the last is chosen, so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def busy_seconds():
    """Time that the whole machine was not idle."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def read_json(argv, core, log, timeout=120):
    """Runs a load to its end; its one line of JSON and the CPU time that it took."""
    text, cpu = output(argv, core, log, timeout)
    return json.loads(text), cpu


def output(argv, core, log, timeout=120):
    """Runs a program to its end; what it printed and the CPU time that it took."""
    with open(log, "ab") as errors:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=pinned(core),
            timeout=timeout,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))} ended with {done.returncode}; see {log}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout.decode(), cpu
