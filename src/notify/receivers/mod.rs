//! Those who are told of alerts, each by a task of its own, so that none waits for another.
//!
//! What is to be told to whom and when is decided by pure cores (`alerts/notices`, `alerts/refresh`) over the book of alerts; here it is carried out.

mod channel;
mod mail;
mod standing;
mod teller;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::alerts::Alerts;
use crate::alerts::alert::Alert;
use crate::alerts::notices::Notice;
use crate::clock::unix_millis;
use crate::config::model::Receiver;
use crate::telemetry::Telemetry;
use channel::Channel;
use standing::Standing;
pub use standing::{Last, Numbers};
use teller::Teller;

/// All receivers of the configuration. Dropping it ends them.
pub struct Receivers {
    runtime: Handle,
    alerts: Arc<Alerts>,
    telemetry: Arc<Telemetry>,
    running: Mutex<Vec<Running>>,
    stop: watch::Sender<bool>,
}

struct Running {
    receiver: Receiver,
    standing: Arc<Standing>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receivers {
    /// None yet; tasks will run on this event loop.
    #[must_use]
    pub fn new(runtime: Handle, alerts: Arc<Alerts>, telemetry: Arc<Telemetry>) -> Self {
        Self { runtime, alerts, telemetry, running: Mutex::default(), stop: watch::Sender::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells exactly these from now on. One that did not change goes on undisturbed.
    pub fn update(&self, receivers: &[Receiver]) {
        let mut running = self.lock();
        let mut before = std::mem::take(&mut *running);
        for receiver in receivers {
            let known = before.iter().position(|known| known.receiver == *receiver);
            match known {
                Some(known) => running.push(before.swap_remove(known)),
                None => running.push(self.start(receiver)),
            }
        }
    }

    fn start(&self, receiver: &Receiver) -> Running {
        let standing = Standing::new(&receiver.name, &self.telemetry);
        let teller = Teller::new(receiver, self.alerts.clone(), standing.clone(), self.stop.subscribe());
        Running { receiver: receiver.clone(), standing, task: self.runtime.spawn(teller.run()) }
    }

    /// Each with how it goes.
    #[must_use]
    pub fn all(&self) -> Vec<(Receiver, Numbers)> {
        self.lock().iter().map(|it| (it.receiver.clone(), it.standing.numbers())).collect()
    }

    /// How often each was not told something, since it is configured as it is.
    #[must_use]
    pub fn untold(&self) -> Vec<(String, u64)> {
        let untold = |it: &Running| {
            let numbers = it.standing.numbers();
            (it.receiver.name.clone(), numbers.failed + numbers.dropped)
        };
        self.lock().iter().map(untold).collect()
    }

    /// Tries once whether a receiver can be told, and gives how long that took. `None`: there is no such receiver.
    pub async fn test(&self, name: &str, by: &str) -> Option<Result<Duration, String>> {
        let receiver = self.lock().iter().find(|it| it.receiver.name == name).map(|it| it.receiver.clone())?;
        let begun = Instant::now();
        let notice = Notice::test(Alert::test(name, by, unix_millis()));
        let outcome = match Channel::open(&receiver, 1) {
            Ok(channel) => channel.tell(&notice, |_, _| {}).await,
            Err(reason) => Err(reason),
        };
        Some(outcome.map(|()| begun.elapsed()))
    }

    /// Begins no further notification.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Gives what is under way this much time to be delivered.
    pub async fn finish(&self, within: Duration) {
        self.stop();
        let running = std::mem::take(&mut *self.lock());
        let all = async {
            for mut running in running {
                let _ = (&mut running.task).await;
            }
        };
        let _ = tokio::time::timeout(within, all).await;
    }
}
