//! A master's response head: what a proxy must know of it, and which bytes of it go on to the client.

use httparse::{EMPTY_HEADER, Header, Status};

use super::fields::{self, Known};
use super::request::{FIELDS_MAX, Framing};

/// A response head. Holds positions, not references, so that it outlives the moment of parsing; `kept` is reused from
/// response to response.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub framing: ResponseFraming,
    /// The master will take another request on this connection.
    pub keep_alive: bool,
    /// Bytes of the head, blank line included.
    pub length: usize,
    /// Where the reason phrase stands.
    reason: (usize, usize),
    /// The value of `Upgrade`, for a 101.
    upgrade: (usize, usize),
    /// Runs of whole header lines to copy, without those that concern the connection to the master only.
    kept: Vec<(usize, usize)>,
}

/// [`Framing`] with a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFraming(pub Framing);

/// The head is malformed, or its framing is ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadResponse(pub &'static str);

/// How a response is to be framed for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onward {
    pub framing: Framing,
    /// What to say about the connection: `Some(true)` keep-alive, `Some(false)` close, `None` nothing, which means
    /// keep-alive in HTTP/1.1.
    pub keep_alive: Option<bool>,
}

impl Default for ResponseFraming {
    fn default() -> Self {
        Self(Framing::None)
    }
}

impl Response {
    /// Reads the head `raw`, which ends with its blank line, into `self`. `to_head` tells that the request was HEAD.
    ///
    /// # Errors
    /// [`BadResponse`] when a client could understand the response in two ways.
    pub fn parse(&mut self, raw: &[u8], to_head: bool) -> Result<(), BadResponse> {
        let mut storage = [EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut storage);
        match parsed.parse(raw) {
            Ok(Status::Complete(length)) if length == raw.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(BadResponse("more than 100 header fields")),
            _ => return Err(BadResponse("malformed response head")),
        }
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(BadResponse("malformed status line"));
        };
        if !(100..=599).contains(&status) {
            return Err(BadResponse("status code outside 100 to 599"));
        }
        self.status = status;
        self.length = raw.len();
        self.reason = span(raw, parsed.reason.unwrap_or_default().as_bytes());
        self.upgrade = (0, 0);
        self.judge_fields(raw, parsed.headers, minor, to_head)
    }

    /// Writes the head for the client. `raw` is what was parsed.
    pub fn write(&self, raw: &[u8], onward: Onward, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        write_decimal(u64::from(self.status), out);
        out.push(b' ');
        out.extend_from_slice(&raw[self.reason.0..self.reason.1]);
        out.extend_from_slice(b"\r\n");
        for &(start, end) in &self.kept {
            out.extend_from_slice(&raw[start..end]);
        }
        match onward.framing {
            Framing::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                write_decimal(length, out);
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::None | Framing::UntilClose => {}
        }
        match onward.keep_alive {
            Some(true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Some(false) => out.extend_from_slice(b"Connection: close\r\n"),
            None => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes a 101 with the `Upgrade` the master agreed to.
    pub fn write_switching(&self, raw: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ");
        out.extend_from_slice(&raw[self.upgrade.0..self.upgrade.1]);
        out.extend_from_slice(b"\r\n");
        for &(start, end) in &self.kept {
            out.extend_from_slice(&raw[start..end]);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Names and values of the header lines that go on to the client.
    pub fn fields<'b>(&'b self, raw: &'b [u8]) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        self.kept.iter().flat_map(|&(start, end)| fields::lines(&raw[start..end]))
    }

    /// Whether this is an interim response that the final one will follow.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    fn judge_fields(
        &mut self,
        raw: &[u8],
        headers: &[Header<'_>],
        minor: u8,
        to_head: bool,
    ) -> Result<(), BadResponse> {
        let (mut length, mut chunked, mut close, mut keep_alive, mut named) = (None, false, false, false, false);
        for header in headers {
            match Known::of(header.name) {
                Some(Known::ContentLength) => {
                    let this = fields::content_length(header.value).ok_or(BadResponse("malformed Content-Length"))?;
                    if length.is_some_and(|other| other != this) {
                        return Err(BadResponse("differing Content-Length fields"));
                    }
                    length = Some(this);
                }
                Some(Known::TransferEncoding) => {
                    if chunked || minor == 0 || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(BadResponse("a Transfer-Encoding other than chunked"));
                    }
                    chunked = true;
                }
                Some(Known::Connection) => {
                    for option in fields::list(header.value) {
                        match option {
                            option if option.eq_ignore_ascii_case(b"close") => close = true,
                            option if option.eq_ignore_ascii_case(b"keep-alive") => keep_alive = true,
                            option if option.eq_ignore_ascii_case(b"upgrade") => {}
                            _ => named = true,
                        }
                    }
                }
                Some(Known::Upgrade) => self.upgrade = span(raw, header.value),
                _ => {}
            }
        }
        let bodiless = to_head || self.status < 200 || matches!(self.status, 204 | 304);
        self.framing = ResponseFraming(match (length, chunked) {
            _ if bodiless => Framing::None,
            (_, true) => Framing::Chunked,
            (Some(length), false) => Framing::Length(length),
            (None, false) => Framing::UntilClose,
        });
        // A length beside chunked is dropped, and the connection with it: the master itself may not know where it is.
        // So it is with a length or chunks where there is no body: one may follow all the same.
        let never_a_body = self.status < 200 || self.status == 204;
        let promises_body = chunked || length.is_some_and(|length| length > 0);
        self.keep_alive = !close
            && (minor == 1 || keep_alive)
            && self.framing.0 != Framing::UntilClose
            && !(chunked && length.is_some())
            && !(never_a_body && promises_body);
        let keeps_length = bodiless && !chunked && self.status >= 200 && self.status != 204;
        self.keep(raw, headers, keeps_length, named);
        Ok(())
    }

    /// Notes the runs of header lines that go on to the client.
    fn keep(&mut self, raw: &[u8], headers: &[Header<'_>], keeps_length: bool, named: bool) {
        self.kept.clear();
        let mut length_kept = false;
        let starts = headers.iter().map(|header| span(raw, header.name.as_bytes()).0);
        // The blank line is the last two bytes.
        let ends = starts.clone().skip(1).chain([raw.len() - 2]);
        for ((start, end), header) in starts.zip(ends).zip(headers) {
            let dropped = match Known::of(header.name) {
                Some(Known::ContentLength) => !keeps_length || std::mem::replace(&mut length_kept, true),
                Some(known) => known.is_hop_by_hop(),
                None => named && named_in_connection(headers, header.name),
            };
            if dropped {
                continue;
            }
            match self.kept.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => self.kept.push((start, end)),
            }
        }
    }
}

fn named_in_connection(headers: &[Header<'_>], name: &str) -> bool {
    headers
        .iter()
        .filter(|header| Known::of(header.name) == Some(Known::Connection))
        .flat_map(|header| fields::list(header.value))
        .any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
}

/// Where `part` stands in `whole`, of which it is a slice; empty at the start when it is not.
fn span(whole: &[u8], part: &[u8]) -> (usize, usize) {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    if start <= whole.len() && part.len() <= whole.len() - start { (start, start + part.len()) } else { (0, 0) }
}

/// Writes a number without the formatting machinery.
pub fn write_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(raw: &str, to_head: bool) -> Result<Response, BadResponse> {
        let mut response = Response::default();
        response.parse(raw.as_bytes(), to_head).map(|()| response)
    }

    #[test]
    fn hop_by_hop_fields_go_and_all_others_stay_in_order() {
        let raw = "HTTP/1.1 200 Fine\r\nB: 1\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nx-mine: 1\r\na: 2\r\nContent-Length: 3\r\nC:  3 \r\n\r\n";
        let response = parse(raw, false).unwrap();
        let mut out = Vec::new();
        response.write(raw.as_bytes(), Onward { framing: Framing::Length(3), keep_alive: None }, &mut out);
        let wanted = "HTTP/1.1 200 Fine\r\nB: 1\r\na: 2\r\nC:  3 \r\nContent-Length: 3\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn the_framing_follows_status_method_and_fields() {
        let framing = |raw: &str, to_head| parse(raw, to_head).map(|response| response.framing.0);
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false), Ok(Framing::Length(3)));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true), Ok(Framing::None));
        assert_eq!(framing("HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", false), Ok(Framing::None));
        assert_eq!(framing("HTTP/1.1 204 No\r\n\r\n", false), Ok(Framing::None));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", false), Ok(Framing::Chunked));
        assert_eq!(framing("HTTP/1.0 200 OK\r\n\r\n", false), Ok(Framing::UntilClose));
    }

    #[test]
    fn a_length_beside_chunked_ends_the_masters_connection() {
        let raw = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = parse(raw, false).unwrap();
        assert_eq!((response.framing.0, response.keep_alive), (Framing::Chunked, false));
        let mut out = Vec::new();
        response.write(raw.as_bytes(), Onward { framing: Framing::Chunked, keep_alive: None }, &mut out);
        assert!(!String::from_utf8(out).unwrap().contains("Content-Length"));
    }

    #[test]
    fn a_body_promised_where_none_can_be_ends_the_masters_connection() {
        let keep = |raw: &str, to_head| parse(raw, to_head).unwrap().keep_alive;
        assert!(!keep("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", false));
        assert!(!keep("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", false));
        assert!(keep("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", false));
        assert!(keep("HTTP/1.1 304 Not\r\nContent-Length: 3\r\n\r\n", false));
        assert!(keep("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true));
    }

    #[test]
    fn a_repeated_length_goes_on_once() {
        let raw = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n";
        let mut out = Vec::new();
        let onward = Onward { framing: Framing::None, keep_alive: None };
        parse(raw, true).unwrap().write(raw.as_bytes(), onward, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
    }

    #[test]
    fn ambiguous_responses_are_refused() {
        for raw in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: 3\r\n y\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
        ] {
            assert!(parse(raw, false).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn decimals_are_written_as_the_standard_library_writes_them() {
        for number in [0, 7, 10, 99_999, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut raw in prop::collection::vec(any::<u8>(), 0..400)) {
            raw.extend_from_slice(b"\r\n\r\n");
            let _ = Response::default().parse(&raw, false);
        }
    }
}
