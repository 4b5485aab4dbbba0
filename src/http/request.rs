//! A request head: read, judged and refused here, before anything of it can reach a master.

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::{self, Known};

/// Header fields that one request may have.
pub const FIELDS_MAX: usize = 100;

/// `Connection` lines that one request may have.
const CONNECTION_LINES_MAX: usize = 4;

/// A request head that is safe to forward. Borrows the bytes it was read from.
#[derive(Debug)]
pub struct Request<'b> {
    pub method: &'b str,
    /// Path and query as they came; `*` for `OPTIONS *`.
    pub target: &'b str,
    /// From the `Host` field; `None` only for HTTP/1.0.
    pub host: Option<&'b str>,
    pub version: Version,
    pub framing: Framing,
    /// The client will take another request on this connection.
    pub keep_alive: bool,
    pub expects_continue: bool,
    /// The value of `Upgrade` when this asks for a WebSocket.
    pub upgrade: Option<&'b str>,
    /// The head as it came, from the request line to the blank line.
    pub raw: &'b [u8],
    connection: [&'b [u8]; CONNECTION_LINES_MAX],
    fields: [Header<'b>; FIELDS_MAX],
    field_count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

impl Version {
    /// As in a request line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    Length(u64),
    Chunked,
    /// Responses only: the body ends with the connection.
    UntilClose,
}

/// Why a request head is refused. The connection is closed after the answer, for nobody knows where the next
/// request would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// What is wrong, for the answer's body.
    pub reason: &'static str,
}

impl Refusal {
    const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}

impl<'b> Request<'b> {
    /// Reads the head `raw`, which ends with its blank line.
    ///
    /// # Errors
    /// A [`Refusal`] for everything that RFC 9112 forbids or leaves to interpretation.
    pub fn parse(raw: &'b [u8]) -> Result<Self, Refusal> {
        let raw = skip_blank_lines(raw);
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(raw) {
            Ok(Status::Complete(length)) if length == raw.len() => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Refusal { status: 431, reason: "more than 100 header fields" });
            }
            Err(httparse::Error::Version) => {
                return Err(Refusal { status: 505, reason: "only HTTP/1.0 and HTTP/1.1 are spoken here" });
            }
            Err(httparse::Error::HeaderName) => return Err(Refusal::bad("malformed header field name")),
            Err(httparse::Error::HeaderValue) => return Err(Refusal::bad("malformed header field value")),
            _ => return Err(Refusal::bad("malformed request")),
        }
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::bad("malformed request line"));
        };
        let field_count = parsed.headers.len();
        let mut request = Self {
            method,
            target,
            host: None,
            version: if minor == 0 { Version::Http10 } else { Version::Http11 },
            framing: Framing::None,
            keep_alive: minor == 1,
            expects_continue: false,
            upgrade: None,
            raw,
            connection: [b""; CONNECTION_LINES_MAX],
            fields,
            field_count,
        };
        request.judge_fields()?;
        request.judge_target()?;
        Ok(request)
    }

    /// Every header field in the order it came.
    #[must_use]
    pub fn fields(&self) -> &[Header<'b>] {
        &self.fields[..self.field_count]
    }

    /// The value of the first field with this name, which is in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.fields().iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &'b str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The value of a cookie, as it was sent.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'b [u8]> {
        self.fields()
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("cookie"))
            .flat_map(|field| field.value.split(|byte| *byte == b';'))
            .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// Whether the `Connection` field names this field, so that it must not be passed on.
    #[must_use]
    pub fn named_in_connection(&self, name: &str) -> bool {
        self.connection_options().any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether repeating the request on its own does no harm (RFC 9110 section 9.2.2).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    fn connection_options(&self) -> impl Iterator<Item = &'b [u8]> {
        self.connection.iter().flat_map(|line| fields::list(line))
    }

    fn judge_fields(&mut self) -> Result<(), Refusal> {
        let (mut length, mut chunked, mut connection_lines, mut upgrade) = (None, false, 0, None);
        for index in 0..self.field_count {
            let Header { name, value } = self.fields[index];
            match Known::of(name) {
                Some(Known::Host) => {
                    let host = std::str::from_utf8(value).ok().filter(|host| is_host(host));
                    if host.is_none() || self.host.is_some() {
                        return Err(Refusal::bad("malformed or repeated Host"));
                    }
                    self.host = host;
                }
                Some(Known::ContentLength) => {
                    let this = fields::content_length(value).ok_or(Refusal::bad("malformed Content-Length"))?;
                    if length.is_some_and(|other| other != this) {
                        return Err(Refusal::bad("differing Content-Length fields"));
                    }
                    length = Some(this);
                }
                Some(Known::TransferEncoding) => {
                    if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Refusal { status: 400, reason: "the only Transfer-Encoding taken is chunked" });
                    }
                    chunked = true;
                }
                Some(Known::Connection) => {
                    let line = self.connection.get_mut(connection_lines).ok_or(Refusal::bad("too many Connection"))?;
                    *line = value;
                    connection_lines += 1;
                }
                Some(Known::Expect) => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Refusal { status: 417, reason: "the only expectation known is 100-continue" });
                    }
                    self.expects_continue = self.version == Version::Http11;
                }
                Some(Known::Upgrade) => upgrade = std::str::from_utf8(value).ok(),
                _ => {}
            }
        }
        self.framing = match (length, chunked) {
            (Some(_), true) => return Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
            (None, true) if self.version == Version::Http10 => {
                return Err(Refusal::bad("Transfer-Encoding in an HTTP/1.0 request"));
            }
            (None, true) => Framing::Chunked,
            (None | Some(0), false) => Framing::None,
            (Some(length), false) => Framing::Length(length),
        };
        if self.host.is_none() && self.version == Version::Http11 {
            return Err(Refusal::bad("no Host"));
        }
        let (mut close, mut keep_alive, mut asks_upgrade) = (false, false, false);
        for option in self.connection_options() {
            close |= option.eq_ignore_ascii_case(b"close");
            keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            asks_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
        self.keep_alive = !close && (self.version == Version::Http11 || keep_alive);
        // Only WebSocket: passing on an upgrade to h2c would open a tunnel around everything checked here.
        let websocket = upgrade.filter(|protocol| protocol.eq_ignore_ascii_case("websocket"));
        if asks_upgrade && self.version == Version::Http11 && self.framing == Framing::None && self.method == "GET" {
            self.upgrade = websocket;
        }
        Ok(())
    }

    /// Brings the target to origin form and checks that it names the same host as `Host`.
    fn judge_target(&mut self) -> Result<(), Refusal> {
        // In whatever form: a master that takes it would leave HTTP behind on a connection that others use, too.
        if self.method == "CONNECT" {
            return Err(Refusal { status: 405, reason: "CONNECT is not offered here" });
        }
        if self.target.contains('#') {
            return Err(Refusal::bad("a fragment in the request target"));
        }
        if self.target.starts_with('/') || (self.target == "*" && self.method == "OPTIONS") {
            return Ok(());
        }
        let absolute = strip_scheme(self.target).ok_or(Refusal::bad("malformed request target"))?;
        let path_start = absolute.find(['/', '?']).unwrap_or(absolute.len());
        let (authority, path) = absolute.split_at(path_start);
        if !is_host(authority) || authority.is_empty() {
            return Err(Refusal::bad("malformed authority in the request target"));
        }
        if self.host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            return Err(Refusal::bad("the request target and Host name different hosts"));
        }
        self.host = Some(authority);
        self.target = match path {
            // RFC 9112 section 3.2.4.
            "" if self.method == "OPTIONS" => "*",
            "" => "/",
            path if path.starts_with('?') => return Err(Refusal::bad("a query without a path")),
            path => path,
        };
        Ok(())
    }
}

fn skip_blank_lines(mut raw: &[u8]) -> &[u8] {
    while let Some(rest) = raw.strip_prefix(b"\r\n") {
        raw = rest;
    }
    raw
}

fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Whether a `Host` value is a name or an address, and at most a port behind it; an empty one is allowed (RFC 9112
/// section 3.2). Percent-encoding and zones of IPv6 are not: nobody sends them, and readers differ about them.
fn is_host(authority: &str) -> bool {
    let (fits, port) = match authority.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((address, port)) => (address.parse::<std::net::Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (name, port) = authority.split_at(end);
            let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
            ((!name.is_empty() || port.is_empty()) && name.bytes().all(of_name), port)
        }
    };
    let port = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "none" });
    fits && port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(head: &str) -> u16 {
        Request::parse(head.as_bytes()).expect_err(head).status
    }

    #[test]
    fn an_ordinary_webhook_is_taken_as_it_is() {
        let raw =
            b"POST /webhook?a=b HTTP/1.1\r\nHost: bot.example:8080\r\nContent-Length: 12\r\nX-Sig: sha256=00\r\n\r\n";
        let request = Request::parse(raw).unwrap();
        assert_eq!((request.method, request.target, request.path()), ("POST", "/webhook?a=b", "/webhook"));
        assert_eq!((request.host, request.framing), (Some("bot.example:8080"), Framing::Length(12)));
        assert!(request.keep_alive && !request.is_idempotent());
        assert_eq!(request.field("x-sig"), Some(&b"sha256=00"[..]));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -1\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Content-Length : 5\r\n",
            " Content-Length: 5\r\n",
            "X: a\r\n b\r\n",
            "X: a\r\n\tb\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X y: a\r\n",
            "X\u{e9}: a\r\n",
            ": a\r\n",
            "X\r\n",
            "Host: b\r\n",
        ] {
            assert_eq!(refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")), 400, "{fields:?}");
        }
        assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400);
    }

    #[test]
    fn a_repeated_equal_length_is_no_ambiguity() {
        let raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(Request::parse(raw).unwrap().framing, Framing::Length(5));
    }

    #[test]
    fn request_lines_that_are_none_are_refused() {
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "G(T / HTTP/1.1",
            "GET x HTTP/1.1",
            "GET /#a HTTP/1.1",
            " GET / HTTP/1.1",
            "GET /\u{1} HTTP/1.1",
        ] {
            assert_eq!(refused(&format!("{line}\r\nHost: a\r\n\r\n")), 400, "{line:?}");
        }
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
        for target in ["a:443", "/", "http://a:443/", "*"] {
            assert_eq!(refused(&format!("CONNECT {target} HTTP/1.1\r\nHost: a:443\r\n\r\n")), 405, "{target}");
        }
    }

    #[test]
    fn an_absolute_target_must_name_the_host_and_is_brought_to_origin_form() {
        let request = Request::parse(b"GET http://A.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        assert_eq!((request.target, request.host), ("/x?y", Some("A.example")));
        assert_eq!(Request::parse(b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().target, "/");
        assert_eq!(Request::parse(b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().target, "*");
        assert_eq!(refused("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refused("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refused("GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_at_most_a_port() {
        for host in
            ["", "a", "a:80", "a:", "A_b-c.d~.:65535", "127.0.0.1:1", "[::1]", "[::1]:80", "xn--bcher-kva.example"]
        {
            assert!(is_host(host), "{host}");
        }
        for host in [
            ":80",
            "a:b",
            "a:80:80",
            "a:+80",
            "a:65536",
            "a:-1",
            "::1",
            "[::1",
            "[]",
            "[::1]80",
            "[a]",
            "[127.0.0.1]",
            "[::1%25eth0]",
            "a b",
            "a@b",
            "a/b",
            "a,b",
            "a%2eb",
            "b\u{fc}cher",
            "a?",
            "a#",
            "a\\b",
            "a\t",
            "\"a\"",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn the_connection_field_decides_about_the_connection() {
        let keep = |head: &str| Request::parse(head.as_bytes()).unwrap().keep_alive;
        assert!(keep("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.1\r\nHost: a\r\nConnection: X, Close\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    }

    #[test]
    fn only_a_websocket_upgrade_is_passed_on() {
        let upgrade = |fields: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            Request::parse(head.as_bytes()).unwrap().upgrade.is_some()
        };
        assert!(upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"));
        assert!(!upgrade("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"));
        assert!(!upgrade("Upgrade: websocket\r\n"));
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let raw = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: xid=1; id=2\r\nCookie: last=3\r\n\r\n";
        let request = Request::parse(raw).unwrap();
        assert_eq!(request.cookie("id"), Some(&b"2"[..]));
        assert_eq!(request.cookie("last"), Some(&b"3"[..]));
        assert_eq!(request.cookie("i"), None);
    }

    #[test]
    fn too_many_fields_are_refused_as_too_large() {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX));
        assert_eq!(refused(&head), 431);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut raw in prop::collection::vec(any::<u8>(), 0..400)) {
            raw.extend_from_slice(b"\r\n\r\n");
            let _ = Request::parse(&raw);
        }
    }
}
