//! The store of messages and their dispatcher, opened and closed as one thing.
//!
//! Only one process may have it. It is opened before anything is accepted, in an upgrade after the old process has let go of it,
//! and closed when nothing is accepted any more, or when a new process is about to take over.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};

use super::{Control, kept};
use crate::clock;
use crate::config::model::{Config, Delivery};
use crate::events::{Event, Kind, Severity};
use crate::spool::Spool;
use crate::spool::claims::Claims;
use crate::spool::dispatch::{self, Supplies};
use crate::spool::joins::Joins;
use crate::spool::store::{NAME, OpenError, Store};
use crate::spool::turns::{BUCKETS, Turns};
use crate::worker::Phase;

/// How long a process waits for another one to let go of the store, which commits what waits before.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What the store's last commit may take.
const LAST_COMMIT: Duration = Duration::from_secs(10);

/// What deliveries in flight get to finish when another process is about to go on with the store.
const HAND_OVER: Duration = Duration::from_secs(2);

/// How often an end is looked for.
const POLL: Duration = Duration::from_millis(5);

/// The store, open, and the thread that delivers from it.
pub struct Running {
    store: Store,
    phase: watch::Sender<Phase>,
    dispatcher: JoinHandle<()>,
}

/// Whether the configuration wants the store, for messages or for pins of conversations, or there is one with messages
/// that may still be delivered.
fn is_needed(config: &Config) -> bool {
    config.routes.iter().any(|route| route.delivery != Delivery::Inline)
        || config.upstreams.iter().any(kept::is_kept)
        || config.state_path.join(NAME).exists()
}

impl Control {
    /// Opens the store if the configuration needs it and it is not open, waiting as long for another process to let go of it,
    /// and puts it into the published generation.
    ///
    /// # Errors
    /// One line; nothing is open then.
    pub async fn open_spool(&self, config: &Config, patience: Duration) -> Result<(), String> {
        if self.store().is_some() || !is_needed(config) {
            return Ok(());
        }
        let started = Instant::now();
        let (sender, events) = mpsc::unbounded_channel();
        let (path, settings) = (config.state_path.clone(), config.spool);
        let snapshot = self.published.load_full();
        let opening = tokio::task::spawn_blocking(move || {
            let opened = Store::open_waiting(&path, &settings, &sender, patience)?;
            // Before anything is delivered or taken from a gateway.
            if let Err(error) = kept::load(&opened.0, &snapshot) {
                tracing::warn!("some conversations have lost their master: {error}");
            }
            Ok::<_, OpenError>(opened)
        });
        let opened = opening.await.map_err(|error| format!("cannot open the spool: {error}"))?;
        let (store, recovered) = opened.map_err(|error| format!("cannot open the spool (state.path): {error}"))?;
        let (pending, damaged, clean) = (recovered.entries.len(), recovered.damaged, recovered.clean);
        let turned = Arc::new(Notify::new());
        let wake = turned.clone();
        let turns = Arc::new(Turns::new(BUCKETS, move || wake.notify_one()));
        let wake = turned.clone();
        let joins = Arc::new(Joins::new(move || wake.notify_one()));
        let (phase, phases) = watch::channel(Phase::Serving);
        let dispatcher = dispatch::start(Supplies {
            published: self.published.clone(),
            telemetry: self.telemetry.clone(),
            phase: phases,
            store: store.clone(),
            recovered,
            events,
            bus: self.events.clone(),
            turns: turns.clone(),
            joins: joins.clone(),
            turned,
        });
        let dispatcher = dispatcher.map_err(|error| format!("cannot start the dispatcher: {error}"))?;
        if pending > 0 || damaged > 0 || !clean {
            let seconds = started.elapsed().as_secs_f32();
            tracing::info!(pending, damaged, clean, seconds, "messages are left from before");
        }
        let severity = if damaged > 0 { Severity::Warning } else { Severity::Info };
        let message =
            format!("the spool is open, with {pending} messages to deliver and {damaged} that cannot be read");
        let detail = json!({ "pending": pending, "damaged": damaged, "clean": clean });
        self.events.publish(Event::new(Kind::SpoolOpened, severity, message).detail(detail));
        let spool = Spool { store: store.clone(), turns, claims: Arc::new(Claims::default()), joins };
        let present = self.published.load_full();
        self.published.store(Arc::new(present.with_spool(Some(spool))));
        let running = Running { store, phase, dispatcher };
        *self.spool.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    /// Writes down pins and names that changed; call it every [`kept::INTERVAL`].
    pub fn keep(&self) {
        if let Some(store) = self.store() {
            kept::save(&store, &self.published.load());
        }
    }

    /// Begins no further deliveries.
    pub fn drain_spool(&self) {
        if let Some(running) = &*self.spool.lock().unwrap_or_else(PoisonError::into_inner) {
            running.phase.send_replace(Phase::Draining(Duration::ZERO));
        }
    }

    /// Ends deliveries, and closes the store. What is in flight gets `patience`; what does not finish is delivered again by
    /// whoever opens the store next. What is to be stored from the end of that on is passed on to that process.
    pub async fn close_spool(&self, patience: Duration) {
        let running = self.spool.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { store, phase, dispatcher }) = running else { return };
        phase.send_replace(Phase::Draining(Duration::ZERO));
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !dispatcher.is_finished() {
            tokio::time::sleep(POLL).await;
        }
        phase.send_replace(Phase::Stopped);
        while !dispatcher.is_finished() {
            tokio::time::sleep(POLL).await;
        }
        if dispatcher.join().is_err() {
            tracing::error!("the dispatcher had panicked");
        }
        kept::save(&store, &self.published.load());
        if tokio::time::timeout(LAST_COMMIT, store.close()).await.is_err() {
            tracing::error!("the spool could not be closed in time; what was accepted is on disk");
        }
    }

    /// The same for another process that waits for it.
    pub async fn hand_over_spool(&self) {
        self.close_spool(HAND_OVER).await;
    }

    /// Takes the store back where a hand-over came to nothing.
    pub async fn take_back_spool(&self, patience: Duration) {
        let config = self.published.load().config.clone();
        if let Err(error) = self.open_spool(&config, patience).await {
            tracing::error!("{error}; webhooks that are to be stored are answered 503");
        }
    }

    /// Decides about failovers again where a hand-over came to nothing.
    pub async fn take_back_failover(&self) {
        let snapshot = self.published.load_full();
        if let Err(error) = self.failover.prepare(&snapshot.config).await {
            tracing::error!("{error}; failovers are not written down");
        }
        self.failover.adopt(&snapshot).await;
    }

    /// What is open.
    pub fn store(&self) -> Option<Store> {
        let running = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| running.store.clone())
    }
}

/// How the spool stands, for whoever asks.
pub fn view(store: &Store) -> crate::admin::view::SpoolView {
    let stats = store.stats();
    let oldest = store.oldest().ok().flatten();
    let age = oldest.map_or(0, |accepted| clock::unix_millis().saturating_sub(accepted));
    crate::admin::view::SpoolView {
        pending: stats.pending,
        dead_letters: stats.dead,
        oldest_seconds: age as f64 / 1000.0,
        duplicates: stats.duplicates,
        full: stats.full.map(|full| full.word().to_owned()),
        failed: stats.failed.map(|cause| cause.to_string()),
    }
}
