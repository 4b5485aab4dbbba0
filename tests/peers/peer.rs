//! A program of `tests/peers/programs` as a process of one test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use baton::sample::client;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::kit::process::{Process, Stream};
use crate::kit::{SOON, eventually, within};

/// What the masters compare signatures with, and the handshake's token.
pub const SECRET: &str = "s3cret";
pub const VERIFY_TOKEN: &str = "vtok";

/// The account that most messages are for, and another one.
pub const PHONE: &str = "106540352242922";
pub const OTHER_PHONE: &str = "106540352242999";

/// A library is read and compiled in this time, also on a machine that is busy with other things.
const STARTED: Duration = Duration::from_secs(60);

pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    program: &'static str,
    variables: Vec<(&'static str, String)>,
    process: Process,
}

impl Peer {
    /// A bot on the first account.
    pub async fn start(name: &str, program: &'static str) -> Self {
        Self::start_with(name, program, &[]).await
    }

    /// A bot with these variables in its environment, such as `PHONE`.
    pub async fn start_with(name: &str, program: &'static str, variables: &[(&'static str, &str)]) -> Self {
        let variables = variables.iter().map(|(variable, value)| (*variable, (*value).to_owned())).collect();
        Self::start_at(name, program, variables, 0).await
    }

    async fn start_at(name: &str, program: &'static str, variables: Vec<(&'static str, String)>, port: u16) -> Self {
        let mut process = Process::spawn(
            name,
            command(program)
                .envs([("APP_SECRET", SECRET), ("VERIFY_TOKEN", VERIFY_TOKEN), ("PHONE", PHONE)])
                .envs(variables.iter().map(|(variable, value)| (*variable, value.as_str())))
                .env("PORT", port.to_string())
                .stdin(Stdio::null()),
        );
        let expected = format!("{name} says where it listens");
        let address = within(STARTED, &expected, async || {
            assert!(process.running(), "{name} ended before it said where it listens");
            let said = process.said(Stream::Out);
            said.lines().find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
        })
        .await;
        Self { name: name.to_owned(), address, program, variables, process }
    }

    /// What was handled, in that order: ids of messages, and for statuses id and status.
    pub async fn seen(&self) -> Vec<String> {
        serde_json::from_value(self.told("/seen").await).expect("a list of texts")
    }

    /// Waits until so many have been handled, and gives all.
    pub async fn seen_all(&self, count: usize) -> Vec<String> {
        let expected = format!("{} has handled {count}", self.name);
        eventually(&expected, async || {
            let seen = self.seen().await;
            (seen.len() >= count).then_some(seen)
        })
        .await
    }

    /// Every webhook as it came over the wire: `headers`, and with most programs `length` and `sha256` of the body.
    pub async fn requests(&self) -> Vec<Value> {
        serde_json::from_value(self.told("/requests").await).expect("a list")
    }

    /// Of a bot that tells whole bodies, what each webhook was about in the order of arrival: as [`Self::seen`] has it.
    pub async fn received(&self) -> Vec<String> {
        let about = |request: Value| {
            let body: Value = serde_json::from_str(request["body"].as_str().expect("a body")).expect("JSON");
            let value = &body["entry"][0]["changes"][0]["value"];
            match (&value["messages"][0], &value["statuses"][0]) {
                (Value::Null, status) => format!("{} {}", text(&status["id"]), text(&status["status"])),
                (message, _) => text(&message["id"]).to_owned(),
            }
        };
        self.requests().await.into_iter().map(about).collect()
    }

    async fn told(&self, path: &str) -> Value {
        let (status, body) = client::get(self.address, path).await.expect("the bot tells what it has seen");
        assert_eq!(status, 200);
        serde_json::from_slice(&body).expect("JSON")
    }

    pub fn alive(&mut self) -> bool {
        self.process.running()
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.ended().await;
    }

    /// A new process at the address of one that has ended; it remembers nothing.
    pub async fn restart(&mut self) {
        assert!(!self.process.running(), "{} still runs", self.name);
        *self = Self::start_at(&self.name.clone(), self.program, self.variables.clone(), self.address.port()).await;
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// axios, as the self-hosted gateways use it.
pub struct Sender {
    // Dropping it kills the process.
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Sender {
    pub async fn start() -> Self {
        let mut command = tokio::process::Command::from(command("sender.cjs"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("node starts");
        let input = child.stdin.take().expect("standard input is piped");
        let output = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        let mut sender = Self { _child: child, input, output };
        assert_eq!(sender.line().await, "ready");
        sender
    }

    /// The status that it got, 0 when it got none.
    pub async fn post(&mut self, url: &str, body: &Value) -> u16 {
        let task = serde_json::json!({ "url": url, "body": body });
        self.input.write_all(format!("{task}\n").as_bytes()).await.expect("it reads");
        let outcome: Value = serde_json::from_str(&self.line().await).expect("JSON");
        outcome["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status")
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(SOON, self.output.next_line()).await.expect("a line in time");
        line.expect("standard output can be read").expect("it runs")
    }
}

/// The program with the runtime and the libraries that `tests/peers/install` has put below `target/tools`.
pub fn command(program: &str) -> Command {
    let (programs, libraries) = (installed("node/programs"), installed("python"));
    let mut command = if Path::new(program).extension().is_some_and(|extension| extension == "py") {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", libraries).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    } else {
        let mut command = Command::new(installed("bin/node"));
        command.args(["--preserve-symlinks", "--preserve-symlinks-main"]);
        command
    };
    // They would send requests to themselves through it.
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(variable);
    }
    command.arg(programs.join(program));
    command
}

fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/peers").join(path);
    assert!(path.exists(), "there is no {}: `scripts/test peers` installs it", path.display());
    path
}
