//! Listeners that pass TCP on: an upstream instead of routes, and no key that only HTTP has a meaning for.

use super::super::file::{self, File};
use super::super::model::{AffinityKey, ListenAddress, ProxyProtocol, SniRoute, Tcp};
use super::super::shape::At;
use super::super::tree::NodeId;
use super::super::units::{Name, Protocol};
use super::{Checker, destination, route};

/// Where a listener's connections go; `Some(None)` for one that speaks HTTP.
pub fn check(
    checker: &mut Checker<'_, '_>,
    at: &At<file::Listener>,
    listener: &file::Listener,
    file: &File,
) -> Option<Option<Tcp>> {
    match listener.protocol.get()? {
        Protocol::Http => {
            refuse_keys_of_tcp(checker, listener);
            Some(None)
        }
        Protocol::Tcp => {
            warn_of_keys_of_http(checker, listener);
            let Some(name) = listener.upstream.get()? else {
                let report = checker.error(at.node, "a `tcp` listener has no `upstream`");
                checker.push(report.help("say where its connections go: `upstream: NAME`"));
                return None;
            };
            let upstream = known_upstream(checker, &At::new(name.clone(), listener.upstream.node), file);
            let sni = sni(checker, listener, file);
            Some(Some(Tcp { upstream: upstream?, sni: sni? }))
        }
    }
}

fn known_upstream(checker: &mut Checker<'_, '_>, at: &At<Name>, file: &File) -> Option<usize> {
    route::known_name(checker, at, &file.upstreams, |upstream| &upstream.name, "upstream")
}

/// Names of which none may stand there twice: they decide by themselves, whatever their order.
fn sni(checker: &mut Checker<'_, '_>, listener: &file::Listener, file: &File) -> Option<Vec<SniRoute>> {
    let routes = listener.sni.get()?;
    if !routes.is_empty() && listener.tls.given().is_some() {
        let report = checker.error(listener.sni.node, "both `sni` and `tls`");
        checker.push(report.help("with `tls` connections are decrypted here, with `sni` they are passed on unread"));
    }
    let names = routes.iter().filter_map(|route| route.get()?.names.get()).flatten();
    checker.unique("name", names.filter_map(|name| Some((name.get()?, name.node))));
    let route = |checker: &mut Checker<'_, '_>, at: &At<file::SniRoute>| {
        let route = at.get()?;
        let names = checker.each(&route.names, "name", |_, name| Some(name.get()?.0.clone()));
        let upstream = known_upstream(checker, &route.upstream, file);
        Some(SniRoute { names: names?, upstream: upstream? })
    };
    let checked: Vec<Option<SniRoute>> = routes.iter().map(|at| route(checker, at)).collect();
    checked.into_iter().collect()
}

/// From whom a listener expects PROXY headers; `Some(None)` when from nobody.
pub fn proxy_protocol(checker: &mut Checker<'_, '_>, listener: &file::Listener) -> Option<Option<ProxyProtocol>> {
    let Some(settings) = listener.proxy_protocol.get()? else { return Some(None) };
    let trusted = checker.set("network", &settings.trusted);
    if !settings.accept.get()?.0 {
        return Some(None);
    }
    let trusted: Vec<_> = trusted?.into_iter().map(|network| network.0).collect();
    if trusted.is_empty() && matches!(listener.address.get()?.0, ListenAddress::Tcp(_)) {
        let report = checker.error(listener.proxy_protocol.node, "`proxy_protocol` trusts nobody");
        checker.push(
            report.help("say where the balancers are: `trusted: [10.0.0.0/8]`; whoever is there can claim any address"),
        );
    }
    Some(Some(ProxyProtocol { trusted }))
}

fn refuse_keys_of_tcp(checker: &mut Checker<'_, '_>, listener: &file::Listener) {
    if listener.upstream.given().is_some() {
        let report = checker.error(listener.upstream.node, "an `http` listener has no `upstream` of its own");
        checker.push(report.help("its requests find theirs by `routes`; or write `protocol: tcp`"));
    }
    if listener.sni.get().is_some_and(|routes| !routes.is_empty()) {
        let report = checker.error(listener.sni.node, "an `http` listener has no `sni`");
        checker.push(report.help("requests are told apart by `routes[].match.hosts`; or write `protocol: tcp`"));
    }
}

/// What a connection of bytes does not have.
fn warn_of_keys_of_http(checker: &mut Checker<'_, '_>, listener: &file::Listener) {
    let mut unread: Vec<NodeId> = vec![listener.trusted_proxies.node];
    if let Some(limits) = listener.limits.get() {
        unread.extend([
            limits.header_bytes.node,
            limits.body_bytes.node,
            limits.body_timeout.node,
            limits.idle_timeout.node,
        ]);
    }
    for node in unread.into_iter().filter(|node| checker.is_given(*node)).collect::<Vec<_>>() {
        checker.push(checker.warning(node, "`protocol: tcp` does not read this"));
    }
}

/// Whether no listener needs a route.
pub fn is_all(file: &File) -> bool {
    let listeners = file.listeners.get().map_or(&[][..], Vec::as_slice);
    let is_tcp = |at: &At<file::Listener>| {
        at.get().is_some_and(|listener| listener.protocol.get().is_some_and(|it| *it == Protocol::Tcp))
    };
    !listeners.is_empty() && listeners.iter().all(is_tcp)
}

/// Names of upstreams that `tcp` listeners mention.
pub fn upstreams(file: &File) -> impl Iterator<Item = At<Name>> {
    let listeners = || file.listeners.get().into_iter().flatten().filter_map(At::get);
    let own =
        listeners().filter_map(|listener| Some(At::new(listener.upstream.given()?.clone(), listener.upstream.node)));
    let by_name = listeners().filter_map(|listener| listener.sni.get()).flatten().filter_map(At::get);
    own.chain(by_name.filter_map(|route| Some(At::new(route.upstream.get()?.clone(), route.upstream.node))))
}

/// A route that names a listener which has no requests.
pub fn refuse_route(checker: &mut Checker<'_, '_>, name: &At<Name>, file: &File, listener: usize) {
    let listener = file.listeners.get().and_then(|listeners| listeners.get(listener)?.get());
    if listener.and_then(|listener| listener.protocol.get()) == Some(&Protocol::Tcp) {
        let message = format!("the listener {} passes TCP on and has no requests", checker.show(name.node));
        let report = checker.error(name.node, message);
        checker.push(report.help("routes serve `http` listeners; leave it out, or give that one `protocol: http`"));
    }
}

/// Upstreams of `tcp` listeners whose keys need a request.
pub fn check_upstreams(checker: &mut Checker<'_, '_>, file: &File) {
    let named: Vec<At<Name>> = upstreams(file).collect();
    // Without an `http` listener a route has no requests.
    let routes = file.routes.get().filter(|_| !is_all(file)).into_iter().flatten().filter_map(At::get);
    let routed: Vec<At<Name>> = routes.flat_map(destination::names).collect();
    for upstream in file.upstreams.get().into_iter().flatten().filter_map(At::get) {
        let Some(name) = upstream.name.get() else { continue };
        let is_routed = routed.iter().any(|routed| routed.get() == Some(name));
        if upstream.proxy_protocol.given().is_some() && is_routed {
            let node = upstream.proxy_protocol.node;
            let report = checker
                .error(node, "`proxy_protocol` names one client for a whole connection, and requests share theirs");
            checker.push(report.help("of requests masters learn the client from `X-Forwarded-For`; an upstream with this key serves `tcp` listeners alone"));
        }
        let is_tcp_only = named.iter().any(|named| named.get() == Some(name)) && !is_routed;
        let Some(affinity) = upstream.affinity.given().filter(|_| is_tcp_only) else { continue };
        if affinity.key.get().is_some_and(|key| key.0 != AffinityKey::ClientIp) {
            let report = checker.warning(affinity.key.node, "connections of a `tcp` listener have no headers");
            checker.push(report.help("they stay with a master by `key: client-ip` only"));
        }
    }
}
