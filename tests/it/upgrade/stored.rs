//! What is stored goes on with the process that serves.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::{Line, Load};
use crate::kit::bot::Bot;
use crate::kit::http::Client;
use crate::kit::{Config, among_others, eventually, meta};

#[tokio::test]
async fn stored_messages_are_delivered_by_the_new_process_in_their_order() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    bot.answer(503);
    let config = Config::empty()
        .master("a", bot.address, "")
        .route("delivery: spool\nwhatsapp: { provider: cloud-api, app_secret: \"s3cret\" }")
        .upstream("redelivery: { attempts: 1000, backoff: 20ms, max_backoff: 100ms }");
    let line = Line::start(&config).await;
    let post = async |numbers: std::ops::Range<u32>| {
        let mut client = Client::connect(line.baton.address()).await;
        for number in numbers {
            let body = meta::message("106540352242922", "AE.1", &format!("wamid.{number}"));
            assert_eq!(meta::post(&mut client, &body).await.status, 200);
        }
    };
    post(0..3).await;
    line.upgrade().await;
    post(3..6).await;
    let pending = async || line.baton.metric("baton_spool_pending", &[]).await;
    assert_eq!(pending().await, 6.0);
    bot.answer(200);
    eventually("nothing is pending", async || (pending().await == 0.0).then_some(())).await;
    let mut ids: Vec<String> = bot.bodies().iter().map(|body| id(body)).collect();
    ids.dedup();
    assert_eq!(ids, (0..6).map(|number| format!("wamid.{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn five_upgrades_refuse_no_webhook_that_is_stored_and_none_comes_twice_or_out_of_order() {
    webhooks_through_upgrades("delivery: spool").await;
}

#[tokio::test]
async fn five_upgrades_refuse_no_webhook_that_is_forwarded_at_once_while_the_bot_comes_and_goes() {
    webhooks_through_upgrades("delivery: inline-then-spool").await;
}

/// Sends webhooks of five conversations, each in its order, over connections that are kept and over new ones; the bot is away for
/// a while in each upgrade.
async fn webhooks_through_upgrades(delivery: &str) {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let config = Config::empty()
        .master("a", bot.address, "")
        .route(&format!("{delivery}\nwhatsapp: {{ provider: cloud-api, app_secret: \"s3cret\" }}"))
        .upstream("redelivery: { attempts: 1000, backoff: 20ms, max_backoff: 100ms }");
    let line = Line::start(&config).await;
    let load = Load::of(line.baton.address(), |client, count, header| {
        let body = meta::message("106540352242922", &format!("AE.{client}"), &format!("wamid.{client}.{count}"));
        let (length, signature) = (body.len(), meta::signature(&body));
        format!(
            "POST /webhook HTTP/1.1\r\nHost: bot.example\r\nContent-Type: application/json\r\n\
             X-Hub-Signature-256: {signature}\r\nContent-Length: {length}\r\n{header}\r\n{body}"
        )
    });
    for _ in 0..5 {
        let before = load.answered.load(Ordering::Relaxed);
        let busy = async || (load.answered.load(Ordering::Relaxed) > before + 50).then_some(());
        eventually("load", busy).await;
        bot.answer(503);
        line.upgrade().await;
        bot.answer(200);
    }
    let (failed, answered) = load.stop();
    assert!(failed.is_empty(), "{} of {answered} failed: {failed:#?}", failed.len());
    let pending = async || (line.baton.metric("baton_spool_pending", &[]).await == 0.0).then_some(());
    eventually("nothing is pending", pending).await;
    let mut read: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for got in bot.got() {
        let id = id(&String::from_utf8(got.body).unwrap());
        let (client, number) = id.strip_prefix("wamid.").unwrap().split_once('.').unwrap();
        read.entry(client.to_owned()).or_default().push(number.parse().unwrap());
    }
    for (client, numbers) in &mut read {
        // What the bot refused comes again, and is the next one until it is taken.
        numbers.dedup();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{client}: {numbers:?}");
    }
    assert_eq!(read.values().map(|numbers| numbers.len() as u64).sum::<u64>(), answered);
    line.stop().await;
}

fn id(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["entry"][0]["changes"][0]["value"]["messages"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_audit_trail_goes_on_as_one_chain() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let line = Line::start(&Config::empty().master("a", bot.address, "")).await;
    line.upgrade().await;
    line.upgrade().await;
    let read = async || {
        let (_, body) = baton::sample::client::get(line.baton.admin, "/api/v1/audit/verify").await.ok()?;
        let found: serde_json::Value = serde_json::from_slice(&body).ok()?;
        (found["records"].as_u64()? >= 3).then_some(found)
    };
    let found = eventually("three starts", read).await;
    assert_eq!((&found["intact"], &found["first"]), (&true.into(), &1.into()), "{found}");
    assert_eq!(line.baton.status().await["audit"]["lost"], 0);
}
