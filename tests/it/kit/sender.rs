//! Gateways that go on while Baton is down, and moments at which it goes down.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton::sample::mark::Mark;
use baton::sample::signing;
use baton::sample::webhook::{self, Update};
use baton::whatsapp::Provider;
use hyper::Method;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::http::Client;
use super::meta::SECRET;

/// What a gateway does with a webhook that got no 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Sends it again, until it gets one.
    Again,
    /// Forgets it, and goes on with the next.
    Once,
}

/// A gateway for one conversation, which has one message under way at a time.
struct Sender {
    to: SocketAddr,
    run: u64,
    conversation: u32,
    persistence: Persistence,
    stop: Arc<AtomicBool>,
}

impl Sender {
    const PAUSE: Duration = Duration::from_millis(100);
    const SOON_AGAIN: Duration = Duration::from_millis(10);

    /// Until told to stop; gives what was acknowledged.
    async fn run(self) -> BTreeSet<Mark> {
        let mut acknowledged = BTreeSet::new();
        let mut sequence = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let mark = Mark { run: self.run, conversation: self.conversation, sequence };
            let taken = loop {
                match self.send(mark).await {
                    Some(200) => break true,
                    // It never left, so nobody can have it.
                    None => {}
                    Some(_) if self.persistence == Persistence::Once => break false,
                    Some(_) => {}
                }
                tokio::time::sleep(Self::SOON_AGAIN).await;
            };
            if taken {
                acknowledged.insert(mark);
            }
            sequence += 1;
            tokio::time::sleep(Self::PAUSE).await;
        }
        acknowledged
    }

    /// The status, 0 when there was none, and nothing when there was no connection.
    async fn send(&self, mark: Mark) -> Option<u16> {
        let stream = TcpStream::connect(self.to).await.ok()?;
        let body = webhook::body(Provider::CloudApi, &[Update::at(mark, 0)], 1_782_991_800);
        let (body, signature) = (String::from_utf8_lossy(&body).into_owned(), signing::hub(SECRET, &body));
        let headers = [("Content-Type", "application/json"), ("X-Hub-Signature-256", &signature)];
        let answer = Client::over(stream).await.send(Method::POST, "/webhook", &headers, &body).await;
        Some(answer.map_or(0, |answer| answer.status))
    }
}

/// Gateways side by side, each with a conversation.
pub struct Senders {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<BTreeSet<Mark>>>,
}

impl Senders {
    pub fn start(to: SocketAddr, conversations: u32, persistence: Persistence) -> Self {
        let (stop, run) = (Arc::new(AtomicBool::new(false)), micros());
        let sender = |conversation| Sender { to, run, conversation, persistence, stop: stop.clone() };
        let senders = (0..conversations).map(|conversation| tokio::spawn(sender(conversation).run())).collect();
        Self { stop, senders }
    }

    /// Ends them, and gives what was acknowledged.
    pub async fn stop(self) -> BTreeSet<Mark> {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = BTreeSet::new();
        for sender in self.senders {
            acknowledged.append(&mut sender.await.unwrap());
        }
        acknowledged
    }
}

/// Moments of one run, the same again for the same seed (Marsaglia's xorshift).
pub struct Random(u64);

impl Random {
    /// By the seed in this variable of the environment, or by the clock; the seed is told, for whoever wants to see a failure again
    /// needs it.
    #[expect(clippy::print_stderr, reason = "the harness shows it beside the failure")]
    pub fn seeded(variable: &str) -> Self {
        let seed = std::env::var(variable).ok().map_or_else(micros, |seed| seed.parse().unwrap());
        eprintln!("{variable}={seed}");
        Self(seed | 1)
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        self.micros(from * 1000, to * 1000)
    }

    pub fn micros(&mut self, from: u64, to: u64) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(from + self.0 % (to - from))
    }
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}
