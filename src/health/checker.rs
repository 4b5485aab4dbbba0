//! Watches every master of the published configuration, one task each.
//!
//! [`Checker::update`] is called with each published generation. A master it knows keeps its task, counters and timers; a
//! new one is probed at once; one that is gone has its task ended. What a task does is in [`super::monitor`].
//!
//! Everything a task changes about a master is reported once, with the evidence for it: to the log, and to the callback
//! given to [`Checker::new`], through which metrics hear of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use super::change::{Change, Event, OnChange};
use super::monitor::{Monitor, Settings};
use super::resolve;
use crate::config::model::{Address, HealthCheck, MasterProtocol};
use crate::tls::client::MasterTls;
use crate::upstream::master::Master;

/// Runs one task for each master, until dropped.
pub struct Checker {
    runtime: Handle,
    on_change: Arc<OnChange>,
    /// By [`Master::id`].
    watched: Mutex<HashMap<u32, Watched>>,
}

/// A master as one generation of the configuration has it.
#[derive(Debug, Clone)]
pub struct MonitoredMaster {
    pub master: Arc<Master>,
    pub name: String,
    pub check: Option<HealthCheck>,
    /// How TLS is spoken with it, if it is.
    pub tls: Option<Arc<MasterTls>>,
    pub protocol: MasterProtocol,
}

struct Watched {
    settings: watch::Sender<Settings>,
    _monitor: Task,
    _resolver: Option<Task>,
}

/// Ended when dropped.
struct Task(JoinHandle<()>);

impl Checker {
    /// A checker without masters, whose tasks run on this runtime.
    #[must_use]
    pub fn new(runtime: Handle, on_change: Arc<OnChange>) -> Self {
        Self { runtime, on_change, watched: Mutex::new(HashMap::new()) }
    }

    /// Watches exactly these masters from now on.
    pub fn update(&self, masters: Vec<MonitoredMaster>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = std::mem::take(&mut *watched);
        for MonitoredMaster { master, name, check, tls, protocol } in masters {
            let settings = Settings { name: Arc::from(name), check: check.map(Arc::new), tls, protocol };
            let id = master.id();
            let entry = match known.remove(&id) {
                Some(entry) => {
                    entry.settings.send_if_modified(|held| {
                        let modified = *held != settings;
                        *held = settings;
                        modified
                    });
                    entry
                }
                None => self.watch(master, settings),
            };
            watched.insert(id, entry);
        }
    }

    fn watch(&self, master: Arc<Master>, settings: Settings) -> Watched {
        let (settings, receiver) = watch::channel(settings);
        let named = matches!(master.address(), Address::Name { .. });
        let resolver = named.then(|| Task(self.runtime.spawn(resolve::keep_current(Arc::clone(&master)))));
        let monitor = Monitor::new(master, receiver, Arc::clone(&self.on_change));
        Watched { settings, _monitor: Task(self.runtime.spawn(monitor.run())), _resolver: resolver }
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
