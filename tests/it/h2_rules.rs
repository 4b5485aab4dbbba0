//! What holds for requests over HTTP/1.1 holds for those over HTTP/2: limits, rules and redirects of a route, and the end of a
//! connection, which costs no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, timeout};

use crate::kit::h2::{Client, answer, ask, get, post};
use crate::kit::h2_master::H2Master;
use crate::kit::raw::{RawMaster, header};
use crate::kit::{Baton, Config, SOON, among_others, eventually, masters};

#[tokio::test]
async fn a_stream_over_the_rate_is_told_when_to_come_back_and_the_others_are_served() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).route("rate_limit: { key: header:x-tenant, rate: 1/h, burst: 2 }");
    let baton = Baton::start(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let of = |tenant: &str| Request::get("http://bot.example/").header("x-tenant", tenant).body(()).unwrap();
    let mut asked = Vec::new();
    for tenant in ["one", "one", "one", "two"] {
        asked.push(client.begin(of(tenant), true).await.0);
    }
    let mut answers = Vec::new();
    for response in asked {
        answers.push(answer(response).await.expect("an answer"));
    }
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 429, 200]);
    for (name, value) in [
        ("retry-after", "3600"),
        ("ratelimit-policy", "\"route\";q=2;w=7200"),
        ("content-type", "application/problem+json"),
    ] {
        assert_eq!(answers[2].headers[name], value);
    }
    assert_eq!(answers[2].headers["content-length"], &*answers[2].body.len().to_string());
    assert_eq!(baton.master("a").await["requests"], 3);
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "rate-limited")]).await, 1.0);
}

#[tokio::test]
async fn a_stream_beyond_what_a_worker_takes_on_is_refused_before_its_body_is_received() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().workers(1).master("a", master.address, "").top("overload: { requests: 2 }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let (response, _) = client.begin(get("/held"), true).await;
        let mut upstream = master.accept().await;
        upstream.head().await;
        held.push((response, upstream));
    }
    // Nothing of its body is sent, and it is answered all the same.
    let (refused, mut body) = client.begin(post("/", Some(50_000)), false).await;
    let refused = answer(refused).await.expect("an answer");
    assert_eq!((refused.status, &refused.headers["retry-after"]), (503, &http::HeaderValue::from_static("1")));
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "overloaded")]).await, 1.0);
    body.send_reset(h2::Reason::CANCEL);

    for (response, mut upstream) in held {
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(answer(response).await.expect("an answer").status, 200);
        drop(upstream);
    }
    let (response, _) = client.begin(get("/"), true).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(answer(response).await.expect("an answer").status, 204);
}

#[tokio::test]
async fn a_redirect_is_answered_without_a_master_and_paths_are_judged_alike() {
    let _machine = among_others().await;
    let routes = "  - name: moved\n    match: { path_prefix: /old }\n    redirect: { scheme: https, path_prefix: /new, status: 308 }";
    let nobody = RawMaster::bind().await.address;
    let baton = Baton::start_unprobed(&Config::empty().master("a", nobody, "").routes(routes)).await;
    let mut client = Client::connect(baton.address()).await;
    let moved = client.get("/old/a?b=%2F").await;
    assert_eq!((moved.status, &moved.body[..]), (308, &b""[..]));
    assert_eq!(moved.headers["location"], "https://bot.example/new/a?b=%2F");
    // Repeated slashes are merged before anything is decided.
    assert_eq!(client.get("//old///a").await.headers["location"], "https://bot.example/new/a");
    for path in ["/old/../a", "/old/%2e%2e/a", "/old/%00", "/old/a%2fb", "/old/a\\b"] {
        let request = Request::get(format!("http://bot.example{path}")).body(());
        // What the client cannot even say is nothing to judge.
        let Ok(request) = request else { continue };
        let (response, _) = client.begin(request, true).await;
        let refused = answer(response).await.expect("an answer");
        assert_eq!(refused.status, 400, "{path}");
    }
    assert!(baton.metric("baton_refused_total", &[("reason", "path")]).await >= 4.0);
    assert_eq!(baton.metric("baton_requests_total", &[("code", "5xx")]).await, 0.0);
}

#[tokio::test]
async fn header_rules_change_the_request_and_the_answer_and_nothing_else() {
    let _machine = among_others().await;
    let rules = "\
request_headers:
  remove: [x-internal]
  set: [{ name: x-role, value: guest }, { name: x-from, value: \"{client-ip} {host} {path} {scheme}\" }]
response_headers:
  remove: [server]
  set: [{ name: strict-transport-security, value: max-age=60 }, { name: x-request-id, value: \"{request-id}\" }]
rewrite: { path_prefix: /inner, host: inner.example }
match: { path_prefix: /api }";
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&Config::empty().master("a", master.address, "").route(rules)).await;
    let mut client = Client::connect(baton.address()).await;
    let request = Request::get("http://bot.example/api/v1?c=d")
        .header("x_role", "admin")
        .header("x-role", "root")
        .header("x-internal", "1")
        .header("x-own", "kept")
        .header("x-request-id", "id-7");
    let (response, _) = client.begin(request.body(()).expect("a request"), true).await;
    let mut upstream = master.accept().await;
    let asked = upstream.head().await;
    assert!(asked.starts_with("GET /inner/v1?c=d HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("admin") && !asked.contains("root") && !asked.contains("x-internal"), "{asked}");
    for (name, value) in [
        ("host", "inner.example"),
        ("x-forwarded-host", "bot.example"),
        ("x-role", "guest"),
        ("x-from", "127.0.0.1 bot.example /api/v1 http"),
        ("x-own", "kept"),
    ] {
        assert_eq!(header(&asked, name), Some(value), "{asked}");
    }
    upstream.send("HTTP/1.1 200 OK\r\nServer: bot\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok").await;
    let answer = answer(response).await.expect("an answer");
    assert_eq!(answer.body, b"ok");
    let mut fields: Vec<_> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    fields.sort_unstable();
    let expected = [
        ("content-length", "2"),
        ("strict-transport-security", "max-age=60"),
        ("x-kept", "1"),
        ("x-request-id", "id-7"),
    ];
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn a_mirror_gets_head_and_body_and_nobody_waits_for_its_answer() {
    let _machine = among_others().await;
    let (master, shadow) = (RawMaster::bind().await, RawMaster::bind().await);
    let upstream = format!("  - {{ name: shadow, masters: [{{ name: shadow-1, address: \"{}\" }}] }}", shadow.address);
    let config = Config::empty().master("a", master.address, "").route("mirror: { upstream: shadow, percent: 100 }");
    let baton = Baton::start_unprobed(&config.upstreams(&upstream)).await;
    let mut client = Client::connect(baton.address()).await;
    let (response, mut stream) = client.begin(post("/w?a=b", Some(5)), false).await;
    stream.send_data(Bytes::from_static(b"hello"), true).expect("an open stream");
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.expect("hello").await.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(answer(response).await.expect("an answer").body, b"ok");
    let mut mirror = shadow.accept().await;
    let copy = mirror.head().await;
    assert!(copy.starts_with("POST /w?a=b HTTP/1.1\r\nHost: bot.example\r\nContent-Length: 5\r\n"), "{copy}");
    assert_eq!(header(&copy, "x-baton-mirror"), Some("webhooks"));
    mirror.expect("hello").await.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    eventually("the copy is counted", async || {
        (baton.metric("baton_mirrored_total", &[("outcome", "answered")]).await == 1.0).then_some(())
    })
    .await;
}

/// Asks so many times, eight at once over one connection after the other; how many connections that took. Every request is
/// answered.
async fn ask_all(baton: &Baton, count: usize) -> usize {
    let (next, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let (address, next, connections) = (baton.address(), next.clone(), connections.clone());
            tokio::spawn(async move {
                let mut client = None;
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let (answer, opened) = ask(&mut client, address, get("/x")).await.expect("an answer");
                    assert_eq!(answer.status, 200);
                    connections.fetch_add(opened, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await.expect("no request is lost");
    }
    connections.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_connection_that_has_had_its_requests_says_goodbye_and_none_is_lost() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = Baton::start(&Config::of(&masters).listener("limits: { requests_per_connection: 5 }")).await;
    let connections = ask_all(&baton, 200).await;
    assert!((40..=48).contains(&connections), "{connections} connections for 200 requests, 5 on each");
    let served =
        baton.master("a").await["requests"].as_u64().unwrap() + baton.master("b").await["requests"].as_u64().unwrap();
    assert_eq!(served, 200);
}

#[tokio::test]
async fn streams_under_way_are_finished_when_their_connection_has_had_its_time() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().master("a", master.address, "").listener("limits: { lifetime: 300ms }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let started = Instant::now();
    let (first, _) = client.begin(get("/first"), true).await;
    let mut slow = master.accept().await;
    slow.head().await;
    tokio::time::sleep(Duration::from_millis(350).saturating_sub(started.elapsed())).await;
    // It says goodbye with the next request, which is still served, as is the one before.
    let (second, _) = client.begin(get("/second"), true).await;
    let mut other = master.accept().await;
    other.head().await;
    other.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2").await;
    assert_eq!(answer(second).await.expect("the second answer").body, b"2");
    let mut sender = client.sender();
    eventually("the client knows", async || crate::kit::h2::begin(&mut sender, get("/no"), true).await.err()).await;
    slow.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1").await;
    assert_eq!(answer(first).await.expect("the first answer").body, b"1");
    timeout(SOON, client.connection).await.expect("in time").expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn a_web_socket_passes_over_http_2_on_both_sides() {
    let _machine = among_others().await;
    let master = H2Master::start().await;
    let config = Config::empty().workers(1).upstream("protocol: http2").master("a", master.address, "");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    client.settled().await;
    let mut request = Request::connect("http://bot.example/socket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (response, mut to) = client.begin(request, false).await;
    let response = timeout(SOON, response).await.expect("in time").expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut from = response.into_body();
    let message: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    let sending = async {
        for part in message.chunks(16_000) {
            to.reserve_capacity(part.len());
            let mut rest = Bytes::copy_from_slice(part);
            while !rest.is_empty() {
                to.reserve_capacity(rest.len());
                let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await.expect("open").expect("room");
                to.send_data(rest.split_to(room.min(rest.len())), false).expect("an open stream");
            }
        }
        to.send_data(Bytes::new(), true).expect("an open stream");
    };
    let hearing = async {
        let mut heard = Vec::new();
        while let Some(data) = from.data().await {
            let data = data.expect("no error");
            from.flow_control().release_capacity(data.len()).expect("as much as came");
            heard.extend_from_slice(&data);
        }
        heard
    };
    let ((), heard) = timeout(SOON, async { tokio::join!(sending, hearing) }).await.expect("in time");
    assert!(heard == message, "{} bytes came back", heard.len());
    let got = &master.got()[0].head;
    assert_eq!((got.method(), got.uri().path()), (&http::Method::CONNECT, "/socket"));
    assert_eq!(got.headers()["sec-websocket-protocol"], "chat");
    assert!(!got.headers().contains_key("sec-websocket-key"));
    eventually("the tunnel is counted as closed", async || {
        (baton.metric("baton_tunnels", &[]).await == 0.0).then_some(())
    })
    .await;
}
