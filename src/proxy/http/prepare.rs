//! From a request head to everything the exchange needs, in one pass without waiting.

use std::net::IpAddr;
use std::time::Duration;

use super::entrance::Peer;
use super::saying::Saying;
use crate::balance::{Key, Place, client_hash, split, stable_hash};
use crate::clock;
use crate::config::model::{
    AffinityKey, Destination, HostRewrite, Listener, Passage, PathRewrite, Redirect, Share, Upstream, WhatsApp,
};
use crate::exchange::headers::{Forwarding, write_request_head};
use crate::exchange::local::{Generation, Led};
use crate::exchange::pick::Aim;
use crate::exchange::{redirect, rewrite, rules};
use crate::http::client_address::client_address;
use crate::http::coding::accept::{self, Wanted};
use crate::http::fields::Known;
use crate::http::path;
use crate::http::problem::Problem;
use crate::http::request::{Framing, Request, Version};
use crate::ids::{RequestIds, is_request_id};
use crate::net::buffer::BUFFER_BYTES;
use crate::telemetry::hot::{Refusal, RouteRefusal, RouteSlot};
use crate::whatsapp::{Provider, handshake, signature};

/// Bodies up to this size with a known length are received whole before a master is chosen: a slow client then occupies no
/// master, and another attempt costs nothing. Larger ones are passed on as they come.
pub const WHOLE_BODY_MAX: u64 = 64 * 1024;

/// Of a handshake with a wrong token.
const NO_TOKEN: Problem = Problem::new(403, "the verify token of this handshake is another one");

/// Buffers that one request needs, reused by the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The request head for the master.
    pub head: Vec<u8>,
    /// Bytes for the client.
    pub out: Vec<u8>,
    pub request_id: Vec<u8>,
    /// For the access log; empty when it is off.
    pub host: Vec<u8>,
    /// For the access log, the target that the client asked for, if the master is asked for another one.
    pub asked: Vec<u8>,
    /// The target that the master is asked for, if it is another one; or what the client is told.
    pub target: String,
    /// Of a webhook.
    pub proof: Proof,
    /// Lines that the route's rules add to the request, and to the answer.
    pub request_lines: Vec<u8>,
    pub response_lines: Vec<u8>,
}

impl Scratch {
    /// Forgets the request before.
    pub fn clear(&mut self) {
        let Self { head, out, request_id, host, asked, target, proof, request_lines, response_lines } = self;
        [head, out, request_id, host, asked, request_lines, response_lines].into_iter().for_each(Vec::clear);
        target.clear();
        proof.value.clear();
        proof.url.clear();
        proof.times = 0;
    }
}

/// What a webhook's head says about who sent it.
#[derive(Debug, Default)]
pub struct Proof {
    /// Of the header that the gateway signs in: the first, and how many there are.
    pub value: Vec<u8>,
    pub times: u8,
    /// Where it was sent to, if that is signed too.
    pub url: String,
}

/// A request that has a route.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub route: usize,
    pub upstream: usize,
    pub timeout: Duration,
    pub version: Version,
    pub framing: Framing,
    pub to_head: bool,
    pub idempotent: bool,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub upgrade: bool,
    /// It is to be opened before it goes on, so its body is received whole.
    pub webhook: bool,
    /// A body of known length up to this is received whole.
    pub whole_max: u64,
    /// The master is told its own address as `Host`.
    pub host_of_master: bool,
    /// How the answer may be encoded.
    pub coding: Option<Wanted>,
    pub key: Key,
    pub pin: Option<u64>,
}

impl Prepared {
    /// Memory that its body takes: all of one that is received whole, else what is between client and master.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self.framing {
            Framing::None => 0,
            Framing::Length(length) if length <= self.whole_max => length as usize,
            // It may become that large.
            _ if self.webhook => usize::try_from(self.whole_max).unwrap_or(usize::MAX),
            _ => 2 * BUFFER_BYTES,
        }
    }

    /// What becomes of it when its worker cannot take it on. `buffered` is how much has been received behind its head.
    #[must_use]
    pub fn shed(&self, buffered: usize) -> Refused {
        let (body, keep_alive) = match passable(self.framing, self.expects_continue, buffered) {
            Some(body) => (body, self.keep_alive),
            None => (0, false),
        };
        let problem = Problem::new(503, "too many requests are in progress here").retry_after(1);
        let refused = Refused::new(problem, Refusal::Overloaded, self.version, self.to_head);
        Refused { keep_alive, route: Some(self.route), body, ..refused }
    }

    /// What Baton answers it, now that its body is here.
    #[must_use]
    pub fn said(&self, saying: Saying, counted: Option<Refusal>) -> Refused {
        let Self { keep_alive, to_head, version: protocol, route, .. } = *self;
        Refused { saying, counted, keep_alive, to_head, protocol, route: Some(route), body: 0 }
    }

    /// Where it is to go.
    #[must_use]
    pub fn aim(&self) -> Aim<'static> {
        Aim { key: self.key, pin: self.pin, ..Aim::default() }
    }

    /// Where it was led, for what is counted.
    #[must_use]
    pub fn led(&self, master: Option<usize>) -> Led {
        Led { route: Some(self.route), upstream: Some(self.upstream), master }
    }
}

/// A request that goes no further.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    pub saying: Saying,
    /// `None` for what is no refusal.
    pub counted: Option<Refusal>,
    /// Where the next request begins is known, so the connection may live.
    pub keep_alive: bool,
    pub to_head: bool,
    pub protocol: Version,
    /// The route whose own rules turned it away.
    pub route: Option<usize>,
    /// Bytes of body behind the head, to be passed over if the connection lives.
    pub body: u64,
}

impl Refused {
    /// A refusal behind which the connection is closed.
    #[must_use]
    pub fn new(problem: Problem, counted: Refusal, protocol: Version, to_head: bool) -> Self {
        let saying = Saying::Problem(problem);
        Self { saying, counted: Some(counted), keep_alive: false, to_head, protocol, route: None, body: 0 }
    }
}

/// What a request meets on its way in.
#[derive(Debug)]
pub struct Inlet<'a> {
    pub generation: &'a Generation,
    /// The listener's position.
    pub position: usize,
    pub peer: &'a Peer,
    pub https: bool,
    pub ids: &'a RequestIds,
    /// Whether the access log wants to know the host.
    pub logged: bool,
}

impl Inlet<'_> {
    /// Reads the head `raw`, finds its route and writes the head for the master into `scratch`. `buffered` is how much
    /// has been received behind the head.
    ///
    /// # Errors
    /// [`Refused`], which is to be answered.
    pub fn prepare(&self, raw: &[u8], buffered: usize, scratch: &mut Scratch) -> Result<Prepared, Box<Refused>> {
        scratch.clear();
        let mut request = Request::parse(raw).map_err(|refusal| {
            let counted = match refusal.status {
                431 => Refusal::HeaderTooLarge,
                400 => Refusal::Malformed,
                _ => Refusal::Unsupported,
            };
            let problem = Problem::new(refusal.status, refusal.reason);
            Box::new(Refused::new(problem, counted, Version::Http11, false))
        })?;
        // The same one that goes on to the master: the first that is usable.
        let ids = request.fields().iter().filter(|field| Known::of(field.name) == Some(Known::XRequestId));
        match ids.map(|field| field.value).find(|id| is_request_id(id)) {
            Some(id) => scratch.request_id.extend_from_slice(id),
            None => scratch.request_id.extend_from_slice(&self.ids.next()),
        }
        if self.logged {
            scratch.host.extend_from_slice(request.host.unwrap_or_default().as_bytes());
        }
        let (generation, to_head) = (self.generation, request.method == "HEAD");
        let listener = &generation.snapshot.config.listeners[self.position];
        // From here on route, log and master get the same target.
        let target = path::judge(request.target, &listener.paths).map_err(|reason| {
            self.write_line(&request, scratch);
            let keep_alive = request.keep_alive && request.framing == Framing::None;
            let refused = Refused::new(Problem::new(400, reason), Refusal::Path, request.version, to_head);
            Box::new(Refused { keep_alive, ..refused })
        })?;
        request.target = &target;
        if let Framing::Length(length) = request.framing
            && length > listener.limits.body_bytes
        {
            let problem = Problem::new(413, "the request body is larger than this listener takes");
            self.write_line(&request, scratch);
            return Err(Box::new(Refused::new(problem, Refusal::BodyTooLarge, request.version, to_head)));
        }
        let host = request.host.unwrap_or_default().as_bytes();
        let lookup = &generation.snapshot.routes;
        let Some(route) = lookup.lookup(self.position, host, request.path(), request.method, request.fields()) else {
            let problem = Problem::new(404, "no route matches this request");
            let keep_alive = request.keep_alive && request.framing == Framing::None;
            self.write_line(&request, scratch);
            let refused = Refused::new(problem, Refusal::NoRoute, request.version, to_head);
            return Err(Box::new(Refused { keep_alive, ..refused }));
        };
        let trusted = |address| is_trusted(listener, address);
        let source = listener.client_address;
        let client = self.peer.address.map(|peer| client_address(request.fields(), source, peer, trusted));
        if let Some(guard) = &generation.snapshot.guards[route]
            && let Err(turned) = guard.check(client, &request, clock::now)
        {
            let (counted, reason) = turned.counted();
            if let Some(counters) = generation.guarded(route) {
                counters.increment(RouteSlot::Refused(reason));
            }
            self.write_line(&request, scratch);
            let (body, keep_alive) = match passable(request.framing, request.expects_continue, buffered) {
                Some(body) => (body, request.keep_alive),
                None => (0, false),
            };
            let refused = Refused::new(turned.problem(), counted, request.version, to_head);
            return Err(Box::new(Refused { keep_alive, route: Some(route), body, ..refused }));
        }
        let settings = &generation.snapshot.config.routes[route];
        let upstream_at = match &settings.to {
            Destination::Upstream(upstream) => *upstream,
            Destination::Split(shares) => self.arm(shares, &request, client),
            Destination::Redirect(redirect) => {
                return Err(Box::new(self.redirected(redirect, &request, route, buffered, scratch)));
            }
        };
        let upstream = &generation.snapshot.upstreams[upstream_at].settings;
        let webhook = match &settings.whatsapp {
            Some(rules) => self.webhook(rules, &request, route, scratch)?,
            None => false,
        };
        let whole = webhook || matches!(request.framing, Framing::Length(length) if (buffered as u64) >= length);
        self.write_head(&request, listener, client, &settings.passage, whole, scratch);
        let (key, pin) = keys(&request, client, upstream);
        let rules = settings.passage.compression.as_ref().filter(|_| request.version == Version::Http11);
        Ok(Prepared {
            route,
            upstream: upstream_at,
            timeout: settings.timeout,
            version: request.version,
            framing: request.framing,
            to_head,
            // Receivers of webhooks have to expect repeats.
            idempotent: request.is_idempotent() || (webhook && upstream.retry.non_idempotent != Some(false)),
            keep_alive: request.keep_alive,
            expects_continue: request.expects_continue,
            upgrade: request.upgrade.is_some(),
            webhook,
            whole_max: if webhook { listener.limits.body_bytes } else { WHOLE_BODY_MAX },
            host_of_master: settings.passage.rewrite.as_ref().is_some_and(|it| it.host == Some(HostRewrite::Master)),
            coding: rules.and_then(|rules| accept::choose(accepted(&request), &rules.algorithms)),
            key,
            pin,
        })
    }

    /// Whether it is a webhook, with what proves who sent it.
    ///
    /// # Errors
    /// What answers it, when it is the handshake that is made when a webhook is set up.
    fn webhook(
        &self,
        rules: &WhatsApp,
        request: &Request<'_>,
        route: usize,
        scratch: &mut Scratch,
    ) -> Result<bool, Box<Refused>> {
        if request.method == "POST" {
            self.note_proof(rules, request, &mut scratch.proof);
            return Ok(true);
        }
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let asked = rules.verify_token.as_ref().filter(|_| request.method == "GET");
        let Some(told) = asked.and_then(|token| handshake::challenge(query, &token.0)) else { return Ok(false) };
        self.write_line(request, scratch);
        let answer = match told {
            Ok(challenge) => {
                scratch.target.push_str(&challenge);
                let saying = Saying::Text;
                Refused {
                    saying,
                    counted: None,
                    ..Refused::new(NO_TOKEN, Refusal::BadVerifyToken, request.version, false)
                }
            }
            Err(_) => {
                if let Some(counters) = self.generation.guarded(route) {
                    counters.increment(RouteSlot::Refused(RouteRefusal::BadVerifyToken));
                }
                Refused::new(NO_TOKEN, Refusal::BadVerifyToken, request.version, false)
            }
        };
        let keep_alive = request.keep_alive && request.framing == Framing::None;
        Err(Box::new(Refused { keep_alive, route: Some(route), ..answer }))
    }

    fn note_proof(&self, rules: &WhatsApp, request: &Request<'_>, proof: &mut Proof) {
        if !rules.signature {
            return;
        }
        let Some(name) = signature::header(rules.provider) else { return };
        for field in request.fields().iter().filter(|field| field.name.eq_ignore_ascii_case(name)) {
            if proof.times == 0 {
                proof.value.extend_from_slice(field.value);
            }
            proof.times = proof.times.saturating_add(1);
        }
        if rules.provider == Provider::Twilio {
            match &rules.public_url {
                Some(url) => {
                    proof.url.push_str(url);
                    if let Some((_, query)) = request.target.split_once('?') {
                        proof.url.push('?');
                        proof.url.push_str(query);
                    }
                }
                None => {
                    let scheme = if self.https { "https://" } else { "http://" };
                    [scheme, request.host.unwrap_or_default(), request.target]
                        .into_iter()
                        .for_each(|part| proof.url.push_str(part));
                }
            }
        }
    }

    /// The upstream of a split: the same one for all requests with one affinity key, else any; one that has a master to answer,
    /// if there is one.
    fn arm(&self, shares: &[Share], request: &Request<'_>, client: Option<IpAddr>) -> usize {
        let upstreams = &self.generation.snapshot.upstreams;
        let pinned = |share: &Share| keys(request, client, &upstreams[share.upstream].settings).1;
        let number = shares.iter().find_map(pinned).unwrap_or_else(|| stable_hash(&self.ids.next()));
        split::choose(shares, number, |upstream| upstreams[upstream].is_served()).unwrap_or_default()
    }

    fn redirected(
        &self,
        redirect: &Redirect,
        request: &Request<'_>,
        route: usize,
        buffered: usize,
        scratch: &mut Scratch,
    ) -> Refused {
        let host = request.host.unwrap_or_default();
        let found = redirect::write_location(redirect, self.https, host, request.target, &mut scratch.target);
        let (saying, counted) = if found {
            (Saying::Redirect(redirect.status), None)
        } else {
            let problem = Problem::new(400, "this request names no host to be redirected at");
            (Saying::Problem(problem), Some(Refusal::Malformed))
        };
        self.write_line(request, scratch);
        let body = passable(request.framing, request.expects_continue, buffered);
        Refused {
            saying,
            counted,
            keep_alive: request.keep_alive && body.is_some(),
            to_head: request.method == "HEAD",
            protocol: request.version,
            route: Some(route),
            body: body.unwrap_or_default(),
        }
    }

    /// Writes the head for the master, changed as the route says, and what the rules add to the answer.
    fn write_head(
        &self,
        request: &Request<'_>,
        listener: &Listener,
        client: Option<IpAddr>,
        passage: &Passage,
        whole: bool,
        scratch: &mut Scratch,
    ) {
        let drop_expect = whole || request.version == Version::Http10;
        let mut forwarding = Forwarding {
            client: &self.peer.text,
            node: &self.peer.node,
            https: self.https,
            trusted: self.peer.address.is_some_and(|address| is_trusted(listener, address)),
            request_id: &scratch.request_id,
            host: None,
            prefix: "",
        };
        let mut line = None;
        if let Some(rewrite) = &passage.rewrite {
            if let Some(path) = &rewrite.path
                && rewrite::write_target(path, request.target, &mut scratch.target)
            {
                line = Some(&*scratch.target);
                if let PathRewrite::Prefix { from, .. } = path {
                    forwarding.prefix = from;
                }
                if self.logged {
                    scratch.asked.extend_from_slice(request.target.as_bytes());
                }
            }
            forwarding.host = match &rewrite.host {
                Some(HostRewrite::Name(name)) => Some(name),
                // Filled in for each attempt.
                Some(HostRewrite::Master) => Some(""),
                None => None,
            };
        }
        let target = line.unwrap_or(request.target);
        write_request_head(request, target, &forwarding, request.framing, drop_expect, &mut scratch.head);
        if passage.request_headers.is_none() && passage.response_headers.is_none() {
            return;
        }
        let values = rules::Values {
            client,
            host: request.host.unwrap_or_default(),
            path: request.path(),
            request_id: &scratch.request_id,
            https: self.https,
        };
        if let Some(rules) = &passage.request_headers {
            rules::write_lines(rules, &values, &mut scratch.request_lines);
            rules::apply(rules, &scratch.request_lines, &mut scratch.head, 0);
        }
        if let Some(rules) = &passage.response_headers {
            rules::write_lines(rules, &values, &mut scratch.response_lines);
        }
    }

    /// For the log of a request that goes to no master: just the request line.
    fn write_line(&self, request: &Request<'_>, scratch: &mut Scratch) {
        if self.logged {
            scratch.head.extend_from_slice(request.method.as_bytes());
            scratch.head.push(b' ');
            scratch.head.extend_from_slice(request.target.as_bytes());
            scratch.head.push(b' ');
        }
    }
}

/// What the client says about codings of its answer.
fn accepted<'r>(request: &'r Request<'_>) -> impl Iterator<Item = &'r [u8]> {
    let fields = request.fields().iter().filter(|field| field.name.eq_ignore_ascii_case("accept-encoding"));
    fields.map(|field| field.value)
}

/// What the strategy may choose by, and the hash of the affinity key.
fn keys(request: &Request<'_>, client: Option<IpAddr>, upstream: &Upstream) -> (Key, Option<u64>) {
    let pin = upstream.affinity.as_ref().and_then(|affinity| match &affinity.key {
        // Known when the body has been read.
        AffinityKey::Conversation => None,
        AffinityKey::ClientIp => client.map(client_hash),
        AffinityKey::Header(name) => request.field(name).map(stable_hash),
        AffinityKey::Cookie(name) => request.cookie(name).map(stable_hash),
    });
    let header = |name: &Option<String>| name.as_ref().and_then(|name| request.field(name));
    let place = match &upstream.geo {
        geo if geo.country_header.is_none() && geo.location_header.is_none() => None,
        geo => Place::parse(header(&geo.country_header), header(&geo.location_header)),
    };
    (Key { hash: pin, client, place }, pin)
}

/// The length of a body that is small enough to be received for nothing, so that the connection can live.
fn passable(framing: Framing, expects_continue: bool, buffered: usize) -> Option<u64> {
    match framing {
        Framing::None => Some(0),
        // Who waits to be told to continue may leave the body out.
        Framing::Length(length) if length <= WHOLE_BODY_MAX => {
            (!expects_continue || buffered as u64 >= length).then_some(length)
        }
        _ => None,
    }
}

fn is_trusted(listener: &Listener, address: IpAddr) -> bool {
    listener.trusted_proxies.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use proptest::prelude::*;

    use crate::config::{self, System};
    use crate::exchange::local::Local;
    use crate::snapshot::Snapshot;
    use crate::telemetry::registry::Registry;

    /// Routes that a liberal reading of a path would confuse.
    fn local(paths: &str) -> Local {
        let route =
            |name: &str, matcher: &str| format!("  - {{ name: {name}, match: {{ {matcher} }}, upstream: bots }}\n");
        let text = format!(
            "listeners: [{{ name: gateway, address: '127.0.0.1:0', paths: {{ {paths} }} }}]\nroutes:\n{}{}{}\
             upstreams: [{{ name: bots, masters: [{{ name: a, address: '127.0.0.1:1' }}] }}]\n",
            route("any", ""),
            route("prefix", "path_prefix: /a"),
            route("exact", "path: /a/b"),
        );
        let config = config::parse(&text, Path::new("baton.yaml"), &System).unwrap().config;
        Local::new(
            &Arc::new(ArcSwap::from_pointee(Snapshot::build(config, vec![vec![None]], None))),
            Registry::new().worker(),
        )
    }

    proptest! {
        #[test]
        fn the_route_that_was_found_is_the_route_of_what_the_master_gets(
            target in "/([ab.;/?]|\\\\|%2e|%2f|%61|%00){0,10}",
            dots in "(reject|normalize|pass)",
            slashes in "(reject|merge|pass)",
            others in "(reject|pass)",
            absolute in any::<bool>(),
        ) {
            let paths = format!("dot_segments: {dots}, repeated_slashes: {slashes}, encoded_slashes: {others}, invalid_encoding: {others}");
            let local = local(&paths);
            let (generation, peer) = (local.generation(), Peer::new(Some([192, 0, 2, 1].into())));
            let inlet = Inlet { generation: &generation, position: 0, peer: &peer, https: false, ids: &local.ids, logged: true };
            let mut scratch = Scratch::default();
            let scheme = if absolute { "http://x" } else { "" };
            let raw = format!("GET {scheme}{target} HTTP/1.1\r\nHost: x\r\n\r\n");
            if let Ok(prepared) = inlet.prepare(raw.as_bytes(), 0, &mut scratch) {
                let seen = Request::parse(&scratch.head).unwrap();
                let again = generation.snapshot.routes.lookup(0, b"x", seen.path(), seen.method, seen.fields());
                prop_assert_eq!(again, Some(prepared.route), "{} went on as {}", target, seen.target);
            }
        }
    }
}
