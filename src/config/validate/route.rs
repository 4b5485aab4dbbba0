//! Routes: names that exist, matches that differ, nothing that no request can reach.

use std::collections::HashSet;

use super::super::diagnostic::nearest;
use super::super::file::{self, File};
use super::super::model::{Destination, HeaderMatch, Match, PathPattern, Route};
use super::super::shape::{At, List};
use super::super::tree::NodeId;
use super::super::units::{Name, Protocol, show_time};
use super::{Checker, delivery, destination, limits, passage, sla, tcp};

pub fn check(checker: &mut Checker<'_, '_>, at: &At<file::Route>, file: &File) -> Option<Route> {
    let route = at.get()?;
    let listeners = checker.set("listener", &route.listeners);
    for name in route.listeners.get().into_iter().flatten() {
        if let Some(index) = known_name(checker, name, &file.listeners, |listener| &listener.name, "listener") {
            tcp::refuse_route(checker, name, file, index);
        }
    }
    let to = destination::check(checker, at, route, file);
    let matcher = route.r#match.get().and_then(|rules| matcher(checker, rules));
    for index in to.iter().flat_map(Destination::upstreams) {
        if let Some(upstream) = file.upstreams.get().and_then(|upstreams| upstreams[index].get()) {
            check_times(checker, route, upstream);
        }
    }
    let passage = passage::check(checker, route, file);
    let whatsapp = delivery::whatsapp(checker, &route.whatsapp);
    let delivery = delivery::delivery(checker, route);
    let rate_limit = limits::rate_limit(checker, route);
    let access = limits::access(checker, &route.access);
    let sla = sla::check(checker, &route.sla);
    Some(Route {
        name: route.name.get()?.0.clone(),
        listeners: listeners?.into_iter().map(|name| name.0).collect(),
        matcher: matcher?,
        to: to?,
        delivery: delivery?,
        whatsapp: whatsapp?.map(Box::new),
        timeout: route.timeout.get()?.0,
        rate_limit: rate_limit?,
        access: access?,
        passage: passage?,
        sla: sla?,
    })
}

/// Names that a message lists.
const NAMES_MAX: usize = 20;

/// Index of the item that a name means; an unknown name is reported, unless a name that is itself wrong may be meant.
pub fn known_name<T>(
    checker: &mut Checker<'_, '_>,
    at: &At<Name>,
    list: &At<List<T>>,
    name_of: impl Fn(&T) -> &At<Name>,
    word: &str,
) -> Option<usize> {
    let name = at.get()?;
    let names: Vec<Option<&At<Name>>> = list.get()?.iter().map(|item| Some(name_of(item.get()?))).collect();
    if let Some(index) = names.iter().position(|known| known.and_then(At::get) == Some(name)) {
        return Some(index);
    }
    let known: Option<Vec<(&str, NodeId)>> =
        names.into_iter().map(|known| Some((known?.get()?.0.as_str(), known?.node))).collect();
    let known = known?;
    let report = checker.error(at.node, format!("there is no {word} {}", checker.show(at.node)));
    let meant = nearest(&name.0, known.iter().map(|(name, _)| *name));
    let report = match known.iter().find(|(name, _)| Some(*name) == meant) {
        Some((_, node)) => report.help(format!("did you mean {}?", checker.show(*node))),
        None if known.is_empty() => report,
        None => {
            let names: Vec<String> = known.iter().take(NAMES_MAX).map(|(_, node)| checker.show(*node)).collect();
            report.allowed(names.join(", "))
        }
    };
    checker.push(report);
    None
}

fn matcher(checker: &mut Checker<'_, '_>, rules: &file::Match) -> Option<Match> {
    let hosts = checker.set("host", &rules.hosts);
    let methods = checker.set("method", &rules.methods);
    let headers = rules.headers.get();
    let names = headers.into_iter().flatten().filter_map(|header| {
        let name = &header.get()?.name;
        Some((name.get()?, name.node))
    });
    checker.unique("header", names);
    if rules.path.given().is_some() && rules.path_prefix.given().is_some() {
        let report = checker.error(rules.path_prefix.node, "both `path` and `path_prefix`");
        let report = report.help("keep `path` for this very path, or `path_prefix` for everything below it too");
        checker.push(report);
        return None;
    }
    for (path, key) in [(&rules.path, "path"), (&rules.path_prefix, "path_prefix")] {
        if path.given().is_some_and(|path| path.0.ends_with('*')) {
            let report = checker.warning(path.node, format!("`*` stands for itself in a `{key}`"));
            checker.push(report.help("`path_prefix: /webhook` takes everything below `/webhook`"));
        }
    }
    let path = match (rules.path.get()?, rules.path_prefix.get()?) {
        (Some(path), _) => PathPattern::Exact(path.0.clone()),
        (None, Some(prefix)) => prefix_pattern(&prefix.0),
        (None, None) => PathPattern::Any,
    };
    let header = |at: &At<file::HeaderMatch>| {
        let header = at.get()?;
        Some(HeaderMatch {
            name: header.name.get()?.0.clone(),
            value: header.value.get()?.as_ref().map(|value| value.0.clone()),
        })
    };
    Some(Match {
        hosts: hosts?.into_iter().map(|host| host.0).collect(),
        path,
        methods: methods?.into_iter().map(|method| method.0).collect(),
        headers: headers?.iter().map(header).collect::<Option<_>>()?,
    })
}

/// A prefix is whole segments, so a slash at its end says nothing, and `/` is a prefix of every path.
fn prefix_pattern(prefix: &str) -> PathPattern {
    match prefix.trim_end_matches('/') {
        "" => PathPattern::Any,
        prefix => PathPattern::Prefix(prefix.to_owned()),
    }
}

/// Times of an upstream that the time of the whole exchange cuts short. Defaults are meant to be cut.
fn check_times(checker: &mut Checker<'_, '_>, route: &file::Route, upstream: &file::Upstream) {
    let Some(whole) = route.timeout.get() else { return };
    let queue = upstream.limits.get().map(|limits| &limits.queue_timeout);
    let per_try = upstream.retry.get().map(|retry| &retry.per_try_timeout);
    let named =
        [(Some(&upstream.connect_timeout), "connect_timeout"), (queue, "queue_timeout"), (per_try, "per_try_timeout")];
    for (part, key) in named {
        let Some(part) = part else { continue };
        if let Some(time) = part.get()
            && checker.is_given(part.node)
            && time > whole
        {
            let name =
                route.name.get().map_or_else(String::new, |_| format!(" of route {}", checker.show(route.name.node)));
            let message = format!(
                "`{key}` of {} is never reached: the `timeout`{name} is {}",
                show_time(time.0),
                show_time(whole.0)
            );
            let report = checker.warning(part.node, message);
            checker.push(report.help(format!(
                "the whole exchange, every attempt included, ends at `timeout` (line {})",
                checker.line(route.timeout.node)
            )));
        }
    }
}

/// What decides which requests a route takes, and the node to point at.
struct Key<'a> {
    route: &'a file::Route,
    path: PathPattern,
    headers: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Key<'a> {
    fn of(route: &'a file::Route) -> Option<Self> {
        let rules = route.r#match.get()?;
        let path = match (rules.path.get()?, rules.path_prefix.get()?) {
            (Some(path), _) => PathPattern::Exact(path.0.clone()),
            (None, Some(prefix)) => prefix_pattern(&prefix.0),
            (None, None) => PathPattern::Any,
        };
        let header = |at: &'a At<file::HeaderMatch>| {
            let header = at.get()?;
            Some((header.name.get()?.0.as_str(), header.value.get()?.as_ref().map(|value| value.0.as_str())))
        };
        let mut headers: Vec<_> = rules.headers.get()?.iter().map(header).collect::<Option<_>>()?;
        headers.sort_unstable();
        Some(Self { route, path, headers })
    }

    /// Whether a request exists that both take with equal right, so that only their order would decide.
    fn collides(&self, other: &Self) -> Option<bool> {
        let (one, two) = (self.route.r#match.get()?, other.route.r#match.get()?);
        Some(
            self.path == other.path
                && self.headers == other.headers
                && share(self.route.listeners.get()?, other.route.listeners.get()?, true)?
                && share(one.hosts.get()?, two.hosts.get()?, false)?
                && share(one.methods.get()?, two.methods.get()?, false)?,
        )
    }
}

/// Whether two lists have an item in common. Two empty ones do; an empty one and another when `empty_is_all`, because an
/// empty list of hosts or methods is less specific than any other, but one of listeners is as good as naming them.
fn share<T: Eq + std::hash::Hash>(a: &List<T>, b: &List<T>, empty_is_all: bool) -> Option<bool> {
    if a.is_empty() || b.is_empty() {
        return Some(a.is_empty() == b.is_empty() || empty_is_all);
    }
    let values: HashSet<&T> = a.iter().map(At::get).collect::<Option<_>>()?;
    let others: Vec<&T> = b.iter().map(At::get).collect::<Option<_>>()?;
    Some(others.into_iter().any(|value| values.contains(value)))
}

/// Two routes that match the same requests with equal right.
pub fn check_overlaps(checker: &mut Checker<'_, '_>, file: &File) {
    let routes = file.routes.get().into_iter().flatten();
    let keys: Vec<(Key<'_>, &At<file::Route>)> =
        routes.filter_map(|route| Some((Key::of(route.get()?)?, route))).collect();
    for (index, (key, at)) in keys.iter().enumerate() {
        let Some((first, first_at)) = keys[..index].iter().find(|(other, _)| key.collides(other) == Some(true)) else {
            continue;
        };
        let name = |key: &Key<'_>| key.route.name.get().map_or_else(String::new, |_| checker.show(key.route.name.node));
        let message = format!("route {} matches the same requests as route {}", name(key), name(first));
        let help =
            format!("the first one is in line {}; give one of them another condition", checker.line(first_at.node));
        let report = checker.error(at.node, message).help(help);
        checker.push(report);
    }
}

/// Listeners and upstreams that no route mentions.
pub fn check_unused(checker: &mut Checker<'_, '_>, file: &File) {
    let Some(routes) = file.routes.get() else { return };
    let routes: Option<Vec<&file::Route>> = routes.iter().map(At::get).collect();
    let Some(routes) = routes.filter(|routes| !routes.is_empty() || tcp::is_all(file)) else { return };
    // A name that is not known may have been meant for any; that has been reported.
    let listeners =
        file.listeners.get().into_iter().flatten().filter_map(At::get).filter_map(|listener| listener.name.get());
    let upstreams =
        file.upstreams.get().into_iter().flatten().filter_map(At::get).filter_map(|upstream| upstream.name.get());
    let (listeners, upstreams): (HashSet<&Name>, HashSet<&Name>) = (listeners.collect(), upstreams.collect());
    let may_mean = |at: &At<Name>, name: &Name, known: &HashSet<&Name>| {
        at.get().is_none_or(|written| written == name || !known.contains(written))
    };
    let reached = |name: &Name| {
        routes.iter().any(|route| match route.listeners.get() {
            Some(names) => names.is_empty() || names.iter().any(|listed| may_mean(listed, name, &listeners)),
            None => true,
        })
    };
    let mut reports = Vec::new();
    for listener in file.listeners.get().into_iter().flatten().filter_map(At::get) {
        if let (Some(name), Some(Protocol::Http)) = (listener.name.get(), listener.protocol.get())
            && !reached(name)
        {
            let report = checker.warning(
                listener.name.node,
                format!("no route serves the listener {}", checker.show(listener.name.node)),
            );
            reports.push(report.help("every request to it is answered 404"));
        }
    }
    let named = routes.iter().flat_map(|route| destination::names(route));
    let named: Vec<At<Name>> = named.chain(tcp::upstreams(file)).collect();
    let used = |name: &Name| named.iter().any(|upstream| may_mean(upstream, name, &upstreams));
    for upstream in file.upstreams.get().into_iter().flatten().filter_map(At::get) {
        if let Some(name) = upstream.name.get()
            && !used(name)
        {
            reports.push(checker.warning(
                upstream.name.node,
                format!("nothing leads to the upstream {}", checker.show(upstream.name.node)),
            ));
        }
    }
    reports.into_iter().for_each(|report| checker.push(report));
}
