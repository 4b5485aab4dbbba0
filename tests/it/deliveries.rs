//! Stored messages: delivered in order, once, whatever ends in between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use baton::sample::mark::Mark;
use baton::sample::webhook::{self, Update};
use baton::whatsapp::Provider;
use rustix::process::Signal;

use crate::kit::bot::{Bot, Got, HANG_UP, SILENT};
use crate::kit::http::Client;
use crate::kit::raw::header;
use crate::kit::{Baton, Config, Master, SOON, among_others, eventually, masters, meta, within};

const SPOOL: &str = "delivery: spool\nwhatsapp: { provider: cloud-api, app_secret: \"s3cret\" }";

const PROBES: &str = "health_check: { interval: 100ms, timeout: 100ms, healthy_threshold: 1, http: { path: /health } }";

/// Bounds that are reached within a test.
const QUICK: &str = "redelivery: { attempts: 3, masters: 2, backoff: 20ms, max_backoff: 50ms }";

const ACCOUNT: &str = "106540352242922";

/// Posts messages `from..to` of each conversation, side by side; each has to be answered 200.
async fn post(to: SocketAddr, conversations: u32, sequences: std::ops::Range<u64>) {
    let senders = (0..conversations).map(|conversation| {
        let sequences = sequences.clone();
        tokio::spawn(async move {
            let mut client = Client::connect(to).await;
            for sequence in sequences {
                let update = Update { mark: Mark { run: 1, conversation, sequence }, status: None };
                let body = String::from_utf8(webhook::body(Provider::CloudApi, &[update], 0)).unwrap();
                assert_eq!(meta::post(&mut client, &body).await.status, 200);
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
}

/// What these masters have seen, by conversation.
async fn seen(masters: &[Master]) -> BTreeMap<String, Vec<u64>> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for master in masters {
        for (conversation, mut sequences) in master.seen().await.conversations {
            all.entry(conversation).or_default().append(&mut sequences);
        }
    }
    all
}

/// Waits until so many conversations have been seen up to `to`, whatever came twice.
async fn until_seen(masters: &[Master], conversations: u32, to: u64) -> BTreeMap<String, Vec<u64>> {
    let expected = format!("{conversations} conversations of {to} messages");
    within(SOON * 3, &expected, async || {
        let seen = seen(masters).await;
        let whole = |sequences: &Vec<u64>| {
            let mut distinct = sequences.clone();
            distinct.sort_unstable();
            distinct.dedup();
            distinct.len() as u64 == to
        };
        (seen.len() == conversations as usize && seen.values().all(whole)).then_some(seen)
    })
    .await
}

async fn until_empty(baton: &Baton) {
    eventually("nothing is pending", async || (baton.metric("baton_spool_pending", &[]).await == 0.0).then_some(()))
        .await;
}

fn spooling(masters: &[Master]) -> Config {
    Config::of(masters).route(SPOOL).upstream(PROBES).upstream("affinity: { key: conversation }")
}

fn of_bots(bots: &[&Bot]) -> Config {
    let named = bots.iter().enumerate();
    named.fold(Config::empty(), |config, (i, bot)| config.master(&format!("bot-{i}"), bot.address, "")).route(SPOOL)
}

async fn post_one(baton: &Baton, user: &str, id: &str) -> u16 {
    let mut client = Client::connect(baton.address()).await;
    meta::post(&mut client, &meta::message(ACCOUNT, user, id)).await.status
}

/// Ids of messages in the order of their arrival.
fn ids(got: &[Got]) -> Vec<String> {
    let id = |got: &Got| {
        let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        body["entry"][0]["changes"][0]["value"]["messages"][0]["id"].as_str().unwrap().to_owned()
    };
    got.iter().map(id).collect()
}

#[tokio::test]
async fn stored_messages_are_delivered_once_and_in_order() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&spooling(&masters)).await;
    post(baton.address(), 12, 0..30).await;
    let seen = until_seen(&masters, 12, 30).await;
    for (conversation, sequences) in seen {
        assert_eq!(sequences, (0..30).collect::<Vec<_>>(), "{conversation}");
    }
    until_empty(&baton).await;
    assert_eq!(baton.metric("baton_delivered_total", &[("outcome", "delivered")]).await, 360.0);
    assert_eq!(baton.status().await["spool"]["pending"], 0);
}

#[tokio::test]
async fn while_no_master_is_there_messages_wait_and_then_come_in_order() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let baton = Baton::start(&spooling(&masters)).await;
    post(baton.address(), 8, 0..5).await;
    until_seen(&masters, 8, 5).await;
    for master in &mut masters {
        master.kill().await;
    }
    post(baton.address(), 8, 5..25).await;
    assert!(baton.metric("baton_spool_pending", &[]).await >= 160.0);
    let (ready, _) = baton::sample::client::get(baton.admin, "/readyz").await.unwrap();
    assert_eq!(ready, 200, "messages can be stored");
    for master in &mut masters {
        master.restart_dead().await;
    }
    // Those that came before the outage are forgotten by masters that began anew.
    let seen = until_seen(&masters, 8, 20).await;
    for (conversation, sequences) in seen {
        assert_eq!(sequences, (5..25).collect::<Vec<_>>(), "{conversation}");
    }
    until_empty(&baton).await;
    assert_eq!(baton.metric("baton_dead_letters", &[]).await, 0.0);
}

#[tokio::test]
async fn what_was_answered_survives_a_kill_of_baton() {
    let _machine = among_others().await;
    let mut masters = masters(["a"]).await;
    masters[0].kill().await;
    let baton = Baton::start(&spooling(&masters)).await;
    post(baton.address(), 8, 0..20).await;
    let directory = baton.kill().await;
    masters[0].restart_dead().await;
    let baton = Baton::start_again(directory).await;
    let seen = until_seen(&masters, 8, 20).await;
    for (conversation, sequences) in seen {
        assert_eq!(sequences, (0..20).collect::<Vec<_>>(), "{conversation}");
    }
    until_empty(&baton).await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_deliveries_repeats_one_of_a_conversation_at_most() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    for master in &masters {
        master.fault(r#"{"delay_ms": 5}"#).await;
    }
    let mut baton = Baton::start(&spooling(&masters)).await;
    for round in 0..4u64 {
        post(baton.address(), 8, round * 15..(round + 1) * 15).await;
        baton = Baton::start_again(baton.kill().await).await;
    }
    let seen = until_seen(&masters, 8, 60).await;
    until_empty(&baton).await;
    for (conversation, mut sequences) in seen {
        let all = sequences.len();
        let sorted = sequences.is_sorted();
        sequences.sort_unstable();
        sequences.dedup();
        assert_eq!(sequences, (0..60).collect::<Vec<_>>(), "{conversation}");
        assert!(all <= 60 + 4, "{conversation} has {} repeats of 4 kills", all - 60);
        // Where a conversation stays with one master, a repeat stands beside what it repeats.
        assert!(sorted || all > 60, "{conversation} is out of order");
    }
}

#[tokio::test]
async fn a_delivery_says_which_attempt_it_is_and_verifies() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    bot.answer(503);
    let baton = Baton::start_unprobed(&of_bots(&[&bot]).upstream(QUICK)).await;
    assert_eq!(post_one(&baton, "AE.1", "wamid.1").await, 200);
    eventually("an attempt", async || (!bot.got().is_empty()).then_some(())).await;
    bot.answer(200);
    until_empty(&baton).await;
    let got = bot.got();
    assert!(got.len() >= 2);
    for (attempt, got) in (1..).zip(&got) {
        let body = String::from_utf8(got.body.clone()).unwrap();
        assert_eq!(header(&got.head, "baton-attempt"), Some(&*attempt.to_string()));
        assert_eq!(header(&got.head, "baton-redelivery"), None);
        assert_eq!(header(&got.head, "content-length"), Some(&*body.len().to_string()));
        assert_eq!(header(&got.head, "x-hub-signature-256"), Some(&*meta::signature(&body)));
        let key = header(&got.head, "idempotency-key").unwrap();
        assert_eq!((key.len(), header(&got.head, "transfer-encoding")), (32, None));
        assert_eq!(body, meta::message(ACCOUNT, "AE.1", "wamid.1"));
    }
    let failed = [("upstream", "bots"), ("master", "bot-0"), ("outcome", "failed")];
    assert_eq!(baton.metric("baton_delivery_attempts_total", &failed).await, got.len() as f64 - 1.0);
}

#[tokio::test]
async fn what_fails_too_often_is_a_dead_letter_and_its_conversation_goes_on() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    bot.answer(500);
    let baton = Baton::start_unprobed(&of_bots(&[&bot]).upstream(QUICK)).await;
    assert_eq!(post_one(&baton, "AE.1", "wamid.1").await, 200);
    eventually("a dead letter", async || (baton.metric("baton_dead_letters", &[]).await == 1.0).then_some(())).await;
    assert_eq!(ids(&bot.got()), ["wamid.1"; 3]);
    bot.answer(200);
    assert_eq!(post_one(&baton, "AE.1", "wamid.2").await, 200);
    until_empty(&baton).await;
    assert_eq!(ids(&bot.got())[3..], ["wamid.2"]);
    assert_eq!(baton.metric("baton_delivered_total", &[("outcome", "dead-attempts")]).await, 1.0);
    assert_eq!(baton.status().await["spool"]["dead_letters"], 1);
}

#[tokio::test]
async fn what_breaks_masters_is_given_to_no_more_of_them_than_its_bound() {
    let _machine = among_others().await;
    let bots = [Bot::start().await, Bot::start().await, Bot::start().await];
    for bot in &bots {
        bot.answer(HANG_UP);
    }
    let baton = Baton::start_unprobed(&of_bots(&[&bots[0], &bots[1], &bots[2]]).upstream(QUICK)).await;
    assert_eq!(post_one(&baton, "AE.1", "wamid.1").await, 200);
    eventually("a dead letter", async || (baton.metric("baton_dead_letters", &[]).await == 1.0).then_some(())).await;
    let mut got: Vec<Got> = bots.iter().flat_map(Bot::got).collect();
    got.sort_by_key(|got| header(&got.head, "baton-attempt").map(str::to_owned));
    let marks: Vec<_> = got.iter().map(|got| header(&got.head, "baton-redelivery").map(str::to_owned)).collect();
    assert_eq!(marks, [None, Some("possible".to_owned())]);
    for bot in &bots {
        bot.answer(200);
    }
    assert_eq!(post_one(&baton, "AE.1", "wamid.2").await, 200);
    until_empty(&baton).await;
    assert_eq!(baton.metric("baton_delivered_total", &[("outcome", "dead-masters")]).await, 1.0);
}

#[tokio::test]
async fn messages_of_an_upstream_that_is_gone_wait_for_it() {
    let _machine = among_others().await;
    let (bot, other) = (Bot::start().await, Bot::start().await);
    bot.answer(503);
    let config = of_bots(&[&bot]);
    let baton = Baton::start_unprobed(&config).await;
    assert_eq!(post_one(&baton, "AE.1", "wamid.1").await, 200);
    eventually("an attempt", async || (!bot.got().is_empty()).then_some(())).await;
    let text = of_bots(&[&other]).text(&baton.directory().join("data"));
    baton.write_text(&text.replace("bots", "others"));
    baton.hang_up();
    eventually("the message has no upstream", async || {
        (baton.metric("baton_spool_stranded", &[]).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(post_one(&baton, "AE.2", "wamid.2").await, 200);
    eventually("another one is delivered", async || (ids(&other.got()) == ["wamid.2"]).then_some(())).await;
    bot.answer(200);
    baton.write(&config);
    baton.hang_up();
    until_empty(&baton).await;
    assert_eq!(ids(&bot.got()).last().map(String::as_str), Some("wamid.1"));
    assert_eq!(other.got().len(), 1);
}

#[tokio::test]
async fn a_stop_lets_what_is_in_flight_finish_and_keeps_the_rest() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    masters[0].fault(r#"{"delay_ms": 300}"#).await;
    let mut baton = Baton::start(&spooling(&masters)).await;
    post(baton.address(), 1, 0..3).await;
    eventually("the first is in flight", async || (masters[0].seen().await.requests > 0).then_some(())).await;
    baton.process.signal(Signal::TERM);
    assert!(baton.process.ended().await.success());
    let before = seen(&masters).await.into_values().next().unwrap();
    masters[0].fault("{}").await;
    let _baton = Baton::start_again(baton.kill().await).await;
    let seen = until_seen(&masters, 1, 3).await.into_values().next().unwrap();
    assert_eq!(seen, [0, 1, 2], "nothing comes twice after an orderly stop");
    assert!(before.len() < 3, "not all was delivered before the stop");
}

#[tokio::test]
async fn what_a_stop_cuts_off_is_marked_when_it_comes_again() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    bot.answer(SILENT);
    let mut baton = Baton::start_unprobed(&of_bots(&[&bot])).await;
    assert_eq!(post_one(&baton, "AE.1", "wamid.1").await, 200);
    eventually("it is in flight", async || (!bot.got().is_empty()).then_some(())).await;
    baton.process.signal(Signal::INT);
    assert!(baton.process.ended().await.success());
    bot.answer(200);
    let baton = Baton::start_again(baton.kill().await).await;
    until_empty(&baton).await;
    let heads: Vec<String> = bot.got().into_iter().map(|got| got.head).collect();
    let marks: Vec<_> = heads.iter().map(|head| header(head, "baton-redelivery")).collect();
    assert_eq!(marks, [None, Some("possible")]);
    assert_eq!(header(&heads[1], "baton-attempt"), Some("1"), "nobody knows that it was one");
}

#[tokio::test]
async fn many_bytes_in_flight_do_not_keep_others_waiting_for_ever() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let baton = Baton::start_unprobed(&of_bots(&[&bot])).await;
    let mut client = Client::connect(baton.address()).await;
    let filling = "z".repeat(3 << 20);
    for i in 0..30 {
        let body = meta::message(ACCOUNT, &format!("AE.{i}"), &format!("wamid.{i}")).replace("hi", &filling);
        assert_eq!(meta::post(&mut client, &body).await.status, 200);
    }
    within(Duration::from_secs(30), "all arrived", async || (bot.got().len() == 30).then_some(())).await;
}

#[tokio::test]
async fn what_waits_for_a_master_alone_is_told_of_it() {
    let _machine = among_others().await;
    let (one, other) = (Bot::start().await, Bot::start().await);
    // Which takes no master out.
    one.answer(500);
    other.answer(500);
    let config = Config::empty()
        .master("one", one.address, "accounts: [\"1\"]")
        .master("other", other.address, "accounts: [\"2\"]")
        .route(SPOOL)
        .upstream("redelivery: { attempts: 1000, backoff: 20ms, max_backoff: 50ms }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    for (number, account) in ["1", "2", "1", "1"].into_iter().enumerate() {
        let body = meta::message(account, &format!("AE.{number}"), &format!("wamid.{number}"));
        assert_eq!(meta::post(&mut client, &body).await.status, 200);
    }
    let pending = async |one: u64, other: u64| {
        let told = [baton.master("one").await["pending"].as_u64(), baton.master("other").await["pending"].as_u64()];
        (told == [Some(one), Some(other)]).then_some(())
    };
    eventually("three and one", async || pending(3, 1).await).await;
    one.answer(200);
    eventually("none and one", async || pending(0, 1).await).await;
}
