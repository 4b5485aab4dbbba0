//! Receivers of alerts: told in time, in the right words, again when it fails, and not more than they are to be.

use std::time::{Duration, Instant};

use baton::sample::client;
use baton::sample::signing::hub;
use serde_json::Value;

use super::kit::bot::{Bot, HANG_UP};
use super::kit::config::PROBES;
use super::kit::process::Stream;
use super::kit::raw::header;
use super::kit::{Baton, Config, Master, alone, among_others, eventually, masters, within};

/// A fault is told within this time.
const IN_TIME: Duration = Duration::from_secs(2);

/// Alerts of a master that has failed, and no others: what is told is told by them alone.
fn config(masters: &[Master], receivers: &str) -> Config {
    let quiet = ["no-usable-master", "receiver-not-told", "health-flapping"];
    let quiet: Vec<_> = quiet.iter().map(|name| format!("{{ name: {name}, enabled: false }}")).collect();
    let builtin = format!("{}, {{ name: master-failed, keep_firing_for: 0s }}", quiet.join(", "));
    let alerts = format!("alerts: {{ builtin: [{builtin}], receivers: [{receivers}] }}");
    Config::of(masters).upstream(PROBES).top(&alerts)
}

fn told(bot: &Bot) -> Vec<Value> {
    bot.bodies().iter().map(|body| serde_json::from_str(body).expect("a body is JSON")).collect()
}

/// The notification of this number, as soon as it is there.
async fn notification(bot: &Bot, number: usize) -> Value {
    eventually(&format!("notification {number}"), async || told(bot).get(number).cloned()).await
}

async fn outcomes(baton: &Baton, receiver: &str, outcome: &str) -> f64 {
    baton.metric("baton_alert_notifications_total", &[("receiver", receiver), ("outcome", outcome)]).await
}

async fn alerts(baton: &Baton, path: &str) -> Vec<Value> {
    let (status, body) = client::get(baton.admin, path).await.expect("an answer");
    assert_eq!(status, 200);
    let page: Value = serde_json::from_slice(&body).expect("JSON");
    page["items"].as_array().expect("a page").clone()
}

#[tokio::test]
async fn a_fault_is_in_the_webhook_within_two_seconds_and_so_is_its_end() {
    let _machine = alone().await;
    let (bot, mut masters) = (Bot::start().await, masters(["a", "b"]).await);
    let webhook =
        format!("{{ name: ops, webhook: {{ url: \"http://{}/told?by=baton\", secret: hunter2 }} }}", bot.address);
    let baton = Baton::start(&config(&masters, &webhook)).await;
    let gone = Instant::now();
    masters[1].kill().await;
    let raised = within(Duration::from_secs(5), "the webhook", async || told(&bot).into_iter().next()).await;
    // The probes have to find out first.
    let failed = alerts(&baton, "/api/v1/alerts").await[0]["raised"].as_u64().unwrap();
    assert!(gone.elapsed() < IN_TIME + Duration::from_secs(1), "{:?}, raised at {failed}", gone.elapsed());
    assert_eq!((&raised["status"], &raised["severity"]), (&"firing".into(), &"warning".into()), "{raised}");
    assert_eq!(raised["group"]["upstream"], "bots");
    let alert = &raised["alerts"][0];
    assert_eq!((&alert["why"], &alert["rule"]), (&"raised".into(), &"master-failed".into()), "{alert}");
    assert_eq!(alert["labels"]["master"], "b");
    assert!(raised["title"].as_str().unwrap().starts_with("WARNING: master b of bots has failed: "), "{raised}");
    masters[1].restart_dead().await;
    let over = notification(&bot, 1).await;
    assert_eq!((&over["status"], &over["alerts"][0]["why"]), (&"resolved".into(), &"resolved".into()), "{over}");
    assert_eq!(over["alerts"][0]["number"], alert["number"]);
    for got in bot.got() {
        assert_eq!(header(&got.head, "x-hub-signature-256"), Some(&*hub("hunter2", &got.body)));
        assert!(header(&got.head, "idempotency-key").is_some_and(|key| key.len() == 16));
        assert!(got.head.starts_with("POST /told?by=baton HTTP/1.1\r\n"), "{}", got.head);
    }
    eventually("both are counted", async || (outcomes(&baton, "ops", "delivered").await == 2.0).then_some(())).await;
    let told = &alerts(&baton, "/api/v1/alerts/history").await[0]["told"]["ops"];
    assert!(told.as_u64().is_some_and(|at| at > failed), "{told}");
    let said = baton.process.said(Stream::Err);
    assert!(!said.contains("hunter2") && !said.contains("by=baton"), "{said}");
}

#[tokio::test]
async fn what_a_receiver_does_not_take_is_told_again_and_what_it_never_takes_is_counted() {
    let _machine = among_others().await;
    let (bot, other, mut masters) = (Bot::start().await, Bot::start().await, masters(["a", "b"]).await);
    let receivers = format!(
        "{{ name: ops, attempts: 2, webhook: {{ url: \"http://{}/\" }} }}, {{ name: chat, slack: {{ url: \"http://{}/T0/secret\" }} }}",
        bot.address, other.address
    );
    let baton = Baton::start(&config(&masters, &receivers)).await;
    bot.answer(503);
    masters[1].kill().await;
    eventually("the first attempt", async || (bot.got().len() == 1).then_some(())).await;
    bot.answer(200);
    eventually("the second one", async || (outcomes(&baton, "ops", "delivered").await == 1.0).then_some(())).await;
    let got = bot.got();
    let value = |index: usize, name| header(&got[index].head, name).unwrap().to_owned();
    assert_eq!((value(0, "baton-attempt"), value(1, "baton-attempt")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(value(0, "idempotency-key"), value(1, "idempotency-key"));
    assert_eq!(got[0].body, got[1].body);
    // Nobody else waits meanwhile, nor when it fails for good.
    let message = notification(&other, 0).await;
    assert!(message["text"].as_str().unwrap().starts_with("WARNING: master b of bots has failed"), "{message}");
    assert_eq!(message["attachments"][0]["color"], "#e0a000");
    bot.answer(HANG_UP);
    masters[1].restart_dead().await;
    assert!(notification(&other, 1).await["text"].as_str().unwrap().starts_with("RESOLVED: master b"));
    eventually("it is given up", async || (outcomes(&baton, "ops", "failed").await == 1.0).then_some(())).await;
    let said = baton.process.said(Stream::Err);
    assert!(said.contains("receiver ops (http://") && said.contains("is not told of alerts"), "{said}");
    assert!(!said.contains("/T0/secret"), "{said}");
}

#[tokio::test]
async fn what_was_told_is_not_told_again_by_the_next_process_and_what_was_silenced_is_when_that_ends() {
    let _machine = among_others().await;
    let (bot, mut masters) = (Bot::start().await, masters(["a", "b"]).await);
    let receivers = format!("{{ name: ops, webhook: {{ url: \"http://{}/\" }} }}", bot.address);
    let baton = Baton::start(&config(&masters, &receivers)).await;
    let operator = super::admin::token(&baton.config_path(), "operator");
    masters[0].kill().await;
    notification(&bot, 0).await;
    let silence = ["silence", "master=b", "--for", "1h", "--reason", "disks"];
    let ctl = |baton: &Baton, arguments: &[&str]| {
        let admin = format!("http://{}", baton.admin);
        let all = [&["ctl", "--json", "--admin", &admin, "--token", &operator, "alerts"], arguments].concat();
        let output = super::admin::baton(&all);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let silence = ctl(&baton, &silence)["id"].as_str().unwrap().to_owned();
    let baton = Baton::start_again(baton.stop().await).await;
    masters[1].kill().await;
    eventually("the silenced alert", async || {
        let found = alerts(&baton, "/api/v1/alerts?state=silenced").await;
        found.iter().any(|alert| alert["master"] == "b").then_some(())
    })
    .await;
    ctl(&baton, &["unsilence", &silence]);
    let second = notification(&bot, 1).await;
    assert_eq!(second["alerts"][0]["labels"]["master"], "b", "{second}");
    masters[0].restart_dead().await;
    let third = notification(&bot, 2).await;
    assert_eq!(
        (&third["status"], &third["alerts"][0]["labels"]["master"]),
        (&"resolved".into(), &"a".into()),
        "{third}"
    );
}

#[tokio::test]
async fn only_what_fits_is_told_in_groups_and_no_more_than_the_rate() {
    let _machine = among_others().await;
    let (ops, few, mut masters) = (Bot::start().await, Bot::start().await, masters(["a", "b", "c"]).await);
    let receivers = format!(
        "{{ name: ops, match: [{{ label: master, value: b }}], group_by: [], webhook: {{ url: \"http://{}/\" }} }}, \
         {{ name: few, rate: 1/h, group_by: [master], resolved: false, webhook: {{ url: \"http://{}/\" }} }}",
        ops.address, few.address
    );
    let baton = Baton::start(&config(&masters, &receivers)).await;
    for master in &mut masters {
        master.kill().await;
    }
    let only = notification(&ops, 0).await;
    assert_eq!((only["alerts"].as_array().unwrap().len(), &only["alerts"][0]["labels"]["master"]), (1, &"b".into()));
    let first = notification(&few, 0).await;
    assert!(first["next_not_before"].as_u64().is_some(), "{first}");
    eventually("the others are held back", async || (outcomes(&baton, "few", "held").await == 2.0).then_some(())).await;
    assert_eq!((told(&few).len(), told(&ops).len()), (1, 1));
    // A reload that leaves it as it is does not give it more.
    baton.write(&config(&masters, &receivers).top("drain_timeout: 7s"));
    baton.hang_up();
    eventually("the reload", async || (baton.generation().await == 2).then_some(())).await;
    assert_eq!(outcomes(&baton, "few", "held").await, 2.0);
    assert_eq!(told(&few).len(), 1);
}

#[tokio::test]
async fn an_alertmanager_hears_of_begin_and_end_and_again_after_a_restart() {
    let _machine = among_others().await;
    let (bot, mut masters) = (Bot::start().await, masters(["a", "b"]).await);
    let receivers = format!("{{ name: am, alertmanager: {{ url: \"http://{}/am/\" }} }}", bot.address);
    let baton = Baton::start(&config(&masters, &receivers)).await;
    masters[1].kill().await;
    let raised = notification(&bot, 0).await;
    assert!(bot.got()[0].head.starts_with("POST /am/api/v2/alerts HTTP/1.1\r\n"));
    let labels = &raised[0]["labels"];
    assert_eq!((&labels["alertname"], &labels["master"]), (&"master-failed".into(), &"b".into()), "{raised}");
    assert!(raised[0]["endsAt"].as_str() > raised[0]["startsAt"].as_str(), "{raised}");
    let baton = Baton::start_again(baton.stop().await).await;
    let again = notification(&bot, 1).await;
    assert_eq!((&again[0]["labels"], &again[0]["startsAt"]), (labels, &raised[0]["startsAt"]), "{again}");
    masters[1].restart_dead().await;
    let over = notification(&bot, 2).await;
    assert_eq!(&over[0]["labels"], labels);
    assert!(over[0]["endsAt"].as_str() < again[0]["endsAt"].as_str(), "{over}");
    eventually("all is counted", async || (outcomes(&baton, "am", "delivered").await == 2.0).then_some(())).await;
}
