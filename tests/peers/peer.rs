//! A program of `tests/peers/programs` as a process of one test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baton::sample::client;
use serde_json::Value;

use crate::kit::eventually;
use crate::kit::process::Process;

/// What the masters compare signatures with, and the handshake's token.
pub const SECRET: &str = "s3cret";
pub const VERIFY_TOKEN: &str = "vtok";

/// The account that the sample payloads belong to.
pub const PHONE: &str = "106540352242922";

pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    _process: Process,
}

impl Peer {
    /// A bot on the first account.
    pub async fn start(name: &str, program: &str) -> Self {
        Self::start_with(name, program, &[]).await
    }

    /// A bot with these variables in its environment, such as `PHONE`.
    pub async fn start_with(name: &str, program: &str, variables: &[(&str, &str)]) -> Self {
        let mut process = Process::spawn(
            name,
            command(program)
                .envs([("APP_SECRET", SECRET), ("VERIFY_TOKEN", VERIFY_TOKEN), ("PHONE", PHONE)])
                .envs(variables.iter().copied())
                .stdin(Stdio::null()),
        );
        let address =
            process.line("listening on ADDRESS", |line| line.strip_prefix("listening on ")?.parse().ok()).await;
        Self { name: name.to_owned(), address, _process: process }
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

    async fn told(&self, path: &str) -> Value {
        let (status, body) = client::get(self.address, path).await.expect("the bot tells what it has seen");
        assert_eq!(status, 200);
        serde_json::from_slice(&body).expect("JSON")
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
