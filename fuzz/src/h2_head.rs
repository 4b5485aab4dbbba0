//! Heads from HTTP/2: none becomes two readings in HTTP/1.1, and on the way to a master that speaks HTTP/2 it stays the same.
//!
//! The input is lines: options, method, authority (may be empty), path, then a field in each.

use baton::exchange::h2_head;
use baton::http::h2_fields;
use baton::http::request::{Framing, Request};
use baton::proxy::h2::head;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::{lines, request_head};

const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

pub fn run(data: &[u8]) {
    let Some(asked) = asked(data) else { return };
    let ended = data[0] & 1 != 0;
    trailers(asked.headers());
    let mut raw = Vec::new();
    if head::write_request(&asked, ended, KEY, &mut raw).is_err() {
        return;
    }
    // Refused over HTTP/1.1, refused over HTTP/2.
    let Ok(request) = Request::parse(&raw) else { return };
    let written = lines::read(&raw);
    let websocket = asked.extensions().get::<h2::ext::Protocol>().is_some();
    assert_eq!(request.upgrade.is_some(), websocket, "an upgrade that nobody asked for, or none");
    assert_eq!(request.method, if websocket { "GET" } else { asked.method().as_str() });
    assert_eq!(Some(request.target), path(&asked));
    let authority = asked.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = authority.or_else(|| asked.headers().get("host").map(HeaderValue::as_bytes));
    assert_eq!(request.host.map(str::as_bytes), host);
    request_head::check_framing(&written, request.framing);
    assert!(!ended || websocket || request.framing == Framing::None, "a body where none follows");
    let own = usize::from(websocket) * 3 + 2;
    assert!(written.fields.len() <= asked.headers().len() + own, "a field that nobody sent");
    to_master(&asked, &raw);
}

/// As trailers the fields are lines that are read by nobody before they are sent.
fn trailers(fields: &HeaderMap) {
    let mut out = Vec::new();
    h2_fields::write_trailers(fields, &mut out);
    let written = lines::fields(&out);
    assert!(written.len() <= fields.len());
    let read = h2_fields::trailers(&out).expect("what HTTP/2 said it can say again");
    let known = ["host", "content-length", "transfer-encoding", "te", "cookie"];
    assert!(known.iter().all(|name| !read.contains_key(*name)));
    assert_eq!(read.len(), written.len());
}

fn to_master(asked: &http::Request<()>, raw: &[u8]) {
    let Some(spoken) = h2_head::request(raw, "http") else { return };
    let same = |name: &str| asked.headers().get_all(name).iter().eq(spoken.request.headers().get_all(name).iter());
    assert_eq!(path(&spoken.request), path(asked));
    for name in asked.headers().keys().map(HeaderName::as_str) {
        let rewritten = ["host", "te", "cookie", "content-length", "sec-websocket-key"].contains(&name);
        assert!(rewritten || same(name), "{name} changed");
    }
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "host"] {
        assert!(!spoken.request.headers().contains_key(name), "{name} over HTTP/2");
    }
}

fn path(request: &http::Request<()>) -> Option<&str> {
    request.uri().path_and_query().map(|path| path.as_str())
}

fn asked(data: &[u8]) -> Option<http::Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let options = *lines.next()?.first()?;
    let method = Method::from_bytes(lines.next()?).ok()?;
    let (authority, path) = (lines.next()?, lines.next()?);
    let uri = Uri::builder().path_and_query(path);
    let uri = if authority.is_empty() { uri } else { uri.scheme("https").authority(authority) };
    let mut request = http::Request::new(());
    *request.uri_mut() = uri.build().ok()?;
    *request.method_mut() = method;
    if options & 2 != 0 {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    }
    for line in lines.take(150) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon]).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some(request)
}
