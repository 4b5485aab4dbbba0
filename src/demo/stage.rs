//! Everything the demo runs: a directory, three sample masters, the proxy and the sample gateway.
//!
//! Ports are the kernel's choice. Masters keep theirs when they are started again, as a bot would that a supervisor
//! restarts.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::demo::child::Child;
use crate::demo::settings::{MASTERS, Settings};
use crate::sample::gateway::{Gateway, Plan};

/// The proxy and the masters are ready in a few milliseconds; a loaded machine gets more.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A master that died is started again after this long.
pub const RESTART_AFTER: Duration = Duration::from_secs(10);
/// When a port is taken at the restart, the next try comes this much later.
const RESTART_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Lines of a child's log shown when it does not start.
const LOG_LINES_SHOWN: usize = 10;

pub struct Stage {
    pub masters: Vec<Master>,
    pub proxy: Child,
    pub proxy_address: SocketAddr,
    pub admin_address: SocketAddr,
    pub gateway: Gateway,
    pub settings: Settings,
    directory: Directory,
}

pub struct Master {
    pub name: &'static str,
    pub address: SocketAddr,
    state: State,
}

enum State {
    Running(Box<Child>),
    Dead { restart_at: Instant },
}

/// Something that happened to a master process.
pub enum Event {
    Died { master: usize, how: String },
    Restarted { master: usize, pid: i32 },
    RestartFailed { master: usize, why: String },
}

impl Stage {
    /// Starts everything; `rate` is in webhooks a second.
    ///
    /// # Errors
    /// When a process does not start; the message carries the end of its log.
    pub async fn set(rate: std::num::NonZeroU32) -> io::Result<Self> {
        let directory = Directory::create()?;
        let mut masters = Vec::with_capacity(MASTERS.len());
        for name in MASTERS {
            let (child, address) = start_master(name, "127.0.0.1:0", &directory).await?;
            masters.push(Master { name, address, state: State::Running(Box::new(child)) });
        }
        let addresses = masters.iter().map(|master| master.address).collect();
        let settings = Settings { addresses, state: directory.0.join("data"), weighted: false };
        let config = directory.config();
        std::fs::write(&config, settings.yaml())?;
        let (proxy, proxy_address, admin_address) = start_proxy(&config, &directory.0.join("baton.log")).await?;
        let gateway = Gateway::start(Plan { rate, ..Plan::new(proxy_address, "/webhook") });
        Ok(Self { masters, proxy, proxy_address, admin_address, gateway, settings, directory })
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.config()
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.0.join("baton.log")
    }

    /// The last lines that the proxy said.
    #[must_use]
    pub fn log_end(&self) -> String {
        format!("it said last:\n{}", tail(&self.log()))
    }

    /// Notices masters that died and starts those again whose time has come.
    pub async fn tend(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, master) in self.masters.iter_mut().enumerate() {
            match &mut master.state {
                State::Running(child) => {
                    if let Ok(Some(status)) = child.ended() {
                        events.push(Event::Died { master: index, how: status.to_string() });
                        master.state = State::Dead { restart_at: Instant::now() + RESTART_AFTER };
                    }
                }
                State::Dead { restart_at } if *restart_at <= Instant::now() => {
                    match start_master(master.name, &master.address.to_string(), &self.directory).await {
                        Ok((child, _)) => {
                            events.push(Event::Restarted { master: index, pid: child.pid() });
                            master.state = State::Running(Box::new(child));
                        }
                        Err(error) => {
                            events.push(Event::RestartFailed { master: index, why: error.to_string() });
                            *restart_at = Instant::now() + RESTART_AGAIN_AFTER;
                        }
                    }
                }
                State::Dead { .. } => {}
            }
        }
        events
    }

    /// Writes changed settings and tells the proxy with SIGHUP.
    ///
    /// # Errors
    /// When the file cannot be written or the proxy is gone.
    pub fn apply(&self) -> io::Result<()> {
        std::fs::write(self.config(), self.settings.yaml())?;
        self.proxy.signal(Signal::HUP)
    }

    /// Ends everything, gateway first so that nobody is cut off, and removes the directory.
    pub async fn clear(self) {
        drop(self.gateway);
        self.proxy.end(Signal::INT).await;
        for master in self.masters {
            if let State::Running(child) = master.state {
                // A stopped process can only be killed.
                child.end(Signal::KILL).await;
            }
        }
    }
}

impl Master {
    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match &self.state {
            State::Running(child) => Some(child.pid()),
            State::Dead { .. } => None,
        }
    }

    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.state {
            State::Running(child) => child.signal(signal),
            State::Dead { .. } => Err(io::Error::other(format!("{} is not running", self.name))),
        }
    }
}

async fn start_master(name: &str, listen: &str, directory: &Directory) -> io::Result<(Child, SocketAddr)> {
    let log = directory.0.join(format!("{name}.log"));
    let mut child = Child::start(&["sample-master", "--listen", listen, "--name", name], &log)?;
    let line = child.line(Instant::now() + START_TIMEOUT).await.map_err(|error| failed_start(name, &error, &log))?;
    let address = line.strip_prefix("listening on ").and_then(|address| address.parse().ok());
    let address = address.ok_or_else(|| io::Error::other(format!("{name} said {line:?} instead of its address")))?;
    child.ignore_output();
    Ok((child, address))
}

async fn start_proxy(config: &Path, log: &Path) -> io::Result<(Child, SocketAddr, SocketAddr)> {
    let path = config.to_string_lossy();
    let mut child = Child::start(&["run", "--config", &path], log)?;
    let deadline = Instant::now() + START_TIMEOUT;
    let (mut listener, mut admin) = (None, None);
    loop {
        let line = child.line(deadline).await.map_err(|error| failed_start("the proxy", &error, log))?;
        let address = |prefix| line.strip_prefix(prefix)?.split_whitespace().next()?.parse::<SocketAddr>().ok();
        listener = address("listening on http://").or(listener);
        admin = address("admin on http://").or(admin);
        if line == "ready" {
            break;
        }
    }
    child.ignore_output();
    match (listener, admin) {
        (Some(listener), Some(admin)) => Ok((child, listener, admin)),
        _ => Err(io::Error::other("the proxy is ready but has not told its addresses")),
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

fn failed_start(who: &str, error: &io::Error, log: &Path) -> io::Error {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ended at once".to_owned(),
        io::ErrorKind::TimedOut => format!("it was not ready within {START_TIMEOUT:?}"),
        _ => error.to_string(),
    };
    io::Error::other(format!("{who} did not start: {reason}\n{}", tail(log)))
}

/// A directory of this run alone, removed with all its contents when dropped.
struct Directory(PathBuf);

impl Directory {
    fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("baton-demo-{}", std::process::id()));
        // A leftover of an earlier process with the same id is nobody's any more.
        let _ = std::fs::remove_dir_all(&path);
        // Not create_dir_all: a directory that somebody else has put there must not be taken.
        std::fs::create_dir(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot create {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn config(&self) -> PathBuf {
        self.0.join("baton.yaml")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
