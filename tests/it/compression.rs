//! Answers are made smaller for clients that take it, whole for every decoder, and left alone where they must be.

use http::Request;
use tokio::net::TcpStream;

use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::tools::decoded;
use crate::kit::{Baton, Config, among_others, eventually, h2};

const CODINGS: [&str; 3] = ["gzip", "zstd", "br"];

const ROUTE: &str = "compression: { content_types: [text/*, application/json] }";

async fn start(route: &str) -> (RawMaster, Baton) {
    let master = RawMaster::bind().await;
    let config = Config::empty().master("a", master.address, "").route(route).workers(1);
    let baton = Baton::start_unprobed(&config).await;
    (master, baton)
}

fn text(bytes: usize) -> String {
    (0..)
        .flat_map(|number: u32| format!("message {number} of a conversation\n").into_bytes())
        .take(bytes)
        .map(char::from)
        .collect()
}

async fn line(raw: &mut Raw) -> String {
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        line.push(char::from(raw.take(1).await[0]));
    }
    line.trim_end().to_owned()
}

/// The next chunk of a body; empty for the last one.
async fn chunk(raw: &mut Raw) -> Vec<u8> {
    let size = usize::from_str_radix(&line(raw).await, 16).expect("the size of a chunk");
    let data = raw.take(size).await;
    if size > 0 {
        raw.expect("\r\n").await;
    }
    data
}

async fn chunked(raw: &mut Raw) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        match chunk(raw).await {
            piece if piece.is_empty() => return body,
            piece => body.extend(piece),
        }
    }
}

async fn asked(baton: &Baton, accept: &str) -> Raw {
    let mut client = Raw::connect(baton.address()).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accept}\r\n\r\n")).await;
    client
}

/// Answers the next connection's request with these bytes.
async fn answer(master: &RawMaster, bytes: impl AsRef<[u8]>) -> Raw {
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send(bytes).await;
    upstream
}

fn whole(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

async fn encoded_over_http1(coding: &str) {
    let (master, baton) = start(ROUTE).await;
    let body = text(300_000);
    let mut client = asked(&baton, &format!("{coding}, deflate")).await;
    let fields = "Content-Type: text/plain\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\n";
    let mut upstream = answer(&master, whole(fields, &body)).await;
    let head = client.head().await;
    let wanted = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: W/\"1\"\r\nTransfer-Encoding: chunked\r\n\
         Content-Encoding: {coding}\r\nVary: Accept-Encoding\r\n\r\n"
    );
    assert_eq!(head, wanted);
    let encoded = chunked(&mut client).await;
    client.expect("\r\n").await;
    assert!(encoded.len() < body.len() / 5, "{}", encoded.len());
    assert!(decoded(coding, &encoded) == (body.clone().into_bytes(), true));

    // The connections of both sides go on; and trailers follow what was encoded.
    client.send(format!("GET /2 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n")).await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    upstream.send("5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n").await;
    assert_eq!(header(&client.head().await, "content-encoding"), Some(coding));
    let encoded = chunked(&mut client).await;
    client.expect("x-sum: 7\r\n\r\n").await;
    assert!(decoded(coding, &encoded) == (b"hello".to_vec(), true));

    let counted = [("route", "webhooks"), ("outcome", coding)];
    assert_eq!(baton.metric("baton_compressed_total", &counted).await, 2.0);
    assert_eq!(baton.metric("baton_compression_bytes_total", &[("stage", "before")]).await, body.len() as f64 + 5.0);
}

async fn encoded_over_http2(coding: &str) {
    let (master, baton) = start(ROUTE).await;
    let body = text(300_000);
    let mut client = h2::Client::connect(baton.address()).await;
    let request = || Request::get("http://x/").header("accept-encoding", coding).body(()).unwrap();
    let (response, _) = client.begin(request(), true).await;
    let answered = answer(&master, whole("Content-Type: text/plain\r\nETag: \"1\"\r\n", &body));
    let (mut upstream, answer) = tokio::join!(answered, h2::answer(response));
    let answer = answer.unwrap();
    assert_eq!(answer.headers["content-encoding"], coding);
    assert_eq!(answer.headers["vary"], "Accept-Encoding");
    assert_eq!(answer.headers["etag"], "W/\"1\"");
    assert!(!answer.headers.contains_key("content-length") && !answer.headers.contains_key("transfer-encoding"));
    assert!(decoded(coding, &answer.body) == (body.into_bytes(), true));

    let (response, _) = client.begin(request(), true).await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    upstream.send("5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n").await;
    let answer = h2::answer(response).await.unwrap();
    assert!(decoded(coding, &answer.body) == (b"hello".to_vec(), true));
    assert_eq!(answer.trailers.unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn gzip_is_read_by_others_over_http1_and_http2() {
    let _machine = among_others().await;
    encoded_over_http1("gzip").await;
    encoded_over_http2("gzip").await;
}

#[tokio::test]
async fn zstd_is_read_by_others_over_http1_and_http2() {
    let _machine = among_others().await;
    encoded_over_http1("zstd").await;
    encoded_over_http2("zstd").await;
}

#[tokio::test]
async fn brotli_is_read_by_others_over_http1_and_http2() {
    let _machine = among_others().await;
    encoded_over_http1("br").await;
    encoded_over_http2("br").await;
}

#[tokio::test]
async fn what_must_not_be_encoded_passes_byte_by_byte() {
    let _machine = among_others().await;
    let (master, baton) = start(ROUTE).await;
    let body = text(3_000);
    let html = "Content-Type: text/html\r\n";
    let get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n";
    for (request, fields, status) in [
        (get, "Content-Type: text/html\r\nContent-Encoding: br\r\n", "200 OK"),
        (get, "Content-Type: text/html\r\nCache-Control: public, no-transform\r\n", "200 OK"),
        (get, "Content-Type: text/html\r\nContent-Range: bytes 0-2999/9000\r\n", "206 Partial Content"),
        (get, "Content-Type: image/png\r\n", "200 OK"),
        (get, "", "200 OK"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n",
            "Content-Type: text/html\r\nContent-MD5: x\r\n",
            "200 OK",
        ),
    ] {
        let mut client = Raw::connect(baton.address()).await;
        client.send(request).await;
        let _upstream = answer(
            &master,
            format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 3000\r\nConnection: close\r\n\r\n{body}"),
        )
        .await;
        let wanted = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 3000\r\nConnection: close\r\n\r\n{body}");
        assert_eq!(client.rest().await, wanted);
    }
    // A cache must not give what is encoded to those who do not take it, nor the other way round.
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip;q=0, identity\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        // It could not tell the end of an answer without a length from one that was broken off.
        "GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n",
    ] {
        let mut client = Raw::connect(baton.address()).await;
        client.send(request).await;
        let _upstream = answer(
            &master,
            format!("HTTP/1.1 200 OK\r\n{html}Content-Length: 3000\r\nConnection: close\r\n\r\n{body}"),
        )
        .await;
        let wanted = format!(
            "HTTP/1.1 200 OK\r\n{html}Content-Length: 3000\r\nConnection: close\r\nVary: Accept-Encoding\r\n\r\n{body}"
        );
        assert_eq!(client.rest().await, wanted);
    }
    // Answers without a body, whatever they say about one.
    for (method, status) in [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")] {
        let mut client = Raw::connect(baton.address()).await;
        client
            .send(format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n"))
            .await;
        let length = if status.starts_with("204") { "" } else { "Content-Length: 3000\r\n" };
        let head = format!("HTTP/1.1 {status}\r\n{html}{length}Connection: close\r\n\r\n");
        let _upstream = answer(&master, &head).await;
        assert_eq!(client.rest().await, head);
    }
    assert_eq!(baton.metric("baton_compressed_total", &[]).await, 0.0);
}

/// As much of the start of a body as can be told from what there is.
fn start_of(coding: &str, encoded: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut reader: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(encoded)),
        "br" => Box::new(brotli::Decompressor::new(encoded, 4096)),
        _ => Box::new(zstd::stream::read::Decoder::new(encoded).unwrap()),
    };
    let (mut out, mut piece) = (Vec::new(), [0; 64]);
    while let Ok(count @ 1..) = reader.read(&mut piece) {
        out.extend_from_slice(&piece[..count]);
    }
    out
}

#[tokio::test]
async fn what_a_master_sends_slowly_is_with_the_client_before_the_next_of_it() {
    let _machine = among_others().await;
    let (master, baton) = start("compression: { content_types: [text/event-stream] }").await;
    for coding in CODINGS {
        let mut client = asked(&baton, coding).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        let mut upstream = answer(&master, head).await;
        assert_eq!(header(&client.head().await, "content-encoding"), Some(coding));
        let (mut sent, mut encoded) = (String::new(), Vec::new());
        for number in 0..5 {
            let event = format!("data: event {number}\n\n");
            upstream.send(&event).await;
            sent += &event;
            while start_of(coding, &encoded).len() < sent.len() {
                encoded.extend(chunk(&mut client).await);
            }
            assert_eq!(String::from_utf8(start_of(coding, &encoded)).unwrap(), sent, "{coding}");
        }
        drop(upstream);
        encoded.extend(chunked(&mut client).await);
        client.expect("\r\n").await;
        assert!(decoded_whole(coding, &encoded) == sent.into_bytes());
    }
}

fn decoded_whole(coding: &str, encoded: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut out = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(encoded).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut out),
        _ => zstd::stream::read::Decoder::new(encoded).unwrap().read_to_end(&mut out),
    }
    .expect("a complete body");
    out
}

#[tokio::test]
async fn an_answer_that_its_master_breaks_off_does_not_look_complete() {
    let _machine = among_others().await;
    let (master, baton) = start(ROUTE).await;
    let body = text(50_000);
    let head = |framing: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{framing}\r\n\r\n");
    for coding in ["gzip", "zstd"] {
        for broken in [
            head("Content-Length: 60000") + &body,
            head("Transfer-Encoding: chunked") + &format!("{:x}\r\n{body}\r\n", body.len()),
            head("Transfer-Encoding: chunked") + &format!("{:x}\r\n{body}\r\nbad\r\n", body.len()),
        ] {
            let mut client = asked(&baton, coding).await;
            drop(answer(&master, &broken).await);
            assert_eq!(header(&client.head().await, "content-encoding"), Some(coding));
            let mut rest = Vec::new();
            while client.first().await.is_some() {
                let piece = chunk(&mut client).await;
                assert!(!piece.is_empty(), "the last chunk says that nothing is missing");
                rest.extend(piece);
            }
            let (start, complete) = decoded(coding, &rest);
            assert!(!complete && body.as_bytes().starts_with(&start), "{coding}: {} bytes", start.len());

            let mut client = h2::Client::connect(baton.address()).await;
            let request = Request::get("http://x/").header("accept-encoding", coding).body(()).unwrap();
            let (response, _) = client.begin(request, true).await;
            drop(answer(&master, &broken).await);
            let error = h2::answer(response).await.expect_err("the stream is reset");
            assert_eq!(error.reason(), Some(::h2::Reason::INTERNAL_ERROR));
        }
    }
}

#[tokio::test]
async fn encodings_under_way_take_bounded_memory_and_others_go_on_as_they_are() {
    let _machine = among_others().await;
    let (master, baton) = start("compression: { algorithms: [br], content_types: [text/plain], level: best }").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut open: Vec<(Raw, Raw)> = Vec::new();
    let mut plain = 0;
    for _ in 0..25 {
        let mut client = asked(&baton, "br").await;
        let upstream = answer(&master, format!("{head}5\r\nhello\r\n")).await;
        let head = client.head().await;
        assert_eq!(header(&head, "vary"), Some("Accept-Encoding"));
        plain += usize::from(header(&head, "content-encoding").is_none());
        open.push((client, upstream));
    }
    // Of three megabytes each, 21 fit into 64.
    assert_eq!(plain, 4);
    assert_eq!(baton.metric("baton_compressed_total", &[("outcome", "busy")]).await, 4.0);
    drop(open);
    eventually("room again", async || {
        let mut client = asked(&baton, "br").await;
        let _upstream = answer(&master, format!("{head}5\r\nhello\r\n0\r\n\r\n")).await;
        header(&client.head().await, "content-encoding").map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn baton_can_compress_in_the_masters_place_and_rules_see_the_answer_before() {
    let _machine = among_others().await;
    let route = "\
compression: { algorithms: [gzip], min_bytes: 0B, content_types: [text/html] }
request_headers: { remove: [accept-encoding] }
response_headers: { remove: [vary], set: [{ name: x-by, value: baton }] }";
    let (master, baton) = start(route).await;
    let mut client = asked(&baton, "gzip").await;
    let mut upstream = master.accept().await;
    assert_eq!(header(&upstream.head().await, "accept-encoding"), None);
    upstream.send(whole("Content-Type: text/html\r\nVary: Origin\r\n", "hello")).await;
    let head = client.head().await;
    assert_eq!(header(&head, "vary"), Some("Accept-Encoding"), "{head}");
    assert!(head.contains("\r\nx-by: baton\r\n") && !head.contains("Origin"), "{head}");
    assert!(decoded("gzip", &chunked(&mut client).await) == (b"hello".to_vec(), true));
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_the_whole_of_a_large_answer() {
    let _machine = among_others().await;
    let (master, baton) = start(ROUTE).await;
    // Bytes that do not become smaller, so that the sockets on the way are full.
    let mut state = 1_u64;
    let body: String = (0..8_000_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b' ' + (state >> 40) as u8 % 94)
        })
        .collect();
    let stream = TcpStream::connect(baton.address()).await.unwrap();
    let mut client = Raw::over(stream);
    client.send("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: zstd\r\n\r\n").await;
    let sending = tokio::spawn({
        let body = body.clone();
        async move { answer(&master, whole("Content-Type: text/plain\r\n", &body)).await }
    });
    assert_eq!(header(&client.head().await, "content-encoding"), Some("zstd"));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let encoded = chunked(&mut client).await;
    assert!(decoded("zstd", &encoded) == (body.into_bytes(), true));
    sending.await.unwrap();
}
