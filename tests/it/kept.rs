//! What is known of conversations outlives the process.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;

use crate::kit::bot::Bot;
use crate::kit::http::Client;
use crate::kit::{Baton, Config, among_others, meta};

const META: &str = r#"whatsapp: { provider: cloud-api, app_secret: "s3cret" }"#;

const ACCOUNT: &str = "106540352242922";

/// So many that all on their bots of before is no accident among three (5 in 10^15).
const PEOPLE: usize = 30;

/// Changes are written every second, and committed a fifth of one later.
const WRITTEN: Duration = Duration::from_secs(3);

/// A webhook of a person who is known by a number, by a user id, or by both.
fn message(person: usize, number: bool, user: bool, id: &str) -> String {
    let number = if number { format!(r#""from":"97150123456{person:02}","#) } else { String::new() };
    let user = if user { format!(r#""from_user_id":"AE.1349{person:02}","#) } else { String::new() };
    let message =
        format!(r#"{{{number}{user}"id":"{id}","timestamp":"1782991799","type":"text","text":{{"body":"hi"}}}}"#);
    meta::webhook(&[format!(
        r#"{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"97140000000","phone_number_id":"{ACCOUNT}"}},"messages":[{message}]}}}}"#
    )])
}

fn config(bots: &[Bot]) -> Config {
    let masters = bots.iter().zip(["a", "b", "c"]);
    masters
        .fold(Config::empty(), |config, (bot, name)| config.master(name, bot.address, ""))
        .route(META)
        .upstream("affinity: { key: conversation }")
        .upstream("strategy: random")
}

/// Posts one message of everybody.
async fn post(baton: &Baton, number: bool, user: bool, what: &str) {
    let mut client = Client::connect(baton.address()).await;
    for person in 0..PEOPLE {
        let body = message(person, number, user, &format!("{what}.{person}."));
        assert_eq!(meta::post(&mut client, &body).await.status, 200);
    }
}

/// Which bot got whose message of this kind.
fn owners(bots: &[Bot], what: &str) -> BTreeMap<usize, usize> {
    let whose = |body: &str| body.split(&format!("\"{what}.")).nth(1)?.split('.').next()?.parse().ok();
    let all = bots.iter().enumerate().flat_map(|(bot, it)| it.bodies().into_iter().map(move |body| (bot, body)));
    all.filter_map(|(bot, body)| Some((whose(&body)?, bot))).collect()
}

#[tokio::test]
async fn after_kill_9_a_conversation_is_with_its_bot_again_by_each_of_its_names() {
    let _machine = among_others().await;
    let bots = [Bot::start().await, Bot::start().await, Bot::start().await];
    let config = config(&bots);
    let baton = Baton::start_unprobed(&config).await;
    post(&baton, true, true, "both").await;
    let before = owners(&bots, "both");
    assert_eq!(before.len(), PEOPLE);
    tokio::time::sleep(WRITTEN).await;
    let baton = Baton::start_again(baton.kill().await).await;
    post(&baton, true, false, "number").await;
    post(&baton, false, true, "user").await;
    assert_eq!(owners(&bots, "number"), before);
    assert_eq!(owners(&bots, "user"), before);
}

#[tokio::test]
async fn a_restart_in_order_loses_nothing_of_the_last_moment() {
    let _machine = among_others().await;
    let bots = [Bot::start().await, Bot::start().await, Bot::start().await];
    let config = config(&bots);
    let mut baton = Baton::start_unprobed(&config).await;
    post(&baton, true, true, "both").await;
    baton.process.signal(Signal::TERM);
    baton.process.ended().await;
    let baton = Baton::start_again(baton.kill().await).await;
    post(&baton, true, false, "number").await;
    assert_eq!(owners(&bots, "number"), owners(&bots, "both"));
}
