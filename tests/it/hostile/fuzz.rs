//! Damaged requests and damaged answers for some seconds. Whatever is sent, masters get well-formed requests that Baton has
//! made, everybody else is served meanwhile, and nothing panics or stays behind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::kit::process::Stream;
use crate::kit::raw::{Raw, header};
use crate::kit::{Baton, Config, among_others, eventually};

/// How long the test sends; a number of seconds in `BATON_FUZZ_SECONDS` replaces it.
const SECONDS: u64 = 5;
const CLIENTS: u64 = 8;

const REQUESTS: [&str; 8] = [
    "GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nCookie: a=b; c=d\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world",
    "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;e=1\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD http://x/a HTTP/1.1\r\nHost: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 46\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\nX-Padding: a\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
];

const ANSWERS: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nold",
    "HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
];

const SCRAPS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\r\n\r\n",
    b"\r\n ",
    b";",
    b",",
    b":",
    b"_",
    b"\x80\xff",
    b"\x0b",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: Content-Length, Transfer-Encoding, Host\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    b"Expect: 100-continue\r\n",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn damaged(&mut self, from: &[&str]) -> Vec<u8> {
        let mut bytes = from[self.below(from.len())].as_bytes().to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                // Where a line begins, scraps are at their most plausible.
                3 => {
                    let lines: Vec<_> = (1..bytes.len()).filter(|at| bytes[at - 1] == b'\n').collect();
                    let line = if lines.is_empty() { 0 } else { lines[self.below(lines.len())] };
                    bytes.splice(line..line, SCRAPS[self.below(SCRAPS.len())].iter().copied());
                }
                _ => drop(bytes.splice(at..at, SCRAPS[self.below(SCRAPS.len())].iter().copied())),
            }
        }
        bytes
    }
}

type Complaints = Arc<Mutex<BTreeSet<String>>>;

/// Takes everything apart strictly, and answers with damage, except those who ask for `/canary/`.
async fn master(listener: TcpListener, seed: u64, complaints: Complaints) {
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let (complaints, random) = (complaints.clone(), Random(seed ^ (number << 32)));
        tokio::spawn(async move {
            let mut connection = Incoming { stream, bytes: Vec::new() };
            if let Err(complaint) = connection.serve(random).await {
                let bytes = String::from_utf8_lossy(&connection.bytes).into_owned();
                complaints.lock().unwrap().insert(format!("{complaint}: {bytes:?}"));
            }
        });
    }
}

struct Incoming {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Incoming {
    /// Until the connection ends, which it may anywhere.
    async fn serve(&mut self, mut random: Random) -> Result<(), String> {
        loop {
            let head_end = loop {
                match self.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                    Some(at) => break at + 4,
                    None if self.more().await => {}
                    None => return Ok(()),
                }
            };
            let (target, framing, upgrade) = judge(&self.bytes[..head_end])?;
            let Some(end) = self.body(head_end, framing).await? else { return Ok(()) };
            self.bytes.drain(..end);
            let answer = match target.strip_prefix("/canary/") {
                Some(name) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into_bytes(),
                None => random.damaged(&ANSWERS),
            };
            // In one piece: bytes beyond an answer that arrive later than the answer may be taken for the next one.
            let written = self.stream.write_all(&answer).await;
            // Behind a 101 comes no HTTP.
            if written.is_err() || upgrade || (target == "/a" && random.below(4) == 0) {
                return Ok(());
            }
        }
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.bytes).await.is_ok_and(|read| read > 0)
    }

    /// Where the body ends; `None` when the connection does first.
    async fn body(&mut self, start: usize, framing: Framing) -> Result<Option<usize>, String> {
        let mut at = start;
        match framing {
            Framing::Length(length) => {
                at += length;
                while self.bytes.len() < at {
                    if !self.more().await {
                        return Ok(None);
                    }
                }
            }
            Framing::Chunked => loop {
                let Some(line_end) = self.line(at).await else { return Ok(None) };
                let line = std::str::from_utf8(&self.bytes[at..line_end]).map_err(|_| "a chunk size in no text")?;
                let plain = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
                let size = usize::from_str_radix(line, 16).ok().filter(|_| plain).ok_or("no chunk size")?;
                at = line_end + 2;
                if size == 0 {
                    break;
                }
                at += size + 2;
                while self.bytes.len() < at {
                    if !self.more().await {
                        return Ok(None);
                    }
                }
                if &self.bytes[at - 2..at] != b"\r\n" {
                    return Err("a chunk that is longer than its size".to_owned());
                }
            },
        }
        if matches!(framing, Framing::Length(_)) {
            return Ok(Some(at));
        }
        loop {
            let Some(line_end) = self.line(at).await else { return Ok(None) };
            let trailer = at..line_end;
            at = line_end + 2;
            if trailer.is_empty() {
                return Ok(Some(at));
            }
            field(&self.bytes[trailer])?;
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

/// The target and framing of a head that is beyond reproach, and whether it asks for an upgrade.
fn judge(head: &[u8]) -> Result<(String, Framing, bool), String> {
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
    let mut fields = fields.split("\r\n").map(|line| {
        let bytes: Vec<u8> = line.chars().map(|c| c as u8).collect();
        field(&bytes)
    });
    let fields: Vec<(String, String)> = fields.by_ref().collect::<Result<_, _>>()?;
    let all = |name: &str| fields.iter().filter(|field| field.0 == name).map(|field| &*field.1).collect::<Vec<_>>();
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
    Ok((target.to_owned(), framing, !all("upgrade").is_empty()))
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

/// Sends damage in pieces, reads a little of what comes, and leaves in one way or another.
async fn attack(baton: std::net::SocketAddr, mut random: Random, until: Instant) {
    while Instant::now() < until {
        let Ok(mut stream) = TcpStream::connect(baton).await else { continue };
        let mut bytes = random.damaged(&REQUESTS);
        for _ in 0..random.below(3) {
            bytes.extend(random.damaged(&REQUESTS));
        }
        while !bytes.is_empty() {
            let piece: Vec<u8> = bytes.drain(..(1 + random.below(200)).min(bytes.len())).collect();
            if stream.write_all(&piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        match random.below(3) {
            0 => stream.shutdown().await.unwrap_or(()),
            1 => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
            _ => {}
        }
        let mut answers = [0; 4096];
        let patience = Duration::from_millis(random.below(60) as u64);
        let _ = timeout(patience, async { while stream.read(&mut answers).await.is_ok_and(|read| read > 0) {} }).await;
    }
}

#[tokio::test]
async fn damage_reaches_nobody_but_its_sender() {
    let _machine = among_others().await;
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("BATON_FUZZ_SEED").unwrap_or(clock.as_nanos() as u64);
    // Whoever wants to see a failure again needs it.
    eprintln!("BATON_FUZZ_SEED={seed}");

    let complaints = Complaints::default();
    let mut config = Config::empty()
        .listener("limits: { header_timeout: 300ms, body_timeout: 300ms, header_bytes: 2KiB, body_bytes: 64KiB }")
        .upstream("retry: { attempts: 2, per_try_timeout: 300ms, non_idempotent: true, on_status: [503] }")
        .upstream("outlier_detection: off");
    for name in ["a", "b"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        config = config.master(name, listener.local_addr().unwrap(), "");
        tokio::spawn(master(listener, seed.rotate_left(u32::from(name.as_bytes()[0])), complaints.clone()));
    }
    let baton = Baton::start_unprobed(&config).await;
    let until = Instant::now() + Duration::from_secs(number("BATON_FUZZ_SECONDS").unwrap_or(SECONDS));
    let attackers: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(attack(baton.address(), Random(seed.wrapping_add(client << 40)), until)))
        .collect();

    let mut served = 0;
    while Instant::now() < until {
        let mut client = Raw::connect(baton.address()).await;
        for _ in 0..5 {
            client.send(format!("GET /canary/{served} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "canary {served}: {head}");
            let body = client.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
            assert_eq!(String::from_utf8_lossy(&body), served.to_string());
            served += 1;
        }
    }
    for attacker in attackers {
        attacker.await.unwrap();
    }
    eprintln!("{served} canaries were served");
    assert_eq!(*complaints.lock().unwrap(), BTreeSet::new());
    for name in ["a", "b"] {
        let empty = async || (baton.master(name).await["in_flight"] == 0).then_some(());
        eventually("nothing is left at the masters", empty).await;
    }
    let said = baton.process.said(Stream::Err);
    assert!(!said.contains("panicked"), "{said}");
}
