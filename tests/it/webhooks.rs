//! Routes with `whatsapp`: who may send, what reaches which master, and in which form.

use std::net::SocketAddr;

use hyper::Method;

use crate::kit::bot::{Bot, Got};
use crate::kit::http::Client;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, h2, meta};

const META: &str = r#"whatsapp: { provider: cloud-api, app_secret: "s3cret", verify_token: "vtok" }"#;

const ONE: &str = "106540352242922";
const TWO: &str = "106540352242999";

fn config(masters: &[(&str, SocketAddr, &str)]) -> Config {
    masters.iter().fold(Config::empty(), |config, (name, address, keys)| config.master(name, *address, keys))
}

/// Ids of the messages in what a bot got, in order; each body has to be signed and have its length said.
fn ids(got: &[Got]) -> Vec<String> {
    got.iter()
        .map(|got| {
            let text = std::str::from_utf8(&got.body).unwrap();
            assert_eq!(header(&got.head, "x-hub-signature-256"), Some(&*meta::signature(text)), "{}", got.head);
            assert_eq!(header(&got.head, "content-length"), Some(&*text.len().to_string()));
            assert_eq!(header(&got.head, "transfer-encoding"), None);
            let body: serde_json::Value = serde_json::from_str(text).unwrap();
            let value = &body["entry"][0]["changes"][0]["value"];
            assert_eq!(body["entry"].as_array().unwrap().len(), 1);
            let both = ["messages", "statuses"].map(|list| &value[list]);
            let lists: Vec<&serde_json::Value> = both.into_iter().filter(|list| !list.is_null()).collect();
            assert_eq!(lists.iter().map(|list| list.as_array().unwrap().len()).sum::<usize>(), 1, "{text}");
            lists[0][0]["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_webhook_with_a_wrong_signature_reaches_no_master() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let baton = Baton::start_unprobed(&config(&[("a", bot.address, "")]).route(META)).await;
    let mut client = Client::connect(baton.address()).await;
    let body = meta::message(ONE, "AE.1", "wamid.1");
    let good = meta::signature(&body);
    let (upper, other) = (good.to_uppercase(), meta::signature("{}"));
    let twice = [("x-hub-signature-256", &*good), ("x-hub-signature-256", &*good)];
    let sets: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-hub-signature-256", &other)],
        &[("x-hub-signature-256", &upper)],
        &twice,
        &[("x-hub-signature-256", "")],
    ];
    for headers in sets {
        let answer = client.send(Method::POST, "/webhook", headers, &body).await.unwrap();
        assert_eq!(answer.status, 401, "{headers:?}");
    }
    assert_eq!(meta::post(&mut client, &body).await.status, 200);
    assert_eq!(bot.bodies(), [body]);
    let refused = [("route", "webhooks"), ("reason", "bad-signature")];
    assert_eq!(baton.metric("baton_route_refused_total", &refused).await, 5.0);
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "bad-signature")]).await, 5.0);
}

#[tokio::test]
async fn the_handshake_is_answered_without_any_master() {
    let _machine = among_others().await;
    let dead = RawMaster::bind().await.address;
    let baton = Baton::start_unprobed(&config(&[("a", dead, "")]).route(META)).await;
    let mut client = Client::connect(baton.address()).await;
    let ask = "/webhook?hub.mode=subscribe&hub.challenge=1158201444%2Da&hub.verify_token=";
    let answer = client.get(&format!("{ask}vtok")).await;
    assert_eq!((answer.status, &*answer.body), (200, "1158201444-a"));
    assert_eq!(answer.headers["content-type"], "text/plain");
    assert_eq!(client.get(&format!("{ask}other")).await.status, 403);
    let mut h2 = h2::Client::connect(baton.address()).await;
    let answer = h2.get(&format!("{ask}vtok")).await;
    assert_eq!((answer.status, &*answer.body), (200, &b"1158201444-a"[..]));
}

#[tokio::test]
async fn every_update_of_a_batch_reaches_a_master_of_its_account_signed_and_in_order() {
    let _machine = among_others().await;
    let (one, two) = (Bot::start().await, Bot::start().await);
    let accounts = |account: &str| format!("accounts: [\"{account}\"]");
    let masters = [("one", one.address, &*accounts(ONE)), ("two", two.address, &*accounts(TWO))];
    let baton = Baton::start_unprobed(&config(&masters).route(META)).await;
    let changes: Vec<String> = (0..10)
        .map(|i| {
            let (account, user) = (if i % 2 == 0 { ONE } else { TWO }, format!("AE.{}", i % 4));
            meta::change(account, &user, &format!("wamid.{i}"))
        })
        .collect();
    let mut client = Client::connect(baton.address()).await;
    let answer = meta::post(&mut client, &meta::webhook(&changes)).await;
    assert_eq!((answer.status, &*answer.body), (200, ""));
    let mut all = Vec::new();
    for (bot, parity) in [(&one, 0), (&two, 1)] {
        let ids = ids(&bot.got());
        let place = |i: usize| ids.iter().position(|id| *id == format!("wamid.{i}")).expect("it arrived");
        // Conversations are i % 4, so a message follows the one four before it.
        (parity..6).step_by(2).for_each(|i| assert!(place(i) < place(i + 4), "{ids:?}"));
        all.extend(ids);
    }
    all.sort();
    assert_eq!(all, (0..10).map(|i| format!("wamid.{i}")).collect::<Vec<_>>());
    let messages = [("route", "webhooks"), ("kind", "message")];
    assert_eq!(baton.metric("baton_webhook_updates_total", &messages).await, 10.0);
}

#[tokio::test]
async fn a_batch_of_which_a_part_fails_is_sent_again_by_its_gateway() {
    let _machine = among_others().await;
    let (one, two) = (Bot::start().await, Bot::start().await);
    let accounts = |account: &str| format!("accounts: [\"{account}\"]");
    let masters = [("one", one.address, &*accounts(ONE)), ("two", two.address, &*accounts(TWO))];
    let baton = Baton::start_unprobed(&config(&masters).route(META)).await;
    two.answer(500);
    let changes = [meta::change(ONE, "AE.1", "wamid.1"), meta::change(TWO, "AE.1", "wamid.2")];
    let mut client = Client::connect(baton.address()).await;
    let answer = meta::post(&mut client, &meta::webhook(&changes)).await;
    assert_eq!((answer.status, &answer.headers["retry-after"]), (503, &"1".parse().unwrap()));
    assert_eq!(ids(&one.got()), ["wamid.1"]);
}

#[tokio::test]
async fn a_message_never_goes_to_a_master_of_another_account() {
    let _machine = among_others().await;
    let one = Bot::start().await;
    let masters = [("one", one.address, &*format!("accounts: [\"{ONE}\"]"))];
    let baton = Baton::start_unprobed(&config(&masters).route(META)).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(meta::post(&mut client, &meta::message(TWO, "AE.1", "wamid.1")).await.status, 503);
    // What is about the account as a whole names it by another id.
    let general = r#"{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","time":1782991950,"changes":[{"field":"account_update","value":{"event":"VERIFIED_ACCOUNT"}}]}]}"#;
    assert_eq!(meta::post(&mut client, general).await.status, 200);
    assert_eq!(one.bodies(), [general]);
}

#[tokio::test]
async fn a_conversation_stays_with_one_master_and_its_statuses_go_back_to_the_sender() {
    let _machine = among_others().await;
    let (a, b) = (Bot::start().await, Bot::start().await);
    let config = config(&[("a", a.address, ""), ("b", b.address, "")]);
    let baton = Baton::start_unprobed(&config.route(META).upstream("affinity: { key: conversation }")).await;
    let mut client = Client::connect(baton.address()).await;
    for i in 0..40 {
        let body = meta::message(ONE, &format!("AE.{}", i % 8), &format!("{}.{i}", i % 8));
        assert_eq!(meta::post(&mut client, &body).await.status, 200);
    }
    let users = |bot: &Bot| -> Vec<String> {
        let mut users: Vec<String> =
            ids(&bot.got()).iter().map(|id| id.split('.').next().unwrap().to_owned()).collect();
        users.sort();
        users.dedup();
        users
    };
    let (of_a, of_b) = (users(&a), users(&b));
    assert_eq!(of_a.len() + of_b.len(), 8, "{of_a:?} {of_b:?}");
    assert!(!of_a.is_empty() && !of_b.is_empty());
    for (name, bot) in [("a", &a), ("b", &b)] {
        let before = bot.got().len();
        for user in 0..8 {
            let status = meta::status(ONE, &format!("AE.{user}"), &format!("out.{user}"), &format!("master={name}"));
            assert_eq!(meta::post(&mut client, &meta::webhook(&[status])).await.status, 200);
        }
        assert_eq!(bot.got().len(), before + 8);
    }
}

#[tokio::test]
async fn what_no_master_wants_is_answered_and_left_out() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let rules = r#"whatsapp: { provider: cloud-api, app_secret: "s3cret", ignore: { statuses: true, events: [account_update] } }"#;
    let baton = Baton::start_unprobed(&config(&[("a", bot.address, "")]).route(rules)).await;
    let mut client = Client::connect(baton.address()).await;
    let status = meta::status(ONE, "AE.1", "wamid.0", "");
    let answer = meta::post(&mut client, &meta::webhook(std::slice::from_ref(&status))).await;
    assert_eq!((answer.status, bot.got().len()), (200, 0));
    let mixed = meta::webhook(&[status, meta::change(ONE, "AE.1", "wamid.1")]);
    assert_eq!(meta::post(&mut client, &mixed).await.status, 200);
    assert_eq!(ids(&bot.got()), ["wamid.1"]);
    let ignored = [("route", "webhooks"), ("kind", "ignored")];
    assert_eq!(baton.metric("baton_webhook_updates_total", &ignored).await, 2.0);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_goes_on_as_it_is() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let baton = Baton::start_unprobed(&config(&[("a", bot.address, "")]).route(META)).await;
    let mut client = Client::connect(baton.address()).await;
    for body in ["{\"object\":", "[1,2]", "", "\u{0}"] {
        assert_eq!(meta::post(&mut client, body).await.status, 200, "{body:?}");
    }
    assert_eq!(bot.bodies(), ["{\"object\":", "[1,2]", "", "\u{0}"]);
}

#[tokio::test]
async fn a_chunked_webhook_has_a_length_when_it_reaches_its_master() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let baton = Baton::start_unprobed(&config(&[("a", bot.address, "")]).route(META)).await;
    let body = meta::message(ONE, "AE.1", "wamid.1");
    let (signature, half) = (meta::signature(&body), body.len() / 2);
    let mut client = Raw::connect(baton.address()).await;
    let head = format!("POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {signature}\r\n");
    client.send(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{half:x}\r\n{}\r\n", &body[..half])).await;
    client.send(&format!("{:x}\r\n{}\r\n0\r\n\r\n", body.len() - half, &body[half..])).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.expect("ok").await;
    // One that waits to be asked for its body is asked by Baton, for the body is looked at before it goes on.
    let asking = format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(&asking).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send(&body).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.expect("ok").await;
    assert_eq!(ids(&bot.got()), ["wamid.1", "wamid.1"]);
}

#[tokio::test]
async fn three_megabytes_arrive_whole_and_more_is_refused_early() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let baton = Baton::start_unprobed(&config(&[("a", bot.address, "")]).route(META)).await;
    let mut client = Client::connect(baton.address()).await;
    let filling = "z".repeat(3 << 20);
    let body = meta::message(ONE, "AE.1", "wamid.1").replace("hi", &filling);
    assert_eq!(meta::post(&mut client, &body).await.status, 200);
    assert!(bot.bodies() == [body]);
    let mut raw = Raw::connect(baton.address()).await;
    raw.send("POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 4194305\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn over_http2_it_is_the_same() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let baton = Baton::start_unprobed(&config(&[("a", bot.address, "")]).route(META)).await;
    let mut client = h2::Client::connect(baton.address()).await;
    let batch = meta::webhook(&[meta::change(ONE, "AE.1", "wamid.1"), meta::change(ONE, "AE.1", "wamid.2")]);
    assert_eq!(client.post("/webhook", &batch).await.status, 401);
    for length in [Some(batch.len()), None] {
        let mut request = h2::post("/webhook", length);
        request.headers_mut().insert("x-hub-signature-256", meta::signature(&batch).parse().unwrap());
        let (response, mut body) = client.begin(request, false).await;
        body.send_data(batch.clone().into(), true).unwrap();
        assert_eq!(h2::answer(response).await.unwrap().status, 200);
    }
    assert_eq!(ids(&bot.got()), ["wamid.1", "wamid.2", "wamid.1", "wamid.2"]);
}

#[tokio::test]
async fn an_account_over_its_rate_waits_and_others_do_not() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let config = config(&[("a", bot.address, "")]).route(META);
    let baton = Baton::start_unprobed(&config.route("rate_limit: { key: account, rate: 1/h, burst: 3 }")).await;
    let mut client = Client::connect(baton.address()).await;
    let mut statuses = Vec::new();
    for i in 0..5 {
        statuses.push(meta::post(&mut client, &meta::message(ONE, "AE.1", &format!("wamid.{i}"))).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let answer = meta::post(&mut client, &meta::message(ONE, "AE.2", "wamid.9")).await;
    assert!(answer.headers.contains_key("retry-after") && answer.headers.contains_key("ratelimit"));
    // A forged webhook costs nobody anything.
    let forged = client.send(Method::POST, "/webhook", &[], &meta::message(TWO, "AE.1", "wamid.10")).await.unwrap();
    assert_eq!(forged.status, 401);
    assert_eq!(meta::post(&mut client, &meta::message(TWO, "AE.1", "wamid.11")).await.status, 200);
    assert_eq!(baton.metric("baton_route_refused_total", &[("reason", "rate-limited")]).await, 3.0);
}
