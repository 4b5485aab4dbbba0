//! Keeps the certificates of ACME listeners fresh: one task for each order that the configuration asks for.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::order;
use super::schedule::{Fault, pause, renewal};
use super::store::{self, Store};
use crate::config::model::{Acme, Config};
use crate::events::{Bus, Event, Kind, Severity};
use crate::telemetry::{Telemetry, names};
use crate::tls::issued::{Issued, Progress, to_listener};
use crate::tls::server::from_pem;
use crate::tls::sni::Loaded;

/// For a whole order. Servers take seconds.
const ORDER_MAX: Duration = Duration::from_secs(300);

/// The shortest wait between two orders, whatever a clock or a certificate says.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest sleep at a time: a clock that is set is noticed then.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The orders of this process. Dropping it gives up those under way.
pub struct Manager {
    runtime: Handle,
    telemetry: Arc<Telemetry>,
    events: Arc<Bus>,
    /// One order at a time: servers limit them for each account.
    turn: Arc<Semaphore>,
    running: Mutex<Vec<Running>>,
}

/// What is ordered and for which listeners.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    acme: Acme,
    listeners: Vec<String>,
    state: PathBuf,
}

struct Running {
    wanted: Wanted,
    /// Ends a wait after a failure.
    again: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Manager {
    /// Orders will run on this event loop.
    #[must_use]
    pub fn new(runtime: Handle, telemetry: Arc<Telemetry>, events: Arc<Bus>) -> Self {
        Self { runtime, telemetry, events, turn: Arc::new(Semaphore::new(1)), running: Mutex::default() }
    }

    /// Takes up a configuration: orders that it still asks for go on, others are given up, new ones begin. Certificates that are
    /// kept on disk are in use when this returns; it never waits for the server.
    pub fn update(&self, config: &Config) {
        let wanted = wanted(config);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|running| wanted.contains(&running.wanted));
        for wanted in wanted {
            if running.iter().any(|running| running.wanted == wanted) {
                continue;
            }
            let again = Arc::new(Notify::new());
            let keeper = Keeper {
                name: wanted.acme.domains.first().cloned().unwrap_or_default(),
                store: Store::new(&wanted.state, &wanted.acme),
                issued: wanted.listeners.iter().map(|listener| to_listener(listener)).collect(),
                wanted: wanted.clone(),
                telemetry: self.telemetry.clone(),
                events: self.events.clone(),
                turn: self.turn.clone(),
                again: again.clone(),
            };
            let validity = keeper.take_up();
            let task = self.runtime.spawn(async move { keeper.run(validity).await });
            running.push(Running { wanted, again, task });
        }
    }

    /// Gives up all orders.
    pub fn stop(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Makes the next attempt of each order that has failed now: somebody has repaired something.
    pub fn retry(&self) {
        for running in &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            running.again.notify_waiters();
        }
    }
}

/// Listeners that ask for the same share one order.
fn wanted(config: &Config) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for listener in &config.listeners {
        let Some(acme) = listener.tls.as_ref().and_then(|tls| tls.acme.as_ref()) else { continue };
        match all.iter_mut().find(|wanted| wanted.acme == *acme) {
            Some(wanted) => wanted.listeners.push(listener.name.clone()),
            None => all.push(Wanted {
                acme: acme.clone(),
                listeners: vec![listener.name.clone()],
                state: config.state_path.clone(),
            }),
        }
    }
    all
}

/// Begin and end in seconds since 1970.
type Validity = (i64, i64);

/// One task.
struct Keeper {
    /// The first domain; what it is called in metrics and in the log.
    name: String,
    wanted: Wanted,
    store: Store,
    issued: Vec<Arc<Issued>>,
    telemetry: Arc<Telemetry>,
    events: Arc<Bus>,
    turn: Arc<Semaphore>,
    again: Arc<Notify>,
}

impl Keeper {
    /// Puts the certificate that is kept into use, if there is one that still holds.
    fn take_up(&self) -> Option<Validity> {
        for outcome in ["issued", "failed"] {
            // An increase is seen only where there was a value before.
            drop(self.telemetry.cold.counter(&names::ACME_ORDERS, &[&self.name, outcome]));
        }
        let kept = match store::read(&self.store.certificate) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(file = %self.store.certificate.display(), %error, "cannot read the certificate that is kept");
                None
            }
        };
        let validity = kept.and_then(|pem| self.publish(&pem).ok()).filter(|(_, end)| *end > now());
        if validity.is_none() {
            let (name, directory) = (&self.name, &self.wanted.acme.directory);
            tracing::warn!("no certificate for {name} yet: clients are turned away until {directory} has issued one");
        }
        validity
    }

    fn publish(&self, pem: &str) -> Result<Validity, String> {
        let loaded: Arc<Loaded> = Arc::new(from_pem(pem)?);
        let Some(validity) = loaded.facts.validity() else {
            return Err("the certificate does not say how long it is valid".to_owned());
        };
        if validity.1 > now() {
            self.issued.iter().for_each(|issued| issued.publish(loaded.clone()));
        }
        Ok(validity)
    }

    async fn run(self, mut validity: Option<Validity>) {
        let mut failures = 0;
        let before = self.wanted.acme.renew_before.and_then(|before| i64::try_from(before.as_secs()).ok());
        loop {
            if let Some(validity) = validity {
                self.wait_until(renewal(validity, before, random()), None).await;
            }
            loop {
                match self.attempt().await {
                    Ok(new) => {
                        failures = 0;
                        validity = Some(new);
                        break;
                    }
                    Err(order::Failure { fault, text }) => {
                        failures += 1;
                        self.telemetry.cold.counter(&names::ACME_ORDERS, &[&self.name, "failed"]).increment(1);
                        let wait = pause(failures, fault, random());
                        let message = format!("no new certificate for {}: {text}; trying again in {wait} s", self.name);
                        tracing::error!("{message}");
                        self.tell(Kind::CertificateFailed, Severity::Warning, &message);
                        self.wait_until(now() + wait, Some(text)).await;
                    }
                }
            }
        }
    }

    async fn attempt(&self) -> Result<Validity, order::Failure> {
        let Ok(_turn) = self.turn.acquire().await else { std::future::pending().await };
        tracing::info!("ordering a certificate for {} from {}", self.name, self.wanted.acme.directory);
        let order = tokio::time::timeout(ORDER_MAX, order::run(&self.wanted.acme, &self.store)).await;
        let pem = order.unwrap_or_else(|_| {
            let text = format!("the order took longer than {} s", ORDER_MAX.as_secs());
            Err(order::Failure { fault: Fault::Refused, text })
        })?;
        let unusable = |text| order::Failure { fault: Fault::Refused, text };
        let validity = self.publish(&pem).map_err(unusable)?;
        self.telemetry.cold.counter(&names::ACME_ORDERS, &[&self.name, "issued"]).increment(1);
        let message = format!("a new certificate for {} is in use", self.name);
        tracing::info!("{message}");
        self.tell(Kind::CertificateIssued, Severity::Info, &message);
        Ok(validity)
    }

    fn tell(&self, kind: Kind, severity: Severity, message: &str) {
        let detail = json!({ "name": self.name, "listeners": self.wanted.listeners });
        self.events.publish(Event::new(kind, severity, message).detail(detail));
    }

    /// Waits until this second by the clock, and tells of it; after a failure also until somebody asks.
    async fn wait_until(&self, at: i64, error: Option<String>) {
        let failed = error.is_some();
        let progress = Progress { error, next: Some(at) };
        self.issued.iter().for_each(|issued| issued.set_progress(progress.clone()));
        tokio::time::sleep(PAUSE_MIN).await;
        while let Some(left) = u64::try_from(at - now()).ok().filter(|left| *left > 0) {
            let sleep = tokio::time::sleep(Duration::from_secs(left).min(SLEEP_MAX));
            tokio::select! {
                () = sleep => {}
                () = self.again.notified(), if failed => return,
            }
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Seeded by the standard library, anew each time.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
