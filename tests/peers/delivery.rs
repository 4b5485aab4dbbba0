//! Routes with `whatsapp`: what a gateway sends is handled by the right bot, once, and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use crate::kit::http::Client;
use crate::kit::{Baton, Config, among_others, eventually};
use crate::meta::{Text, account_update, envelope, send, send_signed, signature, status, together};
use crate::peer::{OTHER_PHONE, PHONE, Peer, SECRET, VERIFY_TOKEN};

/// Each way in which a webhook gets to a master.
const MODES: [&str; 3] = ["inline", "inline-then-spool", "spool"];
/// Those that answer for messages no master has taken.
const STORING: [&str; 2] = ["inline-then-spool", "spool"];
/// Long enough that what should not happen would have.
const A_WHILE: Duration = Duration::from_secs(1);

/// Meta's webhooks to these bots.
fn config(delivery: &str, bots: &[&Peer]) -> Config {
    let config = Config::empty()
        .route(&format!(
            "delivery: {delivery}\n\
             whatsapp: {{ provider: cloud-api, app_secret: {SECRET}, verify_token: {VERIFY_TOKEN} }}"
        ))
        .upstream("redelivery: { backoff: 50ms, max_backoff: 200ms, masters: 2 }");
    bots.iter().fold(config, |config, bot| config.master(&bot.name, bot.address, ""))
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_batch_for_two_accounts_is_handled_update_by_update_by_the_bot_of_each() {
    let _machine = among_others().await;
    for mode in MODES {
        let first = Peer::start("first", "pywa_bot.py").await;
        let second = Peer::start_with("second", "pywa_bot.py", &[("PHONE", OTHER_PHONE)]).await;
        let config = config(mode, &[]).master("first", first.address, &format!("accounts: [\"{PHONE}\"]")).master(
            "second",
            second.address,
            &format!("accounts: [\"{OTHER_PHONE}\"]"),
        );
        let baton = Baton::start_unprobed(&config).await;

        let layla = |id| Text::of("971501234567", "AE.13491208655302741918", id);
        let omar = |id| Text::of("966501112222", "SA.77120045518830021144", id);
        let rafael = |id| Text { account: OTHER_PHONE, ..Text::of("5511987654321", "BR.40417733120985512200", id) };
        let read = |word| status(OTHER_PHONE, "5511987654321", "BR.40417733120985512200", "wamid.OUT", word);
        let body = envelope([
            vec![together(&[layla("a1"), omar("a2")]), rafael("b1").change(), read("delivered")],
            vec![layla("a3").change(), rafael("b2").change(), omar("a4").change(), read("read")],
            vec![together(&[layla("a5"), layla("a6")])],
        ]);
        assert_eq!(send(baton.address(), &body).await.status, 200, "{mode}");

        // The library answers first and handles then, so the order is that of arrival.
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        assert_eq!(sorted(first.seen_all(6).await), ["a1", "a2", "a3", "a4", "a5", "a6"], "{mode}");
        let received = first.received().await;
        let of = |ids: &[&str]| received.iter().filter(|id| ids.contains(&id.as_str())).cloned().collect::<Vec<_>>();
        assert_eq!(received.len(), 6, "{mode}: {received:?}");
        assert_eq!(of(&["a1", "a3", "a5", "a6"]), ["a1", "a3", "a5", "a6"], "{mode}");
        assert_eq!(of(&["a2", "a4"]), ["a2", "a4"], "{mode}");
        let expected = ["b1", "wamid.OUT delivered", "b2", "wamid.OUT read"];
        assert_eq!(second.seen_all(4).await.len(), 4, "{mode}");
        assert_eq!(second.received().await, expected, "{mode}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn twenty_messages_of_one_conversation_are_handled_in_order_by_a_bot_that_drops_what_comes_too_early() {
    let _machine = among_others().await;
    let expected: Vec<String> = (0..20).map(|number| format!("wamid.{number:02}")).collect();
    let texts = || expected.iter().map(|id| Text::of("971501234567", "AE.13491208655302741918", id));
    // It answers when it is through, or at once, and then what comes next has to wait for that long.
    for (mode, answer, spacing) in [
        ("spool", "after", "0s"),
        ("spool", "at once", "200ms"),
        ("inline-then-spool", "after", "0s"),
        ("inline", "after", "0s"),
    ] {
        let bot = Peer::start_with("chat", "chat_sdk.mjs", &[("ANSWER", answer), ("HANDLING_MS", "40")]).await;
        let config = Config::empty()
            .route(&format!("delivery: {mode}\nwhatsapp: {{ provider: cloud-api, app_secret: {SECRET} }}"))
            .upstream(&format!("redelivery: {{ spacing: {spacing} }}"))
            .master("chat", bot.address, "");
        let baton = Baton::start_unprobed(&config).await;
        if mode == "spool" {
            let mut client = Client::connect(baton.address()).await;
            for text in texts() {
                let body = text.body();
                assert_eq!(send_signed(&mut client, &body, &signature(&body)).await.status, 200);
            }
        } else {
            let body = envelope([texts().map(|text| text.change()).collect()]);
            assert_eq!(send(baton.address(), &body).await.status, 200);
        }
        assert_eq!(bot.seen_all(20).await, expected, "{mode}, answered {answer}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_body_that_comes_again_is_handled_once_also_when_both_come_at_the_same_time() {
    let _machine = among_others().await;
    for mode in STORING {
        // This library handles whatever it gets.
        let bot = Peer::start("api", "whatsapp_api_js.mjs").await;
        let baton = Baton::start_unprobed(&config(mode, &[&bot])).await;
        let body = Text::of("971501234567", "AE.13491208655302741918", "wamid.AGAIN").body();
        for _ in 0..3 {
            assert_eq!(send(baton.address(), &body).await.status, 200, "{mode}");
        }
        bot.seen_all(1).await;
        for round in 0..20 {
            let body = Text::of("971501234567", "AE.13491208655302741918", &format!("wamid.{round}")).body();
            let (one, other) = tokio::join!(send(baton.address(), &body), send(baton.address(), &body));
            assert_eq!((one.status, other.status), (200, 200), "{mode}");
        }
        // With a message behind them, whatever was there twice has been sent twice.
        let last = Text::of("971501234567", "AE.13491208655302741918", "wamid.LAST").body();
        assert_eq!(send(baton.address(), &last).await.status, 200, "{mode}");
        let seen = bot.seen_all(22).await;
        let expected: Vec<String> = ["AGAIN".into()]
            .into_iter()
            .chain((0..20).map(|round| round.to_string()))
            .chain(["LAST".into()])
            .map(|id| format!("wamid.{id}"))
            .collect();
        assert_eq!(seen, expected, "{mode}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_message_that_ends_each_bot_that_reads_it_ends_two_and_goes_to_the_dead_letters() {
    let _machine = among_others().await;
    for mode in STORING {
        let mut bots = Vec::new();
        for name in ["a", "b", "c"] {
            bots.push(Peer::start(name, "whatsapp_cloud_api.cjs").await);
        }
        let baton = Baton::start_unprobed(&config(mode, &bots.iter().collect::<Vec<_>>())).await;
        assert_eq!(send(baton.address(), &account_update()).await.status, 200);
        let dead_letters = async || baton.metric("baton_dead_letters", &[]).await;
        eventually("the dead letter", async || (dead_letters().await > 0.0).then_some(())).await;
        tokio::time::sleep(A_WHILE).await;
        let alive = bots.iter_mut().filter_map(|bot| bot.alive().then_some(&*bot)).collect::<Vec<_>>();
        assert_eq!(alive.len(), 1);
        let body = Text::of("971501234567", "AE.13491208655302741918", "wamid.AFTER").body();
        assert_eq!(send(baton.address(), &body).await.status, 200);
        assert_eq!(alive[0].seen_all(1).await, ["wamid.AFTER"]);
        assert_eq!(dead_letters().await, 1.0);
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn each_of_fifty_conversations_stays_with_one_bot() {
    let _machine = among_others().await;
    for mode in MODES {
        let mut bots = Vec::new();
        for name in ["a", "b", "c"] {
            bots.push(Peer::start(name, "whatsapp_api_js.mjs").await);
        }
        let config = config(mode, &bots.iter().collect::<Vec<_>>()).upstream("affinity: { key: conversation }");
        let baton = Baton::start_unprobed(&config).await;
        let to = baton.address();
        let senders = (0..50).map(|person| {
            tokio::spawn(async move {
                for number in 0..4 {
                    let (phone, user) = (format!("97150{person:07}"), format!("AE.1349120865530{person:07}"));
                    let body = Text::of(&phone, &user, &format!("{person}.{number}")).body();
                    assert_eq!(send(to, &body).await.status, 200);
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.unwrap();
        }
        let seen = eventually("all 200 are handled", async || {
            let mut seen = Vec::new();
            for bot in &bots {
                seen.push(bot.seen().await);
            }
            (seen.iter().map(Vec::len).sum::<usize>() >= 200).then_some(seen)
        })
        .await;
        let mut of_person: BTreeMap<String, (BTreeSet<usize>, Vec<String>)> = BTreeMap::new();
        for (bot, ids) in seen.iter().enumerate() {
            assert!(!ids.is_empty(), "{mode}: one bot got nothing");
            for id in ids {
                let (person, number) = id.split_once('.').unwrap();
                let (bots, numbers) = of_person.entry(person.to_owned()).or_default();
                bots.insert(bot);
                numbers.push(number.to_owned());
            }
        }
        assert_eq!(of_person.len(), 50, "{mode}");
        for (person, (bots, numbers)) in of_person {
            assert_eq!((bots.len(), numbers), (1, ["0", "1", "2", "3"].map(String::from).to_vec()), "{mode}: {person}");
        }
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_person_with_both_names_with_one_and_with_the_other_is_one_conversation() {
    let _machine = among_others().await;
    for mode in MODES {
        let mut bots = Vec::new();
        for name in ["a", "b", "c"] {
            bots.push(Peer::start(name, "whatsapp_api_js.mjs").await);
        }
        let config = config(mode, &bots.iter().collect::<Vec<_>>()).upstream("affinity: { key: conversation }");
        let baton = Baton::start_unprobed(&config).await;
        for person in 0..12 {
            let (phone, user) = (format!("97150{person:07}"), format!("AE.1349120865530{person:07}"));
            for (number, (phone, user)) in
                [(Some(&*phone), Some(&*user)), (None, Some(&*user)), (Some(&*phone), None)].into_iter().enumerate()
            {
                let id = format!("{person}.{number}");
                let text = Text { account: PHONE, phone, user, id: &id, text: "hello" };
                assert_eq!(send(baton.address(), &text.body()).await.status, 200, "{mode}");
            }
        }
        let mut of_person: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        eventually("all 36 are handled", async || {
            let mut count = 0;
            for bot in &bots {
                for id in bot.seen().await {
                    count += 1;
                    of_person.entry(id.split_once('.')?.0.to_owned()).or_default().insert(&bot.name);
                }
            }
            (count == 36).then_some(())
        })
        .await;
        assert!(of_person.values().all(|bots| bots.len() == 1), "{mode}: {of_person:?}");
        let used: BTreeSet<_> = of_person.values().flatten().collect();
        assert_eq!(used.len(), 3, "{mode}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn what_is_signed_by_somebody_else_reaches_no_bot() {
    let _machine = among_others().await;
    for mode in MODES {
        // This one would not notice.
        let bot = Peer::start("open", "whatsapp_cloud_api.cjs").await;
        let baton = Baton::start_unprobed(&config(mode, &[&bot])).await;
        let body = Text::of("971501234567", "AE.13491208655302741918", "wamid.A").body();
        let mut client = Client::connect(baton.address()).await;
        for wrong in [&signature("another body"), "", "sha256=", &signature(&body).to_uppercase()] {
            assert_eq!(send_signed(&mut client, &body, wrong).await.status, 401, "{mode}: {wrong:?}");
        }
        assert_eq!(client.post("/webhook", &body).await.status, 401, "{mode}");
        tokio::time::sleep(A_WHILE).await;
        assert!(bot.requests().await.is_empty(), "{mode}");
        assert_eq!(send(baton.address(), &body).await.status, 200, "{mode}");
        assert_eq!(bot.seen_all(1).await, ["wamid.A"], "{mode}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn the_handshake_is_answered_while_every_bot_is_down() {
    let _machine = among_others().await;
    for mode in MODES {
        let mut bot = Peer::start("pywa", "pywa_bot.py").await;
        let baton = Baton::start_unprobed(&config(mode, &[&bot])).await;
        bot.kill().await;
        let mut client = Client::connect(baton.address()).await;
        let path = |token| format!("/webhook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}");
        let answer = client.get(&path(VERIFY_TOKEN)).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "1158201444"), "{mode}");
        assert_eq!(client.get(&path("wrong")).await.status, 403, "{mode}");
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn a_bot_that_dislikes_one_kind_of_status_stays_in_use() {
    let _machine = among_others().await;
    for mode in MODES {
        let bot = Peer::start("strict", "strict_bot.cjs").await;
        let baton = Baton::start_unprobed(&config(mode, &[&bot])).await;
        for number in 0..20 {
            let (phone, user) = (format!("97150{number:07}"), format!("AE.1349120865530{number:07}"));
            let body = envelope([vec![status(PHONE, &phone, &user, &format!("wamid.OUT{number}"), "failed")]]);
            let answer = send(baton.address(), &body).await.status;
            assert_eq!(answer, if mode == "inline" { 400 } else { 200 }, "{mode}");
        }
        eventually("every status was tried", async || (bot.seen().await.len() >= 20).then_some(())).await;
        let health = baton.health("strict").await;
        assert!(["healthy", "unknown", "unprobed"].contains(&health.as_str()), "{mode}: {health}");
        let body = Text::of("971501234567", "AE.13491208655302741918", "wamid.AFTER").body();
        assert_eq!(send(baton.address(), &body).await.status, 200, "{mode}");
        eventually("the message is handled", async || bot.seen().await.contains(&"wamid.AFTER".into()).then_some(()))
            .await;
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn evolution_is_never_told_what_makes_it_give_up_while_every_bot_is_down() {
    let _machine = among_others().await;
    let mut sender = crate::peer::Sender::start().await;
    for mode in MODES {
        let mut bot = Peer::start("strict", "strict_bot.cjs").await;
        let config = Config::empty().route(&format!("delivery: {mode}\nwhatsapp: {{ provider: evolution }}")).master(
            "strict",
            bot.address,
            "",
        );
        let baton = Baton::start_unprobed(&config).await;
        bot.kill().await;
        let bodies = [
            json!({ "event": "messages.upsert", "instance": "clinic-01", "apikey": "key", "data": {
                "key": { "remoteJid": "251556368777322@lid", "remoteJidAlt": "971501234567@s.whatsapp.net",
                    "fromMe": false, "id": "3EB0C431C26A1916E07E" },
                "messageType": "conversation", "message": { "conversation": "hello" } } }),
            json!({ "event": "contacts.update", "instance": "clinic-01", "data": [{ "remoteJid": "1@s.whatsapp.net" }] }),
            json!({ "event": "application.startup", "data": {} }),
            json!({}),
            json!([1, 2, 3]),
        ];
        for body in bodies {
            let status = sender.post(&format!("http://{}/evolution", baton.address()), &body).await;
            assert_eq!(status, if mode == "inline" { 503 } else { 200 }, "{mode}: {body}");
        }
        if mode != "inline" {
            bot.restart().await;
            eventually("what was stored is delivered", async || (bot.requests().await.len() >= 5).then_some(())).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs bot libraries: scripts/test peers"]
async fn what_was_answered_while_every_bot_was_down_is_handled_in_order_after_baton_was_killed() {
    let _machine = among_others().await;
    for mode in STORING {
        let mut bot = Peer::start("pywa", "pywa_bot.py").await;
        let baton = Baton::start_unprobed(&config(mode, &[&bot])).await;
        bot.kill().await;
        let expected: Vec<String> = (0..10).map(|number| format!("wamid.{number}")).collect();
        for id in &expected {
            let body = Text::of("971501234567", "AE.13491208655302741918", id).body();
            assert_eq!(send(baton.address(), &body).await.status, 200, "{mode}");
        }
        let _baton = Baton::start_again(baton.kill().await).await;
        bot.restart().await;
        bot.seen_all(10).await;
        assert_eq!(bot.received().await, expected, "{mode}");
        for request in bot.requests().await {
            assert_eq!(request["headers"]["content-length"], request["length"].to_string(), "{mode}");
            assert!(request["headers"]["idempotency-key"].is_string(), "{mode}: {request}");
        }
    }
}
