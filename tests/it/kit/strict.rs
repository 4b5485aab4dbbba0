//! A master's side of a connection that takes requests apart by a reading of its own, as strict as RFC 9112 allows, and
//! finds fault with everything that Baton should not have sent.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A connection that requests come in on.
pub struct Incoming {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

/// A whole request.
pub struct Received {
    pub method: String,
    pub target: String,
    /// Everything before the body, with its blank line.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    /// Fields of the head and of the trailer, with names in lower case.
    pub fields: Vec<(String, String)>,
}

impl Received {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|field| field.0 == name).map(|field| &*field.1).collect()
    }
}

impl Incoming {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// What was received and belongs to no whole request.
    pub fn unread(&self) -> &[u8] {
        &self.bytes
    }

    /// The next request; nothing when the connection ends first, which it may anywhere.
    pub async fn next(&mut self) -> Result<Option<Received>, String> {
        let head_end = loop {
            match self.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if self.more().await => {}
                None => return Ok(None),
            }
        };
        let (mut received, framing) = judge(&self.bytes[..head_end])?;
        let end = match framing {
            Framing::Length(length) => self.plain_body(head_end + length, &mut received).await,
            Framing::Chunked => self.chunked_body(head_end, &mut received).await?,
        };
        let Some(end) = end else { return Ok(None) };
        self.bytes.drain(..end);
        Ok(Some(received))
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.bytes).await.is_ok_and(|read| read > 0)
    }

    async fn until(&mut self, length: usize) -> Option<()> {
        while self.bytes.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(())
    }

    /// Reads up to `end` and gives it back; `None` when the connection ends first.
    async fn plain_body(&mut self, end: usize, received: &mut Received) -> Option<usize> {
        self.until(end).await?;
        received.body = self.bytes[received.head.len()..end].to_vec();
        Some(end)
    }

    /// Where the body ends; `None` when the connection does first.
    async fn chunked_body(&mut self, start: usize, received: &mut Received) -> Result<Option<usize>, String> {
        let mut at = start;
        loop {
            let Some(line_end) = self.line(at).await else { return Ok(None) };
            let line = std::str::from_utf8(&self.bytes[at..line_end]).map_err(|_| "a chunk size in no text")?;
            let plain = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = usize::from_str_radix(line, 16).ok().filter(|_| plain).ok_or("no chunk size")?;
            at = line_end + 2;
            if size == 0 {
                break;
            }
            let Some(()) = self.until(at + size + 2).await else { return Ok(None) };
            received.body.extend_from_slice(&self.bytes[at..at + size]);
            at += size + 2;
            if &self.bytes[at - 2..at] != b"\r\n" {
                return Err("a chunk that is longer than its size".to_owned());
            }
        }
        loop {
            let Some(line_end) = self.line(at).await else { return Ok(None) };
            let trailer = at..line_end;
            at = line_end + 2;
            if trailer.is_empty() {
                return Ok(Some(at));
            }
            received.fields.push(field(&self.bytes[trailer])?);
        }
    }

    /// Where the line that starts there ends.
    async fn line(&mut self, start: usize) -> Option<usize> {
        loop {
            if let Some(at) = self.bytes[start..].windows(2).position(|window| window == b"\r\n") {
                return Some(start + at);
            }
            if !self.more().await {
                return None;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

/// A head that is beyond reproach, without its body, and how that is framed.
fn judge(head: &[u8]) -> Result<(Received, Framing), String> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let (line, fields) = text.strip_suffix("\r\n\r\n").unwrap().split_once("\r\n").ok_or("no fields")?;
    let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err("a malformed request line".to_owned());
    };
    if method.is_empty() || !method.bytes().all(is_token) || method == "CONNECT" {
        return Err("a malformed method".to_owned());
    }
    if !(target.starts_with('/') || (target == "*" && method == "OPTIONS")) || target.contains(|c: char| c <= ' ') {
        return Err("a malformed target".to_owned());
    }
    let fields = fields.split("\r\n").map(|line| field(&line.chars().map(|c| c as u8).collect::<Vec<u8>>()));
    let received = Received {
        method: method.to_owned(),
        target: target.to_owned(),
        head: head.to_vec(),
        body: Vec::new(),
        fields: fields.collect::<Result<_, _>>()?,
    };
    let all = |name: &str| received.all(name);
    for once in ["host", "x-forwarded-for", "forwarded", "x-request-id", "x-forwarded-proto", "x-forwarded-host"] {
        if all(once).len() != 1 {
            return Err(format!("{} {once}", all(once).len()));
        }
    }
    // A request that Baton has not seen as one has nothing of this.
    if all("x-forwarded-for") != ["127.0.0.1"] {
        return Err("a stranger".to_owned());
    }
    for never in ["te", "keep-alive", "proxy-connection", "trailer", "proxy-authorization"] {
        if !all(never).is_empty() {
            return Err(format!("{never} went on"));
        }
    }
    let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Framing::Length(0),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Framing::Length(length.parse().map_err(|_| "an endless body")?)
        }
        ([], ["chunked"]) => Framing::Chunked,
        _ => return Err("more or less than one framing".to_owned()),
    };
    Ok((received, framing))
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err("a malformed field name".to_owned());
    }
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err("a control character in a field value".to_owned());
    }
    let value: String = value.iter().map(|byte| char::from(*byte)).collect();
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
