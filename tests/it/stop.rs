//! Stopping: SIGTERM lets what is under way finish, SIGINT does not wait.

use std::time::Duration;

use baton::sample::client;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::kit::http::Client;
use crate::kit::{Baton, Config, Master, SOON, among_others, eventually, masters};

async fn until_it_has(master: &Master, requests: u64) {
    eventually("the request at the master", async || (master.seen().await.requests >= requests).then_some(())).await;
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way_and_takes_nothing_new() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    masters[0].fault(r#"{"delay_ms":1500}"#).await;
    let mut baton = Baton::start(&Config::of(&masters)).await;
    let mut busy = Client::connect(baton.address()).await;
    let mut idle = Client::connect(baton.address()).await;
    // Idle connections that have been used and that have not.
    let unused = Client::connect(baton.address()).await;
    masters[0].fault("{}").await;
    assert_eq!(idle.get("/").await.status, 200);
    masters[0].fault(r#"{"delay_ms":1500}"#).await;

    let (admin, address) = (baton.admin, baton.address());
    let under_way = async {
        let answer = busy.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"master":"a","requests":2}"#));
    };
    let meanwhile = async {
        until_it_has(&masters[0], 2).await;
        baton.process.signal(Signal::TERM);
        eventually("no new connection", async || TcpStream::connect(address).await.is_err().then_some(())).await;
        eventually("idle connections closed", async || (idle.is_closed() && unused.is_closed()).then_some(())).await;
        // The admin listener tells until the end that this one is going.
        let (status, _) = client::get(admin, "/readyz").await.unwrap();
        assert_eq!(status, 503);
    };
    tokio::join!(under_way, meanwhile);
    assert!(baton.process.ended().await.success());
}

#[tokio::test]
async fn sigterm_waits_no_longer_than_the_drain_timeout() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    masters[0].fault(r#"{"delay_ms":60000}"#).await;
    let mut baton = Baton::start(&Config::of(&masters).route("timeout: 120s").top("drain_timeout: 500ms")).await;
    let mut client = Client::connect(baton.address()).await;
    let request = client.send(hyper::Method::GET, "/", &[], "");
    let end = async {
        until_it_has(&masters[0], 1).await;
        let before = Instant::now();
        baton.process.signal(Signal::TERM);
        assert!(baton.process.ended().await.success());
        let took = before.elapsed();
        assert!(took >= Duration::from_millis(400), "it waited only {took:?}");
        assert!(took < SOON / 2, "it waited {took:?}");
    };
    let (answer, ()) = tokio::join!(request, end);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503));
}

#[tokio::test]
async fn sigint_ends_at_once() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    masters[0].fault(r#"{"delay_ms":60000}"#).await;
    let mut baton = Baton::start(&Config::of(&masters).route("timeout: 120s")).await;
    let mut client = Client::connect(baton.address()).await;
    let request = client.send(hyper::Method::GET, "/", &[], "");
    let end = async {
        until_it_has(&masters[0], 1).await;
        baton.process.signal(Signal::INT);
        baton.process.ended_within(Duration::from_secs(3)).await;
    };
    let (answer, ()) = tokio::join!(request, end);
    assert!(answer.is_err(), "a request of a minute was answered within seconds");
}

#[tokio::test]
async fn the_port_is_free_again_at_once() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters);
    let mut first = Baton::start(&config).await;
    let address = first.address();
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/").await.status, 200);
    first.process.signal(Signal::TERM);
    first.process.ended().await;

    let second = Baton::start(&config.address(address)).await;
    assert_eq!(second.address(), address);
    assert_eq!(Client::connect(address).await.get("/").await.status, 200);
}
