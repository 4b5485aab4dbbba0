//! What clients may ask for, and that one who asks for too much takes nothing from the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::Method;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use crate::kit::http::Client;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, eventually, masters};

/// Loopback has sixteen million addresses: this is a client with one of its own.
async fn client_at(last: u8, to: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    socket.connect(to).await
}

/// Fails unless a connection of this client is closed without a byte: before the client can tell that it is open, or after.
async fn expect_reset(last: u8, to: SocketAddr) {
    if let Ok(stream) = client_at(last, to).await {
        Raw::over(stream).expect_end().await;
    }
}

#[tokio::test]
async fn a_client_over_its_rate_is_told_when_to_come_back_and_keeps_its_connection() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    // One in a second, so that a busy machine cannot make a request allowed by being slow.
    let config = Config::of(&masters).route("rate_limit: { key: client-ip, rate: 1/s, burst: 3 }");
    let baton = Baton::start(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let started = Instant::now();
    let mut limited = None;
    for _ in 0..20 {
        let answer = client.post("/", "a message of some bytes").await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let limited = limited.expect("the burst is used up");
    let served = baton.master("a").await["requests"].as_u64().unwrap();
    assert!((3..=3 + started.elapsed().as_secs()).contains(&served), "{served} in {:?}", started.elapsed());
    for (name, value) in
        [("retry-after", "1"), ("ratelimit-policy", "\"route\";q=3;w=3"), ("ratelimit", "\"route\";r=0;t=1")]
    {
        assert_eq!(limited.headers[name], value, "{name}");
    }
    assert_eq!(limited.headers["content-type"], "application/problem+json");
    assert!(!client.is_closed());
    eventually("an answer on the same connection", async || {
        (client.post("/", "again").await.status == 200).then_some(())
    })
    .await;
    assert!(
        baton.metric("baton_route_refused_total", &[("route", "webhooks"), ("reason", "rate-limited")]).await >= 1.0
    );
    assert!(baton.metric("baton_refused_total", &[("listener", "gateway"), ("reason", "rate-limited")]).await >= 1.0);
}

#[tokio::test]
async fn clients_are_limited_apart_and_all_workers_count_together() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).workers(3).route("rate_limit: { key: client-ip, rate: 1/h, burst: 6 }");
    let baton = Baton::start(&config).await;
    for last in [2, 3] {
        let mut admitted = 0;
        // Each connection goes to the next worker.
        for _ in 0..6 {
            let stream = client_at(last, baton.address()).await.unwrap();
            let mut client = Client::over(stream).await;
            for _ in 0..2 {
                admitted += u32::from(client.get("/").await.status == 200);
            }
        }
        assert_eq!(admitted, 6, "client {last}");
    }
}

#[tokio::test]
async fn requests_are_limited_by_a_header_and_a_reload_goes_on_counting() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).route("rate_limit: { key: header:x-tenant, rate: 1/h, burst: 2 }");
    let baton = Baton::start(&config).await;
    let mut client = Client::connect(baton.address()).await;
    for (tenant, statuses) in [("one", [200, 200, 429]), ("two", [200, 200, 429])] {
        for status in statuses {
            assert_eq!(client.get_with("/", &[("x-tenant", tenant)]).await.status, status, "{tenant}");
        }
    }
    assert_eq!(client.get("/").await.status, 200);

    let generation = baton.generation().await;
    baton.write(&config.clone().route("timeout: 20s"));
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    assert_eq!(client.get_with("/", &[("x-tenant", "one")]).await.status, 429);
    assert_eq!(client.get_with("/", &[("x-tenant", "three")]).await.status, 200);

    // Another rule counts anew.
    baton.write(&Config::of(&masters).route("rate_limit: { key: header:x-tenant, rate: 1/h, burst: 1 }"));
    baton.hang_up();
    eventually("the generation after", async || (baton.generation().await > generation + 1).then_some(())).await;
    assert_eq!(client.get_with("/", &[("x-tenant", "one")]).await.status, 200);
    assert_eq!(client.get_with("/", &[("x-tenant", "one")]).await.status, 429);
    assert!(!client.is_closed());
}

#[tokio::test]
async fn the_limited_client_is_the_one_that_a_trusted_proxy_tells() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters)
        .listener("trusted_proxies: [127.0.0.1]")
        .route("rate_limit: { key: client-ip, rate: 1/h, burst: 1 }\naccess: { deny: [198.51.100.0/24] }");
    let baton = Baton::start(&config).await;
    let mut client = Client::connect(baton.address()).await;
    for (told, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 200),
        ("198.51.100.7", 403),
    ] {
        assert_eq!(client.get_with("/", &[("x-forwarded-for", told)]).await.status, status, "{told}");
    }
    assert_eq!(
        baton.metric("baton_route_refused_total", &[("route", "webhooks"), ("reason", "access-denied")]).await,
        1.0
    );
}

#[tokio::test]
async fn a_refused_request_whose_body_is_large_or_unsure_ends_the_connection_and_reaches_no_master() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let config = Config::empty().master("a", master.address, "").route("access: { allow: [10.0.0.0/8] }");
    let baton = Baton::start_unprobed(&config).await;
    for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked", "Content-Length: 5\r\nExpect: 100-continue"]
    {
        let mut client = Raw::connect(baton.address()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert_eq!(header(&head, "connection"), Some("close"), "{framing}");
    }
    // A small one is passed over, wherever it is cut.
    let mut client = Raw::connect(baton.address()).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGE").await;
    let head = client.head().await;
    let length = header(&head, "content-length").unwrap().parse().unwrap();
    client.take(length).await;
    client.send("T /GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 403 "));
    assert_eq!(baton.master("a").await["requests"], 0);
}

#[tokio::test]
async fn a_listener_resets_connections_of_networks_that_it_does_not_let_in() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let access = |keys: &str| Config::of(&masters).listener(keys);
    let baton = Baton::start(&access("access: { allow: [127.0.0.0/8], deny: [127.0.0.2] }")).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.get("/").await.status, 200);
    expect_reset(2, baton.address()).await;
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "access-denied")]).await, 1.0);

    // A reload changes it for connections to come.
    let generation = baton.generation().await;
    baton.write(&access("access: { deny: [127.0.0.1] }"));
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    let mut other = Client::over(client_at(2, baton.address()).await.unwrap()).await;
    assert_eq!(other.get("/").await.status, 200);
    expect_reset(1, baton.address()).await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_client_with_all_its_connections_is_reset_and_others_are_not() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters).listener("limits: { connections_per_client: 3 }");
    let baton = Baton::start(&config).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(baton.address()).await;
        assert_eq!(client.get("/").await.status, 200);
        kept.push(client);
    }
    for _ in 0..200 {
        expect_reset(1, baton.address()).await;
    }
    let mut other = Client::over(client_at(2, baton.address()).await.unwrap()).await;
    assert_eq!(other.get("/").await.status, 200);
    for client in &mut kept {
        assert_eq!(client.get("/").await.status, 200);
    }
    let refused = baton.metric("baton_refused_total", &[("reason", "client-connections")]).await;
    assert!(refused >= 200.0, "{refused}");

    kept.pop();
    eventually("a place when a connection has ended", async || {
        let mut client = Client::over(client_at(1, baton.address()).await.ok()?).await;
        client.send(Method::GET, "/", &[], "").await.ok().filter(|answer| answer.status == 200).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_behind_the_last_of_its_requests_and_is_told() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).listener("limits: { requests_per_connection: 3 }")).await;
    let mut client = Raw::connect(baton.address()).await;
    // All at once: what is behind the last one is not answered.
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5)).await;
    let answers = client.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 3, "{answers}");
    assert_eq!(answers.to_ascii_lowercase().matches("connection: close").count(), 1, "{answers}");
    assert_eq!(baton.master("a").await["requests"], 3);
}

#[tokio::test]
async fn a_connection_past_its_lifetime_answers_once_more_and_ends() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).listener("limits: { lifetime: 300ms }")).await;
    let mut client = Raw::connect(baton.address()).await;
    let mut answers = 0;
    loop {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = header(&head, "content-length").unwrap().parse().unwrap();
        client.take(length).await;
        answers += 1;
        if header(&head, "connection") == Some("close") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answers > 1, "the first request came within the lifetime");
    client.expect_end().await;
}

/// A tenth of a second between two drops.
const DROP: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_body_that_drips_is_given_up_although_no_pause_is_long() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let limits = "limits: { body_timeout: 1s, min_rate: 1KiB/s }";
    let baton = Baton::start_unprobed(&Config::empty().master("a", master.address, "").listener(limits)).await;
    for (count, framing, drop) in
        [(1.0, "Content-Length: 60000", "a"), (2.0, "Transfer-Encoding: chunked", "1\r\na\r\n")]
    {
        let mut client = Raw::connect(baton.address()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n")).await;
        let started = Instant::now();
        while baton.metric("baton_refused_total", &[("reason", "body-timeout")]).await < count {
            assert!(started.elapsed() < crate::kit::SOON, "{framing}");
            client.send_if_open(drop).await;
            tokio::time::sleep(DROP).await;
        }
        assert!(started.elapsed() >= Duration::from_secs(1), "{framing}");
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    }
}

#[tokio::test]
async fn a_client_that_sips_at_its_answer_does_not_hold_a_place_at_the_master() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let limits = "limits: { body_timeout: 1s, min_rate: 1GiB/s }";
    let baton = Baton::start_unprobed(&Config::empty().master("a", master.address, "").listener(limits)).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40)).await;
    let piece = vec![b'a'; 1 << 20];
    let pour = async { while upstream.send_if_open(&piece).await {} };
    let (mut stream, _) = client.into_parts();
    let sip = async {
        // It never stops reading, so pauses alone would not end it.
        let mut sip = vec![0; 1 << 16];
        while stream.read(&mut sip).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let freed = eventually("its place is free", async || (baton.master("a").await["in_flight"] == 0).then_some(()));
    tokio::join!(pour, sip, freed);
}
