//! Configuration texts. A test writes the keys that it is about; the rest is the smallest that works.

use std::net::SocketAddr;
use std::path::Path;

use super::Master;

/// Probes fast enough for a test, slow enough not to be load.
pub const PROBES: &str = "\
health_check:
  interval: 500ms
  timeout: 500ms
  unhealthy_threshold: 2
  healthy_threshold: 2
  http: { path: /health, json: { pointer: /state, healthy: [CONNECTED], degraded: [OPENING] } }";

/// Webhook receivers must expect repeats, so a POST may be sent to another master.
pub const RETRY: &str = "\
retry: { attempts: 3, per_try_timeout: 2s, non_idempotent: true, on_status: [500, 502, 503, 504] }";

/// One listener `gateway`, one route, one upstream `bots`.
#[derive(Clone)]
pub struct Config {
    address: String,
    listener: String,
    route: String,
    upstream: String,
    masters: String,
    top: String,
    workers: usize,
    access_log: String,
    routes: String,
    upstreams: String,
    admin: String,
    state: String,
}

impl Config {
    pub fn of(masters: &[Master]) -> Self {
        masters.iter().fold(Self::empty(), |config, master| config.master(&master.name, master.address, ""))
    }

    /// Without a master.
    pub fn empty() -> Self {
        let [listener, route, upstream, masters, top, routes, upstreams, admin, state] = Default::default();
        let (address, access_log) = ("127.0.0.1:0".into(), "off".into());
        Self {
            address,
            listener,
            route,
            upstream,
            masters,
            top,
            workers: 2,
            access_log,
            routes,
            upstreams,
            admin,
            state,
        }
    }

    /// Adds a master with further keys, such as `weight: 3, country: AE`.
    pub fn master(mut self, name: &str, address: SocketAddr, keys: &str) -> Self {
        let comma = if keys.is_empty() { "" } else { ", " };
        self.masters += &format!("      - {{ name: {name}, address: \"{address}\"{comma}{keys} }}\n");
        self
    }

    /// Binds the listener there instead of to a free port.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address.to_string();
        self
    }

    /// Adds lines to the listener.
    pub fn listener(mut self, lines: &str) -> Self {
        self.listener += &indented(lines);
        self
    }

    /// Adds lines to the route.
    pub fn route(mut self, lines: &str) -> Self {
        self.route += &indented(lines);
        self
    }

    /// Adds lines to the upstream.
    pub fn upstream(mut self, lines: &str) -> Self {
        self.upstream += &indented(lines);
        self
    }

    /// Adds further routes: whole items, as they stand in the file.
    pub fn routes(mut self, items: &str) -> Self {
        self.routes += &format!("{}\n", items.trim_end());
        self
    }

    /// Adds further upstreams likewise.
    pub fn upstreams(mut self, items: &str) -> Self {
        self.upstreams += &format!("{}\n", items.trim_end());
        self
    }

    /// So many instead of two.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Adds keys to the admin listener, such as `audience: a`.
    pub fn admin(mut self, keys: &str) -> Self {
        self.admin += &format!(", {keys}");
        self
    }

    /// Writes the access log there.
    pub fn access_log(mut self, path: &Path) -> Self {
        self.access_log = path.display().to_string();
        self
    }

    /// Adds keys to `state`, such as `spool: { max_messages: 3 }`.
    pub fn state(mut self, keys: &str) -> Self {
        self.state += &format!(", {keys}");
        self
    }

    /// Adds lines at the top level.
    pub fn top(mut self, lines: &str) -> Self {
        self.top += lines;
        self.top += "\n";
        self
    }

    /// The text; `state` is the directory for durable state.
    pub fn text(&self, state: &Path) -> String {
        let Self {
            address,
            listener,
            route,
            upstream,
            masters,
            top,
            workers,
            access_log,
            routes,
            upstreams,
            admin,
            state: _,
        } = self;
        format!(
            "\
workers: {workers}
listeners:
  - name: gateway
    address: \"{address}\"
{listener}routes:
  - name: webhooks
    upstream: bots
{route}{routes}upstreams:
  - name: bots
{upstream}    masters:
{masters}{upstreams}state: {{ path: \"{}\"{state_keys} }}
admin: {{ address: \"127.0.0.1:0\"{admin} }}
logging: {{ level: info, access_log: \"{access_log}\" }}
{top}",
            state.display(),
            state_keys = self.state,
        )
    }
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}
