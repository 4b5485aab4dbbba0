"""TLS, HTTP/2 and bare TCP beside HAProxy, nginx and Envoy: what a handshake, a request and a gigabyte cost.

Every proxy has one certificate (ECDSA, P-256), and the clients leave no choice of the rest: TLS 1.3, X25519, AES-128-GCM. The
proxies' configurations are below; what is not said here is as in peers.py. What a proxy does not speak is left out.
"""

import json
import re
import socket
import ssl
import statistics
import sys
import time

import measure
import peers
import process
import report
import setup
from process import Failed
from setup import say

COMPARED = ("haproxy", "nginx", "envoy", "baton")
PACKAGES = ("nghttp2-client", "libnginx-mod-stream")
# Rounds, and seconds of each of the five samples.
FULL = (7, 0.8)
QUICK = (3, 0.4)
# As many streams in flight as the load over HTTP/1.1 has connections.
H2_CONNECTIONS, H2_STREAMS = 8, 8
BULK_CONNECTIONS = 4
# kind: heading, unit of the cost and its size in seconds, digits, what is counted in a second
KINDS = {
    "full": ("handshake, full", "µs", 1e-6, 1, "handshakes/s"),
    "resumed": ("handshake, resumed", "µs", 1e-6, 1, "handshakes/s"),
    "https": ("HTTPS request", "µs", 1e-6, 2, "requests/s"),
    "h2": ("HTTP/2 request", "µs", 1e-6, 2, "requests/s"),
    "tcp": ("gigabyte over TCP", "ms", 1e-3, 0, "GB/s"),
}
# The first sample of each, from which the size of the others follows.
PILOT = {"full": 400, "resumed": 400, "https": 4000, "h2": 4000, "tcp": 0.4}


class Ports:
    def __init__(self):
        self.tls, self.tcp = process.free_ports(2)


def haproxy(peer, directory, ports, masters, source, pair):
    (directory / "both.pem").write_text(pair[0].read_text() + pair[1].read_text())
    servers = "\n".join(f"    server m{n} 127.0.0.1:{at} check" for n, at in enumerate(masters))
    # splice-auto: HAProxy's own advice for transfers in bulk, and what spares it the copies.
    (directory / "haproxy.cfg").write_text(f"""\
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 15s
    timeout http-keep-alive 60s
frontend gateway
    bind 127.0.0.1:{ports.tls} ssl crt {directory}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2
    option forwardfor
    default_backend bots
backend bots
    balance roundrobin
    http-reuse always
    option httpchk GET /health
    default-server inter 5s fall 3 rise 2 pool-max-conn {peers.IDLE_UPSTREAM}
{servers}
listen raw
    mode tcp
    bind 127.0.0.1:{ports.tcp}
    option splice-auto
    server source 127.0.0.1:{source}
""")
    return [peer.program, "-db", "-f", directory / "haproxy.cfg"]


def nginx(peer, directory, ports, masters, source, pair):
    servers = "\n".join(f"        server 127.0.0.1:{at};" for at in masters)
    paths = "\n".join(f"    {name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(f"""\
load_module {setup.NGINX_STREAM};
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
{paths}
    keepalive_timeout 60s;
    keepalive_requests 100000000;
    upstream bots {{
{servers}
        keepalive {peers.IDLE_UPSTREAM};
        keepalive_requests 100000000;
        keepalive_timeout 60s;
    }}
    server {{
        listen 127.0.0.1:{ports.tls} ssl http2;
        ssl_certificate {pair[0]};
        ssl_certificate_key {pair[1]};
        ssl_protocols TLSv1.2 TLSv1.3;
        http2_max_concurrent_streams 128;
        location / {{
            proxy_pass http://bots;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
stream {{
    server {{
        listen 127.0.0.1:{ports.tcp};
        proxy_pass 127.0.0.1:{source};
    }}
}}
""")
    return [peer.program, "-p", directory, "-c", directory / "nginx.conf"]


def envoy(peer, directory, ports, masters, source, pair):
    # The plain configuration, with a layer of TLS and a listener more.
    argv = peer.command(directory, ports.tls, masters)
    path = directory / "envoy.json"
    config = json.loads(path.read_text())["static_resources"]
    extensions = "type.googleapis.com/envoy.extensions"
    gateway = config["listeners"][0]["filter_chains"][0]
    gateway["filters"][0]["typed_config"]["codec_type"] = "AUTO"
    gateway["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{extensions}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [
                    {"certificate_chain": {"filename": str(pair[0])}, "private_key": {"filename": str(pair[1])}}
                ],
                # It offers no 1.3 to clients by default.
                "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            },
        },
    }

    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    proxy = {"@type": f"{extensions}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "raw", "cluster": "source"}
    raw = [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}]
    config["listeners"].append({"name": "raw", "address": address(ports.tcp), "filter_chains": raw})
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(source)}}]}]
    assignment = {"cluster_name": "source", "endpoints": endpoints}
    config["clusters"].append({"name": "source", "type": "STATIC", "load_assignment": assignment})
    path.write_text(json.dumps({"static_resources": config}, indent=1))
    return argv


def baton(peer, directory, ports, masters, source, pair):
    argv = peer.command(directory, ports.tls, masters)
    path = directory / "baton.yaml"
    config = json.loads(path.read_text())
    config["listeners"][0]["tls"] = {"certificates": [{"cert": str(pair[0]), "key": str(pair[1])}]}
    config["listeners"].append({"name": "raw", "address": f"127.0.0.1:{ports.tcp}", "protocol": "tcp", "upstream": "source"})
    config["upstreams"].append({"name": "source", "masters": [{"name": "source", "address": f"127.0.0.1:{source}"}]})
    path.write_text(json.dumps(config, indent=1))
    return argv


WRITE = {"haproxy": haproxy, "nginx": nginx, "envoy": envoy, "baton": baton}


class Together:
    """The masters and the source of bytes, as one."""

    def __init__(self, *processes):
        self.processes = processes

    def cpu_seconds(self):
        return sum(each.cpu_seconds() for each in self.processes)

    def stop(self):
        for each in self.processes:
            each.stop()


class Bench(measure.Bench):
    """Samples of each kind."""

    def __init__(self, seconds_to_repeat):
        super().__init__(seconds_to_repeat)
        (self.source,) = process.free_ports(1)
        argv = [setup.LOAD, "source", "--listen", f"127.0.0.1:{self.source}"]
        source = process.Process("source", argv, measure.LOAD_CORE, setup.WORK / "source.log")
        self.masters = Together(self.masters, source)
        setup.call(setup.ROOT / "certs" / "make", setup.WORK)
        self.pair = (setup.WORK / "dev.pem", setup.WORK / "dev-key.pem")

    def begin(self, peer):
        """Starts a proxy; gives it, its ports, and the kinds that it can be asked for."""
        directory = setup.WORK / f"protocols-{peer.name}"
        directory.mkdir(exist_ok=True)
        ports = Ports()
        argv = WRITE[peer.name](peer, directory, ports, self.master_ports, self.source, self.pair)
        started = process.Process(peer.name, argv, measure.PROXY_CORE, directory / "output.log", env=peer.env)
        try:
            chosen = wait_until_it_shakes_hands(started, ports.tls)
            kinds = ["full", "resumed", "https"] + (["h2"] if chosen == "h2" else [])
            with socket.socket() as probe:
                probe.settimeout(1)
                kinds += ["tcp"] if probe.connect_ex(("127.0.0.1", ports.tcp)) == 0 else []
        except Failed:
            started.stop()
            raise
        return started, ports, kinds

    def sample(self, kind, proxy, ports, amount, at_most=10.0):
        """One sample of about that many handshakes, requests or gigabytes."""
        at = f"127.0.0.1:{ports.tcp if kind == 'tcp' else ports.tls}"
        count = max(1, int(amount))
        if kind in ("full", "resumed"):
            argv = [setup.LOAD, "handshakes", "--target", at, "--handshakes", count, "--at-most", at_most]
            argv += ["--resuming"] if kind == "resumed" else []
        elif kind == "https":
            argv = [setup.LOAD, "closed", "--tls", "--target", at, "--requests", count, "--at-most", at_most]
        elif kind == "h2":
            argv = ["h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", f"-n{max(count, H2_CONNECTIONS)}"]
            argv += ["--groups=X25519", f"https://{at}/webhook"]
        else:
            each = int(amount * 1e9 / BULK_CONNECTIONS)
            argv = [setup.LOAD, "download", "--target", at, "--connections", BULK_CONNECTIONS, "--bytes", each]

        def run():
            text, cpu = process.output(argv, measure.LOAD_CORE, self.log)
            return (read_h2load(text) if kind == "h2" else amount_of(json.loads(text))), cpu

        return self.quietest(proxy, run)


def amount_of(result):
    """A transfer counts its gigabytes as others count requests."""
    if "bytes" in result:
        gigabytes = result["bytes"] / 1e9
        result.update(requests=gigabytes, answers={"200": gigabytes})
    return result


def read_h2load(text):
    def number(pattern):
        found = re.search(pattern, text)
        if not found:
            raise Failed(f"h2load said something else than expected:\n{text}")
        return found.group(1)

    if number(r"Application protocol: (\S+)") != "h2":
        raise Failed(f"h2load was not answered over HTTP/2:\n{text}")
    span, unit = float(number(r"finished in ([\d.]+)[mun]?s")), number(r"finished in [\d.]+([mun]?s)")
    seconds = span * {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    good = int(number(r"status codes: (\d+) 2xx"))
    return {"requests": int(number(r"requests: (\d+) total")), "answers": {"200": good}, "seconds": seconds}


def wait_until_it_shakes_hands(started, port):
    """Waits for an answer over TLS; gives what a client that would like HTTP/2 is given."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    deadline = time.monotonic() + process.START_TIMEOUT
    while time.monotonic() < deadline:
        started.check()
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as plain, context.wrap_socket(plain) as over:
                return over.selected_alpn_protocol()
        except OSError:
            time.sleep(0.05)
    raise Failed(f"{started.name} makes no TLS handshake on port {port}:\n{started.tail()}")


def run(competing, chosen):
    """Measures and writes the record."""
    rounds, seconds = QUICK if chosen.quick else FULL
    rounds = chosen.rounds or rounds
    began = time.monotonic()
    bench = Bench(0 if chosen.quick else 60)
    running, samples, sizes = {}, {}, {}
    try:
        for peer in competing:
            running[peer.name] = bench.begin(peer)
        for name, (proxy, ports, kinds) in running.items():
            samples[name] = {kind: [] for kind in kinds}
            sizes[name] = {}
            for kind in kinds:
                first = bench.sample(kind, proxy, ports, PILOT[kind])
                sizes[name][kind] = first["requests"] / first["seconds"] * seconds
            say(f"{name}: {', '.join(kinds)}")
        # Kind by kind within a round, so that samples that are compared lie side by side.
        for number in range(rounds):
            for kind in KINDS:
                for name, (proxy, ports, kinds) in running.items():
                    if kind in kinds:
                        proxy.check()
                        taken = bench.sample(kind, proxy, ports, sizes[name][kind], seconds * 3)
                        samples[name][kind].append(taken)
            say(f"round {number + 1} of {rounds}; {time.monotonic() - began:.0f} s")
    finally:
        for proxy, _, _ in running.values():
            proxy.stop()
        bench.stop()
    facts = {
        "date": report.now(),
        "command": " ".join(["benches/compare/run", *sys.argv[1:]]),
        "machine": report.machine(),
        "rounds": rounds,
        "others": statistics.median(one["others"] for each in samples.values() for kind in each.values() for one in kind),
    }
    (setup.WORK / "protocols.json").write_text(json.dumps({"facts": facts, "samples": samples}))
    return record(samples, {peer.name: peer.version() for peer in competing}, facts)


def record(samples, versions, facts):
    def by_round(each):
        figures = {}
        for kind, taken in each.items():
            unit = KINDS[kind][2]
            figures[f"{kind} cost"] = [one["cpu_us"] * 1e-6 / unit for one in taken]
            figures[f"{kind} rate"] = [one["requests"] / one["seconds"] for one in taken]
        return figures

    rounds = {name: by_round(each) for name, each in samples.items()}
    figures = {name: {key: statistics.median(of) for key, of in each.items()} for name, each in rounds.items()}
    compared = report.paired_ratios(figures, rounds)
    headings = [""]
    for heading, unit, _, _, rate in KINDS.values():
        headings += [f"CPU per {heading} ({unit})", rate]
    rows, ratios = [], []
    for name, values in figures.items():
        cells, shares = [], []
        for kind, (_, _, _, digits, rate) in KINDS.items():
            cost, speed = values.get(f"{kind} cost"), values.get(f"{kind} rate")
            if cost is None:
                cells += ["", ""]
                shares.append("")
                continue
            width = report.spread(rounds[name][f"{kind} cost"])
            cells += [f"{cost:.{digits}f} ±{width * 100:.0f} %", f"{speed:.{2 if kind == 'tcp' else 0}f}"]
            shares.append(f"{compared[name].get(f'{kind} cost', 0):.2f}")
        rows.append([f"{name} {versions[name]}", *cells])
        ratios.append([name, *shares])
    reference = next(iter(samples))
    return f"""\
# TLS, HTTP/2 and TCP side by side

Written by `benches/compare/run`; what it does, and the configurations, are in `benches/compare/protocols.py`.

* Date: {facts['date']}
* Command: `{facts['command']}`
* Machine: {facts['machine']}; every proxy has one core and one worker, the load and the masters share another
* Other programs used {facts['others']:.2f} cores meanwhile (median of the samples).

Median of {facts['rounds']} interleaved rounds; ± is half the range over them.

{report.table(rows, headings)}

CPU, as ratios to {reference}, each the median of the ratios within a round; below 1.00 is better than {reference}:

{report.table(ratios, ['', *(heading for heading, *_ in KINDS.values())])}

* A *handshake* comes with its TCP connection, one request and the end of both: what a client costs that keeps nothing. *Resumed* takes
  up the session of an earlier connection by its ticket. TLS 1.3, X25519, AES-128-GCM, a certificate with a P-256 key.
* An *HTTPS request* is one over 64 kept connections of HTTP/1.1; an *HTTP/2 request* one of {H2_STREAMS} at a time on each of {H2_CONNECTIONS} connections
  (`h2load`), over TLS too. Masters are asked over HTTP/1.1 without TLS.
* A *gigabyte* (1e9 bytes) comes from one server over {BULK_CONNECTIONS} connections through the proxy at layer 4. What a proxy does not
  speak is left empty. Rates are what a load on one core got: compare the CPU.
"""
