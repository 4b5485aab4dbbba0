//! The same for clients that speak HTTP/2: a connection is told to leave, what is under way on it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Line, PROBES};
use crate::kit::h2::{Client, answer, ask, get};
use crate::kit::{Config, among_others, eventually, masters, within};

#[tokio::test]
async fn two_upgrades_lose_no_stream_and_ask_no_master_twice() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let line = Line::start(&Config::of(&masters).upstream(PROBES)).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let askers: Vec<_> = (0..6)
        .map(|_| {
            let (address, stop, answered) = (line.baton.address(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let (mut client, mut connections) = (None, 0);
                while !stop.load(Ordering::Relaxed) {
                    let (answer, opened) = ask(&mut client, address, get("/x")).await.expect("an answer");
                    assert_eq!(answer.status, 200);
                    connections += opened;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                connections
            })
        })
        .collect();
    let further = async |count| {
        let before = answered.load(Ordering::Relaxed);
        eventually("load", async || (answered.load(Ordering::Relaxed) > before + count).then_some(())).await;
    };
    for _ in 0..2 {
        further(50).await;
        line.upgrade().await;
    }
    further(50).await;
    stop.store(true, Ordering::Relaxed);
    let mut connections = 0;
    for asker in askers {
        connections += asker.await.expect("no stream is lost");
    }
    assert_eq!(connections, 6 * 3, "one connection with each of three processes");
    let mut served = 0;
    for master in &masters {
        served += master.seen().await.requests;
    }
    assert_eq!(served, answered.load(Ordering::Relaxed));
    line.stop().await;
}

#[tokio::test]
async fn a_stream_under_way_is_answered_by_the_old_process() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let line = Line::start(&Config::of(&masters)).await;
    let mut client = Client::connect(line.baton.address()).await;
    masters[0].fault(r#"{"delay_ms":2000}"#).await;
    let (response, _) = client.begin(get("/slow"), true).await;
    eventually("the request at the master", async || (masters[0].seen().await.requests == 1).then_some(())).await;
    masters[0].fault("{}").await;
    line.ask();
    within(super::START, "the new process", async || (line.ready() == 2).then_some(())).await;
    assert_eq!(answer(response).await.expect("an answer").status, 200);
    client.connection.await.expect("no panic").expect("an orderly end");
    eventually("the old process is gone", async || (line.processes().len() == 1).then_some(())).await;
    line.stop().await;
}
