//! A sample master as a process of its own, so that it can be killed and stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use baton::sample::client;
use rustix::process::Signal;

use super::process::Process;

pub struct Master {
    pub name: String,
    pub address: SocketAddr,
    process: Process,
    arguments: Vec<String>,
}

/// Masters with these names.
pub async fn masters<const N: usize>(names: [&str; N]) -> [Master; N] {
    let mut started = Vec::new();
    for name in names {
        started.push(Master::start(name).await);
    }
    started.try_into().unwrap_or_else(|_| unreachable!("as many as there are names"))
}

impl Master {
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// With further arguments, also when it is started again.
    pub async fn start_with(name: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self::start_at(name, "127.0.0.1:0", arguments).await
    }

    /// At an address that is not 127.0.0.1, from where others connect: one of them could be given its port while it is down.
    pub async fn start_apart(name: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self::start_at(name, "127.0.0.2:0", arguments).await
    }

    async fn start_at(name: &str, listen: &str, arguments: Vec<String>) -> Self {
        let mut all = vec!["sample-master", "--listen", listen, "--name", name];
        all.extend(arguments.iter().map(String::as_str));
        let mut process = Process::start(name, &all);
        let address =
            process.line("listening on ADDRESS", |line| line.strip_prefix("listening on ")?.parse().ok()).await;
        Self { name: name.to_owned(), address, process, arguments }
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// A new process at the address of the killed one.
    pub async fn restart_dead(&mut self) {
        assert!(!self.process.running(), "{} still runs", self.name);
        let arguments = std::mem::take(&mut self.arguments);
        *self = Self::start_at(&self.name.clone(), &self.address.to_string(), arguments).await;
    }

    pub fn running(&mut self) -> bool {
        self.process.running()
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.process.ended().await;
    }

    /// Replaces its faults, such as `{"status":500}`; `{}` ends them.
    pub async fn fault(&self, faults: &str) {
        let (status, body) = client::post(self.address, "/fault", faults).await.expect("the master takes a fault");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }

    /// What it owns itself, where accounts are not told apart.
    pub async fn own(&self) -> serde_json::Value {
        let (_, body) = client::get(self.address, "/seen").await.expect("the master tells what it has seen");
        let mut json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        json["own"][""].take()
    }

    /// What it got.
    pub async fn seen(&self) -> Seen {
        let (_, body) = client::get(self.address, "/seen").await.expect("the master tells what it has seen");
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let conversations = serde_json::from_value(json["conversations"].clone()).expect("sequences by conversation");
        Seen { requests: json["requests"].as_u64().expect("a count"), conversations }
    }
}

pub struct Seen {
    pub requests: u64,
    /// Sequence numbers in the order of arrival, by the number of the person.
    pub conversations: BTreeMap<String, Vec<u64>>,
}
