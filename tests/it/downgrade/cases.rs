//! The requests, and what must become of each.

use crate::smuggling::corpus::Passed;

/// A request of which everything is told, right or wrong.
pub struct Case {
    pub what: &'static str,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// In frames of their own.
    pub data: Vec<Vec<u8>>,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The stream does not end.
    pub open: bool,
    pub expected: Expected,
}

pub enum Expected {
    /// With the reason that it is counted under.
    Refused(Outcome, &'static str),
    Passed(Passed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// Answered by Baton.
    Status(u64),
    /// The stream was reset, the connection ended, with this code.
    Reset(u32),
    Closed(u32),
}

/// The code of a malformed request (RFC 9113 section 8.1.1).
const PROTOCOL_ERROR: u32 = 1;
const MALFORMED: Outcome = Outcome::Reset(PROTOCOL_ERROR);

impl Case {
    /// `GET /x` of `bot.example`.
    fn get(what: &'static str) -> Self {
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/x"), (":authority", "bot.example")];
        let expected = Passed { method: "GET".to_owned(), target: b"/x".to_vec(), ..Passed::default() };
        let fields = fields.map(|(name, value)| (name.into(), value.into())).to_vec();
        Self { what, fields, data: vec![], trailers: vec![], open: false, expected: Expected::Passed(expected) }
    }

    fn post(what: &'static str) -> Self {
        Self::get(what).set(":method", "POST").seen(|passed| passed.method = "POST".to_owned())
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        let field = self.fields.iter_mut().find(|field| field.0 == name.as_bytes());
        field.expect("a field of every request").1 = value.into();
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|field| field.0 != name.as_bytes());
        self
    }

    fn add(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    fn first(mut self, name: &str, value: &str) -> Self {
        self.fields.insert(0, (name.into(), value.into()));
        self
    }

    fn data(mut self, data: &str) -> Self {
        self.data.push(data.into());
        self
    }

    fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.into(), value.into()));
        self
    }

    fn open(mut self) -> Self {
        self.open = true;
        self
    }

    fn refused(mut self, outcome: Outcome, reason: &'static str) -> Self {
        self.expected = Expected::Refused(outcome, reason);
        self
    }

    /// What the protocol forbids.
    fn malformed(self) -> Self {
        self.refused(MALFORMED, "protocol-error")
    }

    /// What cannot be read at all, which the crate holds against the connection as a whole.
    fn unreadable(self) -> Self {
        self.refused(Outcome::Closed(PROTOCOL_ERROR), "protocol-error")
    }

    /// What Baton finds ambiguous.
    fn ambiguous(self) -> Self {
        self.refused(Outcome::Status(400), "malformed")
    }

    fn seen(mut self, change: impl FnOnce(&mut Passed)) -> Self {
        if let Expected::Passed(passed) = &mut self.expected {
            change(passed);
        }
        self
    }

    fn target(self, target: &str) -> Self {
        self.seen(|passed| passed.target = target.into())
    }

    fn body(self, body: &str) -> Self {
        self.seen(|passed| passed.body = body.into())
    }

    fn has(self, line: &str) -> Self {
        self.seen(|passed| passed.has.push(line.to_owned()))
    }

    fn lacks(self, name: &str) -> Self {
        self.seen(|passed| passed.lacks.push(name.to_owned()))
    }
}

pub fn probe() -> Case {
    Case::get("the probe").set(":path", "/probe")
}

pub fn all() -> Vec<Case> {
    [pseudo(), hosts(), names_and_values(), connection(), lengths(), trailers(), tunnels()]
        .into_iter()
        .flatten()
        .collect()
}

fn pseudo() -> Vec<Case> {
    vec![
        Case::get("a plain request").has("Host: bot.example").lacks("transfer-encoding").lacks("content-length"),
        Case::get("no :method").without(":method").malformed(),
        Case::get("no :scheme").without(":scheme").malformed(),
        Case::get("no :path").without(":path").malformed(),
        Case::get(":method twice").add(":method", "GET").malformed(),
        Case::get(":path twice").add(":path", "/x").malformed(),
        Case::get(":authority twice").add(":authority", "bot.example").malformed(),
        Case::get("a pseudo-header field behind a field").first("x-first", "1").malformed(),
        Case::get("an unknown pseudo-header field").add(":x", "1").unreadable(),
        Case::get(":status in a request").add(":status", "200").malformed(),
        Case::get("an empty method").set(":method", "").unreadable(),
        Case::get("a space in the method").set(":method", "GET /evil").unreadable(),
        Case::get("a request in the method").set(":method", "GET /evil HTTP/1.1\r\nHost: a\r\n\r\nGET").unreadable(),
        Case::get("an empty path").set(":path", "").malformed(),
        Case::get("a path without a slash").set(":path", "x").malformed(),
        Case::get("an absolute path").set(":path", "http://evil.example/x").malformed(),
        Case::get("a space in the path").set(":path", "/x HTTP/1.1").malformed(),
        Case::get("a line in the path").set(":path", "/x HTTP/1.1\r\nX-Evil: 1\r\n\r\n").malformed(),
        Case::get("a line feed in the path").set(":path", "/x\nX-Evil: 1").malformed(),
        Case::get("NUL in the path").set(":path", "/x\0").malformed(),
        Case::get("a tab in the path").set(":path", "/x\ty").malformed(),
        // The crate leaves it out, as clients do (RFC 9110 section 7.1).
        Case::get("a fragment in the path").set(":path", "/x#part").target("/x"),
        Case::get("an asterisk that is not for OPTIONS").set(":path", "*").ambiguous(),
        Case::get("a question about the server").set(":method", "OPTIONS").set(":path", "*").target("*").seen(
            |passed| {
                passed.method = "OPTIONS".to_owned();
            },
        ),
        Case::get("NUL in a path, encoded").set(":path", "/x%00").refused(Outcome::Status(400), "path"),
        Case::get("dots in a path").set(":path", "/a/../x").refused(Outcome::Status(400), "path"),
        Case::get("a query like a request").set(":path", "/x?%0d%0aGET%20/evil").target("/x?%0d%0aGET%20/evil"),
        Case::get("a scheme of its own").set(":scheme", "https").has("X-Forwarded-Proto: http"),
        Case::get("a line in the scheme").set(":scheme", "http\r\nX-Evil: 1").malformed(),
        Case::get("a path in the scheme").set(":scheme", "http://evil.example/").malformed(),
    ]
}

fn hosts() -> Vec<Case> {
    vec![
        Case::get("a Host field instead").without(":authority").add("host", "other.example").has("Host: other.example"),
        Case::get("both, the same").add("host", "bot.example").has("Host: bot.example"),
        Case::get("both, the same but for case").add("host", "BOT.example").has("Host: bot.example"),
        Case::get("both, different").add("host", "evil.example").ambiguous(),
        Case::get("both, one with a port").add("host", "bot.example:80").ambiguous(),
        Case::get("two Host fields").add("host", "bot.example").add("host", "bot.example").ambiguous(),
        Case::get("no host at all").without(":authority").ambiguous(),
        Case::get("an empty Host field").without(":authority").add("host", "").ambiguous(),
        Case::get("an empty :authority").set(":authority", "").malformed(),
        Case::get("a user in :authority").set(":authority", "a@bot.example").ambiguous(),
        Case::get("a path in :authority").set(":authority", "bot.example/evil").malformed(),
        Case::get("a space in :authority").set(":authority", "bot.example evil").malformed(),
        Case::get("a line in :authority").set(":authority", "bot.example\r\nX-Evil: 1").malformed(),
        Case::get("a line in Host").without(":authority").add("host", "a\r\nX-Evil: 1").unreadable(),
        Case::get("a space in Host").without(":authority").add("host", "bot.example evil").ambiguous(),
        Case::get("a port that is none").set(":authority", "bot.example:x").ambiguous(),
    ]
}

fn names_and_values() -> Vec<Case> {
    vec![
        Case::get("a name in upper case").add("X-Test", "1").unreadable(),
        Case::get("a space in a name").add("x test", "1").unreadable(),
        Case::get("a colon in a name").add("x:y", "1").unreadable(),
        Case::get("a line in a name").add("x: 1\r\nx-evil", "1").unreadable(),
        Case::get("NUL in a name").add("x\0", "1").unreadable(),
        Case::get("an empty name").add("", "1").unreadable(),
        Case::get("a name beyond ASCII").add("xé", "1").unreadable(),
        Case::get("a name beside a known one")
            .add("content_length", "5")
            .lacks("content_length")
            .lacks("content-length"),
        Case::get("a line in a value").add("x-test", "1\r\nX-Evil: 1").unreadable(),
        Case::get("a whole request in a value")
            .add("x-test", "1\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n")
            .unreadable(),
        Case::get("a line feed in a value").add("x-test", "1\nX-Evil: 1").unreadable(),
        Case::get("a carriage return in a value").add("x-test", "1\rX-Evil: 1").unreadable(),
        Case::get("NUL in a value").add("x-test", "1\0").unreadable(),
        Case::get("DEL in a value").add("x-test", "1\x7f").unreadable(),
        Case::get("a space before a value").add("x-test", " 1").ambiguous(),
        Case::get("a tab behind a value").add("x-test", "1\t").ambiguous(),
        Case::get("a tab in a value").add("x-test", "1\t2").has("x-test: 1\t2"),
        Case::get("an empty value").add("x-test", "").has("x-test:"),
        Case::get("bytes beyond ASCII in a value").add("x-test", "\u{e9}").has("x-test: \u{c3}\u{a9}"),
        Case::get("crumbs of a cookie").add("cookie", "a=1").add("x", "1").add("cookie", "b=2").has("cookie: a=1; b=2"),
        Case::get("a line in a crumb").add("cookie", "a=1").add("cookie", "b=2\r\nX-Evil: 1").unreadable(),
        Case::get("a claim about the client").add("x-forwarded-for", "10.0.0.1").has("X-Forwarded-For: 127.0.0.1"),
        Case::get("a chunk's size as a value").add("x-test", "0").data("0\r\n\r\n").body("0\r\n\r\n"),
    ]
}

fn connection() -> Vec<Case> {
    vec![
        Case::post("a transfer coding").add("transfer-encoding", "chunked").data("0\r\n\r\n").malformed(),
        Case::post("a transfer coding beside a length")
            .add("transfer-encoding", "chunked")
            .add("content-length", "5")
            .data("0\r\n\r\n")
            .malformed(),
        Case::get("Connection").add("connection", "close").malformed(),
        Case::get("Connection that names a field").add("connection", "x-secret").add("x-secret", "1").malformed(),
        Case::get("Keep-Alive").add("keep-alive", "timeout=5").malformed(),
        Case::get("Proxy-Connection").add("proxy-connection", "keep-alive").malformed(),
        Case::get("Upgrade").add("upgrade", "websocket").malformed(),
        Case::get("TE with a coding").add("te", "chunked").malformed(),
        Case::get("TE as it may be").add("te", "trailers").lacks("te"),
        Case::get("settings of HTTP/2").add("http2-settings", "AAMAAABk").lacks("upgrade").lacks("connection"),
        Case::get("credentials for a proxy").add("proxy-authorization", "Basic YQ==").lacks("proxy-authorization"),
        Case::get("Trailer").add("trailer", "content-length").lacks("trailer"),
        Case::post("an expectation that is not known")
            .add("expect", "evil")
            .data("a")
            .refused(Outcome::Status(417), "unsupported"),
    ]
}

fn lengths() -> Vec<Case> {
    let body = |length: usize| "0123456789".repeat(length / 10);
    vec![
        Case::post("a body of a known length")
            .add("content-length", "5")
            .data("hello")
            .body("hello")
            .has("Content-Length: 5"),
        Case::post("a body of an unknown length").data("hello").body("hello").has("Transfer-Encoding: chunked"),
        Case::post("a body like a chunked one and a request behind it")
            .data("0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
            .body("0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::post("a length in pieces").add("content-length", "5").data("he").data("").data("llo").body("hello"),
        Case::get("a body to a GET").data("hello").body("hello").has("Transfer-Encoding: chunked"),
        Case::get("a length of nothing").add("content-length", "0").has("Content-Length: 0"),
        Case::post("the same length twice")
            .add("content-length", "5")
            .add("content-length", "5")
            .data("hello")
            .body("hello")
            .has("Content-Length: 5"),
        Case::post("two lengths").add("content-length", "5").add("content-length", "3").data("hello").malformed(),
        Case::post("two lengths in one field").add("content-length", "5, 5").data("hello").malformed(),
        Case::post("a length with a sign").add("content-length", "+5").data("hello").malformed(),
        Case::post("a negative length").add("content-length", "-5").data("hello").malformed(),
        Case::post("a length in another base").add("content-length", "0x5").data("hello").malformed(),
        Case::post("a length with a space").add("content-length", "5 ").data("hello").malformed(),
        Case::post("an empty length").add("content-length", "").ambiguous(),
        Case::post("a length beyond all numbers")
            .add("content-length", "18446744073709551621")
            .data("hello")
            .malformed(),
        Case::post("a length beyond a signed number")
            .add("content-length", "9223372036854775813")
            .open()
            .refused(Outcome::Status(413), "body-too-large"),
        Case::post("less than the length").add("content-length", "10").data("hello").malformed(),
        Case::post("more than the length")
            .add("content-length", "5")
            .data("helloGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
            .malformed(),
        Case::post("more than a length of nothing")
            .add("content-length", "0")
            .data("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
            .malformed(),
        Case::post("a length and no body").add("content-length", "5").malformed(),
        Case::post("less than a length that is passed on as it comes")
            .add("content-length", "100000")
            .data(&body(70_000))
            .malformed(),
        Case::post("more than a length that is passed on as it comes")
            .add("content-length", "70000")
            .data(&body(100_000))
            .malformed(),
        Case::post("a large body").add("content-length", "100000").data(&body(100_000)).body(&body(100_000)),
        Case::post("a body that does not come")
            .add("content-length", "5")
            .open()
            .refused(Outcome::Status(408), "body-timeout"),
    ]
}

fn trailers() -> Vec<Case> {
    let post = |what| Case::post(what).data("hello").body("hello").has("Transfer-Encoding: chunked");
    vec![
        post("a trailer").trailer("x-sum", "9").has("x-sum: 9"),
        post("a length in the trailers").trailer("content-length", "99").lacks("content-length"),
        post("a host in the trailers").trailer("host", "evil.example").has("Host: bot.example"),
        post("credentials in the trailers").trailer("authorization", "Basic YQ==").lacks("authorization"),
        post("a pseudo-header field in the trailers").trailer(":path", "/evil").lacks(":path"),
        post("a transfer coding in the trailers").trailer("transfer-encoding", "chunked").malformed(),
        post("a line in a trailer").trailer("x-sum", "9\r\n\r\nGET /evil HTTP/1.1\r\n\r\n").unreadable(),
        post("a line in a trailer's name").trailer("x: 1\r\nx-evil", "1").unreadable(),
        post("an upper-case trailer").trailer("X-Sum", "9").unreadable(),
        Case::post("trailers behind a length, which cannot be passed on")
            .add("content-length", "5")
            .data("hello")
            .trailer("x-sum", "9")
            .body("hello")
            .has("Content-Length: 5")
            .lacks("x-sum"),
        Case::post("trailers before the length is reached")
            .add("content-length", "9")
            .data("hello")
            .trailer("x-sum", "9")
            .malformed(),
    ]
}

fn tunnels() -> Vec<Case> {
    let connect = |what| Case::get(what).set(":method", "CONNECT");
    let websocket = |what| connect(what).first(":protocol", "websocket").open();
    vec![
        connect("CONNECT").without(":path").without(":scheme").open().refused(Outcome::Status(405), "unsupported"),
        connect("CONNECT with a path").open().malformed(),
        connect("CONNECT without a host").without(":path").without(":scheme").without(":authority").open().ambiguous(),
        connect("a tunnel for something else")
            .first(":protocol", "connect-udp")
            .open()
            .refused(Outcome::Status(501), "unsupported"),
        Case::get("a protocol without CONNECT").first(":protocol", "websocket").malformed(),
        websocket("a WebSocket without a path").without(":path").malformed(),
        websocket("a WebSocket without a scheme").without(":scheme").malformed(),
        websocket("a WebSocket with a length").add("content-length", "5").ambiguous(),
        websocket("a line in the protocol")
            .set(":protocol", "websocket\r\nX-Evil: 1")
            .refused(Outcome::Status(501), "unsupported"),
        websocket("a WebSocket with a key of two lines").add("sec-websocket-key", "a\r\nX-Evil: 1").unreadable(),
    ]
}
