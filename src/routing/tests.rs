//! Which route wins, told by example and against a reference that tries every route.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::model::{
    ClientAddress, Delivery, Destination, ListenAddress, ListenerLimits, Passage, PathPattern, PathRules,
};

fn listener(name: &str) -> Listener {
    Listener {
        name: name.to_owned(),
        address: ListenAddress::Unix(name.into()),
        tcp: None,
        proxy_protocol: None,
        tls: None,
        trusted_proxies: Vec::new(),
        access: None,
        client_address: ClientAddress::default(),
        paths: PathRules::default(),
        limits: ListenerLimits {
            handshakes: 1,
            handshake_timeout: Duration::ZERO,
            connections: 1,
            connections_per_client: 0,
            client_ipv6_prefix: 64,
            header_bytes: 1,
            body_bytes: 1,
            header_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            min_rate: 0,
            lifetime: Duration::ZERO,
            requests_per_connection: 0,
            tunnel_timeout: Duration::ZERO,
        },
        http2: crate::config::model::Http2 { enabled: false, max_concurrent_streams: 1 },
    }
}

fn route(matcher: Match) -> Route {
    Route {
        name: String::new(),
        listeners: Vec::new(),
        matcher,
        delivery: Delivery::Inline,
        whatsapp: None,
        to: Destination::Upstream(0),
        timeout: Duration::ZERO,
        rate_limit: None,
        access: None,
        sla: None,
        passage: Passage::default(),
    }
}

/// `*.x` is a wildcard, anything else an exact name.
fn host(text: &str) -> HostPattern {
    match text.strip_prefix('*') {
        Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
        None => HostPattern::Exact(text.to_owned()),
    }
}

/// `/a*` is a prefix, `/a` an exact path, nothing any path.
fn path(text: &str) -> PathPattern {
    match text.strip_suffix('*') {
        Some(prefix) => PathPattern::Prefix(prefix.to_owned()),
        None if text.is_empty() => PathPattern::Any,
        None => PathPattern::Exact(text.to_owned()),
    }
}

/// A match written as `METHOD host/path name=value`, parts left out at will: the host up to the first slash, headers
/// after a space.
fn matcher(text: &str) -> Match {
    let mut matcher = Match::default();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if word.chars().all(|letter| letter.is_ascii_uppercase()) {
            matcher.methods.push(word.to_owned());
        } else if let Some((name, value)) = word.split_once('=') {
            let value = (!value.is_empty()).then(|| value.to_owned());
            matcher.headers.push(HeaderMatch { name: name.to_owned(), value });
        } else {
            let (name, rest) = word.split_at(word.find('/').unwrap_or(word.len()));
            matcher.hosts.extend((!name.is_empty()).then(|| host(name)));
            matcher.path = path(rest);
        }
    }
    matcher
}

fn table(routes: &[&str]) -> RouteTable {
    let routes: Vec<Route> = routes.iter().map(|text| route(matcher(text))).collect();
    RouteTable::build(&routes, &[listener("one")])
}

/// The route for a GET of `host/path` without headers.
fn get(table: &RouteTable, url: &str) -> Option<usize> {
    let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    table.lookup(0, host.as_bytes(), path, "GET", &[])
}

fn lines<'a>(headers: &[(&'a str, &'a [u8])]) -> Vec<Header<'a>> {
    headers.iter().map(|(name, value)| Header { name, value }).collect()
}

#[test]
fn an_exact_host_wins_over_a_longer_wildcard_over_a_shorter_one_over_any() {
    let table = table(&["/*", "*.example/*", "*.bot.example/*", "a.bot.example/*"]);
    assert_eq!(get(&table, "a.bot.example/x"), Some(3));
    assert_eq!(get(&table, "b.bot.example/x"), Some(2));
    assert_eq!(get(&table, "a.b.bot.example/x"), Some(2));
    assert_eq!(get(&table, "bot.example/x"), Some(1));
    assert_eq!(get(&table, "example/x"), Some(0));
    assert_eq!(get(&table, ".bot.example/x"), Some(1));
    assert_eq!(get(&table, "/x"), Some(0));
}

#[test]
fn a_host_outranks_a_path() {
    let table = table(&["/very/long/path", "bot.example/*"]);
    assert_eq!(get(&table, "bot.example/very/long/path"), Some(1));
    assert_eq!(get(&table, "other.example/very/long/path"), Some(0));
}

#[test]
fn hosts_are_compared_without_port_case_and_trailing_dot() {
    let table = table(&["bot.example/*", "[::1]/*"]);
    for host in ["bot.example:8080", "BOT.Example", "bot.example.", "bot.example.:80"] {
        assert_eq!(get(&table, &format!("{host}/")), Some(0), "{host}");
    }
    assert_eq!(get(&table, "[::1]:8080/"), Some(1));
    assert_eq!(get(&table, "[0:0::1]/"), Some(1));
    assert_eq!(get(&table, "bot.example2/"), None);
}

#[test]
fn a_host_longer_than_any_name_gets_only_routes_for_any_host() {
    let long = "a".repeat(300);
    let routes = [route(Match { hosts: vec![HostPattern::Exact(long.clone())], ..Match::default() })];
    let table_of_long = RouteTable::build(&routes, &[listener("one")]);
    assert_eq!(get(&table_of_long, &format!("{long}/")), None);
    assert_eq!(get(&table(&["*.example/*", "/*"]), &format!("{long}.example/")), Some(1));
}

#[test]
fn a_prefix_is_whole_segments() {
    let table = table(&["/webhook*"]);
    assert_eq!(get(&table, "/webhook"), Some(0));
    assert_eq!(get(&table, "/webhook/"), Some(0));
    assert_eq!(get(&table, "/webhook/a"), Some(0));
    assert_eq!(get(&table, "/webhooks"), None);
    assert_eq!(get(&table, "/Webhook"), None);
    assert_eq!(get(&table, "/web"), None);
    assert_eq!(get(&table, "/%77ebhook"), None);
}

#[test]
fn a_slash_at_the_end_of_a_prefix_adds_nothing() {
    let table = table(&["/a/*"]);
    assert_eq!(get(&table, "/a"), Some(0));
    assert_eq!(get(&table, "/a/b"), Some(0));
    assert_eq!(get(&table, "/ab"), None);
}

#[test]
fn the_longest_path_wins_and_an_exact_one_before_a_prefix_of_its_length() {
    let table = table(&["", "/*", "/a*", "/a/b*", "/a/b", "/a-b*"]);
    assert_eq!(get(&table, "/a/b"), Some(4));
    assert_eq!(get(&table, "/a/b/"), Some(3));
    assert_eq!(get(&table, "/a/c"), Some(2));
    assert_eq!(get(&table, "/a-b/c"), Some(5));
    assert_eq!(get(&table, "/a-c"), Some(1));
    assert_eq!(get(&table, "/a.b"), Some(1));
    assert_eq!(table.lookup(0, b"", "*", "OPTIONS", &[]), Some(0));
}

#[test]
fn more_conditions_win_and_then_the_order_of_the_file() {
    let table = table(&["/a*", "GET /a*", "GET /a* x=1", "POST /a* x=1", "/a* x=1 y="]);
    let find = |method: &str, headers: &[(&str, &[u8])]| table.lookup(0, b"", "/a", method, &lines(headers));
    assert_eq!(find("GET", &[("x", b"1")]), Some(2));
    assert_eq!(find("POST", &[("x", b"1")]), Some(3));
    assert_eq!(find("GET", &[("x", b"1"), ("y", b"any")]), Some(2));
    assert_eq!(find("PUT", &[("x", b"1"), ("y", b"any")]), Some(4));
    assert_eq!(find("GET", &[("x", b"2")]), Some(1));
    assert_eq!(find("get", &[]), Some(0));
}

#[test]
fn a_route_whose_conditions_fail_leaves_the_request_to_a_less_specific_one() {
    let table = table(&["/*", "*.example/*", "bot.example/*", "POST bot.example/a*"]);
    assert_eq!(get(&table, "bot.example/a"), Some(2));
    let only_post = super::tests::table(&["GET /*", "POST *.example/*", "POST bot.example/a*"]);
    assert_eq!(get(&only_post, "bot.example/a"), Some(0));
}

#[test]
fn any_line_of_a_header_will_do_but_its_value_must_be_exact() {
    let table = table(&["x-tenant=a"]);
    let find = |headers: &[(&str, &[u8])]| table.lookup(0, b"", "/", "GET", &lines(headers));
    assert_eq!(find(&[("x-tenant", b"b"), ("X-Tenant", b"a")]), Some(0));
    assert_eq!(find(&[("x-tenant", b"A")]), None);
    assert_eq!(find(&[("x-tenant", b"a, b")]), None);
    assert_eq!(find(&[]), None);
}

#[test]
fn a_route_serves_only_the_listeners_it_names() {
    let mut routes = [route(matcher("/a*")), route(matcher("/*"))];
    routes[0].listeners = vec!["two".to_owned()];
    let table = RouteTable::build(&routes, &[listener("one"), listener("two")]);
    let find = |listener| table.lookup(listener, b"", "/a", "GET", &[]);
    assert_eq!((find(0), find(1), find(2)), (Some(1), Some(0), None));
}

/// The rules of the module told the slow way: every route is tried and ranked.
fn reference(routes: &[Route], host: &str, path: &str, method: &str, headers: &[(&str, &[u8])]) -> Option<usize> {
    let host = host.split(':').next().unwrap_or("").to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let host_rank = |matcher: &Match| {
        let rank = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) => (name == host).then_some(usize::MAX),
            HostPattern::Wildcard(suffix) => {
                (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len())
            }
        };
        if matcher.hosts.is_empty() { Some(0) } else { matcher.hosts.iter().filter_map(rank).max() }
    };
    let path_rank = |pattern: &PathPattern| match pattern {
        PathPattern::Any => Some((0, false)),
        PathPattern::Exact(exact) => (exact == path).then_some((exact.len(), true)),
        PathPattern::Prefix(prefix) if prefix == "/" || prefix.ends_with("//") => {
            path.starts_with(prefix).then_some((prefix.len(), false))
        }
        PathPattern::Prefix(prefix) => {
            let segments: Vec<&str> = prefix.strip_suffix('/').unwrap_or(prefix).split('/').collect();
            let given: Vec<&str> = path.split('/').collect();
            given.starts_with(&segments).then_some((segments.join("/").len(), false))
        }
    };
    let rank = |(index, route): (usize, &Route)| {
        let matcher = &route.matcher;
        let methods = matcher.methods.is_empty() || matcher.methods.iter().any(|allowed| allowed == method);
        let header = |wanted: &HeaderMatch| {
            let right = |value: &[u8]| wanted.value.as_ref().is_none_or(|expected| expected.as_bytes() == value);
            headers.iter().any(|(name, value)| *name == wanted.name && right(value))
        };
        let others = usize::from(!matcher.methods.is_empty()) + matcher.headers.len();
        (methods && matcher.headers.iter().all(header)).then_some(())?;
        Some((host_rank(matcher)?, path_rank(&matcher.path)?, others, std::cmp::Reverse(index)))
    };
    routes.iter().enumerate().filter_map(rank).max().map(|(.., index)| index.0)
}

fn any_host() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "bot"]), 1..4).prop_map(|labels| labels.join("."))
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "a-b", "ab", ""]), 0..4)
        .prop_map(|segments| segments.iter().map(|segment| format!("/{segment}")).collect::<String>())
        .prop_map(|path| if path.is_empty() { "/".to_owned() } else { path })
}

fn any_method() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["GET", "POST", "PUT"]).prop_map(str::to_owned)
}

fn any_header() -> impl Strategy<Value = (&'static str, &'static str)> {
    (prop::sample::select(vec!["x", "y"]), prop::sample::select(vec!["1", "2"]))
}

prop_compose! {
    fn any_match()(
        hosts in prop::collection::vec((any_host(), any::<bool>()), 0..3),
        path in (any_path(), 0..5),
        methods in prop::collection::vec(any_method(), 0..2),
        headers in prop::collection::vec((any_header(), any::<bool>()), 0..2),
    ) -> Match {
        let pattern = |(name, wildcard)| {
            if wildcard { HostPattern::Wildcard(format!(".{name}")) } else { HostPattern::Exact(name) }
        };
        let header = |((name, value), any): ((&str, &str), bool)| {
            HeaderMatch { name: name.to_owned(), value: (!any).then(|| value.to_owned()) }
        };
        Match {
            hosts: hosts.into_iter().map(pattern).collect(),
            path: match path {
                (_, 0) => PathPattern::Any,
                (path, 1 | 2) => PathPattern::Exact(path),
                (path, _) => PathPattern::Prefix(path),
            },
            methods,
            headers: headers.into_iter().map(header).collect(),
        }
    }
}

proptest! {
    #[test]
    fn the_table_finds_what_trying_every_route_finds(
        matchers in prop::collection::vec(any_match(), 0..24),
        requests in prop::collection::vec(
            (any_host(), prop::sample::select(vec!["", ":80", ".", ".:80"]), any_path(), any_method(),
             prop::collection::vec(any_header(), 0..3)),
            1..24,
        ),
    ) {
        let routes: Vec<Route> = matchers.into_iter().map(route).collect();
        let table = RouteTable::build(&routes, &[listener("one")]);
        for (host, tail, path, method, headers) in requests {
            let host = format!("{}{tail}", host.to_uppercase());
            let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let found = table.lookup(0, host.as_bytes(), &path, &method, &lines(&headers));
            prop_assert_eq!(found, reference(&routes, &host, &path, &method, &headers), "{} {}{}", method, host, path);
        }
    }

    #[test]
    fn no_bytes_from_the_network_can_break_a_lookup(host in prop::collection::vec(any::<u8>(), 0..400), path in ".*") {
        let table = table(&["*.example/a*", "[::1]/*"]);
        table.lookup(0, &host, &path, "GET", &[]);
    }
}
