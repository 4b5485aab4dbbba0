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
        Self::start_at(name, "127.0.0.1:0").await
    }

    async fn start_at(name: &str, listen: &str) -> Self {
        let mut process = Process::start(name, &["sample-master", "--listen", listen, "--name", name]);
        let address =
            process.line("listening on ADDRESS", |line| line.strip_prefix("listening on ")?.parse().ok()).await;
        Self { name: name.to_owned(), address, process }
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// A new process at the address of the killed one.
    pub async fn restart_dead(&mut self) {
        assert!(!self.process.running(), "{} still runs", self.name);
        *self = Self::start_at(&self.name.clone(), &self.address.to_string()).await;
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
