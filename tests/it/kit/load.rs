//! Webhook load on a Baton, and an honest clock beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baton::sample::gateway::{Gateway, Plan};

/// 400 webhooks a second over 100 conversations for this long, each exchange kept.
pub fn webhooks(to: SocketAddr, duration: Duration) -> Gateway {
    Gateway::start(Plan { duration: Some(duration), keep_exchanges: 100_000, ..Plan::new(to, "/webhook") })
}

/// Waits until the run is this old.
pub async fn until(gateway: &Gateway, age: Duration) {
    tokio::time::sleep(age.saturating_sub(gateway.elapsed())).await;
}

/// Measures how long this machine keeps a thread from running that wants to, so that a limit on time is a limit on
/// what Baton takes and not on what the machine took.
pub struct Metronome {
    stop: Arc<AtomicBool>,
    worst_micros: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Metronome {
    const BEAT: Duration = Duration::from_millis(2);

    pub fn start() -> Self {
        let (stop, worst_micros) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, worst) = (stop.clone(), worst_micros.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(Self::BEAT);
                let late = before.elapsed().saturating_sub(Self::BEAT);
                worst.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        Self { stop, worst_micros, thread: Some(thread) }
    }

    /// The longest time so far that the machine was late by.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_micros.load(Ordering::Relaxed))
    }
}

impl Drop for Metronome {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
