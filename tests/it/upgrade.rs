//! A new process takes the old one's place without a failed request, or not at all.

#[path = "upgrade/failures.rs"]
mod failures;
#[path = "upgrade/over_h2.rs"]
mod over_h2;
#[path = "upgrade/stored.rs"]
mod stored;
#[path = "upgrade/supervised.rs"]
mod supervised;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::kit::config::PROBES;
use crate::kit::directory::Directory;
use crate::kit::http::Client;
use crate::kit::process::{Process, Stream};
use crate::kit::raw::{Raw, RawMaster};
use crate::kit::{Baton, Config, among_others, eventually, masters, within};

/// A start takes a second or two, with the machine to itself.
const START: Duration = Duration::from_secs(20);

/// A Baton whose program can be replaced, with every process that comes of it.
struct Line {
    baton: Baton,
    program: PathBuf,
}

impl Line {
    async fn start(config: &Config) -> Self {
        Self::start_with(config, |_| {}).await
    }

    /// Starts `DIRECTORY/baton`, a link to the real program.
    async fn start_with(config: &Config, prepare: impl FnOnce(&mut Command)) -> Self {
        let directory = Directory::new();
        Self::start_in(directory, config, prepare).await
    }

    async fn start_in(directory: Directory, config: &Config, prepare: impl FnOnce(&mut Command)) -> Self {
        let program = directory.path().join("baton");
        link(&program);
        let path = directory.write("baton.yaml", &config.text(&directory.path().join("data")));
        let mut command = Command::new(&program);
        command.args(["run", "--config"]).arg(path).stdin(Stdio::null());
        prepare(&mut command);
        let baton = Baton::started(Process::spawn("baton", &mut command), directory).await;
        Self { baton, program }
    }

    /// Puts a script in the program's place, in one step.
    fn replace_program(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let new = self.baton.directory().join("new");
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, &self.program).unwrap();
    }

    fn restore_program(&self) {
        std::fs::remove_file(&self.program).unwrap();
        link(&self.program);
    }

    /// Processes that live and name the test's directory in their command line, in the order they were started.
    fn processes(&self) -> Vec<i32> {
        let needle = self.baton.directory().to_str().unwrap().as_bytes().to_vec();
        let mut found: Vec<i32> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.windows(needle.len()).any(|window| window == needle)
            })
            .collect();
        found.sort_by_key(|pid| started(*pid));
        found
    }

    fn said(&self) -> String {
        self.baton.process.said(Stream::Err)
    }

    /// How many processes have said that they are ready.
    fn ready(&self) -> usize {
        self.baton.process.said(Stream::Out).lines().filter(|line| *line == "ready").count()
    }

    /// Sends SIGUSR2 to the process that serves.
    fn ask(&self) {
        let serving = *self.processes().first().expect("a process that serves");
        signal(serving, Signal::USR2);
    }

    /// Replaces the process that serves, and waits until the old one is gone.
    async fn upgrade(&self) {
        let ready = self.ready();
        let before = self.processes();
        self.ask();
        within(START, "the new process is ready", async || (self.ready() > ready).then_some(())).await;
        within(START, "the old process is gone", async || {
            let now = self.processes();
            (now.len() == 1 && now != before).then_some(())
        })
        .await;
    }

    /// Waits for a line of the log with all of these words, and fails when there is none.
    async fn until_said(&self, words: &[&str]) {
        let found = |line: &str| words.iter().all(|word| line.contains(word));
        within(START, &format!("{words:?} in the log"), async || self.said().lines().any(found).then_some(())).await;
    }

    async fn until_counted(&self, outcome: &str, count: f64) {
        within(START, &format!("{count} upgrades are {outcome}"), async || {
            (self.baton.metric("baton_upgrades_total", &[("outcome", outcome)]).await == count).then_some(())
        })
        .await;
    }

    async fn answers(&self) {
        assert_eq!(Client::connect(self.baton.address()).await.get("/").await.status, 200);
    }

    /// Ends whatever runs with SIGTERM, and waits for it.
    async fn stop(self) {
        for pid in self.processes() {
            signal(pid, Signal::TERM);
        }
        within(START, "every process has ended", async || self.processes().is_empty().then_some(())).await;
        let data = self.baton.directory().join("data");
        let files = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
        // The key that tokens are signed with outlives processes, as do what was audited, measured, told and stored.
        let stays = [
            "admin-key.json",
            "audit",
            "trends",
            "sla",
            "alerts.json",
            "hooks",
            "operator-states.json",
            "generations",
            "spool.lock",
            "spool.reserve",
            "spool.redb",
        ];
        let left: Vec<_> = files.filter(|name| stays.iter().all(|known| name != known)).collect();
        assert!(left.is_empty(), "{left:?} is left in {}", data.display());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

fn link(program: &Path) {
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_baton"), program).unwrap();
}

fn signal(pid: i32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).expect("the process is there to be signalled");
}

/// When a process was started, in ticks since the machine was (proc_pid_stat(5), field 22).
fn started(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok()).unwrap_or(u64::MAX)
}

/// Requests that go on until told to stop, on connections that are kept and on new ones; on a thread of their own, so that a
/// test that looks around does not hold them up.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Load {
    const PAUSE: Duration = Duration::from_millis(10);

    fn start(to: SocketAddr) -> Self {
        Self::of(to, |_, _, header| format!("GET / HTTP/1.1\r\nHost: bot.example\r\n{header}\r\n"))
    }

    /// `next` writes a client's next request, given the client's number, the request's, and a header to put in.
    fn of(to: SocketAddr, next: impl Fn(usize, u64, &str) -> String + Send + Clone + 'static) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), answered.clone());
        let client = move |number: usize, kept: bool| {
            let (stop, answered, next) = (stopped.clone(), counted.clone(), next.clone());
            let header = if kept { "" } else { "Connection: close\r\n" };
            async move {
                let (mut failed, mut connection, mut count) = (Vec::new(), None, 0);
                while !stop.load(Ordering::Relaxed) {
                    match request(&mut connection, to, kept, &next(number, count, header)).await {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failed.push(format!("kept: {kept}, {error}")),
                    }
                    count += 1;
                    tokio::time::sleep(Self::PAUSE).await;
                }
                failed
            }
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let clients =
                    tokio::join!(client(0, true), client(1, true), client(2, true), client(3, false), client(4, false));
                [clients.0, clients.1, clients.2, clients.3, clients.4].concat()
            })
        });
        Self { stop, answered, thread }
    }

    /// What failed, and how many were answered.
    fn stop(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.thread.join().unwrap();
        (failed, self.answered.load(Ordering::Relaxed))
    }
}

/// One request, on the connection there is or on a new one. A connection that the other side has closed before anything was
/// sent on it is replaced, as every client does.
async fn request(connection: &mut Option<TcpStream>, to: SocketAddr, keep: bool, text: &str) -> Result<(), String> {
    let mut stream = match connection.take() {
        Some(stream) if !matches!(stream.try_read(&mut [0]), Ok(0)) => stream,
        _ => TcpStream::connect(to).await.map_err(|error| format!("connect: {error}"))?,
    };
    stream.write_all(text.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
    let mut answer = Vec::new();
    let end = loop {
        if stream.read_buf(&mut answer).await.map_err(|error| format!("read: {error}"))? == 0 {
            return Err(format!("the end after {:?}", String::from_utf8_lossy(&answer)));
        }
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() == length.unwrap_or(usize::MAX) {
            break head.to_owned();
        }
    };
    if !end.starts_with("http/1.1 200") {
        return Err(end);
    }
    if keep && !end.contains("\r\nconnection: close") {
        *connection = Some(stream);
    }
    Ok(())
}

#[tokio::test]
async fn five_upgrades_in_a_row_lose_no_request() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let log = Directory::new();
    let log = log.path().join("access.log");
    let line = Line::start(&Config::of(&masters).upstream(PROBES).access_log(&log)).await;
    let load = Load::start(line.baton.address());
    for _ in 0..5 {
        let before = load.answered.load(Ordering::Relaxed);
        eventually("load", async || (load.answered.load(Ordering::Relaxed) > before + 50).then_some(())).await;
        line.upgrade().await;
    }
    let before = load.answered.load(Ordering::Relaxed);
    eventually("load", async || (load.answered.load(Ordering::Relaxed) > before + 50).then_some(())).await;
    let (failed, answered) = load.stop();
    assert!(failed.is_empty(), "{} of {answered} failed: {failed:#?}", failed.len());
    assert_eq!(line.processes().len(), 1);
    // The newest process counts the upgrade that it came by.
    line.until_counted("completed", 1.0).await;
    line.stop().await;
    // Two processes have written to one file at the same time.
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count() as u64, answered);
    for entry in text.lines() {
        serde_json::from_str::<serde_json::Value>(entry).unwrap_or_else(|error| panic!("{error}: {entry}"));
    }
}

#[tokio::test]
async fn an_idle_connection_may_ask_once_more_before_it_is_closed_and_a_request_under_way_is_answered_by_the_old_process()
 {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start(&Config::of(&masters)).await;
    let mut idle = Client::connect(line.baton.address()).await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut seldom = Client::connect(line.baton.address()).await;
    assert_eq!(seldom.get("/").await.status, 200);
    masters[0].fault(r#"{"delay_ms":3000}"#).await;
    let mut busy = Client::connect(line.baton.address()).await;
    let under_way = async {
        let answer = busy.get("/").await;
        assert_eq!((answer.status, answer.headers.get("connection").unwrap().as_bytes()), (200, &b"close"[..]));
    };
    let upgrade = async {
        eventually("the request at the master", async || (masters[0].seen().await.requests == 3).then_some(())).await;
        masters[0].fault("{}").await;
        line.ask();
        within(START, "the new process", async || (line.ready() == 2).then_some(())).await;
        // A client that pauses for longer than a worker waits on SIGTERM.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let answer = seldom.get("/").await;
        assert_eq!((answer.status, answer.headers.get("connection").unwrap().as_bytes()), (200, &b"close"[..]));
        eventually("the idle connection closed", async || idle.is_closed().then_some(())).await;
        line.answers().await;
    };
    tokio::join!(under_way, upgrade);
    eventually("the old process is gone", async || (line.processes().len() == 1).then_some(())).await;
    line.stop().await;
}

#[tokio::test]
async fn a_tunnel_goes_on_in_the_old_process_until_it_ends() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let line = Line::start(&Config::empty().master("a", master.address, "")).await;
    let mut client = Raw::connect(line.baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    client.head().await;
    line.ask();
    within(START, "the new process", async || (line.ready() == 2).then_some(())).await;
    line.until_said(&["another process serves now"]).await;
    client.send("ping").await;
    upstream.expect("ping").await.send("pong").await;
    client.expect("pong").await;
    assert_eq!(line.processes().len(), 2);
    drop((client, upstream));
    eventually("the old process is gone", async || (line.processes().len() == 1).then_some(())).await;
    line.stop().await;
}

#[tokio::test]
async fn a_tunnel_holds_the_old_process_no_longer_than_the_drain_timeout() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let line = Line::start(&Config::empty().master("a", master.address, "").top("drain_timeout: 500ms")).await;
    let mut client = Raw::connect(line.baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    client.head().await;
    line.upgrade().await;
    client.expect_end().await;
    line.stop().await;
}

#[tokio::test]
async fn listeners_of_every_kind_move_and_those_of_one_configuration_alone_come_and_go() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(vec!["bot.example".to_owned()]).unwrap();
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let path = |name: &str| directory.path().join(name);
    let (socket, gone, fresh) = (path("kept.sock"), path("gone.sock"), path("new.sock"));
    let unix = |name: &str, at: &Path| format!("  - {{ name: {name}, address: \"unix:{}\" }}", at.display());
    let tls = format!(
        "  - {{ name: tls, address: \"127.0.0.1:0\", tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }} }}",
        cert.display(),
        key.display()
    );
    let raw = "  - { name: raw, address: \"127.0.0.1:0\", protocol: tcp, upstream: bots }";
    let text = |base: &str, more: &[&str]| base.replace("routes:\n", &format!("{}\nroutes:\n", more.join("\n")));
    let config = Config::of(&masters);
    let data = path("data");
    let first = text(&config.text(&data), &[&tls, raw, &unix("kept", &socket), &unix("gone", &gone)]);
    let second = text(&config.text(&data), &[&tls, raw, &unix("renamed", &socket), &unix("new", &fresh)]);

    let program = path("baton");
    link(&program);
    let file = directory.write("baton.yaml", &first);
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(&file).stdin(Stdio::null());
    let baton = Baton::started(Process::spawn("baton", &mut command), directory).await;
    let line = Line { baton, program };
    assert!(gone.exists());
    // The old process would take the file up at once; the new one reads this.
    std::fs::write(line.baton.directory().join("other.yaml"), &second).unwrap();
    let other = line.baton.directory().join("other.yaml");
    let mut new = Command::new(&line.program);
    new.args(["run", "--takeover", "--config"]).arg(other).stdin(Stdio::null());
    let mut new = Process::spawn("new", &mut new);
    new.line("ready", |line| (line == "ready").then_some(())).await;
    within(START, "the old process is gone", async || (line.processes() == [new.id()]).then_some(())).await;

    line.answers().await;
    let stream = TcpStream::connect(line.baton.address_of("tls")).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let name = "bot.example".try_into().unwrap();
    let mut over_tls = Raw::over(tokio_rustls::TlsConnector::from(client).connect(name, stream).await.unwrap());
    over_tls.send("GET / HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n").await;
    assert!(over_tls.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(Client::connect(line.baton.address_of("raw")).await.get("/").await.status, 200);
    for (path, there) in [(&socket, true), (&fresh, true), (&gone, false)] {
        assert_eq!(path.exists(), there, "{}", path.display());
        if there {
            let mut raw = Raw::over(UnixStream::connect(path).await.unwrap());
            raw.send("GET / HTTP/1.1\r\nHost: bot.example\r\nConnection: close\r\n\r\n").await;
            assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
        }
    }
    line.stop().await;
    assert!(!socket.exists() && !fresh.exists());
}
