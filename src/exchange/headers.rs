//! The request head as the master gets it.
//!
//! Header lines are copied as they came, in runs, with their case and order; only what concerns the client's connection
//! is left out, and what the master must know about the client is added at the end. A master sees one spelling of the
//! client's address whoever claims what: forwarding fields from an untrusted peer are dropped.

use crate::config::model::Address;
use crate::http::fields::{self, Known};
use crate::http::request::{Framing, Request};
use crate::ids::is_request_id;

/// What is said about the client.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The peer's address, as `X-Forwarded-For` writes it.
    pub client: &'a str,
    /// The same as `Forwarded` writes it (RFC 7239 section 6): IPv6 in brackets and quotes.
    pub node: &'a str,
    pub https: bool,
    /// The peer is a proxy whose forwarding fields are believed and extended.
    pub trusted: bool,
    /// Used when the request brings no usable id of its own.
    pub request_id: &'a [u8],
    /// The `Host` to send instead of the client's.
    pub host: Option<&'a str>,
    /// The start of the client's path that the master does not see, or sees something else for; empty when there is none.
    pub prefix: &'a str,
}

/// Writes the head for a master. `target` is what it is asked for; `framing` is how the body will be sent; `drop_expect` leaves out `Expect` when the body is
/// already here.
pub fn write_request_head(
    request: &Request<'_>,
    target: &str,
    forwarding: &Forwarding<'_>,
    framing: Framing,
    drop_expect: bool,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let seen = copy_fields(request, forwarding, drop_expect, out);
    if let Some(host) = forwarding.host {
        line(out, b"Host: ", &[host.as_bytes()]);
    } else if !seen.host {
        // RFC 9112 section 3.2: an HTTP/1.1 request without a known authority carries an empty Host.
        line(out, b"Host: ", &[request.host.unwrap_or_default().as_bytes()]);
    }
    match framing {
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Length(length) if !seen.content_length => {
            out.extend_from_slice(b"Content-Length: ");
            crate::http::response::write_decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        _ => {}
    }
    if let Some(protocol) = request.upgrade {
        line(out, b"Connection: Upgrade\r\nUpgrade: ", &[protocol.as_bytes()]);
    }
    write_forwarding(request, forwarding, &seen, out);
    out.extend_from_slice(b"\r\n");
}

/// A head with the master's own address as its `Host`, which is written anew wherever it stands. A Unix socket has no
/// name, so it is `localhost` as everything on this machine.
#[must_use]
pub fn with_host_of(address: &Address, head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    for field in head.split_inclusive(|byte| *byte == b'\n') {
        if field.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:")) {
            let host = match address {
                Address::Unix(_) => "localhost".to_owned(),
                address => address.to_string(),
            };
            line(&mut out, b"Host: ", &[host.as_bytes()]);
        } else {
            out.extend_from_slice(field);
        }
    }
    out
}

/// Writes a head again for a body of another framing, and with another value of one header if one is given: its name in
/// lower case, and its value.
pub fn write_framed(head: &[u8], changed: Option<(&str, &[u8])>, framing: Framing, out: &mut Vec<u8>) {
    let named = |line: &[u8], name: &str| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            && line.get(name.len()) == Some(&b':')
    };
    let dropped = |line: &[u8]| {
        named(line, "content-length")
            || named(line, "transfer-encoding")
            || changed.is_some_and(|(name, _)| named(line, name))
    };
    let head = head.strip_suffix(b"\r\n").unwrap_or(head);
    head.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !dropped(line))
        .for_each(|kept| out.extend_from_slice(kept));
    if let Some((name, value)) = changed {
        line(out, name.as_bytes(), &[b": ", value]);
    }
    if let Framing::Length(length) = framing {
        out.extend_from_slice(b"Content-Length: ");
        crate::http::response::write_decimal(length, out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Which fields were met on the way.
#[derive(Debug, Default)]
struct Seen {
    content_length: bool,
    forwarded: bool,
    forwarded_for: bool,
    forwarded_host: bool,
    forwarded_proto: bool,
    host: bool,
    request_id: bool,
}

fn copy_fields(request: &Request<'_>, forwarding: &Forwarding<'_>, drop_expect: bool, out: &mut Vec<u8>) -> Seen {
    let trusted = forwarding.trusted;
    let raw = request.raw;
    let position = |name: &str| (name.as_ptr() as usize).saturating_sub(raw.as_ptr() as usize).min(raw.len());
    let mut seen = Seen::default();
    // Everything in `from..` that has not been copied yet is to be kept.
    let mut from = request.fields().first().map_or(raw.len() - 2, |field| position(field.name));
    for (index, field) in request.fields().iter().enumerate() {
        let dropped = match Known::of(field.name) {
            // With zeros in front, some would take it for octal: it is written anew.
            Some(Known::ContentLength) if field.value.len() > 1 && field.value.starts_with(b"0") => true,
            Some(Known::ContentLength) => std::mem::replace(&mut seen.content_length, true),
            Some(Known::Expect) => drop_expect,
            Some(Known::Forwarded) => {
                seen.forwarded = true;
                true
            }
            Some(Known::XForwardedFor) => {
                seen.forwarded_for = true;
                true
            }
            Some(Known::XForwardedHost) => keep_first(&mut seen.forwarded_host, trusted),
            Some(Known::XForwardedProto) => keep_first(&mut seen.forwarded_proto, trusted),
            Some(Known::XRealIp) => !trusted,
            Some(Known::XRequestId) => keep_first(&mut seen.request_id, is_request_id(field.value)),
            Some(Known::XForwardedPrefix) => !trusted,
            Some(Known::Host) => std::mem::replace(&mut seen.host, true) || forwarding.host.is_some(),
            Some(known) => known.is_hop_by_hop(),
            None => Known::is_mimicked_by(field.name) || request.named_in_connection(field.name),
        };
        if dropped {
            out.extend_from_slice(&raw[from..position(field.name)]);
            from = request.fields().get(index + 1).map_or(raw.len() - 2, |next| position(next.name));
        }
    }
    out.extend_from_slice(&raw[from..raw.len() - 2]);
    seen
}

/// Whether to drop this occurrence of a field of which only the first usable one is kept.
fn keep_first(seen: &mut bool, usable: bool) -> bool {
    let keep = usable && !*seen;
    *seen |= keep;
    !keep
}

fn write_forwarding(request: &Request<'_>, forwarding: &Forwarding<'_>, seen: &Seen, out: &mut Vec<u8>) {
    let host = request.host.unwrap_or_default().as_bytes();
    let proto: &[u8] = if forwarding.https { b"https" } else { b"http" };
    out.extend_from_slice(b"X-Forwarded-For: ");
    if forwarding.trusted && seen.forwarded_for {
        write_values(request, Known::XForwardedFor, out);
    }
    out.extend_from_slice(forwarding.client.as_bytes());
    out.extend_from_slice(b"\r\n");
    if !seen.forwarded_proto {
        line(out, b"X-Forwarded-Proto: ", &[proto]);
    }
    if !seen.forwarded_host {
        line(out, b"X-Forwarded-Host: ", &[host]);
    }
    if !forwarding.prefix.is_empty() {
        // Behind those of proxies before this one: readers join them in order.
        line(out, b"X-Forwarded-Prefix: ", &[forwarding.prefix.as_bytes()]);
    }
    out.extend_from_slice(b"Forwarded: ");
    if forwarding.trusted && seen.forwarded {
        write_values(request, Known::Forwarded, out);
    }
    line(out, b"for=", &[forwarding.node.as_bytes(), b";host=\"", host, b"\";proto=", proto]);
    if !seen.request_id {
        line(out, b"X-Request-Id: ", &[forwarding.request_id]);
    }
}

/// Writes the values of all fields of one kind, each followed by a comma. One with an open quote is left out: it would
/// swallow what comes behind it.
fn write_values(request: &Request<'_>, known: Known, out: &mut Vec<u8>) {
    let of_kind = request.fields().iter().filter(|field| Known::of(field.name) == Some(known));
    for field in of_kind.filter(|field| known != Known::Forwarded || fields::quotes_close(field.value)) {
        out.extend_from_slice(field.value);
        out.extend_from_slice(b", ");
    }
}

fn line(out: &mut Vec<u8>, start: &[u8], parts: &[&[u8]]) {
    out.extend_from_slice(start);
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forwarding(trusted: bool) -> Forwarding<'static> {
        Forwarding {
            client: "192.0.2.7",
            node: "192.0.2.7",
            https: true,
            trusted,
            request_id: b"id-1",
            host: None,
            prefix: "",
        }
    }

    fn head(raw: &str, trusted: bool) -> String {
        let request = Request::parse(raw.as_bytes()).unwrap();
        let mut out = Vec::new();
        write_request_head(&request, request.target, &forwarding(trusted), request.framing, false, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_pass_as_they_came_and_the_client_is_described_at_the_end() {
        let raw = "POST /w?q=%2F HTTP/1.1\r\nhOsT: bot.example\r\nB:  2 \r\nContent-Length: 2\r\nA: 1\r\n\r\n";
        let wanted = "POST /w?q=%2F HTTP/1.1\r\nhOsT: bot.example\r\nB:  2 \r\nContent-Length: 2\r\nA: 1\r\n\
            X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: bot.example\r\n\
            Forwarded: for=192.0.2.7;host=\"bot.example\";proto=https\r\nX-Request-Id: id-1\r\n\r\n";
        assert_eq!(head(raw, false), wanted);
    }

    #[test]
    fn what_concerns_the_clients_connection_is_left_out() {
        let raw = "GET / HTTP/1.1\r\nConnection: keep-alive, X-Hop\r\nHost: a\r\nKeep-Alive: 5\r\nx-hop: 1\r\nTE: trailers\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\nKeep: 1\r\n\r\n";
        let out = head(raw, false);
        assert!(out.starts_with("GET / HTTP/1.1\r\nHost: a\r\nKeep: 1\r\nX-Forwarded-For: "), "{out}");
        assert!(!out.contains("x-hop") && !out.contains("h2c") && !out.contains("Connection"));
    }

    #[test]
    fn a_stranger_cannot_claim_to_be_forwarding() {
        let raw = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Forwarded-Proto: ftp\r\nX-Forwarded-Host: evil\r\nX_Forwarded_For: 10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n\r\n";
        let out = head(raw, false);
        assert!(!out.contains("10.0.0.1") && !out.contains("ftp") && !out.contains("evil"), "{out}");
    }

    #[test]
    fn another_host_takes_the_place_of_the_clients_which_is_told_beside_it() {
        let raw = b"GET / HTTP/1.1\r\nA: 1\r\nHost: bot.example\r\nX-Forwarded-Prefix: /claimed\r\nB: 2\r\n\r\n";
        let request = Request::parse(raw).unwrap();
        let mut out = Vec::new();
        let forwarding = Forwarding { host: Some("inner:8080"), prefix: "/api", ..forwarding(false) };
        write_request_head(&request, request.target, &forwarding, request.framing, false, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nHost: inner:8080\r\n"), "{out}");
        assert!(out.contains("X-Forwarded-Host: bot.example\r\nX-Forwarded-Prefix: /api\r\n"), "{out}");
        assert!(out.contains(";host=\"bot.example\";") && !out.contains("claimed"), "{out}");
    }

    #[test]
    fn a_master_can_be_told_its_own_address_as_host() {
        let head = b"GET /Host: HTTP/1.1\r\nX-Host: a\r\nHost: \r\nB: host:\r\n\r\n";
        let with = |address: Address| String::from_utf8(with_host_of(&address, head)).unwrap();
        let wanted = |host: &str| format!("GET /Host: HTTP/1.1\r\nX-Host: a\r\nHost: {host}\r\nB: host:\r\n\r\n");
        assert_eq!(with(Address::Name { host: "bot".into(), port: 80 }), wanted("bot:80"));
        assert_eq!(with(Address::Unix("/run/bot.sock".into())), wanted("localhost"));
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_extended() {
        let raw = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nForwarded: for=10.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n";
        let out = head(raw, true);
        assert!(out.contains("X-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.7\r\n"), "{out}");
        assert!(out.contains("Forwarded: for=10.0.0.1, for=192.0.2.7;"), "{out}");
        assert!(out.contains("X-Forwarded-Proto: http\r\n") && !out.contains("Proto: https"), "{out}");
    }

    #[test]
    fn an_open_quote_does_not_swallow_what_is_added_behind_it() {
        let raw = "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=\"evil\r\nForwarded: for=\"[::1]\"\r\n\r\n";
        let out = head(raw, true);
        assert!(out.contains("Forwarded: for=\"[::1]\", for=192.0.2.7;"), "{out}");
    }

    #[test]
    fn a_length_goes_on_in_plain_decimal() {
        let with =
            |length: &str| head(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"), false);
        assert!(with("012").contains("\r\nContent-Length: 12\r\n") && !with("012").contains("012"));
        assert!(!with("00").contains("Content-Length"));
        assert!(with("0").contains("\r\nContent-Length: 0\r\n"));
    }

    #[test]
    fn a_usable_request_id_is_kept_and_another_replaced() {
        let with = |id: &str| head(&format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n"), false);
        assert!(with("abc-1").contains("X-Request-Id: abc-1\r\n") && !with("abc-1").contains("id-1\r\n\r\n"));
        assert!(with("a\"b").contains("X-Request-Id: id-1\r\n") && !with("a\"b").contains("a\"b"));
    }

    #[test]
    fn framing_fields_naming_each_other_in_connection_are_still_handled() {
        let raw = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length, Host\r\nContent-Length: 2\r\n\r\n";
        let out = head(raw, false);
        assert!(out.contains("Content-Length: 2\r\n") && out.contains("Host: a\r\n"), "{out}");
    }

    #[test]
    fn a_request_without_host_gets_the_one_it_names_or_an_empty_one() {
        assert!(head("GET / HTTP/1.0\r\n\r\n", false).contains("\r\nHost: \r\n"));
        assert!(head("GET http://a/ HTTP/1.0\r\n\r\n", false).contains("\r\nHost: a\r\n"));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_goes_on_with_one_framing(lines in prop::collection::vec("(Content-Length: [0-9]{1,2}|Transfer-Encoding: (chunked|gzip)|Connection: (close|X-A|Content-Length|Transfer-Encoding)|X-A: b|Host: a|Upgrade: websocket)", 0..6)) {
            let raw = format!("POST / HTTP/1.1\r\n{}\r\n", lines.iter().map(|line| format!("{line}\r\n")).collect::<String>());
            if let Ok(request) = Request::parse(raw.as_bytes()) {
                let mut out = Vec::new();
                write_request_head(&request, request.target, &forwarding(false), request.framing, false, &mut out);
                let again = Request::parse(&out).expect("what goes out must be acceptable");
                prop_assert_eq!(again.framing, request.framing);
                let text = String::from_utf8(out).unwrap().to_ascii_lowercase();
                prop_assert!(!(text.contains("content-length") && text.contains("transfer-encoding")));
                prop_assert!(text.matches("content-length").count() <= 1);
                prop_assert_eq!(text.matches("\r\nhost:").count(), 1);
            }
        }
    }
}
