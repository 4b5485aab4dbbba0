//! Large bodies: they stream in bounded memory at the pace of whoever takes them, and the limits on them hold.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Chain};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, SOON, alone, among_others, eventually};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How much more memory Baton may have while a body passes through than before it.
const MEMORY_BYTES: u64 = 32 * MIB;

/// What may be under way between a sender and a reader who has stopped reading: four socket buffers of a few MiB each.
const UNDER_WAY_BYTES: u64 = 32 * MIB;

/// The body is this many bytes over and over. A prime, so that a piece that is lost or doubled shows.
const PERIOD: usize = 65_521;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Length,
    Chunked,
}

impl Framing {
    fn header(self, bytes: u64) -> String {
        match self {
            Self::Length => format!("Content-Length: {bytes}\r\n\r\n"),
            Self::Chunked => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
        }
    }
}

/// The bytes of a body, twice, so that a period is whole from wherever it starts.
fn pattern() -> Vec<u8> {
    let period = (0..PERIOD as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8);
    period.clone().chain(period).collect()
}

/// Sends a body and counts on `sent` what the connection has taken.
async fn pour(to: Raw, framing: Framing, bytes: u64, sent: Arc<AtomicU64>) -> TcpStream {
    let (mut to, unread) = to.into_parts();
    assert!(unread.is_empty(), "an answer before its time: {:?}", String::from_utf8_lossy(&unread));
    let pattern = pattern();
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(PERIOD as u64) as usize;
        if framing == Framing::Chunked {
            to.write_all(format!("{piece:x}\r\n").as_bytes()).await.expect("an open connection");
        }
        timeout(SOON, to.write_all(&pattern[..piece])).await.expect("room in time").expect("an open connection");
        if framing == Framing::Chunked {
            to.write_all(b"\r\n").await.expect("an open connection");
        }
        left -= piece as u64;
        sent.fetch_add(piece as u64, Ordering::Relaxed);
    }
    if framing == Framing::Chunked {
        to.write_all(b"0\r\n\r\n").await.expect("an open connection");
    }
    to
}

/// Reads a body and checks every byte of it.
struct Sink {
    from: BufReader<Chain<Cursor<Vec<u8>>, TcpStream>>,
    framing: Framing,
    pattern: Vec<u8>,
    piece: Vec<u8>,
    /// What is left of the present chunk, or of the whole.
    left: u64,
    read: u64,
}

impl Sink {
    fn new(from: Raw, framing: Framing, bytes: u64) -> Self {
        let left = if framing == Framing::Length { bytes } else { 0 };
        let (stream, unread) = from.into_parts();
        let from = BufReader::with_capacity(256 * 1024, Cursor::new(unread).chain(stream));
        Self { from, framing, pattern: pattern(), piece: vec![0; PERIOD], left, read: 0 }
    }

    /// Reads until so many bytes of the body have been read, or to its end.
    async fn read_to(&mut self, goal: u64) {
        while self.read < goal {
            if self.left == 0 && !self.next_chunk().await {
                return;
            }
            let length = self.left.min(goal - self.read).min(PERIOD as u64) as usize;
            let piece = &mut self.piece[..length];
            timeout(SOON, self.from.read_exact(piece)).await.expect("bytes in time").expect("an open connection");
            let start = (self.read % PERIOD as u64) as usize;
            assert!(*piece == self.pattern[start..start + length], "other bytes between {} and {length} on", self.read);
            self.read += length as u64;
            self.left -= length as u64;
            if self.left == 0 && self.framing == Framing::Chunked {
                assert_eq!(self.line().await, "");
            }
        }
    }

    /// To the very end; gives the number of bytes and the connection.
    async fn finish(mut self) -> (u64, TcpStream) {
        if self.framing == Framing::Length {
            let goal = self.read + self.left;
            self.read_to(goal).await;
        } else {
            self.read_to(u64::MAX).await;
            assert_eq!(self.line().await, "");
        }
        assert_eq!(self.from.buffer(), b"");
        (self.read, self.from.into_inner().into_inner().1)
    }

    async fn next_chunk(&mut self) -> bool {
        if self.framing == Framing::Length {
            return false;
        }
        self.left = u64::from_str_radix(&self.line().await, 16).expect("a size of a chunk");
        self.left > 0
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(SOON, self.from.read_line(&mut line)).await.expect("a line in time").expect("an open connection");
        line.strip_suffix("\r\n").expect("the end of a line").to_owned()
    }
}

/// Reads slowly at first: after a MiB it waits until the sender cannot go on, which shows that Baton does not read on
/// either. Gives the number of bytes and the connection.
async fn read_with_a_pause(mut sink: Sink, sent: &AtomicU64, bytes: u64) -> (u64, TcpStream) {
    sink.read_to(MIB).await;
    let mut seen = 0;
    eventually("a sender that cannot go on", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = std::mem::replace(&mut seen, sent.load(Ordering::Relaxed));
        (before == seen).then_some(())
    })
    .await;
    assert!(seen < bytes, "all was sent while nobody read");
    assert!(seen - sink.read < UNDER_WAY_BYTES, "{seen} bytes were sent and {} read", sink.read);
    // Then in small steps, so that Baton sees many a partial write, and at last as fast as possible.
    for _ in 0..20 {
        sink.read_to(sink.read + 100_000).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sink.finish().await
}

/// Peak of resident memory since [`forget_peak`], in bytes.
fn peak(baton: &Baton) -> u64 {
    let status = std::fs::read_to_string(baton.process.proc("status")).expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells the peak");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB")
}

/// Sets the peak to what is resident now.
fn forget_peak(baton: &Baton) {
    std::fs::write(baton.process.proc("clear_refs"), "5").expect("the peak of one's own child can be reset");
}

/// Makes one small exchange, so that code is loaded and buffers exist, and gives back both connections in use.
async fn warmed(baton: &Baton, master: &RawMaster) -> (Raw, Raw) {
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.head().await;
    (client, upstream)
}

async fn between(config: Config) -> (Baton, RawMaster) {
    let master = RawMaster::bind().await;
    let config = config.master("a", master.address, "");
    (Baton::start_unprobed(&config.listener("limits: { body_bytes: 1GiB }")).await, master)
}

async fn upload(framing: Framing, bytes: u64) {
    let (baton, master) = between(Config::empty()).await;
    let (mut client, mut upstream) = warmed(&baton, &master).await;
    forget_peak(&baton);
    let before = peak(&baton);
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{}", framing.header(bytes))).await;
    let sent = Arc::new(AtomicU64::new(0));
    let sending = tokio::spawn(pour(client, framing, bytes, sent.clone()));
    let head = upstream.head().await;
    assert_eq!(header(&head, "content-length").is_some(), framing == Framing::Length, "{head}");
    let sink = Sink::new(upstream, framing, bytes);
    let (read, upstream) = read_with_a_pause(sink, &sent, bytes).await;
    assert_eq!(read, bytes);
    let mut client = Raw::over(sending.await.unwrap());
    Raw::over(upstream).send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.expect("ok").await;
    let grown = peak(&baton).saturating_sub(before);
    assert!(grown < MEMORY_BYTES, "memory grew by {grown} bytes while {bytes} passed");
}

async fn download(framing: Framing, bytes: u64) {
    let (baton, master) = between(Config::empty()).await;
    let (mut client, mut upstream) = warmed(&baton, &master).await;
    forget_peak(&baton);
    let before = peak(&baton);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.head().await;
    upstream.send(format!("HTTP/1.1 200 OK\r\n{}", framing.header(bytes))).await;
    assert_eq!(header(&client.head().await, "content-length").is_some(), framing == Framing::Length);
    let sent = Arc::new(AtomicU64::new(0));
    let sending = tokio::spawn(pour(upstream, framing, bytes, sent.clone()));
    let sink = Sink::new(client, framing, bytes);
    let (read, client) = read_with_a_pause(sink, &sent, bytes).await;
    assert_eq!(read, bytes);
    let grown = peak(&baton).saturating_sub(before);
    assert!(grown < MEMORY_BYTES, "memory grew by {grown} bytes while {bytes} passed");
    // Both connections are in step behind it.
    let (mut client, mut upstream) = (Raw::over(client), Raw::over(sending.await.unwrap()));
    client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(upstream.head().await.starts_with("GET /next "));
}

#[tokio::test]
async fn a_gibibyte_goes_up_in_bounded_memory_at_the_masters_pace() {
    let _machine = alone().await;
    upload(Framing::Length, GIB).await;
}

#[tokio::test]
async fn a_gibibyte_comes_down_in_bounded_memory_at_the_clients_pace() {
    let _machine = alone().await;
    download(Framing::Length, GIB).await;
}

#[tokio::test]
async fn a_large_chunked_body_goes_up_in_bounded_memory_at_the_masters_pace() {
    let _machine = alone().await;
    upload(Framing::Chunked, 256 * MIB).await;
}

#[tokio::test]
async fn a_large_chunked_body_comes_down_in_bounded_memory_at_the_clients_pace() {
    let _machine = alone().await;
    download(Framing::Chunked, 256 * MIB).await;
}

#[tokio::test]
async fn an_upload_larger_than_what_is_kept_is_sent_once() {
    let _machine = among_others().await;
    let (one, two) = (RawMaster::bind().await, RawMaster::bind().await);
    let config = Config::empty().master("a", one.address, "priority: 0").master("b", two.address, "priority: 1");
    let retry = "strategy: priority\nretry: { attempts: 2, non_idempotent: true, body_bytes: 256KiB }";
    let baton = Baton::start_unprobed(&config.upstream(retry)).await;
    for framing in [Framing::Length, Framing::Chunked] {
        let bytes = 512 * 1024;
        let mut client = Raw::connect(baton.address()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{}", framing.header(bytes))).await;
        let sending = tokio::spawn(pour(client, framing, bytes, Arc::default()));
        let mut upstream = one.accept().await;
        upstream.head().await;
        let (read, upstream) = Sink::new(upstream, framing, bytes).finish().await;
        assert_eq!(read, bytes);
        drop(upstream);
        let mut client = Raw::over(sending.await.unwrap());
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{framing:?}: {head}");
    }
    assert_eq!(baton.metric("baton_upstream_connections_total", &[("master", "b")]).await, 0.0);
    assert_eq!(baton.metric("baton_retries_total", &[]).await, 0.0);
}

#[tokio::test]
async fn an_upload_that_is_kept_goes_to_the_next_master_byte_for_byte() {
    let _machine = among_others().await;
    let (one, two) = (RawMaster::bind().await, RawMaster::bind().await);
    let config = Config::empty().master("a", one.address, "priority: 0").master("b", two.address, "priority: 1");
    let retry = "strategy: priority\nretry: { attempts: 2, non_idempotent: true, body_bytes: 2MiB }";
    let baton = Baton::start_unprobed(&config.upstream(retry)).await;
    for framing in [Framing::Length, Framing::Chunked] {
        let mut client = Raw::connect(baton.address()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{}", framing.header(MIB))).await;
        let sending = tokio::spawn(pour(client, framing, MIB, Arc::default()));
        let mut upstream = one.accept().await;
        upstream.head().await;
        // It goes in the middle of the body.
        let mut sink = Sink::new(upstream, framing, MIB);
        sink.read_to(700_000).await;
        drop(sink);
        let mut upstream = two.accept().await;
        upstream.head().await;
        let (read, upstream) = Sink::new(upstream, framing, MIB).finish().await;
        assert_eq!(read, MIB);
        Raw::over(upstream).send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        let mut client = Raw::over(sending.await.unwrap());
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_is_413() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().master("a", master.address, "").listener("limits: { body_bytes: 100KiB }");
    let baton = Baton::start_unprobed(&config).await;
    let limit = 100 * 1024;
    for framing in [Framing::Length, Framing::Chunked] {
        let mut client = Raw::connect(baton.address()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{}", framing.header(limit))).await;
        let sending = tokio::spawn(pour(client, framing, limit, Arc::default()));
        let mut upstream = master.accept().await;
        upstream.head().await;
        let (read, upstream) = Sink::new(upstream, framing, limit).finish().await;
        assert_eq!(read, limit);
        Raw::over(upstream).send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        assert!(Raw::over(sending.await.unwrap()).head().await.starts_with("HTTP/1.1 200 "));
    }

    let refused = async || baton.metric("baton_refused_total", &[("reason", "body-too-large")]).await;
    let mut announced = Raw::connect(baton.address()).await;
    announced.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{}", Framing::Length.header(limit + 1))).await;
    assert!(announced.rest().await.starts_with("HTTP/1.1 413 "));
    assert_eq!(refused().await, 1.0);

    // In small chunks, so that no single one says how much there will be.
    let mut chunked = Raw::connect(baton.address()).await;
    chunked.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..100 {
        chunked.send(format!("400\r\n{}\r\n", "z".repeat(1024))).await;
    }
    let mut upstream = master.accept().await;
    upstream.head().await;
    chunked.send("1\r\nz\r\n").await;
    let answer = chunked.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(refused().await, 2.0);
    // The master sees a body without an end, and no answer is expected of it.
    assert!(!upstream.rest().await.ends_with("0\r\n\r\n"));
    assert_eq!(baton.master("a").await["failures"], 0);
    eventually("nobody is in flight", async || (baton.master("a").await["in_flight"] == 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_let_go_and_frees_its_place() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().master("a", master.address, "").listener("limits: { body_timeout: 500ms }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // More than all buffers on the way take.
    let (mut stream, _) = upstream.into_parts();
    let chunk = format!("10000\r\n{}\r\n", "z".repeat(65_536));
    let cut = async { while stream.write_all(chunk.as_bytes()).await.is_ok() {} };
    timeout(SOON, cut).await.expect("the master's connection is ended");
    eventually("nobody is in flight", async || (baton.master("a").await["in_flight"] == 0).then_some(())).await;
    assert_eq!(baton.master("a").await["failures"], 0);
}

#[tokio::test]
async fn a_pause_in_an_upload_is_charged_to_whoever_makes_it() {
    let _machine = among_others().await;
    let (one, two) = (RawMaster::bind().await, RawMaster::bind().await);
    let config = Config::empty()
        .master("a", one.address, "priority: 0")
        .master("b", two.address, "priority: 1")
        .listener("limits: { body_bytes: 1GiB, body_timeout: 500ms }")
        .upstream("strategy: priority\noutlier_detection: { consecutive_failures: 1 }");
    let baton = Baton::start_unprobed(&config).await;
    let ejections = async || baton.metric("baton_master_ejections_total", &[("master", "a")]).await;
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{}", Framing::Length.header(GIB));

    // The client sends no more.
    let mut client = Raw::connect(baton.address()).await;
    client.send(&head).await.send("z".repeat(100_000)).await;
    let mut upstream = one.accept().await;
    upstream.head().await;
    upstream.take(100_000).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(upstream.rest().await, "");
    assert_eq!(
        (ejections().await, baton.metric("baton_refused_total", &[("reason", "body-timeout")]).await),
        (0.0, 1.0)
    );

    // The master takes no more.
    let mut client = Raw::connect(baton.address()).await;
    client.send(&head).await;
    let (stream, _) = client.into_parts();
    let (answer, mut body) = stream.into_split();
    let piece = vec![0; 65_536];
    let sending = tokio::spawn(async move { while body.write_all(&piece).await.is_ok() {} });
    let mut upstream = one.accept().await;
    upstream.head().await;
    let mut status = String::new();
    let read = timeout(SOON, BufReader::new(answer).read_line(&mut status)).await;
    read.expect("an answer in time").expect("an answer");
    assert!(status.starts_with("HTTP/1.1 504 "), "{status}");
    eventually("a is out", async || (ejections().await == 1.0).then_some(())).await;
    sending.abort();
}
