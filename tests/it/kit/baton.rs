//! A running Baton.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use baton::sample::client;
use rustix::process::Signal;
use serde_json::Value;

use super::directory::Directory;
use super::process::{Process, Stream};
use super::{Config, eventually};

/// Fields are dropped in order: the process ends before its directory goes.
pub struct Baton {
    pub process: Process,
    pub admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
    directory: Directory,
}

impl Baton {
    /// Starts with the configuration and waits until every master has been probed.
    pub async fn start(config: &Config) -> Self {
        let baton = Self::start_unprobed(config).await;
        baton.all_health("the first verdict on every master", |health| health != "unknown").await;
        baton
    }

    /// Starts with the configuration and waits until it says that it is ready.
    pub async fn start_unprobed(config: &Config) -> Self {
        let directory = Directory::new();
        let path = directory.write("baton.yaml", &config.text(&directory.path().join("data")));
        Self::started(run(&path), directory).await
    }

    /// Waits until a process that was started with `baton.yaml` of this directory says that it is ready.
    pub async fn started(mut process: Process, directory: Directory) -> Self {
        process.line("ready", |line| (line == "ready").then_some(())).await;
        let said = process.said(Stream::Out);
        let listeners: BTreeMap<_, _> = said.lines().filter_map(listener).collect();
        let admin = said.lines().find_map(|line| line.strip_prefix("admin on http://")?.parse().ok());
        let admin = admin.expect("the address of the admin listener is told before ready");
        Self { process, admin, listeners, directory }
    }

    /// `kill -9`, and waits until it is gone. What is on disk stays.
    pub async fn kill(self) -> Directory {
        self.end(Signal::KILL).await
    }

    /// SIGTERM, and waits until it has ended in order.
    pub async fn stop(self) -> Directory {
        self.end(Signal::TERM).await
    }

    async fn end(self, signal: Signal) -> Directory {
        let Self { mut process, directory, .. } = self;
        if process.running() {
            process.signal(signal);
            process.ended().await;
        }
        directory
    }

    /// A process with the configuration and the state of one that has ended.
    pub async fn start_again(directory: Directory) -> Self {
        let process = run(&directory.path().join("baton.yaml"));
        Self::started(process, directory).await
    }

    /// The address of the listener that [`Config`] makes.
    pub fn address(&self) -> SocketAddr {
        self.listeners["gateway"]
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("baton.yaml")
    }

    /// The address of another listener.
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        self.listeners[listener]
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes another configuration to its file, and says nothing.
    pub fn write(&self, config: &Config) {
        self.write_text(&config.text(&self.directory.path().join("data")));
    }

    /// Writes the file in one step, as editors and deployment tools do, so that nobody reads half of it.
    pub fn write_text(&self, text: &str) {
        let new = self.directory.write("baton.yaml.new", text);
        std::fs::rename(new, self.config_path()).expect("a rename within the directory");
    }

    /// SIGHUP, as a supervisor would.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// The admin API's status document.
    pub async fn status(&self) -> Value {
        let (status, body) = client::get(self.admin, "/api/v1/status").await.expect("the status can be read");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("the status is JSON")
    }

    pub async fn generation(&self) -> u64 {
        self.status().await["generation"].as_u64().expect("the generation is a number")
    }

    /// The status of one master of upstream `bots`.
    pub async fn master(&self, name: &str) -> Value {
        let status = self.status().await;
        let masters = status["upstreams"][0]["masters"].as_array().expect("a list of masters");
        masters.iter().find(|master| master["name"] == name).unwrap_or_else(|| panic!("{name} in {status}")).clone()
    }

    pub async fn health(&self, name: &str) -> String {
        self.master(name).await["health"].as_str().expect("health is a word").to_owned()
    }

    /// The sum of all series of a metric that have these labels; 0 when there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, text) = client::get(self.admin, "/metrics").await.expect("the metrics can be read");
        let text = String::from_utf8(text.to_vec()).expect("metrics are text");
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            let matches = found == name && wanted.iter().all(|label| labels.contains(label));
            matches.then(|| value.parse::<f64>().expect("a metric is a number"))
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(value).sum()
    }

    /// Waits until the health of every master is accepted.
    pub async fn all_health(&self, expected: &str, accept: impl Fn(&str) -> bool) {
        eventually(expected, async || {
            let status = self.status().await;
            let masters = status["upstreams"][0]["masters"].as_array()?;
            masters.iter().all(|master| master["health"].as_str().is_some_and(&accept)).then_some(())
        })
        .await;
    }

    /// Waits until the named master has this health.
    pub async fn until_health(&self, name: &str, health: &str) {
        let expected = format!("{name} is {health}");
        eventually(&expected, async || (self.health(name).await == health).then_some(())).await;
    }
}

/// `baton run` with a file that may be wrong or missing.
pub fn run(config: &Path) -> Process {
    Process::start("baton", &["run", "--config", config.to_str().expect("a path in UTF-8")])
}

/// Reads `listening on SCHEME://ADDRESS (listener NAME)`.
fn listener(line: &str) -> Option<(String, SocketAddr)> {
    let (address, name) = line.strip_prefix("listening on ")?.split_once(" (listener ")?;
    let address = address.split_once("://").map_or(address, |(_, address)| address);
    Some((name.strip_suffix(')')?.to_owned(), address.parse().ok()?))
}
