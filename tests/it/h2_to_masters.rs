//! HTTP/2 to masters: what passes, how connections are shared, and what a master may do to a stream or a connection without
//! costing anybody a request.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use hyper::Method;

use crate::kit::config::PROBES;
use crate::kit::directory::Directory;
use crate::kit::frames::{
    CANCEL, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, REFUSED_STREAM, RST_STREAM, STATUS_200,
};
use crate::kit::h2;
use crate::kit::h2_master::{FrameMaster, H2Master, serve};
use crate::kit::http::Client;
use crate::kit::process::Process;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::tls_master::{Asks, Authority, TlsMaster};
use crate::kit::{Baton, Config, among_others, eventually};

fn config(masters: &[std::net::SocketAddr]) -> Config {
    let config = Config::empty().workers(1).upstream("protocol: http2");
    masters.iter().zip('a'..).fold(config, |config, (address, name)| config.master(&name.to_string(), *address, ""))
}

/// Requests at once, each over a connection of its own; statuses and bodies.
async fn posts(baton: &Baton, count: usize) -> Vec<(u16, String)> {
    let address = baton.address();
    let asked: Vec<_> = (0..count)
        .map(|number| {
            tokio::spawn(async move {
                let answer = Client::connect(address).await.post("/", &format!("request {number}")).await;
                (answer.status, answer.body)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.expect("an answer"));
    }
    answers
}

#[tokio::test]
async fn a_request_and_its_answer_pass_whole() {
    let _machine = among_others().await;
    let master = H2Master::start().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut client = Client::connect(baton.address()).await;
    let headers = [("X-Own", "1"), ("connection", "x-hop"), ("x-hop", "2"), ("host", "bot.example")];
    let answer = client.send(Method::POST, "/a?b=%2F", &headers, "hello").await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "hello"));
    let large = "0123456789".repeat(50_000);
    assert_eq!(client.post("/large", &large).await.body, large);
    assert_eq!(client.get("/none").await.body, "");

    let got = master.got();
    let head = &got[0].head;
    assert_eq!(head.uri(), "http://bot.example/a?b=%2F");
    assert_eq!((head.method(), head.headers()["x-own"].as_bytes()), (&Method::POST, &b"1"[..]));
    assert!(head.headers().contains_key("x-forwarded-for"));
    assert!(!head.headers().contains_key("x-hop") && !head.headers().contains_key("host"), "{head:?}");
    assert!(got.iter().all(|got| got.connection == 0), "one connection is enough");
    assert_eq!(baton.metric("baton_upstream_h2_connections", &[("master", "a")]).await, 1.0);
    assert_eq!(baton.metric("baton_upstream_h2_streams", &[("master", "a")]).await, 0.0);
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let _machine = among_others().await;
    let master = H2Master::start().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut client = Raw::connect(baton.address()).await;
    client
        .send("POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .send("2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Transfer-Encoding: chunked"), "{head}");
    client.expect("2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n").await;
    let got = &master.got()[0];
    assert_eq!(
        (got.head.headers()["te"].as_bytes(), got.trailers["grpc-status"].as_bytes()),
        (&b"trailers"[..], &b"0"[..])
    );
}

#[tokio::test]
async fn over_tls_the_master_is_asked_by_alpn() {
    let _machine = among_others().await;
    let (directory, authority) = (Directory::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    for (protocol, alpn, status) in [
        ("http2", &["h2"][..], 200),
        ("auto", &["h2", "http/1.1"][..], 200),
        ("auto", &["http/1.1"][..], 200),
        ("http2", &["http/1.1"][..], 503),
        ("http2", &[][..], 503),
        ("http1", &["h2"][..], 503),
    ] {
        let master = TlsMaster::bind(&authority.sign(&["127.0.0.1"]), Asks::Nothing, alpn).await;
        let config = Config::empty()
            .workers(1)
            .master("a", master.address, "")
            .upstream(&format!("protocol: {protocol}\ntls: {{ ca: \"{}\" }}", ca.display()));
        let baton = Baton::start_unprobed(&config).await;
        let got: Arc<Mutex<Vec<_>>> = Arc::default();
        let noted = got.clone();
        let serving = tokio::spawn(async move {
            let Ok(stream) = master.handshake().await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                serve(stream, 0, noted).await;
            } else {
                let mut upstream = Raw::over(stream);
                upstream.head().await;
                upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            }
        });
        let answer = Client::connect(baton.address()).await.post("/", "hi").await;
        assert_eq!(answer.status, status, "{protocol} {alpn:?}");
        if status == 200 {
            assert_eq!(answer.body, "hi");
        }
        let spoke_h2 = status == 200 && alpn.contains(&"h2");
        assert_eq!(got.lock().unwrap().len(), usize::from(spoke_h2), "{protocol} {alpn:?}");
        serving.abort();
    }
}

#[tokio::test]
async fn a_master_that_speaks_something_else_has_been_sent_no_request() {
    let _machine = among_others().await;
    let (odd, good) = (RawMaster::bind().await, H2Master::start().await);
    let config = config(&[odd.address]).master("good", good.address, "priority: 1").upstream("strategy: priority");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, ()) = tokio::join!(client.post("/", "once"), async {
        let mut connection = odd.accept().await;
        connection.expect("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        assert!(!connection.rest().await.contains("once"));
    });
    assert_eq!((answer.status, &*answer.body), (200, "once"));
}

#[tokio::test]
async fn a_connection_takes_as_many_streams_as_the_master_allows_and_then_there_is_another() {
    let _machine = among_others().await;
    let master = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let asking = posts(&baton, 5);
    let serving = async {
        // Three streams at once, SETTINGS_MAX_CONCURRENT_STREAMS.
        let mut first = master.accept(&[(3, 3)]).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(first.request().await.expect("a request"));
        }
        let mut second = master.accept(&[(3, 3)]).await;
        for _ in 0..2 {
            let (stream, body) = second.request().await.expect("a request");
            second.answer(stream, &body).await;
        }
        eventually("three are left", async || {
            (baton.metric("baton_upstream_h2_streams", &[]).await == 3.0).then_some(())
        })
        .await;
        for (stream, body) in held {
            first.answer(stream, &body).await;
        }
        (first, second)
    };
    let (answers, _open) = tokio::join!(asking, serving);
    assert!(
        answers.iter().enumerate().all(|(number, answer)| *answer == (200, format!("request {number}"))),
        "{answers:?}"
    );
    assert_eq!(baton.metric("baton_upstream_connections_total", &[("outcome", "opened")]).await, 2.0);
}

#[tokio::test]
async fn a_goodbye_under_load_of_posts_costs_none_and_doubles_none() {
    let _machine = among_others().await;
    let master = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = done.clone();
    let serving = tokio::spawn(async move {
        loop {
            let connection = master.accept(&[]).await;
            tokio::spawn(leave_after(connection, 7, noted.clone()));
        }
    });
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.extend(posts(&baton, 20).await);
    }
    assert!(answers.iter().all(|(status, body)| *status == 200 && body.starts_with("request ")), "{answers:?}");
    assert_eq!(done.lock().unwrap().len(), answers.len(), "the master has worked on each once");
    let retried = baton.metric("baton_retries_total", &[("reason", "refused")]).await;
    assert!(retried > 0.0, "no request was on its way when the master left");
    let master = baton.master("a").await;
    assert_eq!((&master["ejected"], &master["usable"]), (&false.into(), &true.into()), "{master}");
    assert_eq!(baton.metric("baton_retry_budget_exhausted_total", &[]).await, 0.0);
    serving.abort();
}

/// Answers so many, then says that it looks at no more, and drops what comes all the same.
async fn leave_after(mut connection: Frames, count: usize, done: Arc<Mutex<Vec<String>>>) {
    let mut last = 0;
    for _ in 0..count {
        let Some((stream, body)) = connection.request().await else { return };
        done.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
        connection.answer(stream, &body).await;
        last = stream;
    }
    // Whatever is on its way now is above it.
    let Some(_) = connection.next().await else { return };
    connection.go_away(last).await;
    while connection.next().await.is_some() {}
}

#[tokio::test]
async fn a_refused_stream_goes_to_the_master_again_and_then_to_another_and_is_held_against_nobody() {
    let _machine = among_others().await;
    let (busy, good) = (FrameMaster::bind().await, H2Master::start().await);
    let config = config(&[busy.address])
        .master("good", good.address, "priority: 1")
        .upstream("strategy: priority\noutlier_detection: { consecutive_failures: 1 }")
        .upstream("retry: { budget: { percent: 0, min_retry_rate: 0 } }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, mut connection) = tokio::join!(client.post("/", "once"), async {
        let mut connection = busy.accept(&[]).await;
        let (stream, _) = connection.request().await.expect("a request");
        connection.reset(stream, REFUSED_STREAM).await;
        let (stream, body) = connection.request().await.expect("the same request");
        connection.answer(stream, &body).await;
        connection
    });
    assert_eq!((answer.status, &*answer.body), (200, "once"));

    let (answer, ()) = tokio::join!(client.post("/", "twice"), async {
        for _ in 0..4 {
            let (stream, _) = connection.request().await.expect("a request");
            connection.reset(stream, REFUSED_STREAM).await;
        }
    });
    assert_eq!((answer.status, &*answer.body), (200, "twice"));
    assert_eq!(good.got().len(), 1);
    assert_eq!(baton.master("a").await["usable"], true);
    assert_eq!(baton.metric("baton_retry_budget_exhausted_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_broken_connection_is_charged_once_whatever_it_carried() {
    let _machine = among_others().await;
    let (broken, other) = (FrameMaster::bind().await, H2Master::start().await);
    let config = config(&[broken.address])
        .master("other", other.address, "priority: 1")
        .upstream("strategy: priority\noutlier_detection: { consecutive_failures: 2 }\nretry: { attempts: 1 }");
    let baton = Baton::start_unprobed(&config).await;
    let (answers, ()) = tokio::join!(posts(&baton, 5), async {
        let mut connection = broken.accept(&[]).await;
        for _ in 0..5 {
            connection.request().await.expect("a request");
        }
    });
    assert!(answers.iter().all(|(status, _)| *status == 502), "{answers:?}");
    assert_eq!(baton.master("a").await["ejected"], false, "one failure, not five");
}

#[tokio::test]
async fn an_idle_connection_that_the_master_closes_costs_no_request() {
    let _machine = among_others().await;
    let master = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut client = Client::connect(baton.address()).await;
    for number in 0..5 {
        let body = number.to_string();
        let (answer, ()) = tokio::join!(client.post("/", &body), async {
            let mut connection = master.accept(&[]).await;
            let (stream, body) = connection.request().await.expect("a request");
            connection.answer(stream, &body).await;
        });
        assert_eq!((answer.status, answer.body), (200, body));
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream_and_no_other() {
    let _machine = among_others().await;
    let master = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut leaving = Raw::connect(baton.address()).await;
    leaving.send("GET /leaving HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut connection = master.accept(&[]).await;
    let (first, _) = connection.request().await.expect("a request");
    let mut staying = Client::connect(baton.address()).await;
    let (answer, ()) = tokio::join!(staying.post("/", "stays"), async {
        let (second, body) = connection.request().await.expect("a request");
        leaving.reset();
        let reset = connection.expect(RST_STREAM).await;
        assert_eq!((reset.stream, &*reset.payload), (first, &CANCEL.to_be_bytes()[..]));
        connection.answer(second, &body).await;
    });
    assert_eq!((answer.status, &*answer.body), (200, "stays"));
}

#[tokio::test]
async fn a_slow_reader_stops_its_own_stream_and_holds_no_more_than_a_window() {
    let _machine = among_others().await;
    let master = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut slow = Raw::connect(baton.address()).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut connection = master.accept(&[]).await;
    let (stream, _) = connection.request().await.expect("a request");
    connection.send(HEADERS, END_HEADERS, stream, STATUS_200).await;
    let mut quick = Client::connect(baton.address()).await;
    // Others pass meanwhile, and with their requests comes what the window has grown by; when it no longer does, what is
    // between the two is full: the kernel's buffers and one window.
    let (mut sent, mut still) = (0, 0);
    while still < 10 {
        let filled = connection.fill(stream).await;
        (sent, still) = (sent + filled, if filled == 0 { still + 1 } else { 0 });
        assert!(sent < 64 << 20, "{sent} bytes were taken for a client that reads none");
        let (answer, ()) = tokio::join!(quick.post("/", "quick"), async {
            let (stream, body) = connection.request().await.expect("a request");
            connection.answer(stream, &body).await;
        });
        assert_eq!((answer.status, &*answer.body), (200, "quick"));
    }
    assert!(sent >= 128 * 1024, "{sent}");
    connection.send(DATA, END_STREAM, stream, b"").await;
    let head = slow.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(slow.take(16 * 1024).await.len(), 16 * 1024);
}

#[tokio::test]
async fn a_connection_without_a_sign_of_life_is_given_up() {
    let _machine = among_others().await;
    let (dead, other) = (FrameMaster::bind().await, H2Master::start().await);
    let config = config(&[dead.address])
        .master("other", other.address, "priority: 1")
        .upstream("strategy: priority\nhttp2: { ping_after: 200ms, ping_timeout: 200ms }")
        .upstream("retry: { non_idempotent: true, per_try_timeout: 9s }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, ()) = tokio::join!(client.post("/", "once"), async {
        let mut connection = dead.accept(&[]).await;
        connection.request().await.expect("a request");
        // It reads and says nothing, as a machine does that has lost its power, until it is left alone.
        while connection.any().await.is_some() {}
    });
    assert_eq!((answer.status, &*answer.body), (200, "once"));
    assert_eq!(other.got().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_not_taken_for_a_whole_one() {
    let _machine = among_others().await;
    let master = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut connection = master.accept(&[]).await;
    let (stream, _) = connection.request().await.expect("a request");
    connection.send(HEADERS, END_HEADERS, stream, STATUS_200).await;
    connection.send(DATA, 0, stream, b"half").await;
    client.head().await;
    client.expect("4\r\nhalf\r\n").await;
    connection.reset(stream, CANCEL).await;
    assert_eq!(client.rest().await, "", "no last chunk");
}

#[tokio::test]
async fn a_websocket_passes_where_the_master_takes_one_over_http_2() {
    let _machine = among_others().await;
    let master = H2Master::start().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut client = Raw::connect(baton.address()).await;
    let handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(handshake).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let message: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    for part in message.chunks(100_000) {
        client.send(part).await;
        client.expect(part).await;
    }
    client.finish().await;
    client.expect_end().await;
    let got = &master.got()[0].head;
    assert_eq!((got.method(), got.uri().path()), (&Method::CONNECT, "/ws"));
    assert!(!got.headers().contains_key("sec-websocket-key") && got.headers().contains_key("sec-websocket-version"));

    let plain = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[plain.address])).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send(handshake).await;
    let connection = plain.accept(&[]).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
    drop(connection);
}

#[tokio::test]
async fn probes_speak_http_2_to_masters_that_do() {
    let _machine = among_others().await;
    let (master, odd) = (H2Master::start().await, RawMaster::bind().await);
    let config = config(&[master.address, odd.address])
        .upstream("health_check: { interval: 500ms, timeout: 400ms, unhealthy_threshold: 1, http: { path: /health } }");
    let baton = Baton::start_unprobed(&config).await;
    baton.until_health("a", "healthy").await;
    baton.until_health("b", "failed").await;
    let got = master.got();
    assert!(got.iter().all(|got| got.head.uri().path() == "/health" && got.body.is_empty()), "{got:?}");
}

#[tokio::test]
async fn a_master_that_falls_silent_loses_its_requests_to_another() {
    let _machine = among_others().await;
    let (silent, other) = (FrameMaster::bind().await, H2Master::start().await);
    let config = config(&[silent.address])
        .master("other", other.address, "priority: 1")
        .upstream("strategy: priority\nretry: { non_idempotent: true, per_try_timeout: 9s }")
        .upstream("health_check: { interval: 9s, timeout: 9s, healthy_threshold: 1, http: { path: /health } }");
    let baton = Baton::start_unprobed(&config);
    let (baton, ()) = tokio::join!(baton, async {
        let mut probe = silent.accept(&[]).await;
        let (stream, _) = probe.request().await.expect("a probe");
        probe.answer(stream, b"well").await;
    });
    baton.until_health("a", "healthy").await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, ()) = tokio::join!(client.post("/", "once"), async {
        let mut connection = silent.accept(&[]).await;
        let (stream, _) = connection.request().await.expect("a request");
        // From here on it accepts and says no more, to probes either.
        let reset = connection.expect(RST_STREAM).await;
        assert_eq!((reset.stream, &*reset.payload), (stream, &CANCEL.to_be_bytes()[..]));
    });
    assert_eq!((answer.status, &*answer.body), (200, "once"));
    assert_eq!(baton.metric("baton_retries_total", &[("reason", "abandoned")]).await, 1.0);
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_cancelled_and_made_elsewhere() {
    let _machine = among_others().await;
    let (slow, other) = (FrameMaster::bind().await, H2Master::start().await);
    let config = config(&[slow.address])
        .master("other", other.address, "priority: 1")
        .upstream("strategy: priority\nretry: { non_idempotent: true, per_try_timeout: 300ms }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let (answer, ()) = tokio::join!(client.post("/", "once"), async {
        let mut connection = slow.accept(&[]).await;
        let (stream, _) = connection.request().await.expect("a request");
        assert_eq!(connection.expect(RST_STREAM).await.stream, stream);
    });
    assert_eq!((answer.status, &*answer.body), (200, "once"));
    assert_eq!(baton.metric("baton_retries_total", &[("reason", "timeout")]).await, 1.0);
}

#[tokio::test]
async fn a_body_that_was_on_its_way_to_a_refused_stream_begins_again() {
    let _machine = among_others().await;
    let master = FrameMaster::bind().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let mut connection = master.accept(&[]).await;
    let head = connection.expect(HEADERS).await;
    assert_eq!(connection.expect(DATA).await.payload, b"first");
    connection.reset(head.stream, REFUSED_STREAM).await;
    let head = connection.expect(HEADERS).await;
    assert_eq!(connection.expect(DATA).await.payload, b"first");
    client.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(connection.expect(DATA).await.payload, b"second");
    let end = connection.expect(DATA).await;
    assert_eq!((end.flags & END_STREAM, &*end.payload), (END_STREAM, &b""[..]));
    connection.answer(head.stream, b"done").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.expect("4\r\ndone\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn the_sample_master_can_be_one_that_speaks_http_2() {
    let _machine = among_others().await;
    let arguments = ["sample-master", "--http2", "--name", "sample"];
    let mut master = Process::start("sample", &arguments);
    let address = master.line("listening on ADDRESS", |line| line.strip_prefix("listening on ")?.parse().ok()).await;
    let config = config(&[address]).upstream(PROBES);
    let baton = Baton::start(&config).await;
    baton.until_health("a", "healthy").await;
    let answer = Client::connect(baton.address()).await.post("/webhook", "{}").await;
    assert_eq!((answer.status, answer.master()), (200, "sample"));
}

#[tokio::test]
async fn a_call_passes_from_client_to_master_with_its_trailers_when_both_speak_http_2() {
    let _machine = among_others().await;
    let master = H2Master::start().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let mut client = h2::Client::connect(baton.address()).await;
    let mut call = h2::post("/service/method", None);
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    let (response, mut stream) = client.begin(call, false).await;
    stream.send_data("hello".into(), false).expect("an open stream");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    stream.send_trailers(trailers.clone()).expect("an open stream");
    let answer = h2::answer(response).await.expect("an answer");
    assert_eq!((answer.status, &*answer.body, answer.trailers), (200, &b"hello"[..], Some(trailers.clone())));
    let got = &master.got()[0];
    assert_eq!((&got.trailers, got.head.headers()["te"].as_bytes()), (&trailers, &b"trailers"[..]));
    let large = "0123456789".repeat(30_000);
    assert_eq!(client.post("/large", &large).await.body, large.as_bytes());
    assert_eq!(client.get("/none").await.body, b"");
}

#[tokio::test]
async fn many_requests_at_once_share_one_connection_from_the_start() {
    let _machine = among_others().await;
    let master = H2Master::start().await;
    let baton = Baton::start_unprobed(&config(&[master.address])).await;
    let answers = posts(&baton, 60).await;
    let bodies: BTreeSet<String> = answers.iter().map(|(_, body)| body.clone()).collect();
    assert_eq!((answers.iter().all(|(status, _)| *status == 200), bodies.len()), (true, 60));
    assert!(master.got().iter().all(|got| got.connection == 0));
    eventually("no stream is left", async || {
        (baton.metric("baton_upstream_h2_streams", &[]).await == 0.0).then_some(())
    })
    .await;
}
