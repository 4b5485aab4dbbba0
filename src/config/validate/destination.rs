//! Where a route leads: to one upstream, to several, or elsewhere, and to exactly one of these.

use super::super::file::{self, File, Route};
use super::super::model::{Destination, HostRewrite, Redirect, Share};
use super::super::shape::At;
use super::super::units::{Name, UrlScheme};
use super::{Checker, passage, route};

pub fn check(checker: &mut Checker<'_, '_>, at: &At<Route>, route: &Route, file: &File) -> Option<Destination> {
    let (upstream, split, redirect) = (route.upstream.get()?, route.split.get()?, route.redirect.get()?);
    match (upstream, split, redirect) {
        (Some(_), None, None) => {
            answering(route).first().and_then(|name| known(checker, name, file)).map(Destination::Upstream)
        }
        (None, Some(shares), None) => self::split(checker, route, shares, file),
        (None, None, Some(rules)) => self::redirect(checker, route, rules, file),
        (None, None, None) => {
            let report = checker.error(at.node, "this route leads nowhere");
            checker.push(report.help("give it an `upstream`, a `split` over several, or a `redirect`"));
            None
        }
        _ => {
            let report = checker.error(at.node, "this route leads to more than one place");
            checker.push(report.help("keep one of `upstream`, `split` and `redirect`"));
            None
        }
    }
}

/// The names of upstreams that a route gives, right or wrong, a mirror's too.
pub fn names(route: &Route) -> Vec<At<Name>> {
    let mirror = route.mirror.given().map(|mirror| mirror.upstream.clone());
    answering(route).into_iter().chain(mirror).collect()
}

/// The names of those that answer.
pub fn answering(route: &Route) -> Vec<At<Name>> {
    let one = route.upstream.given().map(|name| At::new(name.clone(), route.upstream.node));
    let shares = route.split.given().into_iter().flatten().filter_map(At::get);
    one.into_iter().chain(shares.map(|share| share.upstream.clone())).collect()
}

pub fn known(checker: &mut Checker<'_, '_>, name: &At<Name>, file: &File) -> Option<usize> {
    route::known_name(checker, name, &file.upstreams, |upstream| &upstream.name, "upstream")
}

fn split(checker: &mut Checker<'_, '_>, route: &Route, shares: &[At<file::Share>], file: &File) -> Option<Destination> {
    checker.unique(
        "upstream",
        shares.iter().filter_map(|share| Some((share.get()?.upstream.get()?, share.get()?.upstream.node))),
    );
    let share = |at: &At<file::Share>| {
        let share = at.get()?;
        let upstream = known(checker, &share.upstream, file);
        Some(Share { upstream: upstream?, weight: share.weight.get()?.u32() })
    };
    let shares: Option<Vec<Share>> = shares.iter().map(share).collect::<Vec<_>>().into_iter().collect();
    let shares = shares?;
    if shares.iter().all(|share| share.weight == 0) {
        let report = checker.error(route.split.node, "no upstream of this split gets anything");
        checker.push(report.help("give at least one a `weight` above 0"));
        return None;
    }
    Some(Destination::Split(shares))
}

fn redirect(checker: &mut Checker<'_, '_>, route: &Route, rules: &file::Redirect, file: &File) -> Option<Destination> {
    let path = passage::new_path(checker, route, &rules.path, &rules.path_prefix)?;
    let host = match rules.host.get()?.as_ref().map(|host| &host.0) {
        Some(HostRewrite::Name(host)) if host.contains(':') && !host.ends_with(']') => {
            let report = checker.error(rules.host.node, "this host has a port");
            checker.push(report.help("write the port under `port`"));
            return None;
        }
        Some(HostRewrite::Name(host)) => Some(host.clone()),
        Some(HostRewrite::Master) => {
            let report = checker.error(rules.host.node, "a redirect has no master");
            checker.push(report.help("write the host that the client is to ask"));
            return None;
        }
        None => None,
    };
    let (https, port) =
        (rules.scheme.get()?.map(UrlScheme::is_https), rules.port.get()?.as_ref().map(|port| port.u16()));
    let elsewhere = host.is_some() || port.is_some() || path.is_some();
    if !elsewhere && https.is_none() {
        let report = checker.error(route.redirect.node, "this redirect leads back to where it came from");
        checker.push(report.help("give it a `scheme`, `host`, `port`, `path` or `path_prefix`"));
        return None;
    }
    if !elsewhere && serves(route, file, https == Some(true)) {
        let report = checker.warning(
            rules.scheme.node,
            "a listener of this route has this scheme already, and would redirect to itself",
        );
        checker.push(report.help("name the others under `listeners`"));
    }
    for (node, given) in [
        (route.rewrite.node, route.rewrite.given().is_some()),
        (route.request_headers.node, route.request_headers.given().is_some()),
        (route.response_headers.node, route.response_headers.given().is_some()),
        (route.mirror.node, route.mirror.given().is_some()),
    ] {
        if given {
            checker.push(checker.warning(node, "a route with a `redirect` does not read this"));
        }
    }
    Some(Destination::Redirect(Box::new(Redirect { https, host, port, path, status: rules.status.get()?.0 })))
}

/// Whether the route serves a listener with TLS, or one without.
fn serves(route: &Route, file: &File, tls: bool) -> bool {
    let names = route.listeners.get().into_iter().flatten().filter_map(At::get);
    let names: Vec<&Name> = names.collect();
    let listeners = file.listeners.get().into_iter().flatten().filter_map(At::get);
    listeners
        .filter(|listener| names.is_empty() || listener.name.get().is_some_and(|name| names.contains(&name)))
        .any(|listener| listener.tls.given().is_some() == tls)
}
