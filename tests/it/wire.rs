//! Byte by byte: what a master gets of a request and a client of an answer, and what is refused.

use tokio::time::Instant;

use crate::kit::config::RETRY;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, masters};

/// A Baton in front of one scripted master, and a connection to it.
async fn between() -> (Baton, RawMaster, Raw) {
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&Config::empty().master("a", master.address, "")).await;
    let client = Raw::connect(baton.address()).await;
    (baton, master, client)
}

#[tokio::test]
async fn a_request_and_its_answer_pass_with_their_bodies() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("POST /a?b=c HTTP/1.1\r\nHost: bot.example\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut upstream = master.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{head}");
    assert_eq!((header(&head, "host"), header(&head, "x-own")), (Some("bot.example"), Some("1")));
    assert_eq!(header(&head, "content-length"), Some("5"));
    upstream.expect("hello").await;
    upstream.send("HTTP/1.1 201 Created\r\nX-Its: 2\r\nContent-Length: 2\r\n\r\nok").await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!((header(&answer, "x-its"), header(&answer, "content-length")), (Some("2"), Some("2")));
    client.expect("ok").await;
}

#[tokio::test]
async fn both_connections_are_used_again() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    for number in 1..=5 {
        let head = upstream.head().await;
        assert!(head.starts_with(&format!("GET /{number} ")), "{head}");
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        client.head().await;
        client.send(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", number + 1)).await;
    }
}

#[tokio::test]
async fn a_chunked_body_arrives_whole_in_either_direction() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    client.send("6\r\n world\r\n0\r\n\r\n").await;
    let mut upstream = master.accept().await;
    let head = upstream.head().await;
    let body = match (header(&head, "content-length"), header(&head, "transfer-encoding")) {
        (Some(length), None) => upstream.take(length.parse().unwrap()).await,
        (None, Some("chunked")) => unchunked(&mut upstream).await,
        framing => panic!("{framing:?}"),
    };
    assert_eq!(body, b"hello world");
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n").await;
    let answer = client.head().await;
    assert_eq!(header(&answer, "transfer-encoding"), Some("chunked"));
    assert_eq!(unchunked(&mut client).await, b"abcdef");
}

async fn unchunked(from: &mut Raw) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(from.take(1).await);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        body.extend(from.take(size).await);
        from.expect("\r\n").await;
        if size == 0 {
            return body;
        }
    }
}

#[tokio::test]
async fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.finish().await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(client.rest().await.ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn headers_of_one_connection_stay_on_it() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\n\
             Proxy-Connection: keep-alive\r\nTE: trailers\r\nX-Kept: 2\r\n\r\n",
        )
        .await;
    let mut upstream = master.accept().await;
    let head = upstream.head().await;
    for name in ["x-mine", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(header(&head, name), None, "{name} was forwarded: {head}");
    }
    assert_eq!(header(&head, "x-kept"), Some("2"));
    upstream
        .send("HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert_eq!((header(&answer, "x-hop"), header(&answer, "keep-alive")), (None, None), "{answer}");
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_reaches_no_master() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let requests = [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nName : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nName: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n",
    ];
    for request in requests {
        let mut client = Raw::connect(baton.address()).await;
        client.send(request).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?} was answered with {answer:?}");
    }
    assert_eq!(masters[0].seen().await.requests, 0);
}

#[tokio::test]
async fn limits_have_the_status_that_names_them() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).listener("limits: { header_bytes: 2KiB, body_bytes: 1KiB }");
    let baton = Baton::start(&config).await;
    let long_header = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(4096));
    let long_body = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n".to_owned();
    let endless =
        format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}", "a".repeat(2048));
    for (request, status) in [(long_header, 431), (long_body, 413), (endless, 413)] {
        let mut client = Raw::connect(baton.address()).await;
        client.send(&request).await;
        let answer = client.head().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(masters[0].seen().await.requests, 0);
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).listener("limits: { header_timeout: 300ms, body_timeout: 300ms }");
    let baton = Baton::start(&config).await;
    for start in ["GET / HTTP/1.1\r\nHost: x\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel"] {
        let mut client = Raw::connect(baton.address()).await;
        let before = Instant::now();
        client.send(start).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{start:?} was answered with {answer:?}");
        assert!(before.elapsed().as_millis() >= 250, "given up after {:?}", before.elapsed());
    }
}

#[tokio::test]
async fn a_master_that_closes_without_an_answer_is_replaced() {
    let _machine = among_others().await;
    let dying = RawMaster::bind().await;
    let masters = masters(["b"]).await;
    let config = Config::empty().master("a", dying.address, "").master("b", masters[0].address, "");
    let baton = Baton::start_unprobed(&config.upstream(RETRY)).await;
    // Whichever comes first in turn, two requests reach the dying one at least once.
    let mut client = Raw::connect(baton.address()).await;
    let both = async {
        for _ in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}").await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_eq!(header(&head, "x-master"), Some("b"));
            client.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
        }
    };
    let death = async {
        let mut connection = dying.accept().await;
        assert!(connection.head().await.starts_with("POST / "));
        connection.expect("{}").await;
    };
    tokio::join!(both, death);
}

#[tokio::test]
async fn a_broken_answer_is_502_and_its_connection_is_not_used_again() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    upstream.expect_end().await;
}

#[tokio::test]
async fn a_websocket_passes_in_both_directions_until_one_side_closes() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let mut client = Raw::connect(baton.address()).await;
    client
        .send(
            "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    // "hi" under an all-zero mask, a hundred times, then a close with code 1000.
    for _ in 0..100 {
        client.send(b"\x81\x82\0\0\0\0hi").await.expect(b"\x81\x02hi").await;
    }
    client.send(b"\x88\x82\0\0\0\0\x03\xe8").await.expect(b"\x88\x02\x03\xe8").await.expect_end().await;
}

#[tokio::test]
async fn an_unknown_route_is_404() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).route("match: { path_prefix: /webhook }")).await;
    let mut client = Raw::connect(baton.address()).await;
    for (path, status) in [("/webhook", 200), ("/webhook/a", 200), ("/webhooks", 404), ("/", 404)] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        client.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
    }
}
