//! A mirror gets copies, and whatever it does with them the requests themselves go their way.

use std::net::SocketAddr;

use crate::kit::bot::Bot;
use crate::kit::http::Client;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, eventually, masters, meta};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn config(master: SocketAddr, mirror: SocketAddr, percent: u32) -> Config {
    let upstream = format!("  - {{ name: shadow, masters: [{{ name: shadow-1, address: \"{mirror}\" }}] }}");
    let route = format!("mirror: {{ upstream: shadow, percent: {percent} }}");
    Config::empty().master("a", master, "").route(&route).upstreams(&upstream)
}

async fn mirrored(baton: &Baton, outcome: &str) -> f64 {
    baton.metric("baton_mirrored_total", &[("upstream", "shadow"), ("outcome", outcome)]).await
}

#[tokio::test]
async fn a_mirror_gets_head_and_body_marked_and_nobody_waits_for_its_answer() {
    let _machine = among_others().await;
    let (master, shadow) = (RawMaster::bind().await, RawMaster::bind().await);
    let baton = Baton::start_unprobed(&config(master.address, shadow.address, 100)).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("POST /w?a=b HTTP/1.1\r\nHost: bot.example\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut upstream = master.accept().await;
    let head = upstream.head().await;
    assert_eq!((header(&head, "x-baton-mirror"), upstream.take(5).await), (None, b"hello".to_vec()));
    upstream.send(ANSWER).await;
    // The mirror has not answered yet.
    client.head().await;
    client.expect("ok").await;
    let mut mirror = shadow.accept().await;
    let copy = mirror.head().await;
    assert!(copy.starts_with("POST /w?a=b HTTP/1.1\r\nHost: bot.example\r\nContent-Length: 5\r\n"), "{copy}");
    assert_eq!((header(&copy, "x-baton-mirror"), mirror.take(5).await), (Some("webhooks"), b"hello".to_vec()));
    mirror.send("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n").await;
    eventually("the copy is counted", async || (mirrored(&baton, "answered").await == 1.0).then_some(())).await;
    assert_eq!(baton.metric("baton_requests_total", &[]).await, 1.0);

    // Its connection is kept for the next copy.
    client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(upstream.head().await.starts_with("GET /next "));
    assert!(mirror.head().await.starts_with("GET /next "));
}

#[tokio::test]
async fn a_dead_mirror_loses_nothing() {
    let _machine = among_others().await;
    let [a] = masters(["a"]).await;
    // Nothing listens there any more.
    let dead = RawMaster::bind().await.address;
    let baton = Baton::start_unprobed(&config(a.address, dead, 100)).await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..100 {
        let answer = client.post("/", "hello").await;
        assert_eq!((answer.status, answer.master()), (200, "a"));
    }
    assert_eq!(a.seen().await.requests, 100);
    eventually("every copy is counted", async || {
        let lost = mirrored(&baton, "failed").await + mirrored(&baton, "busy").await;
        (lost == 100.0).then_some(())
    })
    .await;
    assert_eq!(baton.master("a").await["failures"], 0);
}

#[tokio::test]
async fn a_silent_mirror_holds_a_bounded_number_of_copies() {
    let _machine = among_others().await;
    let [a] = masters(["a"]).await;
    let shadow = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config(a.address, shadow.address, 100).workers(1)).await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..100 {
        assert_eq!(client.post("/", "hello").await.status, 200);
    }
    // 64 are under way at most.
    assert_eq!(mirrored(&baton, "busy").await, 36.0);
}

#[tokio::test]
async fn a_body_that_is_passed_on_as_it_comes_is_not_copied() {
    let _machine = among_others().await;
    let [a, shadow] = masters(["a", "shadow"]).await;
    let baton = Baton::start_unprobed(&config(a.address, shadow.address, 100)).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.post("/", &"z".repeat(100_000)).await.status, 200);
    assert_eq!(mirrored(&baton, "body-too-large").await, 1.0);
    assert_eq!(shadow.seen().await.requests, 0);
}

#[tokio::test]
async fn a_share_of_the_requests_is_copied() {
    let _machine = among_others().await;
    let [a, shadow] = masters(["a", "shadow"]).await;
    let baton = Baton::start_unprobed(&config(a.address, shadow.address, 20)).await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..500 {
        assert_eq!(client.post("/", "hello").await.status, 200);
    }
    // Six standard deviations around 100.
    let copies = eventually("copies", async || {
        let copies = mirrored(&baton, "answered").await;
        (copies >= 46.0).then_some(copies)
    })
    .await;
    assert!(copies <= 154.0, "{copies} of 500");
}

#[tokio::test]
async fn each_update_of_a_webhook_is_copied_alone_however_it_is_delivered() {
    let _machine = among_others().await;
    for delivery in ["inline", "inline-then-spool", "spool"] {
        let (bot, shadow) = (Bot::start().await, Bot::start().await);
        let rules = format!("delivery: {delivery}\nwhatsapp: {{ provider: cloud-api, app_secret: \"s3cret\" }}");
        let baton = Baton::start_unprobed(&config(bot.address, shadow.address, 100).route(&rules)).await;
        let mut client = Client::connect(baton.address()).await;
        let change = |number| meta::change("106540352242922", &format!("AE.{number}"), &format!("wamid.{number}"));
        for body in [meta::webhook(&[change(1), change(2), change(3)]), meta::webhook(&[change(4)])] {
            assert_eq!(meta::post(&mut client, &body).await.status, 200, "{delivery}");
        }
        let four = async || (bot.bodies().len() == 4 && shadow.bodies().len() == 4).then_some(());
        eventually("four updates at both", four).await;
        let sorted = |bot: &Bot| {
            let mut bodies = bot.bodies();
            bodies.sort();
            bodies
        };
        assert_eq!(sorted(&bot), sorted(&shadow), "{delivery}");
        for got in shadow.got() {
            assert_eq!(header(&got.head, "x-baton-mirror"), Some("webhooks"));
            let body = String::from_utf8(got.body).unwrap();
            assert_eq!(header(&got.head, "x-hub-signature-256"), Some(&*meta::signature(&body)), "{}", got.head);
        }
    }
}
