//! Listeners that pass TCP on: an upstream instead of routes, and no key that only HTTP has a meaning for.

use super::super::file::{self, File};
use super::super::model::{AffinityKey, Tcp};
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
            let upstream = known_upstream(checker, &listener.upstream, name, file)?;
            Some(Some(Tcp { upstream }))
        }
    }
}

fn known_upstream(checker: &mut Checker<'_, '_>, at: &At<Option<Name>>, name: &Name, file: &File) -> Option<usize> {
    let at = At::new(name.clone(), at.node);
    route::known_name(checker, &at, &file.upstreams, |upstream| &upstream.name, "upstream")
}

fn refuse_keys_of_tcp(checker: &mut Checker<'_, '_>, listener: &file::Listener) {
    if listener.upstream.given().is_some() {
        let report = checker.error(listener.upstream.node, "an `http` listener has no `upstream` of its own");
        checker.push(report.help("its requests find theirs by `routes`; or write `protocol: tcp`"));
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
    let listeners = file.listeners.get().into_iter().flatten().filter_map(At::get);
    listeners.filter_map(|listener| Some(At::new(listener.upstream.given()?.clone(), listener.upstream.node)))
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
    let routes = file.routes.get().into_iter().flatten().filter_map(At::get);
    let routed: Vec<At<Name>> = routes.flat_map(destination::names).collect();
    for upstream in file.upstreams.get().into_iter().flatten().filter_map(At::get) {
        let Some(name) = upstream.name.get() else { continue };
        let is_tcp_only = named.iter().any(|named| named.get() == Some(name))
            && !routed.iter().any(|routed| routed.get() == Some(name));
        let Some(affinity) = upstream.affinity.given().filter(|_| is_tcp_only) else { continue };
        if affinity.key.get().is_some_and(|key| key.0 != AffinityKey::ClientIp) {
            let report = checker.warning(affinity.key.node, "connections of a `tcp` listener have no headers");
            checker.push(report.help("they stay with a master by `key: client-ip` only"));
        }
    }
}
