//! Heads from HTTP/2 to the bytes of HTTP/1.1, and back. Pure.
//!
//! The `h2` crate has refused upper case, fields that belong to a connection, repeated and unknown pseudo-header fields. What
//! it leaves open is decided here, before any of it becomes bytes: nothing in a value can begin another line, and a request
//! names one host.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};

use crate::http::fields::{self, Known};
use crate::http::h2_fields::{append, write_line};
use crate::http::request::Framing;
use crate::http::response::{Response, write_decimal};

/// What a stream's request turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Plain,
    /// Extended CONNECT (RFC 8441); the head asks a master to switch protocols.
    WebSocket,
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// With what is wrong.
    Malformed(&'static str),
    /// Longer than the listener's limit.
    TooLarge,
    /// Extended CONNECT for something else.
    Protocol,
}

/// Writes the head of a request as HTTP/1.1 has it. `ended` tells that no body follows, `key` is for the handshake of a
/// WebSocket, which HTTP/2 does without.
///
/// # Errors
/// [`Unfit`], for what two readers could understand in two ways.
pub fn write_request<B>(request: &Request<B>, ended: bool, key: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let protocol = request.extensions().get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
    let asked = match protocol {
        None => Asked::Plain,
        Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => Asked::WebSocket,
        Some(_) => return Err(Unfit::Protocol),
    };
    let host = host(request)?;
    match (asked, request.method()) {
        (Asked::WebSocket, _) => out.extend_from_slice(b"GET "),
        (Asked::Plain, method) => {
            out.extend_from_slice(method.as_str().as_bytes());
            out.push(b' ');
        }
    }
    if *request.method() == Method::CONNECT && asked == Asked::Plain {
        // Refused by whoever reads the head, as in HTTP/1.1.
        out.extend_from_slice(host);
    } else {
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let asterisk = path == "*" && *request.method() == Method::OPTIONS;
        if !path.starts_with('/') && !asterisk {
            return Err(Unfit::Malformed("malformed :path"));
        }
        out.extend_from_slice(path.as_bytes());
    }
    write_line(b" HTTP/1.1\r\nHost", host, out);
    write_fields(request.headers(), asked, out)?;
    match (asked, content_length(request.headers())?) {
        (Asked::WebSocket, None) => {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
            write_line(b"Sec-WebSocket-Key", key, out);
        }
        (Asked::WebSocket, Some(_)) => return Err(Unfit::Malformed("Content-Length in a CONNECT request")),
        (Asked::Plain, Some(length)) if ended && length > 0 => {
            return Err(Unfit::Malformed("Content-Length without a body"));
        }
        (Asked::Plain, Some(length)) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        (Asked::Plain, None) if ended => {}
        (Asked::Plain, None) => write_line(b"Transfer-Encoding", b"chunked", out),
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The one host that `:authority` and `Host` name.
fn host<B>(request: &Request<B>) -> Result<&[u8], Unfit> {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let mut fields = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    match (authority, fields.next(), fields.next()) {
        (_, _, Some(_)) => Err(Unfit::Malformed("malformed or repeated Host")),
        (Some(authority), Some(field), None) if !authority.eq_ignore_ascii_case(field) => {
            Err(Unfit::Malformed(":authority and Host name different hosts"))
        }
        (Some(host), _, None) | (None, Some(host), None) if !host.is_empty() => Ok(host),
        _ => Err(Unfit::Malformed("neither :authority nor Host")),
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Unfit> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let this = fields::content_length(value.as_bytes()).ok_or(Unfit::Malformed("malformed Content-Length"))?;
        if length.replace(this).is_some_and(|other| other != this) {
            return Err(Unfit::Malformed("differing Content-Length fields"));
        }
    }
    Ok(length)
}

fn write_fields(headers: &HeaderMap, asked: Asked, out: &mut Vec<u8>) -> Result<(), Unfit> {
    for (name, value) in headers {
        let value = value.as_bytes();
        // RFC 9113 section 8.2.1.
        if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) || value.trim_ascii() != value {
            return Err(Unfit::Malformed("malformed header field value"));
        }
        match Known::of(name.as_str()) {
            Some(Known::Host | Known::ContentLength) => {}
            // RFC 9113 section 8.2.2.
            Some(Known::Te) if value.eq_ignore_ascii_case(b"trailers") => {}
            Some(
                Known::Te
                | Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade,
            ) => return Err(Unfit::Malformed("a header field that HTTP/2 does not have")),
            _ if *name == COOKIE => {}
            _ if asked == Asked::WebSocket && name.as_str() == "sec-websocket-key" => {}
            _ => write_line(name.as_str().as_bytes(), value, out),
        }
    }
    // RFC 9113 section 8.2.3: crumbs of a cookie are one field in HTTP/1.1.
    let mut crumbs = headers.get_all(COOKIE).iter();
    if let Some(first) = crumbs.next() {
        out.extend_from_slice(b"cookie: ");
        out.extend_from_slice(first.as_bytes());
        for crumb in crumbs {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(crumb.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// The head of a response as HTTP/2 has it; `raw` is what was parsed. A 101 becomes the 200 that answers extended CONNECT.
/// `None` when it holds what HTTP/2 cannot say.
#[must_use]
pub fn response(response: &Response, raw: &[u8]) -> Option<http::Response<()>> {
    with_fields(response.status, response.framing.0, response.fields(raw))
}

/// The same, of a head that was written on and changed: `head` has the fields, up to its empty line, and `framing` is that of
/// the body behind it.
#[must_use]
pub fn changed_response(status: u16, framing: Framing, head: &[u8]) -> Option<http::Response<()>> {
    let begin = memchr::memchr(b'\n', head)? + 1;
    with_fields(status, framing, fields::lines(head.get(begin..head.len().checked_sub(2)?)?))
}

fn with_fields<'b>(
    status: u16,
    framing: Framing,
    fields: impl Iterator<Item = (&'b [u8], &'b [u8])>,
) -> Option<http::Response<()>> {
    let switching = status == 101;
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(if switching { 200 } else { status }).ok()?;
    let headers = head.headers_mut();
    let proof = |name: &[u8]| switching && name.eq_ignore_ascii_case(b"sec-websocket-accept");
    append(fields.filter(|(name, _)| !proof(name)), headers)?;
    if let Framing::Length(length) = framing {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request;
    use proptest::prelude::*;

    const KEY: &[u8] = b"000000000000000000000A==";

    fn written(fields: &[(&str, &[u8])], ended: bool) -> Result<String, Unfit> {
        let mut asked = Request::post("http://bot.example/path");
        for (name, value) in fields {
            asked = asked.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let mut out = Vec::new();
        write_request(&asked.body(()).unwrap(), ended, KEY, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_two_readers_could_understand_in_two_ways_is_refused() {
        let table: &[&[(&str, &[u8])]] = &[
            &[("transfer-encoding", b"chunked")],
            &[("connection", b"close")],
            &[("keep-alive", b"timeout=5")],
            &[("upgrade", b"h2c")],
            &[("te", b"gzip")],
            &[("host", b"other.example")],
            &[("host", b"bot.example"), ("host", b"bot.example")],
            &[("content-length", b"5"), ("content-length", b"6")],
            &[("content-length", b"+5")],
            &[("x-padded", b" a")],
        ];
        for fields in table {
            assert!(matches!(written(fields, false), Err(Unfit::Malformed(_))), "{fields:?}");
        }
        assert!(written(&[("content-length", b"5")], true).is_err(), "a length and no body");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same_request(
            method in "[A-BD-Z]{1,8}",
            path in "/[a-z0-9/?=&.]{0,30}",
            fields in prop::collection::vec(("x-[a-z]{1,8}", "[!-~]{1,20}"), 0..8),
            length in prop::option::of(1u64..1_000_000),
            ended in any::<bool>(),
        ) {
            let ended = ended && length.is_none();
            let mut asked = Request::builder().method(&*method).uri(format!("http://bot.example{path}"));
            for (name, value) in &fields {
                asked = asked.header(name, value);
            }
            if let Some(length) = length {
                asked = asked.header("content-length", length);
            }
            let (asked, mut raw) = (asked.body(()).unwrap(), Vec::new());
            write_request(&asked, ended, KEY, &mut raw).unwrap();
            let read = request::Request::parse(&raw).unwrap();
            prop_assert_eq!((read.method, read.target, read.host), (&*method, &*path, Some("bot.example")));
            let framing = match length {
                Some(length) => Framing::Length(length),
                None if ended => Framing::None,
                None => Framing::Chunked,
            };
            prop_assert_eq!(read.framing, framing);
            // Host, and what tells the length.
            prop_assert_eq!(read.fields().len(), fields.len() + 1 + usize::from(!ended));
            for (name, value) in asked.headers() {
                let found = read.fields().iter().any(|field| {
                    field.name.eq_ignore_ascii_case(name.as_str()) && field.value == value.as_bytes()
                });
                prop_assert!(found, "{name}");
            }
        }
    }
}
