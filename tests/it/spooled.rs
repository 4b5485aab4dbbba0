//! Webhooks that are answered for: stored at once, or when no master takes them; never twice, never past one another.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;

use crate::kit::bot::{Bot, Got, HANG_UP};
use crate::kit::http::Client;
use crate::kit::raw::{Raw, RawMaster, header};
use crate::kit::{Baton, Config, among_others, eventually, meta};

const RULES: &str = "whatsapp: { provider: cloud-api, app_secret: \"s3cret\" }";
const SPOOL: &str = "delivery: spool";
const FIRST_INLINE: &str = "delivery: inline-then-spool\nspool_after: 500ms";
const QUICK: &str = "redelivery: { attempts: 100, masters: 100, backoff: 20ms, max_backoff: 50ms }";

const ACCOUNT: &str = "106540352242922";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn config(master: SocketAddr, delivery: &str) -> Config {
    Config::empty().master("a", master, "").route(RULES).route(delivery).upstream(QUICK)
}

fn ids(got: &[Got]) -> Vec<String> {
    got.iter().map(|got| id(&got.body)).collect()
}

fn id(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["entry"][0]["changes"][0]["value"]["messages"][0]["id"].as_str().unwrap().to_owned()
}

async fn until_empty(baton: &Baton) {
    eventually("nothing is pending", async || (baton.metric("baton_spool_pending", &[]).await == 0.0).then_some(()))
        .await;
}

/// A webhook as bytes.
fn request(body: &str) -> String {
    let (length, signature) = (body.len(), meta::signature(body));
    format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_copy_is_answered_and_not_delivered_whenever_it_comes() {
    let _machine = among_others().await;
    for delivery in [SPOOL, FIRST_INLINE] {
        let bot = Bot::start().await;
        let baton = Baton::start_unprobed(&config(bot.address, delivery)).await;
        let mut client = Client::connect(baton.address()).await;
        let body = meta::message(ACCOUNT, "AE.1", "wamid.1");
        for _ in 0..3 {
            assert_eq!(meta::post(&mut client, &body).await.status, 200);
        }
        until_empty(&baton).await;
        // Another body with the same id is the same message, as when a gateway sends it again with another time.
        assert_eq!(meta::post(&mut client, &body.replace("hi", "ho")).await.status, 200);
        assert!(baton.metric("baton_duplicates_total", &[]).await >= 1.0 || delivery == FIRST_INLINE);
        // What a master has taken is remembered on disk a moment later; nothing is answered for that could be lost.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let baton = Baton::start_again(baton.kill().await).await;
        let mut client = Client::connect(baton.address()).await;
        let again = meta::post(&mut client, &body).await.status;
        let next = meta::post(&mut client, &meta::message(ACCOUNT, "AE.1", "wamid.2")).await.status;
        assert_eq!((again, next), (200, 200));
        eventually("the next one", async || (ids(&bot.got()).last()? == "wamid.2").then_some(())).await;
        assert_eq!(ids(&bot.got()), ["wamid.1", "wamid.2"], "{delivery}");
    }
}

#[tokio::test]
async fn of_two_copies_in_the_same_moment_one_is_delivered() {
    let _machine = among_others().await;
    for delivery in [SPOOL, FIRST_INLINE] {
        let bot = Bot::start().await;
        let baton = Baton::start_unprobed(&config(bot.address, delivery)).await;
        let (mut one, mut two) = (Client::connect(baton.address()).await, Client::connect(baton.address()).await);
        for i in 0..30 {
            let body = meta::message(ACCOUNT, &format!("AE.{i}"), &format!("wamid.{i}"));
            let (first, second) = tokio::join!(meta::post(&mut one, &body), meta::post(&mut two, &body));
            assert_eq!((first.status, second.status), (200, 200));
        }
        until_empty(&baton).await;
        let mut ids = ids(&bot.got());
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!((ids.len(), count), (30, 30), "{delivery}");
    }
}

#[tokio::test]
async fn a_copy_waits_for_what_becomes_of_the_first() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config(master.address, FIRST_INLINE)).await;
    let body = meta::message(ACCOUNT, "AE.1", "wamid.1");
    let (mut one, mut two) = (Raw::connect(baton.address()).await, Raw::connect(baton.address()).await);
    one.send(&request(&body)).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    two.send(&request(&body)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    upstream.send(OK).await;
    assert!(one.head().await.starts_with("HTTP/1.1 200 "));
    one.expect("ok").await;
    let told = two.head().await;
    assert!(told.starts_with("HTTP/1.1 200 ") && header(&told, "content-length") == Some("0"), "{told}");
}

#[tokio::test]
async fn a_masters_answer_goes_to_the_gateway_and_what_it_does_not_take_is_stored() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let baton = Baton::start_unprobed(&config(bot.address, FIRST_INLINE)).await;
    let mut client = Client::connect(baton.address()).await;
    let answer = meta::post(&mut client, &meta::message(ACCOUNT, "AE.1", "wamid.0")).await;
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    bot.answer(500);
    for i in 1..4 {
        let answer = meta::post(&mut client, &meta::message(ACCOUNT, "AE.1", &format!("wamid.{i}"))).await;
        assert_eq!((answer.status, &*answer.body), (200, ""));
    }
    let refused = bot.got().len();
    bot.answer(200);
    until_empty(&baton).await;
    let got = bot.got();
    let taken: Vec<String> = ids(&got[refused..]);
    let mut distinct = taken.clone();
    distinct.dedup();
    assert_eq!(distinct, ["wamid.1", "wamid.2", "wamid.3"], "{taken:?}");
    assert!(got.iter().skip(1).all(|got| id(&got.body) == "wamid.1" || header(&got.head, "baton-attempt").is_some()));
    // With nothing stored the next one is the master's to answer again.
    let answer = meta::post(&mut client, &meta::message(ACCOUNT, "AE.1", "wamid.4")).await;
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
}

#[tokio::test]
async fn the_next_message_of_a_conversation_does_not_overtake_one_that_is_under_way() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config(master.address, FIRST_INLINE)).await;
    let (mut one, mut two) = (Raw::connect(baton.address()).await, Raw::connect(baton.address()).await);
    one.send(&request(&meta::message(ACCOUNT, "AE.1", "wamid.1"))).await;
    let mut upstream = master.accept().await;
    upstream.head().await;
    // It is answered for, and waits.
    two.send(&request(&meta::message(ACCOUNT, "AE.1", "wamid.2"))).await;
    assert!(two.head().await.starts_with("HTTP/1.1 200 "));
    // Another conversation does not.
    two.send(&request(&meta::message(ACCOUNT, "AE.2", "wamid.3"))).await;
    let mut other = master.accept().await;
    let head = other.head().await;
    assert_eq!(header(&head, "baton-attempt"), None, "{head}");
    other.send(OK).await;
    assert_eq!(baton.metric("baton_spool_pending", &[]).await, 1.0);
    upstream.send(OK).await;
    assert!(one.head().await.starts_with("HTTP/1.1 200 "));
    let mut next = master.accept().await;
    let head = next.head().await;
    assert_eq!(header(&head, "baton-attempt"), Some("1"));
    let length = header(&head, "content-length").unwrap().parse().unwrap();
    assert_eq!(id(&next.take(length).await), "wamid.2");
    next.send(OK).await;
    until_empty(&baton).await;
}

#[tokio::test]
async fn what_a_master_may_have_had_comes_again_with_a_mark() {
    let _machine = among_others().await;
    let master = RawMaster::bind().await;
    let baton = Baton::start_unprobed(&config(master.address, FIRST_INLINE)).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send(&request(&meta::message(ACCOUNT, "AE.1", "wamid.1"))).await;
    let mut silent = master.accept().await;
    silent.head().await;
    // No answer within `spool_after`.
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let mut again = master.accept().await;
    let head = again.head().await;
    assert_eq!(header(&head, "baton-redelivery"), Some("possible"), "{head}");
    assert!(header(&head, "idempotency-key").is_some_and(|key| key.len() == 32));
    again.send(OK).await;
    until_empty(&baton).await;
}

#[tokio::test]
async fn without_room_it_is_503_and_what_was_answered_for_is_kept() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    bot.answer(503);
    let config = config(bot.address, SPOOL).state("spool: { max_messages: 3 }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let mut statuses = Vec::new();
    for i in 0..5 {
        let answer = meta::post(&mut client, &meta::message(ACCOUNT, "AE.1", &format!("wamid.{i}"))).await;
        assert!(answer.status == 200 || answer.headers.contains_key("retry-after"));
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 200, 503, 503]);
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "spool-full")]).await, 2.0);
    bot.answer(200);
    until_empty(&baton).await;
    let mut ids = ids(&bot.got());
    ids.dedup();
    assert_eq!(ids, ["wamid.0", "wamid.1", "wamid.2"]);
    assert_eq!(meta::post(&mut client, &meta::message(ACCOUNT, "AE.1", "wamid.3")).await.status, 200);
}

#[tokio::test]
async fn twilio_is_told_that_there_is_nothing_to_answer() {
    let _machine = among_others().await;
    let bot = Bot::start().await;
    let rules = "whatsapp: { provider: twilio, app_secret: tok, public_url: \"https://hooks.example.com/twilio\" }";
    let config = Config::empty().master("a", bot.address, "").route(rules).route(SPOOL);
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Client::connect(baton.address()).await;
    let form = "SmsMessageSid=SM0123456789abcdef0123456789abcdef&NumMedia=0&ProfileName=Layla&MessageType=text&SmsSid=SM0123456789abcdef0123456789abcdef&WaId=971501234567&SmsStatus=received&Body=Is+the+15%3A30+slot+still+free%3F&To=whatsapp%3A%2B97140000000&NumSegments=1&MessageSid=SM0123456789abcdef0123456789abcdef&AccountSid=AC0123456789abcdef0123456789abcdef&From=whatsapp%3A%2B971501234567&ApiVersion=2010-04-01";
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("x-twilio-signature", "bMNvEoUdr9halBkPjtNB0RYAMKk=")];
    let answer = client.send(Method::POST, "/twilio", &headers, form).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "<Response/>"));
    assert_eq!(answer.headers["content-type"], "text/xml");
    until_empty(&baton).await;
    assert_eq!(bot.bodies(), [form]);
    assert_eq!(header(&bot.got()[0].head, "x-twilio-signature"), Some("bMNvEoUdr9halBkPjtNB0RYAMKk="));
}

#[tokio::test]
async fn what_breaks_the_master_that_has_it_first_breaks_no_more_than_the_bound() {
    let _machine = among_others().await;
    let bots = [Bot::start().await, Bot::start().await, Bot::start().await];
    bots.iter().for_each(|bot| bot.answer(HANG_UP));
    let named = ["a", "b", "c"].into_iter().zip(&bots);
    let config = named.fold(Config::empty(), |config, (name, bot)| config.master(name, bot.address, ""));
    let bound = "redelivery: { masters: 2, backoff: 20ms }\nretry: { attempts: 3, non_idempotent: true }";
    let baton = Baton::start_unprobed(&config.route(RULES).route(FIRST_INLINE).upstream(bound)).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(meta::post(&mut client, &meta::message(ACCOUNT, "AE.1", "wamid.1")).await.status, 200);
    eventually("a dead letter", async || (baton.metric("baton_dead_letters", &[]).await == 1.0).then_some(())).await;
    assert_eq!(bots.iter().map(|bot| bot.got().len()).sum::<usize>(), 2);
}

/// A message whose sender is shown by these names.
fn from_names(names: &str, id: &str) -> String {
    let message = format!(r#"{{{names},"id":"{id}","timestamp":"1782991799","type":"text","text":{{"body":"hi"}}}}"#);
    meta::webhook(&[format!(
        r#"{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"97140000000","phone_number_id":"{ACCOUNT}"}},"messages":[{message}]}}}}"#
    )])
}

#[tokio::test]
async fn messages_of_two_names_that_turn_out_to_be_one_person_come_one_by_one_in_their_order() {
    const NUMBER: &str = r#""from":"971501234567""#;
    const USER: &str = r#""from_user_id":"AE.77""#;
    let _machine = among_others().await;
    for (delivery, restart) in [(SPOOL, false), (SPOOL, true), (FIRST_INLINE, false)] {
        let bot = Bot::start().await;
        bot.answer(503);
        let mut baton = Baton::start_unprobed(&config(bot.address, delivery)).await;
        let both = format!("{NUMBER},{USER}");
        let sent = [NUMBER, USER, NUMBER, USER, &both, NUMBER, USER];
        for (number, names) in (0..).zip(sent) {
            let mut client = Client::connect(baton.address()).await;
            let answer = meta::post(&mut client, &from_names(names, &format!("wamid.{number}"))).await;
            assert_eq!(answer.status, 200, "{delivery}, {number}");
        }
        if restart {
            baton = Baton::start_again(baton.kill().await).await;
        }
        let before = bot.got().len();
        bot.answer(200);
        until_empty(&baton).await;
        // The bot refused the first ones until now, so that each has its last attempt when it is taken.
        let ids = ids(&bot.got());
        let mut taken: Vec<(usize, &String)> = Vec::new();
        for number in 0..sent.len() {
            let id = format!("wamid.{number}");
            let last = ids.iter().rposition(|it| *it == id).unwrap();
            taken.push((last, &ids[last]));
        }
        assert!(taken.is_sorted(), "{delivery}, restarted: {restart}: {taken:?} of {ids:?}, {before} before");
    }
}
