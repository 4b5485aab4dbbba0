//! A reload changes what changed and nothing else, however it is asked for.

use baton::sample::client;

use crate::kit::config::PROBES;
use crate::kit::http::Client;
use crate::kit::process::Stream;
use crate::kit::{Baton, Config, among_others, eventually, masters};

/// Asks on one connection until the named master answers, and gives the connection back.
async fn until_answered_by(client: &mut Client, name: &str) {
    eventually(&format!("an answer of {name}"), async || (client.get("/").await.master() == name).then_some(())).await;
}

#[tokio::test]
async fn sighup_brings_a_new_master_in_and_keeps_the_connection() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = Baton::start(&Config::of(&masters[..1]).upstream(PROBES)).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.get("/").await.master(), "a");

    baton.write(&Config::of(&masters).upstream(PROBES));
    baton.hang_up();
    until_answered_by(&mut client, "b").await;
    assert!(!client.is_closed());
}

#[tokio::test]
async fn a_changed_file_is_taken_over_without_a_signal() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = Baton::start(&Config::of(&masters[..1])).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.get("/").await.master(), "a");

    baton.write(&Config::of(&masters[1..]));
    until_answered_by(&mut client, "b").await;
    assert!(!client.is_closed());
}

#[tokio::test]
async fn health_and_counters_outlive_a_reload() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    // With an hour between probes, only a carried-over health can be right after the reload.
    let rare = PROBES.replace("interval: 500ms", "interval: 1h").replace("_threshold: 2", "_threshold: 1");
    masters[1].fault(r#"{"health":"TIMEOUT"}"#).await;
    let config = Config::of(&masters).upstream(&rare);
    let baton = Baton::start(&config).await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.master(), "a");
    }
    let generation = baton.generation().await;

    // Weights and an unrelated setting change, names and addresses do not.
    let [a, b] = &masters;
    let changed = Config::empty().master("a", a.address, "weight: 2").master("b", b.address, "weight: 3");
    baton.write(&changed.upstream(&rare).route("timeout: 20s"));
    baton.hang_up();
    eventually("the next generation", async || (baton.generation().await > generation).then_some(())).await;
    assert_eq!((baton.health("a").await, baton.health("b").await), ("healthy".into(), "failed".into()));
    assert_eq!(baton.master("a").await["requests"], 10);
    assert_eq!(client.get("/").await.master(), "a");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_is_told() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let mut baton = Baton::start(&Config::of(&masters)).await;
    let mut client = Client::connect(baton.address()).await;
    let generation = baton.generation().await;

    baton.write(&Config::of(&masters).upstream("stratgey: random"));
    baton.hang_up();
    eventually("the wrong key in the log", async || {
        (baton.process.said(Stream::Err) + &baton.process.said(Stream::Out)).contains("stratgey").then_some(())
    })
    .await;
    let (_, metrics) = client::get(baton.admin, "/metrics").await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    let reloads: Vec<&str> = metrics.lines().filter(|line| line.starts_with("baton_config_reloads_total{")).collect();
    assert!(reloads.iter().any(|line| !line.contains("success") && !line.ends_with(" 0")), "{reloads:?}");
    assert_eq!(client.get("/").await.master(), "a");
    assert_eq!(baton.generation().await, generation);
    assert!(baton.process.running());
}

#[tokio::test]
async fn a_removed_master_finishes_what_it_has_and_gets_nothing_new() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    masters[1].fault(r#"{"delay_ms":500}"#).await;
    let baton = Baton::start(&Config::of(&masters[1..])).await;
    let (mut slow, mut fast) = (Client::connect(baton.address()).await, Client::connect(baton.address()).await);

    let before = async {
        let answer = slow.get("/").await;
        assert_eq!((answer.status, answer.master()), (200, "b"));
    };
    let meanwhile = async {
        eventually("the slow request at b", async || (masters[1].seen().await.requests == 1).then_some(())).await;
        baton.write(&Config::of(&masters[..1]));
        baton.hang_up();
        until_answered_by(&mut fast, "a").await;
    };
    tokio::join!(before, meanwhile);
    let so_far = masters[1].seen().await.requests;
    for _ in 0..10 {
        assert_eq!(fast.get("/").await.master(), "a");
        assert_eq!(slow.get("/").await.master(), "a");
    }
    assert_eq!(masters[1].seen().await.requests, so_far);
}

#[tokio::test]
async fn a_file_written_again_without_a_change_makes_no_generation() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters);
    let baton = Baton::start(&config).await;
    let generation = baton.generation().await;
    baton.write(&config);
    baton.hang_up();
    eventually("a reload that found nothing changed", async || {
        let (_, metrics) = client::get(baton.admin, "/metrics").await.unwrap();
        let unchanged = "baton_config_reloads_total{outcome=\"unchanged\"} ";
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        metrics.lines().any(|line| line.strip_prefix(unchanged).is_some_and(|count| count != "0")).then_some(())
    })
    .await;
    assert_eq!(baton.generation().await, generation);
}

#[tokio::test]
async fn masters_that_are_all_replaced_at_once_are_probed_before_they_take_over() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c", "d"]).await;
    let baton = Baton::start(&Config::of(&masters[..2]).upstream(PROBES)).await;
    let mut client = Client::connect(baton.address()).await;

    baton.write(&Config::of(&masters[2..]).upstream(PROBES));
    baton.hang_up();
    eventually("an answer of a new master", async || {
        let answer = client.get("/").await;
        assert_eq!(answer.status, 200);
        ["c", "d"].contains(&answer.master()).then_some(())
    })
    .await;
}
