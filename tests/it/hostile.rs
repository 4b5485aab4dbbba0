//! What attackers, broken peers and bad luck send, and that nobody else has to suffer for it.

mod fuzz;

use std::time::Duration;

use rustix::process::Signal;

use crate::kit::process::Stream;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, eventually};

/// A Baton in front of one scripted master, and a connection to it.
async fn between() -> (Baton, RawMaster, Raw) {
    between_with(Config::empty()).await
}

async fn between_with(config: Config) -> (Baton, RawMaster, Raw) {
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config.master("a", master.address, "")).await;
    let client = Raw::connect(baton.address()).await;
    (baton, master, client)
}

#[tokio::test]
async fn a_refused_client_that_goes_on_sending_can_read_why_to_the_end() {
    let _machine = among_others().await;
    let (baton, _master, mut client) = between().await;
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n";
    client.send(request.to_owned() + &"a".repeat(10_000)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    // Whoever closes with bytes unread resets the connection, and the answer may be lost on the way.
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.send("a".repeat(1_000)).await;
    }
    client.finish().await;
    assert!(client.rest().await.ends_with("}\n"));
    assert!(!baton.process.said(Stream::Err).contains("panicked"));
}

#[tokio::test]
async fn a_client_that_reads_no_interim_answers_holds_no_place_at_the_master() {
    let _machine = among_others().await;
    let config = Config::empty().upstream("retry: { per_try_timeout: 1s }");
    let (baton, master, mut client) = between_with(config).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "a".repeat(60_000));
    // More than the socket buffers on the way take; the connection may be closed meanwhile.
    let flood = async {
        for _ in 0..99 {
            upstream.send_if_open(&hint).await;
        }
    };
    let freed = eventually("its place is free", async || (baton.master("a").await["in_flight"] == 0).then_some(()));
    tokio::join!(flood, freed);
    drop(client);
}

/// Two bytes of an answer while the upload goes on.
const EARLY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n12";

#[tokio::test]
async fn an_early_answer_does_not_lift_the_limit_on_the_body() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between_with(Config::empty().listener("limits: { body_bytes: 1KiB }")).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.expect("1\r\na\r\n").await.send(EARLY).await;
    client.head().await;
    client.expect("12").await;
    let chunk = format!("3e8\r\n{}\r\n", "a".repeat(1000));
    for _ in 0..10 {
        client.send(&chunk).await;
        upstream.send("3").await;
        client.expect("3").await;
    }
    let forwarded = upstream.rest().await.len();
    assert!(forwarded < 2 * chunk.len() + 10, "{forwarded} bytes");
}

#[tokio::test]
async fn a_chunk_that_cannot_fit_is_refused_when_its_size_is_told() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between_with(Config::empty().listener("limits: { body_bytes: 1KiB }")).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.expect("1\r\na\r\n").await;
    // One byte more than what is left, of which none has come yet.
    client.send("400\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 413 "));
    assert_eq!(upstream.rest().await, "");
}

#[tokio::test]
async fn a_client_that_stops_in_its_upload_is_not_the_masters_failure() {
    let _machine = among_others().await;
    let config = Config::empty().listener("limits: { body_timeout: 300ms }");
    let config = config.upstream("outlier_detection: { consecutive_failures: 1 }");
    let (baton, master, mut client) = between_with(config).await;
    for end in ["", "no chunk\r\n"] {
        client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
        let mut upstream = master.accept().await;
        upstream.head().await;
        upstream.expect("1\r\na\r\n").await.send(EARLY).await;
        client.head().await;
        client.send(end).await;
        assert_eq!(client.rest().await, "12");
        upstream.expect_end().await;
        assert_eq!(baton.master("a").await["ejected"], false);
        client = Raw::connect(baton.address()).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_behind_a_body_larger_than_a_buffer() {
    let _machine = among_others().await;
    let (baton, master, mut client) = between().await;
    let body = "a".repeat(40_000);
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n{body}")).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.expect(&body).await;
    client.reset();
    eventually("its place is free", async || (baton.master("a").await["in_flight"] == 0).then_some(())).await;
    upstream.expect_end().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_queues_frees_its_place_in_the_queue() {
    let _machine = among_others().await;
    let limits = "limits: { max_in_flight: 1, max_queue: 1, queue_timeout: 30s }";
    let (baton, master, mut first) = between_with(Config::empty().upstream(limits)).await;
    first.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    let mut second = Raw::connect(baton.address()).await;
    second.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    eventually("one waits", async || (baton.master("a").await["queued"] == 1).then_some(())).await;
    second.reset();
    eventually("nobody waits", async || (baton.master("a").await["queued"] == 0).then_some(())).await;
    let mut third = Raw::connect(baton.address()).await;
    third.send("GET /3 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    let mut upstream = master.accept().await;
    assert!(upstream.head().await.starts_with("GET /3 "));
}

#[tokio::test]
async fn a_request_as_long_as_the_buffer_leaves_an_idle_connection_and_not_a_late_one() {
    let _machine = among_others().await;
    let config = Config::empty().listener("limits: { header_timeout: 200ms }").route("match: { path: /only }");
    let (_baton, _master, mut client) = between_with(config).await;
    let start = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
    client.send(format!("{start}{}\r\n\r\n", "a".repeat(16_384 - start.len() - 4))).await;
    for _ in 0..2 {
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        client.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
        // Nothing has begun, so no time-out of something that has may strike.
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_request_that_comes_with_the_order_to_stop_is_answered() {
    let _machine = among_others().await;
    let (mut baton, master, mut idle) = between().await;
    idle.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    idle.head().await;
    // One on a connection that was idle, one on a connection that nobody has accepted yet.
    baton.process.signal(Signal::STOP);
    let mut new = Raw::connect(baton.address()).await;
    for client in [&mut idle, &mut new] {
        client.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    }
    baton.process.signal(Signal::TERM);
    baton.process.signal(Signal::CONT);
    for _ in 0..2 {
        let mut upstream = master.accept().await;
        assert!(upstream.head().await.starts_with("GET /2 "));
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    }
    for client in [&mut idle, &mut new] {
        assert!(client.rest().await.starts_with("HTTP/1.1 200 "));
    }
    assert!(baton.process.ended().await.success());
}

#[tokio::test]
async fn a_master_that_switches_protocols_unasked_ends_the_connection_it_says_it_ends() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(header(&head, "connection"), Some("close"));
    client.rest().await;
}

#[tokio::test]
async fn unusual_requests_that_are_in_order_pass() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    let cookie = format!("Cookie: {}", "c=d; ".repeat(3_000));
    // What is sent, and what the master has to get of it: the request line and another line.
    let cases: [(Vec<u8>, &str, &[u8]); 17] = [
        (b"GET /1 HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n".into(), "GET /1 ", b"accept: */*"),
        (b"GET /2 HTTP/1.1\r\nHost: x\r\nX: caf\xc3\xa9 \xff\r\n\r\n".into(), "GET /2 ", b"X: caf\xc3\xa9 \xff"),
        (format!("GET /3 HTTP/1.1\r\nHost: x\r\n{cookie}\r\n\r\n").into(), "GET /3 ", cookie.as_bytes()),
        (b"GET /4 HTTP/1.1\r\nHost: x\r\nX-Empty:\r\n\r\n".into(), "GET /4 ", b"X-Empty:"),
        (b"GET http://x/5?q HTTP/1.1\r\nHost: x\r\n\r\n".into(), "GET /5?q ", b"Host: x"),
        (b"GET HTTP://x HTTP/1.1\r\nHost: x\r\n\r\n".into(), "GET / ", b"Host: x"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".into(), "OPTIONS * ", b"Host: x"),
        (b"GET /8 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(), "GET /8 ", b"Host: "),
        (b"POST /9 HTTP/1.1\r\nHost: x\r\n\r\n".into(), "POST /9 ", b"Host: x"),
        (b"POST /10 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".into(), "POST /10 ", b"Content-Length: 0"),
        (b"GET /11 HTTP/1.1\r\nHost: x\r\nX: a \t \r\n\r\n".into(), "GET /11 ", b"X: a \t "),
        (b"GET /12 HTTP/1.1\r\nHost:x\r\nX:a\r\n\r\n".into(), "GET /12 ", b"X:a"),
        (b"\r\nGET /13 HTTP/1.1\r\nHost: x\r\n\r\n".into(), "GET /13 ", b"Host: x"),
        (
            b"GET /%7e%C3%A9/\xc3\xa9|{}\"<> HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            "GET /%7e%C3%A9/\u{e9}|{}\"<> ",
            b"Host: x",
        ),
        (b"PROPFIND /15 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".into(), "PROPFIND /15 ", b"Host: [::1]:80"),
        (b"GET /16 HTTP/1.1\r\nHost: x\r\nX_Own_1: a\r\n!#$%&'*+-.^`|~: b\r\n\r\n".into(), "GET /16 ", b"X_Own_1: a"),
        (
            b"DELETE /17 HTTP/1.1\r\nHost: x\r\nIf-Match: \"a\", \"b\"\r\n\r\n".into(),
            "DELETE /17 ",
            b"If-Match: \"a\", \"b\"",
        ),
    ];
    client
        .send("PUT /0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\nA;e=\"f\"\r\n0123456789\r\n000\r\n\r\n")
        .await;
    let mut upstream = master.accept().await;
    assert!(upstream.head().await.starts_with("PUT /0 HTTP/1.1\r\n"));
    upstream.expect("a\r\n0123456789\r\n0\r\n\r\n").await;
    for (request, start, line) in cases {
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        client.send(request).await;
        let head = upstream.head_bytes().await;
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        assert_eq!(String::from_utf8_lossy(lines.next().unwrap()), format!("{start}HTTP/1.1"));
        assert!(lines.any(|got| got == line), "{}", String::from_utf8_lossy(&head));
    }
}
