//! Heads from the bytes of HTTP/1.1 to what HTTP/2 sends to a master, and back. Pure.
//!
//! A request's head comes from [`super::headers`], so it is well formed and names one host. An answer's head is written as
//! HTTP/1.1 has it and then read by the same parser as any other, so that nothing a master says can begin another line.

use http::header::{HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version};

use crate::http::fields::Known;
use crate::http::h2_fields::write_line;
use crate::http::request::FIELDS_MAX;
use crate::http::websocket::accept;

/// What forwarding adds to the fields of a request, and room.
const FORWARDED_FIELDS_MAX: usize = FIELDS_MAX + 16;

/// A request as HTTP/2 has it.
#[derive(Debug)]
pub struct Spoken {
    pub request: Request<()>,
    /// It asks for a WebSocket (RFC 8441); the value of `Sec-WebSocket-Accept`, which HTTP/1.1 wants of the answer.
    pub websocket: Option<String>,
}

/// The request whose head this is; `None` when HTTP/2 cannot say it: a host or a path with odd characters.
#[must_use]
pub fn request(head: &[u8], scheme: &'static str) -> Option<Spoken> {
    let mut fields = [httparse::EMPTY_HEADER; FORWARDED_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok()?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let (mut host, mut upgrade) = (&b""[..], false);
    for field in parsed.headers.iter() {
        match Known::of(field.name) {
            Some(Known::Host) => host = field.value,
            // The only one that gets this far.
            Some(Known::Upgrade) => upgrade = field.value.eq_ignore_ascii_case(b"websocket"),
            Some(known) if known.is_hop_by_hop() => {}
            _ => {
                let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
                headers.try_append(name, HeaderValue::from_bytes(field.value).ok()?).ok()?;
            }
        }
    }
    if headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        // Trailers are passed on whoever asks, and gRPC servers want to be told.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let path = PathAndQuery::try_from(parsed.path?).ok()?;
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build().ok()?;
    let mut request = Request::new(());
    let mut websocket = None;
    if upgrade {
        let key = headers.remove("sec-websocket-key")?;
        websocket = Some(accept(key.as_bytes()));
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    } else {
        *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    }
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(Spoken { request, websocket })
}

/// Writes the head of an answer. `ended` tells that no body follows.
pub fn write_response(response: &Response<()>, ended: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(response.status().canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut length = false;
    for (name, value) in response.headers() {
        match Known::of(name.as_str()) {
            Some(Known::ContentLength) => length = true,
            Some(known) if known.is_hop_by_hop() => continue,
            _ => {}
        }
        line(name, value, out);
    }
    let status = response.status().as_u16();
    if ended && !length && status >= 200 && !matches!(status, 204 | 304) {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer that opens a WebSocket.
pub fn write_switching(response: &Response<()>, accept: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n");
    write_line(b"sec-websocket-accept", accept.as_bytes(), out);
    for (name, value) in response.headers() {
        let framing = |known: Known| known.is_hop_by_hop() || known == Known::ContentLength;
        if !Known::of(name.as_str()).is_some_and(framing) && name != "sec-websocket-accept" {
            line(name, value, out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn line(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    write_line(name.as_str().as_bytes(), value.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::Framing;
    use crate::http::response::Response as Parsed;

    #[test]
    fn a_request_names_its_host_once_and_leaves_the_connection_behind() {
        let head =
            b"POST /a?b=%2F HTTP/1.1\r\nHost: bot.example:80\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nx-a: 2\r\n\r\n";
        let request = request(head, "https").unwrap().request;
        assert_eq!(request.uri(), "https://bot.example:80/a?b=%2F");
        assert_eq!((request.method(), request.headers().len()), (&Method::POST, 2));
        assert_eq!(request.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_request_for_the_server_as_a_whole_stays_one() {
        let request = request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "http").unwrap().request;
        assert_eq!(request.uri().path(), "*");
    }

    #[test]
    fn a_host_that_is_none_is_not_sent() {
        for host in ["", "a b", "a/b", "a@"] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(request(head.as_bytes(), "http").is_none(), "{host:?}");
        }
    }

    #[test]
    fn grpc_is_told_that_trailers_are_taken_and_others_are_not() {
        let te = |kind: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n\r\n");
            request(head.as_bytes(), "http").unwrap().request.headers().contains_key("te")
        };
        assert!(te("application/grpc+proto") && !te("application/json"));
    }

    fn parsed(response: &Response<()>, ended: bool, to_head: bool) -> (Parsed, String) {
        let (mut out, mut parsed) = (Vec::new(), Parsed::default());
        write_response(response, ended, &mut out);
        parsed.parse(&out, to_head).unwrap();
        (parsed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_answer_reads_as_one_of_http_1() {
        let mut response = Response::new(());
        response.headers_mut().insert("x-a", HeaderValue::from_static("1"));
        response.headers_mut().insert("connection", HeaderValue::from_static("x-a"));
        let (open, text) = parsed(&response, false, false);
        assert_eq!((open.status, open.framing.0, open.keep_alive), (200, Framing::UntilClose, false));
        assert_eq!(text, "HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n");
        assert_eq!(parsed(&response, true, false).0.framing.0, Framing::Length(0));
        assert_eq!(parsed(&response, true, true).0.framing.0, Framing::None);
        response.headers_mut().insert("content-length", HeaderValue::from_static("7"));
        assert_eq!(parsed(&response, false, false).0.framing.0, Framing::Length(7));
    }
}
