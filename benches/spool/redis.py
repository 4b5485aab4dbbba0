"""Redis with `appendfsync always`, and its own benchmark, from Debian's packages where the machine has none."""

import pathlib
import shutil
import socket
import subprocess
import time

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "target/tools"


def tool(name, package):
    """A program of this machine, or of a Debian package unpacked below target/."""
    found = shutil.which(name) or shutil.which(name, path=TOOLS / "usr/bin")
    if found:
        return found
    packages = TOOLS / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for each in package:
        subprocess.run(["apt-get", "download", "-q", each], cwd=packages, check=True, stdout=subprocess.DEVNULL)
        archive = next(packages.glob(f"{each}_*.deb"))
        subprocess.run(["dpkg-deb", "--extract", archive, TOOLS], check=True)
    return shutil.which(name, path=TOOLS / "usr/bin")


class Redis:
    def __init__(self, directory):
        packages = ("redis-server", "redis-tools", "libjemalloc2", "liblua5.1-0", "lua-cjson", "lua-bitop", "liblzf1")
        self.benchmark = tool("redis-benchmark", packages)
        server = tool("redis-server", packages)
        libraries = ":".join(str(path.parent) for path in TOOLS.glob("usr/lib/*/libjemalloc.so.2"))
        self.environment = {"LD_LIBRARY_PATH": libraries, "PATH": "/usr/bin:/bin"}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory), "--appendonly", "yes"]
        options += ["--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0"]
        self.server = subprocess.Popen([server, *options], env=self.environment, stdout=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit("redis-server does not answer")

    def sample(self, producers, size, requests):
        command = [self.benchmark, "-p", str(self.port), "-c", str(producers), "-d", str(size), "-n", str(requests)]
        done = subprocess.run(
            [*command, "-t", "lpush", "--csv"], env=self.environment, check=True, capture_output=True, text=True
        )
        header, row = ([cell.strip('"') for cell in line.split('","')] for line in done.stdout.splitlines()[-2:])
        found = dict(zip(header, row))
        rate, p50, p99 = (float(found[name].strip('"')) for name in ("rps", "p50_latency_ms", "p99_latency_ms"))
        return {"rate": rate, "p50_ms": p50, "p99_ms": p99}

    def stop(self):
        self.server.terminate()
        self.server.wait()
