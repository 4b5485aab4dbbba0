//! The meaning of a configuration: what each value is allowed to be beside the others.
//!
//! Every check looks at values that are right in themselves and skips the rest, so that one mistake is one error; none
//! stops the others. What comes out has no dangling name, no default left open and no contradiction.

mod acme;
mod admin;
mod alerts;
mod delivery;
mod destination;
mod events;
mod failover;
mod limits;
mod listener;
mod master_tls;
mod passage;
mod receivers;
mod route;
mod sla;
mod strategy;
mod tcp;
mod upstream;

use std::collections::HashMap;
use std::hash::Hash;

use super::diagnostic::Report;
use super::file::File;
use super::model::{Config, Logging, Overload};
use super::shape::{At, Decoder, List};
use super::substitute::Resolver;
use super::tree::NodeId;
use super::units::{Level, Name};

/// What the checks share: places to report to, and files to look at.
struct Checker<'a, 'r> {
    decoder: &'a mut Decoder,
    resolver: &'a mut Resolver<'r>,
}

/// Checks a file and makes the configuration of it. There is none when something was reported as an error, here or before.
pub fn check(file: &At<File>, decoder: &mut Decoder, resolver: &mut Resolver<'_>) -> Option<Config> {
    let file = file.get()?;
    let mut checker = Checker { decoder, resolver };
    let listeners =
        checker.each(&file.listeners, "listener", |checker, listener| listener::check(checker, listener, file));
    let upstreams = checker.each(&file.upstreams, "upstream", |checker, at| upstream::check(checker, at, file));
    let needs_routes = !tcp::is_all(file);
    let routes = checker.each_of(&file.routes, "route", needs_routes, |checker, at| route::check(checker, at, file));
    checker.unique_names(&file.listeners, |listener| &listener.name);
    checker.unique_names(&file.upstreams, |upstream| &upstream.name);
    checker.unique_names(&file.routes, |route| &route.name);
    listener::check_addresses(&mut checker, file);
    route::check_overlaps(&mut checker, file);
    route::check_unused(&mut checker, file);
    tcp::check_upstreams(&mut checker, file);
    let admin = admin::check(&mut checker, &file.admin);
    let event_webhooks = events::check(&mut checker, &file.events);
    let alerts = alerts::check(&mut checker, &file.alerts, file);
    let logging = file.logging.get()?;
    let overload = file.overload.get()?;
    Some(Config {
        workers: file.workers.get()?.0,
        listeners: listeners?,
        routes: routes?,
        upstreams: upstreams?,
        state_path: file.state.get()?.path.get()?.0.clone(),
        spool: delivery::spool(&file.state.get()?.spool)?,
        admin: admin?,
        event_webhooks: event_webhooks?,
        alerts: alerts?,
        logging: Logging {
            level: level(*logging.level.get()?).to_owned(),
            access_log: logging.access_log.get()?.0.clone(),
        },
        drain_timeout: file.drain_timeout.get()?.0,
        upgrade_timeout: file.upgrade_timeout.get()?.0,
        overload: Overload {
            requests: overload.requests.get()?.usize(),
            body_bytes: overload.body_bytes.get()?.usize(),
            lag: overload.lag.get()?.0,
        },
    })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

impl Checker<'_, '_> {
    fn error(&self, node: NodeId, message: impl Into<String>) -> Report {
        self.decoder.error(node, message)
    }

    fn warning(&self, node: NodeId, message: impl Into<String>) -> Report {
        self.decoder.warning(node, message)
    }

    /// A value as it was written.
    fn show(&self, node: NodeId) -> String {
        self.decoder.found(node)
    }

    fn push(&mut self, report: Report) {
        self.decoder.reports.push(report);
    }

    fn line(&self, node: NodeId) -> usize {
        self.decoder.place(node).line
    }

    /// Whether the text gives the value, rather than a default.
    fn is_given(&self, node: NodeId) -> bool {
        self.decoder.tree.node(node).given
    }

    /// Checks every item of a list that must not be empty. `None` when the list or one of them is wrong.
    fn each<T, M>(
        &mut self,
        list: &At<List<T>>,
        word: &str,
        check: impl FnMut(&mut Self, &At<T>) -> Option<M>,
    ) -> Option<Vec<M>> {
        self.each_of(list, word, true, check)
    }

    /// [`Self::each`] of a list that may be empty unless it is `needed`.
    fn each_of<T, M>(
        &mut self,
        list: &At<List<T>>,
        word: &str,
        needed: bool,
        mut check: impl FnMut(&mut Self, &At<T>) -> Option<M>,
    ) -> Option<Vec<M>> {
        let items = list.get()?;
        if needed && items.is_empty() {
            let report = self.error(list.node, format!("no {word}"));
            self.push(report.help(format!("a configuration has at least one {word}")));
        }
        let checked: Vec<Option<M>> = items.iter().map(|item| check(self, item)).collect();
        checked.into_iter().collect()
    }

    fn unique_names<T>(&mut self, list: &At<List<T>>, name: impl Fn(&T) -> &At<Name>) {
        let names = list.get().into_iter().flatten().filter_map(At::get).map(name);
        self.unique("name", names.filter_map(|name| Some((name.get()?, name.node))));
    }

    /// Reports every value that stands there a second time.
    fn unique<'v, T: Eq + Hash + 'v>(&mut self, word: &str, values: impl Iterator<Item = (&'v T, NodeId)>) {
        let mut seen: HashMap<&T, NodeId> = HashMap::new();
        for (value, node) in values {
            match seen.get(value) {
                Some(first) => {
                    let help = format!("the first one is in line {}", self.line(*first));
                    let message = format!("the {word} {} is used twice", self.show(node));
                    self.push(self.error(node, message).help(help));
                }
                None => {
                    seen.insert(value, node);
                }
            }
        }
    }

    /// The values of a list of which none may stand there twice. `None` when one is wrong.
    fn set<T: Eq + Hash + Clone>(&mut self, word: &str, list: &At<List<T>>) -> Option<Vec<T>> {
        let items = list.get()?;
        self.unique(word, items.iter().filter_map(|item| Some((item.get()?, item.node))));
        items.iter().map(|item| item.get().cloned()).collect()
    }
}
