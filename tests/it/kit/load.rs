//! Webhook load on a Baton, and an honest clock beside it.

use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baton::sample::gateway::{Gateway, Plan};

use super::{Directory, eventually};

/// 400 webhooks a second over 100 conversations for this long, each exchange kept.
pub fn webhooks(to: SocketAddr, duration: Duration) -> Gateway {
    Gateway::start(Plan { duration: Some(duration), keep_exchanges: 100_000, ..Plan::new(to, "/webhook") })
}

/// Waits until the run is this old.
pub async fn until(gateway: &Gateway, age: Duration) {
    tokio::time::sleep(age.saturating_sub(gateway.elapsed())).await;
}

/// Waits until the named master has answered so many.
pub async fn until_served(gateway: &Gateway, master: &str, answers: u64) {
    let served = || gateway.tally().by_master.get(master).copied().unwrap_or(0);
    eventually(&format!("{answers} answers by {master}"), async || (served() >= answers).then_some(())).await;
}

/// A machine on which some task waits for a processor for more than this share of the time measures itself, not Baton.
const BUSY: f64 = 0.4;
/// So many times a measurement is made in the hope of a quiet machine.
const ATTEMPTS: u32 = 3;
/// On a machine that is busy all the time, limits are wider by this factor.
const BUSY_FACTOR: u32 = 4;

/// What may be asked of the times in one measurement.
pub struct Patience {
    factor: u32,
    late: Duration,
}

impl Patience {
    /// The limit on this machine at that time, for one on an idle machine.
    pub fn limit(&self, on_an_idle_machine: Duration) -> Duration {
        on_an_idle_machine * self.factor + self.late
    }
}

/// Measures again while the machine was busy with other things; gives the first result from a quiet one, or the last.
///
/// Whether a result counts is decided by the machine and never by the result.
pub async fn measured<T>(scenario: impl AsyncFn() -> T) -> (T, Patience) {
    for attempt in 1.. {
        let (metronome, pressure, start) = (Metronome::start(), stalled(), Instant::now());
        let result = scenario().await;
        let share = (stalled() - pressure).as_secs_f64() / start.elapsed().as_secs_f64();
        if share <= BUSY || attempt == ATTEMPTS {
            let factor = if share <= BUSY { 1 } else { BUSY_FACTOR };
            return (result, Patience { factor, late: metronome.worst() });
        }
    }
    unreachable!("one attempt is the last")
}

/// Time so far in which some task waited for a processor, or a processor for the machine below this one; none where the kernel
/// does not tell.
fn stalled() -> Duration {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total = pressure.lines().next().and_then(|line| line.split("total=").nth(1)?.trim().parse().ok());
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // In hundredths of a second, of all processors.
    let stolen = stat.split_whitespace().nth(8).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_micros(total.unwrap_or(0)) + Duration::from_millis(10 * stolen)
}

/// Measures how late this machine wakes a thread, so that a limit on time is a limit on what Baton takes and not on what
/// the machine took.
struct Metronome {
    stop: Arc<AtomicBool>,
    worst_micros: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Metronome {
    const BEAT: Duration = Duration::from_millis(2);

    fn start() -> Self {
        Self::beating(|| {
            let before = Instant::now();
            std::thread::sleep(Self::BEAT);
            before.elapsed().saturating_sub(Self::BEAT)
        })
    }

    /// Measures again and again.
    fn beating(mut late: impl FnMut() -> Duration + Send + 'static) -> Self {
        let (stop, worst_micros) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, worst) = (stop.clone(), worst_micros.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                worst.fetch_max(late().as_micros() as u64, Ordering::Relaxed);
            }
        });
        Self { stop, worst_micros, thread: Some(thread) }
    }

    fn worst(&self) -> Duration {
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

/// Measures how long the disk takes for a small write and its sync.
pub struct Disk {
    metronome: Metronome,
    _directory: Directory,
}

impl Disk {
    const BEAT: Duration = Duration::from_millis(50);

    pub fn start() -> Self {
        let directory = Directory::new();
        let mut file = std::fs::File::create(directory.path().join("beat")).unwrap();
        let metronome = Metronome::beating(move || {
            std::thread::sleep(Self::BEAT);
            let before = Instant::now();
            file.rewind().and_then(|()| file.write_all(&[0; 512])).and_then(|()| file.sync_data()).unwrap();
            before.elapsed()
        });
        Self { metronome, _directory: directory }
    }

    pub fn worst(&self) -> Duration {
        self.metronome.worst()
    }
}
