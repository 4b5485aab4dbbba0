//! HTTP/1.1 in its less usual forms, each as it passes through.

use std::time::Duration;

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
async fn pipelined_requests_are_answered_in_their_order() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nokGET /3 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    for number in 1..=3 {
        let head = upstream.head().await;
        assert!(head.contains(&format!(" /{number} ")), "{head}");
        if number == 2 {
            upstream.expect("ok").await;
        }
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await;
    }
    for number in 1..=3 {
        client.head().await;
        client.expect(number.to_string()).await;
    }
}

#[tokio::test]
async fn a_head_request_gets_the_length_and_no_body() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    let mut upstream = None;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let upstream = match &mut upstream {
            Some(upstream) => upstream,
            none => none.insert(master.accept().await),
        };
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n").await;
        assert_eq!(header(&client.head().await, "content-length"), Some("5000"));
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    for answer in [
        "204 No Content\r\n\r\n",
        "304 Not Modified\r\nContent-Length: 10\r\n\r\n",
        "200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        upstream.head().await;
        upstream.send(format!("HTTP/1.1 {answer}")).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {}", &answer[..3])), "{head}");
        client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_plain_body_and_the_end() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut upstream = master.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("GET / HTTP/1.1\r\n") && header(&head, "host") == Some(""), "{head}");
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    let answer = client.head().await;
    assert_eq!((header(&answer, "transfer-encoding"), header(&answer, "connection")), (None, Some("close")));
    assert_eq!(client.rest().await, "abcde");
}

#[tokio::test]
async fn an_http_1_0_client_may_keep_its_connection() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let mut upstream = master.accept().await;
    for _ in 0..2 {
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").await;
        assert_eq!(header(&client.head().await, "connection"), Some("keep-alive"));
        client.expect("a").await;
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_framed_for_the_client() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    {
        let mut upstream = master.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.0 200 OK\r\n\r\nall of it").await;
    }
    assert_eq!(header(&client.head().await, "transfer-encoding"), Some("chunked"));
    client.expect("9\r\nall of it\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_that_expects_100_continue_waits_for_the_masters_word() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let mut upstream = master.accept().await;
    assert_eq!(header(&upstream.head().await, "expect"), Some("100-continue"));
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("body").await;
    upstream.expect("body").await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_master_may_refuse_before_the_body_is_sent() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 403") && header(&head, "connection") == Some("close"), "{head}");
    assert_eq!(client.rest().await, "no");
}

#[tokio::test]
async fn interim_answers_pass_to_clients_that_know_them() {
    let _machine = among_others().await;
    let (baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    upstream.head().await;
    upstream.send(answer).await;
    client.expect("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    let mut old = Raw::connect(baton.address()).await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    // The other worker serves this client, over a connection of its own.
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send(answer).await;
    assert!(old.head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn trailers_pass_in_both_directions_without_those_that_would_change_the_head() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    let body = "2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.expect("2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    upstream.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
    client.head().await;
    client.expect("2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n").await;
}

#[tokio::test]
async fn a_large_body_streams_in_both_directions_at_once() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    let piece = "x".repeat(60_000);
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 120000\r\n\r\n{piece}")).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.expect(&piece).await;
    // The answer begins while the request is still arriving.
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok").await;
    client.head().await;
    client.expect("ok").await;
    client.send(&piece).await;
    upstream.expect(&piece).await;
    upstream.send("ok").await;
    client.expect("ok").await;
}

#[tokio::test]
async fn a_master_that_breaks_off_in_its_answer_cuts_the_client_off_too() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    {
        let mut upstream = master.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    }
    client.head().await;
    assert_eq!(client.rest().await, "half");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place_at_the_master() {
    let _machine = among_others().await;
    let (baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    assert_eq!(baton.master("a").await["in_flight"], 1);
    client.reset();
    eventually("nobody is in flight", async || (baton.master("a").await["in_flight"] == 0).then_some(())).await;
    assert_eq!(upstream.rest().await, "");
}

#[tokio::test]
async fn a_stale_pooled_connection_is_replaced_without_anyone_noticing() {
    let _machine = among_others().await;
    let (baton, master, mut client) = between().await;
    client.send("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na").await;
    let mut first = master.accept().await;
    first.head().await;
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.head().await;
    // The master reads the next request and closes without a word, as one does whose idle time has just run out.
    client.send("POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb").await;
    first.expect("a").await;
    first.head().await;
    drop(first);
    let mut second = master.accept().await;
    let head = second.head().await;
    assert!(head.starts_with("POST /2 "), "{head}");
    second.expect("b").await;
    second.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(baton.master("a").await["failures"], 0);
}

#[tokio::test]
async fn without_the_replay_a_post_on_a_stale_connection_is_not_repeated() {
    let _machine = among_others().await;
    let (baton, master, mut client) = between_with(Config::empty().upstream("retry: { replay_stale: false }")).await;
    for (method, status) in [("GET", "200"), ("POST", "502")] {
        client.send(format!("{method} /1 HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let mut first = master.accept().await;
        first.head().await;
        first.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        client.head().await;
        client.send(format!("{method} /2 HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        first.head().await;
        drop(first);
        if status == "200" {
            let mut second = master.accept().await;
            second.head().await;
            second.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{method}: {head}");
    }
    // Nobody is charged for a connection that was closed while idle.
    let master = baton.master("a").await;
    assert_eq!((&master["ejected"], &master["suspect"]), (&false.into(), &false.into()));
}

#[tokio::test]
async fn a_request_that_a_master_may_have_seen_is_repeated_only_if_that_is_harmless() {
    let _machine = among_others().await;
    let (one, two) = (RawMaster::bind().await, RawMaster::bind().await);
    let config = Config::empty().master("a", one.address, "").master("b", two.address, "");
    let baton = Baton::start_unprobed(&config.upstream("strategy: priority")).await;
    for (method, status) in [("POST", "502"), ("GET", "200")] {
        let mut client = Raw::connect(baton.address()).await;
        client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let (mut upstream, other) = tokio::select! {
            upstream = one.accept() => (upstream, &two),
            upstream = two.accept() => (upstream, &one),
        };
        upstream.head().await;
        drop(upstream);
        if status == "200" {
            let mut upstream = other.accept().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{method}: {head}");
    }
}

#[tokio::test]
async fn a_streamed_body_is_repeated_from_its_start() {
    let _machine = among_others().await;
    let (one, two) = (RawMaster::bind().await, RawMaster::bind().await);
    let config = Config::empty().master("a", one.address, "").master("b", two.address, "");
    let baton = Baton::start_unprobed(&config.upstream("retry: { non_idempotent: true }")).await;
    let mut client = Raw::connect(baton.address()).await;
    let body = "y".repeat(100_000);
    client.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{body}")).await;
    let (mut upstream, other) = tokio::select! {
        upstream = one.accept() => (upstream, &two),
        upstream = two.accept() => (upstream, &one),
    };
    upstream.head().await;
    upstream.expect(&body).await;
    drop(upstream);
    let mut upstream = other.accept().await;
    upstream.head().await;
    upstream.expect(&body).await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_full_master_queues_and_then_refuses_with_retry_after() {
    let _machine = among_others().await;
    let limits = "limits: { max_in_flight: 1, max_queue: 1, queue_timeout: 300ms }";
    let (baton, master, mut first) = between_with(Config::empty().upstream(limits)).await;
    first.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    let mut second = Raw::connect(baton.address()).await;
    second.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    eventually("one waits", async || (baton.master("a").await["queued"] == 1).then_some(())).await;
    let mut third = Raw::connect(baton.address()).await;
    third.send("GET /3 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    for refused in [&mut third, &mut second] {
        let head = refused.head().await;
        assert!(head.starts_with("HTTP/1.1 503") && header(&head, "retry-after").is_some(), "{head}");
    }
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(first.head().await.starts_with("HTTP/1.1 200"));
    let mut fourth = Raw::connect(baton.address()).await;
    fourth.send("GET /4 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    assert!(upstream.head().await.starts_with("GET /4 "));
}

#[tokio::test]
async fn a_slow_answer_ends_with_the_routes_time() {
    let _machine = among_others().await;
    let config = Config::empty().route("timeout: 400ms").upstream("retry: { per_try_timeout: 400ms }");
    let (_baton, master, mut client) = between_with(config).await;
    let started = std::time::Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    assert!(client.head().await.starts_with("HTTP/1.1 504"));
    let took = started.elapsed();
    assert!((Duration::from_millis(400)..Duration::from_millis(1500)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn own_answers_are_problem_documents() {
    let _machine = among_others().await;
    let (baton, _master, mut client) = between_with(Config::empty().route("match: { path: /only }")).await;
    client.send("GET /other HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 404 Not Found"), "{head}");
    assert_eq!(header(&head, "content-type"), Some("application/problem+json"));
    let length = header(&head, "content-length").unwrap().parse().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&client.take(length).await).unwrap();
    assert_eq!((&body["status"], &body["request_id"]), (&404.into(), &"abc".into()));
    // The connection lives: nothing about the request was unclear.
    client.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 404"));
    drop(baton);
}

#[tokio::test]
async fn an_idle_client_is_let_go() {
    let _machine = among_others().await;
    let (_baton, _master, mut client) = between_with(Config::empty().listener("limits: { idle_timeout: 300ms }")).await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_502_and_says_what_becomes_of_the_connection() {
    let _machine = among_others().await;
    let (_baton, master, mut client) = between().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    if header(&head, "connection") == Some("close") {
        client.rest().await;
        return;
    }
    // It says that the connection is kept, so it has to be.
    client.take(header(&head, "content-length").unwrap().parse().unwrap()).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    master.accept().await.head().await;
}
