//! HTTP/2 from clients that keep to it: what they send arrives, what masters answer comes back, and nothing is lost when
//! Baton reloads or leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::h2::{Client, answer, begin, get, post};
use crate::kit::raw::{RawMaster, header};
use crate::kit::{Baton, Config, SOON, among_others, eventually, masters};

const LARGE: usize = 3 << 20;

fn scripted(master: &RawMaster) -> Config {
    Config::empty().master("a", master.address, "")
}

#[tokio::test]
async fn streams_of_one_connection_are_dealt_to_masters_one_by_one() {
    let _shared = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).workers(1)).await;
    let mut client = Client::connect(baton.address()).await;
    let mut asked = Vec::new();
    for _ in 0..30 {
        asked.push(client.begin(get("/x"), true).await.0);
    }
    let mut counts = std::collections::BTreeMap::new();
    for response in asked {
        let answer = answer(response).await.expect("an answer");
        assert_eq!(answer.status, 200);
        *counts.entry(answer.master().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    assert_eq!(baton.metric("baton_requests_total", &[("code", "2xx")]).await, 30.0);
}

#[tokio::test]
async fn a_request_reaches_its_master_as_one_of_http_1_with_all_it_says() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    let request = Request::post("http://bot.example/webhook?a=b")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("content_length", "77")
        .header("x-forwarded-for", "10.0.0.1")
        .header("content-length", "5");
    let (response, mut stream) = client.begin(request.body(()).expect("a request"), false).await;
    stream.send_data(Bytes::from_static(b"hello"), true).expect("an open stream");
    let mut seen = master.accept().await;
    let head = seen.head().await;
    assert!(head.starts_with("POST /webhook?a=b HTTP/1.1\r\nHost: bot.example\r\n"), "{head}");
    assert_eq!(header(&head, "cookie"), Some("a=1; b=2"));
    assert_eq!(header(&head, "content-length"), Some("5"));
    assert_eq!(header(&head, "x-forwarded-for"), Some("127.0.0.1"));
    for gone in ["te", "content_length", "transfer-encoding"] {
        assert_eq!(header(&head, gone), None, "{head}");
    }
    seen.expect("hello").await;
    seen.send("HTTP/1.1 201 Made\r\nX-Kept: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok").await;
    let answer = answer(response).await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (201, &b"ok"[..]));
    assert_eq!(answer.headers["x-kept"], "1");
    assert!(!answer.headers.contains_key("x-hop") && !answer.headers.contains_key("connection"));
}

#[tokio::test]
async fn trailers_pass_both_ways_and_interim_answers_too() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    let (mut response, mut stream) = client.begin(post("/grpc", None), false).await;
    stream.send_data(Bytes::from_static(b"hello"), false).expect("an open stream");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "9".parse().expect("a value"));
    trailers.insert("content-type", "text/evil".parse().expect("a value"));
    stream.send_trailers(trailers).expect("an open stream");
    let mut seen = master.accept().await;
    let head = seen.head().await;
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"), "{head}");
    seen.expect("5\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n").await;
    seen.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    seen.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nGrpc-Status: 0\r\n\r\n").await;
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.expect("an interim answer");
    assert_eq!(interim.expect("no error").status(), 103);
    let answer = answer(response).await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hi"[..]));
    assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn an_answer_that_its_master_cuts_short_ends_in_a_reset_and_not_in_an_end() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    let (response, _) = client.begin(get("/"), true).await;
    let mut seen = master.accept().await;
    seen.head().await;
    seen.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    drop(seen);
    let error = answer(response).await.expect_err("the answer is not whole");
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{error}");
}

#[tokio::test]
async fn a_client_that_resets_its_stream_frees_the_master() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    let (response, mut stream) = client.begin(get("/"), true).await;
    let mut seen = master.accept().await;
    seen.head().await;
    stream.send_reset(h2::Reason::CANCEL);
    seen.expect_end().await;
    drop(response);
    eventually("the place is free", async || (baton.master("a").await["in_flight"] == 0).then_some(())).await;
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions_at_once() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    let (response, mut stream) = client.begin(post("/", Some(LARGE)), false).await;
    let seen = tokio::spawn(async move {
        let mut seen = master.accept().await;
        seen.head().await;
        let body = seen.take(LARGE).await;
        seen.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await.send(&body).await;
        body
    });
    let sent: Vec<u8> = (0..LARGE).map(|at| (at / 7) as u8).collect();
    let mut rest = Bytes::from(sent.clone());
    let upload = async move {
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.expect("open").expect("room");
            let part = rest.split_to(room.min(rest.len()));
            stream.send_data(part, rest.is_empty()).expect("an open stream");
        }
    };
    let ((), answer) = tokio::join!(upload, answer(response));
    assert!(answer.expect("an answer").body == sent && seen.await.expect("no panic") == sent);
}

#[tokio::test]
async fn a_web_socket_over_a_stream_carries_bytes_until_both_sides_end() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    client.settled().await;
    let mut request = Request::connect("http://bot.example/socket").header("sec-websocket-version", "13").body(());
    let extensions = request.as_mut().expect("a request").extensions_mut();
    extensions.insert(h2::ext::Protocol::from_static("websocket"));
    let (response, mut to) = client.begin(request.expect("a request"), false).await;
    let mut seen = master.accept().await;
    let head = seen.head().await;
    assert!(head.starts_with("GET /socket HTTP/1.1\r\n"), "{head}");
    assert_eq!((header(&head, "upgrade"), header(&head, "connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(header(&head, "sec-websocket-version"), Some("13"));
    let key = header(&head, "sec-websocket-key").expect("a key");
    assert_eq!(key.len(), 24);
    let accept = baton::http::websocket::accept(key.as_bytes());
    seen.send(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst")).await;
    let response = tokio::time::timeout(SOON, response).await.expect("in time").expect("an answer");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["sec-websocket-protocol"]),
        (200, &"chat".parse::<http::HeaderValue>().expect("a value"))
    );
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut from = response.into_body();
    assert_eq!(from.data().await.expect("data").expect("no error"), "first");
    to.send_data(Bytes::from_static(b"ping"), false).expect("an open stream");
    seen.expect("ping").await.send("pong").await;
    assert_eq!(from.data().await.expect("data").expect("no error"), "pong");
    to.send_data(Bytes::from_static(b"bye"), true).expect("an open stream");
    seen.expect("bye").await.expect_end().await;
    drop(seen);
    assert!(from.data().await.is_none_or(|data| data.is_ok_and(|data| data.is_empty())));
    eventually("the tunnel is counted as closed", async || {
        (baton.metric("baton_tunnels", &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_master_that_declines_a_web_socket_is_heard_and_one_that_ignores_it_is_not() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    client.settled().await;
    // The last one agrees to something without having read what.
    let answers = [
        ("403 Forbidden\r\nConnection: close", 403),
        ("200 OK\r\nConnection: close", 502),
        ("101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x", 502),
    ];
    for (said, told) in answers {
        let mut request = Request::connect("http://bot.example/socket").body(()).expect("a request");
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, _to) = client.begin(request, false).await;
        let mut seen = master.accept().await;
        seen.head().await;
        let length = if said.starts_with("101") { "" } else { "Content-Length: 0\r\n" };
        seen.send(format!("HTTP/1.1 {said}\r\n{length}\r\n")).await;
        assert_eq!(answer(response).await.expect("an answer").status, told);
    }
    let mut request = Request::connect("http://bot.example/socket").body(()).expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("connect-udp"));
    let (response, _to) = client.begin(request, false).await;
    assert_eq!(answer(response).await.expect("an answer").status, 501);
}

#[tokio::test]
async fn on_sigterm_the_client_is_told_and_every_stream_under_way_is_finished() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let mut baton = Baton::start(&scripted(&master)).await;
    let mut client = Client::connect(baton.address()).await;
    let (first, _) = client.begin(get("/1"), true).await;
    let mut one = master.accept().await;
    one.head().await;
    let (second, _) = client.begin(get("/2"), true).await;
    let mut two = master.accept().await;
    two.head().await;
    baton.process.signal(Signal::TERM);
    // The client may open no further stream once it knows.
    let mut sender = client.sender();
    eventually("the client knows", async || begin(&mut sender, get("/3"), true).await.err()).await;
    one.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1").await;
    two.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2").await;
    assert_eq!(answer(first).await.expect("the first answer").body, b"1");
    assert_eq!(answer(second).await.expect("the second answer").body, b"2");
    client.connection.await.expect("no panic").expect("an orderly end");
    baton.process.ended().await;
}

#[tokio::test]
async fn a_reload_loses_no_stream_and_serves_the_next_by_the_new_rules() {
    let _shared = among_others().await;
    let [one, other] = masters(["a", "b"]).await;
    let of = |master: &crate::kit::Master| Config::empty().master(&master.name, master.address, "").workers(1);
    let baton = Baton::start(&of(&one)).await;
    let mut client = Client::connect(baton.address()).await;
    let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (mut sender, asked, stop) = (client.sender(), asked.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let (response, _) = begin(&mut sender, get("/x"), true).await.expect("a stream");
                    assert_eq!(answer(response).await.expect("an answer").status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for (generation, config) in (2..).zip([of(&other), of(&one), of(&other)]) {
        baton.write(&config);
        baton.hang_up();
        eventually("the next generation", async || (baton.generation().await == generation).then_some(())).await;
        let before = asked.load(Ordering::Relaxed);
        eventually("further answers", async || (asked.load(Ordering::Relaxed) > before + 10).then_some(())).await;
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.expect("no request is lost");
    }
    assert_eq!(client.get("/x").await.master(), "b");
}

#[tokio::test]
async fn the_access_log_says_which_protocol_it_was() {
    let _shared = among_others().await;
    let masters = masters(["a"]).await;
    let directory = crate::kit::directory::Directory::new();
    let log = directory.path().join("access.log");
    let baton = Baton::start(&Config::of(&masters).access_log(&log)).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.post("/webhook?secret=1", "{}").await.status, 200);
    let line = eventually("a line in the log", async || {
        std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(line.trim()).expect("JSON");
    assert_eq!(
        (&line["protocol"], &line["method"], &line["path"]),
        (&"HTTP/2.0".into(), &"POST".into(), &"/webhook".into())
    );
    assert_eq!((&line["status"], &line["bytes_in"], &line["end"]), (&200.into(), &2.into(), &"complete".into()));
}

#[tokio::test]
async fn a_listener_without_http_2_answers_its_preface_as_a_version_it_does_not_speak() {
    let _shared = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start(&scripted(&master).listener("http2: { enabled: false }")).await;
    let mut raw = tokio::net::TcpStream::connect(baton.address()).await.expect("a connection");
    raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("room");
    let mut said = [0; 12];
    raw.read_exact(&mut said).await.expect("an answer");
    assert_eq!(&said, b"HTTP/1.1 505");
}

#[tokio::test]
async fn over_tls_it_is_agreed_on_in_the_handshake_and_the_master_is_told_of_tls() {
    let _shared = among_others().await;
    let directory = crate::kit::directory::Directory::new();
    let made = rcgen::generate_simple_self_signed(["bot.example".to_owned()]).expect("a certificate");
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let master = RawMaster::bind().await;
    let tls = format!("tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}", cert.display(), key.display());
    let baton = Baton::start(&scripted(&master).listener(&tls)).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let socket = tokio::net::TcpStream::connect(baton.address()).await.expect("a connection");
    let name = rustls::pki_types::ServerName::try_from("bot.example").expect("a name");
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Client::over(stream, &h2::client::Builder::new()).await;
    let (response, _) = client.begin(get("/"), true).await;
    let mut seen = master.accept().await;
    assert_eq!(header(&seen.head().await, "x-forwarded-proto"), Some("https"));
    seen.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(answer(response).await.expect("an answer").status, 204);
}
