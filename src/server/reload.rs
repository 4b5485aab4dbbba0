//! A new configuration while running: all of it, or none of it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::{Control, Failure, Ready, certificates, keys, monitored, tls_of_masters, verdicts};
use crate::audit::{Author, Outcome};
use crate::config::model::{Config, Listener};
use crate::config::{self, Loaded};
use crate::events::{Event, Kind, Severity};
use crate::listener::bind::bind;
use crate::snapshot::Snapshot;
use crate::telemetry::names;
use crate::tls::server::Gate;
use crate::upstream::admission::Tier;

/// Findings about one configuration that go to the log; `baton check` shows all of them.
const FINDINGS_MAX: usize = 10;
/// Differences that an event lists; the log has all of them.
const CHANGES_TOLD_MAX: usize = 20;

/// A line for each reason: what looks well over several lines is one unreadable line in a log.
fn tell(error: &Failure) {
    let reasons = match error {
        Failure::Config(diagnostics) => diagnostics.lines(FINDINGS_MAX),
        Failure::Certificate(line) | Failure::Runtime(line) => vec![line.clone()],
    };
    for reason in reasons {
        tracing::error!("the new configuration is refused, the old one stays in use: {reason}");
    }
}

impl Control {
    /// Reads the configuration again and puts it into use, unless the text and all files it names are what they were.
    /// Returns the files to watch, when they may have changed.
    ///
    /// On any error nothing has changed; it is logged, counted and shown in the status until a reload succeeds. A
    /// configuration that is wrong in the same way as before is not logged again unless somebody
    /// `asked` for the reload. What it comes to stands in the audit trail under its `author`.
    pub async fn reload(&self, author: &Author, asked: bool) -> Option<Vec<PathBuf>> {
        let outcome = match config::load(&self.path) {
            Ok(loaded) if *self.hash.lock().unwrap_or_else(PoisonError::into_inner) == loaded.hash => Ok(None),
            Ok(loaded) => self.apply(loaded, author).await.map(Some).map_err(Failure::Runtime),
            Err(diagnostics) => Err(Failure::Config(diagnostics)),
        };
        let counted = |outcome| self.telemetry.cold.counter(&names::CONFIG_RELOADS, &[outcome]).increment(1);
        match outcome {
            Ok(None) => {
                counted("unchanged");
                if asked {
                    tracing::info!("the configuration is what it was");
                }
                self.set_config_error(None);
                None
            }
            Ok(Some(files)) => {
                counted("applied");
                self.set_config_error(None);
                Some(files)
            }
            Err(error) => {
                counted("rejected");
                let text = match &error {
                    Failure::Config(diagnostics) => diagnostics.to_string(),
                    Failure::Certificate(line) | Failure::Runtime(line) => line.clone(),
                };
                let new = self.set_config_error(Some(text.clone()));
                if new || asked {
                    self.audit_reload(author, (json!(null), json!(null)), Outcome::Refused(text.clone()));
                    tell(&error);
                    let line = text.lines().next().unwrap_or_default();
                    let message = format!("the new configuration is refused, the old one stays in use: {line}");
                    let event = Event::new(Kind::ConfigRejected, Severity::Warning, message);
                    self.events.publish(event.detail(json!({ "generation": self.published.load().generation })));
                }
                None
            }
        }
    }

    fn audit_reload(&self, author: &Author, values: (serde_json::Value, serde_json::Value), outcome: Outcome) {
        self.audit.record(&author.entry("config.reload", "config", values, outcome));
    }

    async fn apply(&self, loaded: Loaded, author: &Author) -> Result<Vec<PathBuf>, String> {
        let Loaded { config, warnings, hash, files } = loaded;
        let masters_tls = tls_of_masters(&config)?;
        let previous = self.published.load_full();
        let plan = self.plan(&previous.config, &config)?;
        self.log_level.set(&config.logging.level).map_err(|error| error.to_string())?;
        self.access_log
            .reconfigure(&config.logging.access_log)
            .map_err(|error| format!("cannot open the access log (logging.access_log): {error}"))?;
        self.open_spool(&config, Duration::ZERO).await?;
        self.failover.prepare(&config).await?;
        let previous = self.published.load_full();
        // From here on nothing can fail.
        if let Some(store) = self.store() {
            store.configure(&config.spool);
        }
        for warning in warnings.lines(FINDINGS_MAX) {
            tracing::warn!("{warning}");
        }
        let changes = config::diff(&previous.config, &config);
        for change in &changes {
            tracing::info!("configuration: {change}");
        }
        let snapshot = Arc::new(Snapshot::build(config, masters_tls, Some(&previous)));
        self.checker.update(monitored(&snapshot));
        // An upstream whose masters are all new would answer 503 until their first probes are back.
        verdicts(&snapshot, |upstream| {
            upstream.masters.iter().all(|master| upstream.standing_of(master).tier() == Tier::Out)
        })
        .await;
        self.acme.update(&snapshot.config);
        self.webhooks.update(&snapshot.config.event_webhooks);
        self.keys.store(Arc::new(keys(&snapshot.config)));
        self.published.store(snapshot.clone());
        self.failover.adopt(&snapshot).await;
        self.carry_out(plan);
        *self.hash.lock().unwrap_or_else(PoisonError::into_inner) = hash;
        tracing::info!(generation = snapshot.generation, "configuration reloaded");
        let (generation, count) = (snapshot.generation, changes.len());
        let message = format!("configuration generation {generation} is in use; {count} changes");
        let changes: Vec<_> = changes.iter().take(CHANGES_TOLD_MAX).map(ToString::to_string).collect();
        let before = json!({ "generation": previous.generation });
        let after = json!({ "generation": generation, "count": count, "changes": changes });
        self.audit_reload(author, (before, after.clone()), Outcome::Done);
        let event = Event::new(Kind::ConfigApplied, Severity::Info, message);
        self.events.publish(event.detail(after));
        Ok(files)
    }

    /// Prepares everything about the listeners that can fail.
    fn plan(&self, old: &Config, new: &Config) -> Result<Plan, String> {
        if old.workers != new.workers {
            tracing::warn!("`workers` takes effect at the next start");
        }
        if old.admin.address != new.admin.address {
            tracing::warn!("`admin.address` takes effect at the next start");
        }
        let same = |one: &Listener, other: &Listener| one.name == other.name && one.address == other.address;
        let mut plan = Plan::default();
        for listener in &new.listeners {
            let before = self.acceptor.address(&listener.name).and_then(|(_, gate)| gate);
            let tls = certificates(listener, before.as_deref())?;
            let limit = listener.limits.connections;
            if old.listeners.iter().any(|known| same(known, listener)) {
                plan.change.push((listener.name.clone(), tls, limit));
            } else {
                let bound = bind(&listener.address, &format!("listener {}", listener.name))?;
                let (name, is_tcp) = (listener.name.clone(), listener.tcp.is_some());
                plan.open.push(Ready { name, bound, tls, limit, is_tcp });
            }
        }
        let gone = old.listeners.iter().filter(|known| !new.listeners.iter().any(|listener| same(known, listener)));
        plan.close = gone.map(|listener| listener.name.clone()).collect();
        Ok(plan)
    }

    fn carry_out(&self, plan: Plan) {
        for name in plan.close {
            self.acceptor.close(&name);
        }
        for (name, tls, limit) in plan.change {
            for wrong in tls.iter().flat_map(|gate| gate.stale()) {
                tracing::error!("listener {name}: the certificate that was in use stays: {wrong}");
            }
            self.acceptor.change(&name, tls, limit);
        }
        for Ready { name, bound, tls, limit, .. } in plan.open {
            let address = bound.address();
            match self.acceptor.open(&name, bound, tls, limit) {
                Ok(()) => tracing::info!(listener = name, address, "listening"),
                Err(error) => tracing::error!(listener = name, address, %error, "cannot watch the new listener"),
            }
        }
    }
}

/// What becomes of the listeners.
#[derive(Default)]
struct Plan {
    open: Vec<Ready>,
    change: Vec<(String, Option<Arc<Gate>>, usize)>,
    close: Vec<String>,
}
