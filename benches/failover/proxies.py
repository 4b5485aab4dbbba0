"""Each proxy with one master that serves and one that stands by, set up to fail over as fast and as safely as it can.

What the compared proxies are told beyond their configurations in `benches/compare/peers.py` has its reason beside it. They
probe twice a second, which is far more often than usual; Baton has its defaults, five seconds. An attempt has two seconds
everywhere but in Baton, which gives it its ten: what is shorter also cuts off bots that are slow and well.
"""

import peers

# HAProxy waits for the connection's time limit, a second at most, before it tries a server again that refused one.
PROFILE = peers.Profile(probe_seconds=0.5, probe_timeout=0.5, try_seconds=2, repeat_posts=True, connect_seconds=0.1)
SECRET = "not a secret"


class HAProxy(peers.HAProxy):
    # The first server that is up, in the place of `backup`: a retry goes to a backup only once the other one is marked
    # down, and before that to the same again.
    balance = "first"

    def servers(self, masters, profile):
        # The first bad answer or refused connection takes a server out, what waits for it is cut off and tried elsewhere,
        # and it is probed ten times a second. Not so the last one, after which there would be none.
        interval = peers.milliseconds(profile.probe_seconds)
        watched = " observe layer7 error-limit 1 on-error mark-down on-marked-down shutdown-sessions"
        *others, last = (f"server m{n} 127.0.0.1:{at} check" for n, at in enumerate(masters))
        return [
            f"default-server inter {interval} fastinter 100ms fall 2 rise 2 pool-max-conn {peers.IDLE_UPSTREAM} maxconn 4096",
            *(server + watched for server in others),
            last,
        ]


class Nginx(peers.Nginx):
    def servers(self, masters):
        # The first failure takes the master out. For longer than the ten seconds of the default, after which one
        # request in each ten seconds would try it, and wait.
        active, *backups = masters
        return [
            f"server 127.0.0.1:{active} max_fails=1 fail_timeout=30s;",
            *(f"server 127.0.0.1:{at} backup;" for at in backups),
        ]


class Envoy(peers.Envoy):
    def retry(self, profile):
        # A retry goes to the next priority at once, not when health says so.
        name = "previous_priorities"
        kind = f"{self.KIND}.retry.priority.{name}.v3.PreviousPrioritiesConfig"
        return {
            **super().retry(profile),
            "retry_priority": {
                "name": f"envoy.retry_priorities.{name}",
                "typed_config": {"@type": kind, "update_frequency": 1},
            },
        }

    def cluster(self, masters, profile):
        cluster = super().cluster(masters, profile)
        cluster["load_assignment"]["endpoints"] = [
            {"priority": n, "lb_endpoints": [{"endpoint": {"address": self.address(at)}}]}
            for n, at in enumerate(masters)
        ]
        # The first failure ejects, but never both.
        cluster["outlier_detection"] = {
            "consecutive_5xx": 1,
            "enforcing_consecutive_5xx": 100,
            "base_ejection_time": "30s",
            "max_ejection_percent": 50,
        }
        cluster["health_checks"][0].update(unhealthy_threshold=2)
        # Not to a master that is out because too few are left.
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
        return cluster


class Baton(peers.Baton):
    """As `config/failover.yaml` has it, without accounts and hooks; every time and threshold by its default."""

    delivery = ""

    def config(self, directory, port, masters, profile):
        config = super().config(directory, port, masters, profile)
        signed = {"provider": "cloud-api", "app_secret": SECRET, "verify_token": "of no use here"}
        webhooks = {"name": "webhooks", "match": {"path_prefix": "/webhook"}, "upstream": "bots", "whatsapp": signed}
        # Whether the proxy is ready is asked there.
        health = {"name": "health", "match": {"path_prefix": "/health"}, "upstream": "bots"}
        upstream = {
            "name": "bots",
            "affinity": {"key": "conversation"},
            "masters": [
                {"name": f"m{n}", "address": f"127.0.0.1:{at}", "priority": n} for n, at in enumerate(masters)
            ],
            "health_check": {"http": {"path": "/health"}},
            "outlier_detection": {},
            "failover": {"mode": "active-standby"},
        }
        return {**config, "routes": [{**webhooks, "delivery": self.delivery}, health], "upstreams": [upstream]}


class Inline(Baton):
    delivery = "inline"


class InlineThenSpool(Baton):
    delivery = "inline-then-spool"


class Spool(Baton):
    delivery = "spool"


def label(proxy):
    """What it is called on the command line, and in the table."""
    return f"baton-{proxy.delivery}" if issubclass(proxy, Baton) else proxy.name


ALL = {label(proxy): proxy for proxy in (HAProxy, Nginx, Envoy, Inline, InlineThenSpool, Spool)}
