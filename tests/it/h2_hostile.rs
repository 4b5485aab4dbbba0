//! HTTP/2 that is meant to harm: each attack ends its own stream or connection with the code that belongs to it, is
//! counted by its reason, and takes nothing from anybody else.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::kit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, STATUS_200, WINDOW_UPDATE, frame, literal,
};
use crate::kit::h2::{Client, answer, get, post};
use crate::kit::raw::RawMaster;
use crate::kit::{Baton, Config, SOON, among_others, eventually, masters};

/// GET / of x, as HPACK has it without touching the table.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'x'];
/// POST / of x.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x01, 1, b'x'];

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

/// How an attack must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Connection(u32),
    Stream(u32),
}

/// An attack: what it is, its bytes, its end, and what it counts as.
type Attack = (&'static str, Vec<u8>, Ends, &'static str);

fn request(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block)
}

/// The same for so many new streams.
fn streams(count: u32, of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|number| of(2 * number + 1)).collect()
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn bomb() -> Vec<u8> {
    // One entry of the table, named some ten thousand times: 40 MB from 14 KB.
    let mut block = [GET, &[0x40, 1, b'a', 0x7f, 0xa1, 0x1e]].concat();
    block.extend_from_slice(&[b'b'; 4_000]);
    block.extend_from_slice(&[0xbe; 10_000]);
    block
}

fn attacks() -> Vec<Attack> {
    let calm = Ends::Connection(ENHANCE_YOUR_CALM);
    let broken = Ends::Connection(PROTOCOL_ERROR);
    let open = request(1, 0, POST);
    let field = [0, 1, b'a', 1, b'b'];
    vec![
        (
            "rapid reset",
            streams(300, |id| [request(id, END_STREAM, GET), frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat()),
            calm,
            "flood",
        ),
        (
            "a header block without an end",
            [frame(HEADERS, 0, 1, GET), frame(CONTINUATION, 0, 1, &field).repeat(200)].concat(),
            calm,
            "flood",
        ),
        ("a table entry named ten thousand times", request(1, END_STREAM, &bomb()), calm, "flood"),
        (
            "a table larger than was offered",
            request(1, END_STREAM, &[0x3f, 0xe1, 0xff, 0x03]),
            broken,
            "protocol-error",
        ),
        ("data without bytes", [open.clone(), frame(DATA, 0, 1, &[]).repeat(5_000)].concat(), calm, "flood"),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(6_000), calm, "flood"),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(6_000), calm, "flood"),
        ("windows that open byte by byte", window(0, 1).repeat(20_000), calm, "flood"),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(6_000), calm, "flood"),
        (
            "windows of streams that overflow, again and again",
            streams(150, |id| [request(id, 0, POST), window(id, 0x7fff_ffff)].concat()),
            calm,
            "flood",
        ),
        (
            "streams that depend on themselves, again and again",
            streams(150, |id| frame(PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[1]].concat())),
            calm,
            "flood",
        ),
        (
            "data after the end",
            [request(1, END_STREAM, GET), frame(DATA, 0, 1, b"x")].concat(),
            // For the stream it would be STREAM_CLOSED; RFC 9113 section 5.4.1 lets the whole connection end instead.
            broken,
            "protocol-error",
        ),
        ("a window that opens by nothing", [open.clone(), window(1, 0)].concat(), broken, "protocol-error"),
        (
            "a window beyond its limit",
            [open, window(1, 0x7fff_ffff)].concat(),
            Ends::Stream(FLOW_CONTROL_ERROR),
            "protocol-error",
        ),
        (
            "the connection's window beyond its limit",
            window(0, 0x7fff_ffff),
            Ends::Connection(FLOW_CONTROL_ERROR),
            "protocol-error",
        ),
        (
            "a stream that depends on itself",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 1]),
            Ends::Stream(PROTOCOL_ERROR),
            "protocol-error",
        ),
        ("an even stream", request(2, END_STREAM, GET), broken, "protocol-error"),
        ("an older stream", [request(5, 0, POST), request(3, END_STREAM, GET)].concat(), broken, "protocol-error"),
        ("data on a stream that is not open", frame(DATA, 0, 1, b"x"), broken, "protocol-error"),
    ]
}

/// Sends all of it and reads until the connection, or the stream if that is what must end, has ended.
async fn attack(baton: &Baton, bytes: &[u8], ends: Ends) -> Vec<Ends> {
    let stream = TcpStream::connect(baton.address()).await.expect("a connection");
    let (mut from, mut to) = stream.into_split();
    let wire = [PREFACE, &frame(SETTINGS, 0, 0, &[]), bytes].concat();
    let write = async {
        // The other side may have had enough before the end.
        let _ = to.write_all(&wire).await;
        to
    };
    let mut seen = Vec::new();
    let read = async {
        let mut unread = Vec::new();
        while !seen.contains(&ends) && from.read_buf(&mut unread).await.is_ok_and(|count| count > 0) {
            while unread.len() >= 9 {
                let length = u32::from_be_bytes([0, unread[0], unread[1], unread[2]]) as usize;
                if unread.len() < 9 + length {
                    break;
                }
                let frame: Vec<u8> = unread.drain(..9 + length).collect();
                let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
                match frame[3] {
                    GOAWAY => seen.push(Ends::Connection(word(13))),
                    RST_STREAM => seen.push(Ends::Stream(word(9))),
                    _ => {}
                }
            }
        }
    };
    // Whoever judges `seen` tells an end that did not come from one that did.
    let _in_time = timeout(SOON, async { tokio::join!(write, read) }).await;
    seen
}

#[tokio::test]
async fn every_attack_ends_with_its_code_is_counted_and_leaves_the_others_alone() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let mut baton = Baton::start(&Config::of(&masters)).await;
    let mut other = Client::connect(baton.address()).await;
    assert_eq!(other.get("/").await.status, 200);
    let mut wrong = Vec::new();
    for (what, bytes, ends, reason) in attacks() {
        let before = baton.metric("baton_refused_total", &[("reason", reason)]).await;
        let seen = attack(&baton, &bytes, ends).await;
        if !seen.contains(&ends) {
            wrong.push(format!("{what}: {ends:?} expected, not {seen:?}"));
        }
        eventually(&format!("{what} is counted as {reason}"), async || {
            (baton.metric("baton_refused_total", &[("reason", reason)]).await > before).then_some(())
        })
        .await;
        assert_eq!(other.get("/").await.status, 200, "another connection after {what}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    eventually("nothing is left at the master", async || (baton.master("a").await["in_flight"] == 0).then_some(()))
        .await;
    assert!(baton.process.running());
    assert!(!baton.process.said(crate::kit::process::Stream::Err).contains("panicked"));
}

#[tokio::test]
async fn a_header_that_is_too_large_is_answered_and_counted_as_that_and_nothing_else() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).listener("limits: { header_bytes: 4KiB }")).await;
    let mut client = Frames::connect(baton.address()).await;
    // Beyond 32 KiB a header is not even remembered.
    let field = literal(b"x-large", &[b'x'; 12_000]);
    for (stream, flags) in [(1, END_STREAM), (3, 0)] {
        client.send(HEADERS, flags, stream, &[GET, &field].concat()).await;
        client.send(CONTINUATION, 0, stream, &field).await;
        client.send(CONTINUATION, END_HEADERS, stream, &field).await;
        let head = client.expect(HEADERS).await;
        assert_eq!((head.stream, head.flags), (stream, END_HEADERS | END_STREAM));
        if flags == 0 {
            assert_eq!(client.expect(RST_STREAM).await.stream, stream);
        }
    }
    client.write(&request(5, END_STREAM, &[GET, &literal(b"x-large", &[b'x'; 5_000])].concat())).await;
    assert_eq!(client.expect(HEADERS).await.stream, 5);
    let said = client.expect(DATA).await;
    assert!(String::from_utf8_lossy(&said.payload).contains("larger than this listener takes"), "{said:?}");
    client.write(&request(7, END_STREAM, GET)).await;
    assert_eq!(client.expect(HEADERS).await.stream, 7);
    let counted = async |reason| baton.metric("baton_refused_total", &[("reason", reason)]).await;
    assert_eq!((counted("header-too-large").await, counted("protocol-error").await), (3.0, 0.0));
    assert_eq!(baton.master("a").await["requests"], 1);
}

#[tokio::test]
async fn a_connection_outlives_more_faults_than_it_may_make_at_once() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let mut client = Frames::connect(baton.address()).await;
    let mut stream = 1;
    for (count, pause) in [(80, 3), (40, 0)] {
        for _ in 0..count {
            // More than its length of none.
            let block = [POST, &literal(b"content-length", b"0")].concat();
            client.write(&[request(stream, 0, &block), frame(DATA, 0, stream, b"x")].concat()).await;
            let end = client.expect(RST_STREAM).await;
            assert_eq!((end.stream, &end.payload[..]), (stream, &PROTOCOL_ERROR.to_be_bytes()[..]));
            stream += 2;
        }
        sleep(Duration::from_secs(pause)).await;
    }
    client.write(&request(stream, END_STREAM, GET)).await;
    assert_eq!(client.expect(HEADERS).await.stream, stream);
}

#[tokio::test]
async fn a_body_that_drips_into_a_stream_is_given_up_although_no_pause_is_long() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let limits = "limits: { body_timeout: 1s, min_rate: 1KiB/s }";
    let baton = Baton::start(&Config::of(&masters).listener(limits)).await;
    let mut client = Client::connect(baton.address()).await;
    let (response, mut body) = client.begin(post("/", None), false).await;
    let started = Instant::now();
    while baton.metric("baton_refused_total", &[("reason", "body-timeout")]).await < 1.0 {
        assert!(started.elapsed() < SOON, "the stream is still served");
        // It fails once the stream is over, which the answer tells.
        let _ = body.send_data(Bytes::from_static(b"a"), false);
        sleep(Duration::from_millis(100)).await;
    }
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(answer(response).await.expect("an answer").status, 408);
    assert_eq!(client.get("/").await.status, 200, "another stream of the connection");
}

#[tokio::test]
async fn a_client_that_takes_no_answer_costs_a_window_and_its_place_for_a_moment() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().master("a", master.address, "").listener("limits: { body_timeout: 2s }").workers(1);
    let baton = Baton::start_unprobed(&config).await;
    let before = peak(&baton);
    let mut client = Client::connect(baton.address()).await;
    let (response, _) = client.begin(get("/"), true).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40)).await;
    let response = timeout(SOON, response).await.expect("in time").expect("an answer");
    let piece = vec![b'a'; 1 << 20];
    let pour = async { while upstream.send_if_open(&piece).await {} };
    let meanwhile = async {
        let mut other = Client::connect(baton.address()).await;
        let (response, _) = other.begin(get("/"), true).await;
        let mut upstream = master.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(answer(response).await.expect("an answer").status, 204);
        eventually("its place is free", async || (baton.master("a").await["in_flight"] == 0).then_some(())).await;
    };
    tokio::join!(pour, meanwhile);
    drop(response);
    let grown = peak(&baton).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for one answer that nobody takes");
}

/// The most that was ever resident, in bytes.
fn peak(baton: &Baton) -> u64 {
    let status = std::fs::read_to_string(baton.process.proc("status")).expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB")
}

#[tokio::test]
async fn trailers_that_are_too_large_end_their_own_request_and_are_counted() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let mut client = Frames::connect(baton.address()).await;
    let large = |bytes: usize| literal(b"x-large", &vec![b'l'; bytes]);
    let small = literal(b"x-small", b"s");
    // An entry of the table of 4000 bytes, named ten times.
    let entry = [&[0x40, 1, b'b', 0x7f, 0xa1, 0x1e][..], &[b'b'; 4_000], &[0xbe; 10]].concat();
    let cases = [
        ("as large as they may be", vec![small.clone(), large(8_000)], true),
        ("too large", vec![small.clone(), large(9_000)], false),
        ("so large that one of them is left out", vec![small.clone(), large(40_000), small.clone()], false),
        ("more than comes over the wire", vec![small.clone(), entry], false),
        ("none", vec![], true),
    ];
    for (stream, (what, fields, taken)) in (1..).step_by(2).zip(cases) {
        client.send(HEADERS, END_HEADERS, stream, POST).await;
        client.send(DATA, 0, stream, b"hello").await;
        let block = fields.concat();
        let (first, rest) = block.split_at(block.len().min(16_000));
        let end = |last: bool| if last { END_HEADERS } else { 0 };
        client.send(HEADERS, END_STREAM | end(rest.is_empty()), stream, first).await;
        for piece in rest.chunks(12_000) {
            client.send(CONTINUATION, end(piece.len() < 12_000), stream, piece).await;
        }
        let answer = client.expect(HEADERS).await;
        assert_eq!((answer.stream, answer.payload.starts_with(STATUS_200)), (stream, taken), "{what}: {answer:?}");
        while client.expect(DATA).await.flags & END_STREAM == 0 {}
    }
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "header-too-large")]).await, 3.0);
    assert_eq!(baton.metric("baton_requests_total", &[("code", "4xx")]).await, 3.0);
}
