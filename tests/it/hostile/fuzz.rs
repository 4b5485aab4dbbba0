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
use crate::kit::strict::Incoming;
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
            let mut connection = Incoming::new(stream);
            if let Err(complaint) = serve(&mut connection, random).await {
                let bytes = String::from_utf8_lossy(connection.unread()).into_owned();
                complaints.lock().unwrap().insert(format!("{complaint}: {bytes:?}"));
            }
        });
    }
}

/// Until the connection ends, which it may anywhere.
async fn serve(connection: &mut Incoming, mut random: Random) -> Result<(), String> {
    while let Some(request) = connection.next().await? {
        let answer = match request.target.strip_prefix("/canary/") {
            Some(name) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into_bytes(),
            None => random.damaged(&ANSWERS),
        };
        // In one piece: bytes beyond an answer that arrive later than the answer may be taken for the next one.
        let written = connection.stream.write_all(&answer).await;
        // Behind a 101 comes no HTTP.
        let upgrade = !request.all("upgrade").is_empty();
        if written.is_err() || upgrade || (request.target == "/a" && random.below(4) == 0) {
            return Ok(());
        }
    }
    Ok(())
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
