"""One sample of each kind, of one target."""

import json
import signal
import subprocess
import time
import urllib.request

import process
import setup
from process import Failed

PROXY_CORE, LOAD_CORE = 1, 0
CONNECTIONS = 64
# Enough for every proxy to have opened its pools and to have compiled, cached or grown what it will.
WARM_UP_REQUESTS = 5000
IDLE_CONNECTIONS = 2000
# Cores used by other programs beyond which a sample is taken again.
DISTURBED = 0.1
REPEATS = 2
# A proxy that spreads evenly gives every master a third, but for requests in flight and connection reuse.
MOST_UNEVEN = 1.15


class Bench:
    """Masters and load on one core, for proxies on the other."""

    def __init__(self, seconds_to_repeat, body=None):
        self.seconds_to_repeat = seconds_to_repeat
        self.body = ("--body", body) if body else ()
        self.log = setup.WORK / "load.log"
        self.master_ports = process.free_ports(3)
        listen = [part for port in self.master_ports for part in ("--listen", f"127.0.0.1:{port}")]
        self.masters = process.Process(
            "masters", [setup.LOAD, "masters", *listen], LOAD_CORE, setup.WORK / "masters.log"
        )
        self.masters.wait_until_it_answers(self.master_ports[0])

    def start(self, peer):
        """Starts a proxy with a fresh directory; gives it and its port once every master is reached evenly."""
        directory = setup.WORK / peer.name
        directory.mkdir(exist_ok=True)
        (port,) = process.free_ports(1)
        argv = peer.command(directory, port, self.master_ports)
        started = process.Process(peer.name, argv, PROXY_CORE, directory / "output.log", env=peer.env)
        try:
            started.wait_until_it_answers(port)
            self.check_forwarding(peer.name, port)
            self.wait_until_spread(port)
        except Failed:
            started.stop()
            raise
        return started, port

    def check_forwarding(self, name, port):
        """All have to do the same work: Host as it came, the client's address added, the rest passed on."""
        ask = urllib.request.Request(f"http://127.0.0.1:{port}/echo", headers={"Host": "bot.example", "X-Message": "1"})
        with urllib.request.urlopen(ask, timeout=5) as answer:
            seen = answer.read().decode()
        lines = [line.lower() for line in seen.splitlines()]
        # For a client on loopback Envoy gives its own address.
        for wanted in ("host: bot.example", "x-forwarded-for: ", "x-message: 1"):
            if not any(line.startswith(wanted) for line in lines):
                raise Failed(f"{name} does not send '{wanted}' to the master:\n{seen}")
        (setup.WORK / name / "forwarded.txt").write_text(seen)

    def wait_until_spread(self, port):
        """Waits until a batch of requests reaches the three masters evenly; some need probes to pass first."""
        counts = []
        for _ in range(20):
            before = self.received()
            self.closed(port, WARM_UP_REQUESTS)
            counts = [after - earlier for after, earlier in zip(self.received(), before)]
            if sum(counts) == WARM_UP_REQUESTS and max(counts) <= MOST_UNEVEN * min(counts):
                return
            time.sleep(0.5)
        raise Failed(f"the masters were not used evenly: {counts}")

    def received(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.master_ports[0]}/count", timeout=5) as answer:
            return json.load(answer)

    def load(self, mode, port, *more):
        argv = [setup.LOAD, mode, "--target", f"127.0.0.1:{port}", *self.body, *more]
        return process.read_json(argv, LOAD_CORE, self.log)

    def closed(self, port, requests, at_most=10):
        more = ("--connections", CONNECTIONS, "--requests", requests, "--at-most", at_most)
        return self.load("closed", port, *more)

    def watched(self, proxy, run):
        """Runs a load and adds what it cost the proxy, and what other programs took from the machine meanwhile."""
        busy, masters = process.busy_seconds(), self.masters.cpu_seconds()
        own, clock = proxy.cpu_seconds() if proxy else 0, time.monotonic()
        user, system = proxy.user_and_system_ticks() if proxy else (0, 0)
        result, load_cpu = run()
        wall = time.monotonic() - clock
        used = (proxy.cpu_seconds() if proxy else 0) - own
        ours = used + load_cpu + self.masters.cpu_seconds() - masters
        result["cpu_us"] = used / result["requests"] * 1e6
        if proxy:
            user, system = (after - before for after, before in zip(proxy.user_and_system_ticks(), (user, system)))
            result["user_us"] = result["cpu_us"] * user / max(1, user + system)
        result["proxy_busy"] = used / result["seconds"]
        result["others"] = max(0.0, (process.busy_seconds() - busy - ours) / wall)
        wrong = result["requests"] - result["answers"].get("200", 0)
        if wrong:
            name = proxy.name if proxy else "direct"
            raise Failed(f"{name}: {wrong} of {result['requests']} requests were not answered 200: {result}")
        return result

    def quietest(self, proxy, run):
        """Measures again while other programs disturb, as long as there is time; gives the least disturbed sample."""
        best = self.watched(proxy, run)
        for _ in range(REPEATS):
            if best["others"] <= DISTURBED or self.seconds_to_repeat <= 0:
                break
            began = time.monotonic()
            best = min(best, self.watched(proxy, run), key=lambda sample: sample["others"])
            self.seconds_to_repeat -= time.monotonic() - began
        return best

    def saturation(self, proxy, port, requests, at_most=10):
        return self.quietest(proxy, lambda: self.closed(port, requests, at_most))

    def fixed_rate(self, proxy, port, rate, seconds):
        more = ("--connections", CONNECTIONS, "--rate", rate, "--seconds", seconds)
        return self.quietest(proxy, lambda: self.load("open", port, *more))

    def system_calls(self, proxy, port, requests):
        """System calls for each request, saturated; `None` where this machine cannot count them."""
        counted = setup.WORK / "perf.txt"
        pids = ",".join(map(str, proxy.tree()))
        argv = ["perf", "stat", "-x", ";", "-o", counted, "-e", "raw_syscalls:sys_enter", "-p", pids]
        try:
            perf = process.Process("perf", argv, LOAD_CORE, setup.WORK / "perf.log")
        except FileNotFoundError:
            return None
        try:
            # Attaching takes a moment, and what the load sends before is not counted.
            time.sleep(0.5)
            if perf.child.poll() is not None:
                return None
            requests = self.closed(port, requests)[0]["requests"]
            perf.child.send_signal(signal.SIGINT)
            perf.child.wait(process.STOP_TIMEOUT)
        finally:
            perf.stop()
        count = next((line.split(";")[0] for line in counted.read_text().splitlines() if "sys_enter" in line), "")
        return int(count) / requests if count.isdigit() else None

    def memory(self, peer):
        """Bytes at rest, and bytes for each idle connection that has made one request; of a fresh process."""
        proxy, port = self.start(peer)
        try:
            time.sleep(1)
            before = proxy.memory_bytes()
            argv = [setup.LOAD, "idle", "--target", f"127.0.0.1:{port}", "--connections", IDLE_CONNECTIONS]
            holder = process.Process(
                "idle", argv, LOAD_CORE, setup.WORK / "idle.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            try:
                if not holder.child.stdout.readline():
                    raise Failed(f"{peer.name} does not hold {IDLE_CONNECTIONS} connections: {holder.tail()}")
                time.sleep(1)
                after = proxy.memory_bytes()
            finally:
                holder.stop()
            return {"rest": before, "connection": (after - before) / IDLE_CONNECTIONS}
        finally:
            proxy.stop()

    def stop(self):
        self.masters.stop()
