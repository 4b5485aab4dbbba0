//! A new configuration while running: all of it, or none of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use super::{Control, Failure, Ready, certificates, keys, monitored, tls_of_masters, verdicts};
use crate::admin::config::{Applied, Order, Refused, What};
use crate::audit::{Author, Outcome};
use crate::config::model::{Config, Listener};
use crate::config::{self, Diagnostics, Edit, Loaded, System};
use crate::events::{Event, Kind, Severity};
use crate::generations::{Generation, Generations, Held, Instead};
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

/// Orders that wait at most.
pub const ORDERS_MAX: usize = 16;

/// Something that is asked for through the API, and where the answer goes.
pub type Ordered = (Order, oneshot::Sender<Result<Applied, Refused>>);

/// The configuration in use.
pub struct InUse {
    /// Of its text, and of everything that it names.
    pub hash: u64,
    pub text: Arc<str>,
}

/// A configuration that may come into use.
struct Candidate {
    loaded: Loaded,
    /// What it is, in the place of what the file says.
    instead: Option<Instead>,
}

/// What is to be used where the file has this.
pub fn held(generations: &Generations, path: &Path, loaded: Loaded) -> Loaded {
    let Some((text, instead)) = generations.instead_of(&loaded.text) else { return loaded };
    match config::parse(&text, path, &System) {
        Ok(held) => {
            tracing::warn!("{instead} is used; change {} to go by the file again", path.display());
            held
        }
        Err(diagnostics) => {
            for reason in diagnostics.lines(FINDINGS_MAX) {
                tracing::warn!("{instead} cannot be used any more: {reason}");
            }
            loaded
        }
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
        self.take_up(self.find(), author, &What::Reload, asked).await.ok().and_then(|(_, files)| files)
    }

    /// Does what was asked for through the API. Returns the files to watch, when they may have changed.
    pub async fn carry_out_order(&self, (order, reply): Ordered) -> Option<Vec<PathBuf>> {
        let Order { what, dry_run, author } = order;
        let found = match &what {
            What::Reload => Ok(self.find()),
            What::File => Ok(self.find_file()),
            What::Rollback(number) => self.bring_back(*number),
            What::Set(edit) => self.set(edit),
        };
        let (outcome, files) = match found {
            Err(refused) => {
                if !dry_run {
                    let outcome = Outcome::Refused(refused.to_string());
                    self.audit_config(&author, &what, (json!(null), json!(null)), outcome);
                }
                (Err(refused), None)
            }
            Ok(found) if dry_run => (self.preview(found), None),
            Ok(found) => match self.take_up(found, &author, &what, true).await {
                Ok((applied, files)) => (Ok(applied), files),
                Err(refused) => (Err(refused), None),
            },
        };
        // Whoever asked may have left.
        let _ = reply.send(outcome);
        files
    }

    /// What is to be used as the file is now.
    fn find(&self) -> Result<Candidate, Diagnostics> {
        let text = config::read(&self.path)?;
        let (text, instead) = match self.generations.instead_of(&text) {
            Some((held, instead)) => (held, Some(instead)),
            None => (text, None),
        };
        let loaded = config::parse(&text, &self.path, &System)?;
        Ok(Candidate { loaded, instead })
    }

    /// What the file says, whatever is held.
    fn find_file(&self) -> Result<Candidate, Diagnostics> {
        Ok(Candidate { loaded: config::load(&self.path)?, instead: None })
    }

    /// What is in use, but for one value. Where that comes to what the file says, it is the file's.
    fn set(&self, edit: &Edit) -> Result<Result<Candidate, Diagnostics>, Refused> {
        let present = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).text.clone();
        let text = config::edit(&present, edit, &System).map_err(Refused::CannotEdit)?;
        let as_it_was = *text == *present;
        let instead = match config::read(&self.path) {
            Ok(file) if file == text => None,
            _ if as_it_was => self.generations.held(),
            _ => Some(Instead::Settings),
        };
        Ok(config::parse(&text, &self.path, &System).map(|loaded| Candidate { loaded, instead }))
    }

    fn bring_back(&self, number: u64) -> Result<Result<Candidate, Diagnostics>, Refused> {
        let kept = self.generations.get(number);
        let kept = kept.map_err(|error| Refused::Failed(format!("generation {number} cannot be read: {error}")))?;
        let (_, text) = kept.ok_or(Refused::NoGeneration(number))?;
        let instead = Some(Instead::Generation(number));
        Ok(config::parse(&text, &self.path, &System).map(|loaded| Candidate { loaded, instead }))
    }

    /// What a candidate would change. Whether listeners could be bound is not tried.
    fn preview(&self, found: Result<Candidate, Diagnostics>) -> Result<Applied, Refused> {
        let Loaded { config, warnings, .. } = found.map_err(Refused::Wrong)?.loaded;
        super::check_certificates(&config).map_err(Refused::Failed)?;
        let present = self.published.load();
        Ok(Applied { generation: present.generation, changes: config::diff(&present.config, &config), warnings })
    }

    async fn take_up(
        &self,
        found: Result<Candidate, Diagnostics>,
        author: &Author,
        what: &What,
        asked: bool,
    ) -> Result<(Applied, Option<Vec<PathBuf>>), Refused> {
        let outcome = match found {
            Ok(Candidate { loaded, instead }) => {
                let warnings = loaded.warnings.clone();
                let known = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).hash == loaded.hash;
                let done = match self.hold(&loaded.text, instead) {
                    Err(error) => Err(error),
                    Ok(_) if known => Ok(None),
                    Ok(before) => {
                        let applied = self.apply(loaded, author, what, instead).await.map(Some);
                        if let (Err(_), Some(before)) = (&applied, before) {
                            self.generations.hold_again(before);
                        }
                        applied
                    }
                };
                if done.is_ok() && instead.is_none() {
                    self.generations.let_go();
                }
                done.map(|done| (done, warnings)).map_err(Failure::Runtime)
            }
            Err(diagnostics) => Err(Failure::Config(diagnostics)),
        };
        let counted = |outcome| self.telemetry.cold.counter(&names::CONFIG_RELOADS, &[outcome]).increment(1);
        match outcome {
            Ok((done, warnings)) => {
                counted(if done.is_some() { "applied" } else { "unchanged" });
                if done.is_none() && asked {
                    tracing::info!("the configuration is what it was");
                }
                self.set_config_error(None);
                let (changes, files) = done.unzip();
                let generation = self.published.load().generation;
                Ok((Applied { generation, changes: changes.unwrap_or_default(), warnings }, files))
            }
            Err(error) => {
                counted("rejected");
                let text = match &error {
                    Failure::Config(diagnostics) => diagnostics.to_string(),
                    Failure::Certificate(line) | Failure::Runtime(line) => line.clone(),
                };
                let new = self.set_config_error(Some(text.clone()));
                if new || asked {
                    self.audit_config(author, what, (json!(null), json!(null)), Outcome::Refused(text.clone()));
                    tell(&error);
                    let line = text.lines().next().unwrap_or_default();
                    let message = format!("the new configuration is refused, the old one stays in use: {line}");
                    let event = Event::new(Kind::ConfigRejected, Severity::Warning, message);
                    self.events.publish(event.detail(json!({ "generation": self.published.load().generation })));
                }
                Err(match error {
                    Failure::Config(diagnostics) => Refused::Wrong(diagnostics),
                    Failure::Certificate(line) | Failure::Runtime(line) => Refused::Failed(line),
                })
            }
        }
    }

    /// Sees to it that the next start uses what is used instead of the file's. Gives what was held before, if that has changed.
    fn hold(&self, text: &str, instead: Option<Instead>) -> Result<Option<Option<Held>>, String> {
        let Some(instead) = instead.filter(|instead| !self.generations.holds(*instead, text)) else {
            return Ok(None);
        };
        // A file that cannot be read now is none that could be gone back from.
        let file = config::read(&self.path).map_err(|why| why.to_string())?;
        let held = self.generations.hold(instead, text, &file);
        held.map(Some).map_err(|error| format!("that it is used cannot be written down (state.path): {error}"))
    }

    /// Keeps the generation that a process begins with, unless it is the one that the process before it ended with.
    pub fn keep_first(&self, config: &Config) {
        let text = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).text.clone();
        let (number, true) = self.generations.first(&text) else { return };
        let before = self.generations.get(number - 1).ok().flatten();
        let before = before.and_then(|(_, text)| config::parse(&text, &self.path, &System).ok());
        let changes = before.map(|before| config::diff(&before.config, config)).unwrap_or_default();
        let author = Author::own("start");
        let back_to = self.generations.held().and_then(Instead::back_to);
        self.keep_generation(number, &author, back_to, changes, &text);
    }

    fn keep_generation(&self, number: u64, author: &Author, back_to: Option<u64>, changes: Vec<String>, text: &str) {
        let Author { who, from, reason, .. } = author.clone();
        let at = crate::clock::unix_millis();
        self.generations.keep(Generation { number, at, who, cause: from, reason, back_to, changes }, text);
    }

    fn audit_config(
        &self,
        author: &Author,
        what: &What,
        values: (serde_json::Value, serde_json::Value),
        outcome: Outcome,
    ) {
        self.audit.record(&author.entry(what.action(), &what.target(), values, outcome));
    }

    /// What has changed, and the files to watch.
    async fn apply(
        &self,
        loaded: Loaded,
        author: &Author,
        what: &What,
        instead: Option<Instead>,
    ) -> Result<(Vec<String>, Vec<PathBuf>), String> {
        let Loaded { config, text, warnings, hash, files } = loaded;
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
        self.receivers.update(&snapshot.config.alerts.receivers);
        self.keys.store(Arc::new(keys(&snapshot.config)));
        self.published.store(snapshot.clone());
        self.failover.adopt(&snapshot).await;
        self.carry_out(plan);
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = InUse { hash, text: text.as_str().into() };
        tracing::info!(generation = snapshot.generation, "configuration reloaded");
        let generation = snapshot.generation;
        let back_to = instead.and_then(Instead::back_to);
        self.keep_generation(generation, author, back_to, changes.clone(), &text);
        let message = format!("configuration generation {generation} is in use; {} changes", changes.len());
        let told: Vec<_> = changes.iter().take(CHANGES_TOLD_MAX).collect();
        let before = json!({ "generation": previous.generation });
        let after = json!({ "generation": generation, "back_to": back_to, "count": changes.len(), "changes": told });
        self.audit_config(author, what, (before, after.clone()), Outcome::Done);
        let event = Event::new(Kind::ConfigApplied, Severity::Info, message);
        self.events.publish(event.detail(after));
        Ok((changes, files))
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
