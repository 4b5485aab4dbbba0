//! What is stored goes on with the process that serves.

use super::Line;
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
    let id = |body: &String| {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        body["entry"][0]["changes"][0]["value"]["messages"][0]["id"].as_str().unwrap().to_owned()
    };
    let mut ids: Vec<String> = bot.bodies().iter().map(id).collect();
    ids.dedup();
    assert_eq!(ids, (0..6).map(|number| format!("wamid.{number}")).collect::<Vec<_>>());
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
