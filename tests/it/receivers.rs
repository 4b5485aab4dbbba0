//! Receivers of alerts: told in time, in the right words, again when it fails, and not more than they are to be.

use std::time::{Duration, Instant};

use baton::sample::client;
use baton::sample::signing::hub;
use serde_json::Value;

use super::kit::bot::{Bot, HANG_UP};
use super::kit::config::PROBES;
use super::kit::process::Stream;
use super::kit::raw::header;
use super::kit::smtp::{self, MailServer, Security};
use super::kit::tls_master::Authority;
use super::kit::{Baton, Config, Directory, Master, alone, among_others, eventually, masters, within};

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

/// Whether a command about alerts succeeds, and what it says. Receivers in this process answer meanwhile.
async fn ctl(baton: &Baton, role: &str, arguments: &[&str]) -> (bool, String) {
    let (token, admin) = (super::admin::token(&baton.config_path(), role), format!("http://{}", baton.admin));
    let all = [&["ctl", "--admin", &admin, "--token", &token, "alerts"], arguments].concat();
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    let run = move || super::admin::baton(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(run).await.expect("the command runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A receiver by e-mail.
fn mail(server: &MailServer, keys: &str) -> String {
    let to = "to: [ann@bot.example, bob@bot.example], from: baton@bot.example";
    format!("{{ name: mail, email: {{ {to}, server: \"{}\", {keys} }} }}", server.address)
}

#[tokio::test]
async fn people_get_an_e_mail_of_the_begin_and_the_end_also_when_the_server_refuses_at_first() {
    let _machine = among_others().await;
    let (server, mut masters) = (MailServer::start(Security::None).await, masters(["a", "b"]).await);
    let baton = Baton::start(&config(&masters, &mail(&server, "tls: off"))).await;
    server.refuse(1);
    masters[1].kill().await;
    eventually("it is refused once", async || server.has_refused().then_some(())).await;
    let letter = eventually("the letter", async || server.letters().into_iter().next()).await;
    assert_eq!(letter.from, "FROM:<baton@bot.example>");
    assert_eq!(letter.to, ["TO:<ann@bot.example>", "TO:<bob@bot.example>"]);
    // Long lines are continued after a `=`.
    let text = letter.text.replace("=\r\n", "");
    assert!(text.contains("Subject: [Baton] WARNING: master b of bots has failed"), "{text}");
    assert!(text.contains("(master-failed, since ") && text.contains("Auto-Submitted: auto-generated"), "{text}");
    masters[1].restart_dead().await;
    let over = eventually("the end", async || server.letters().into_iter().nth(1)).await;
    assert!(over.text.contains("Subject: [Baton] RESOLVED: master b of bots"), "{}", over.text);
    eventually("both are counted", async || (outcomes(&baton, "mail", "delivered").await == 2.0).then_some(())).await;
    assert!(baton.process.said(Stream::Err).contains("receiver mail (smtp://127.0.0.1:"));
}

#[tokio::test]
async fn e_mail_goes_over_tls_to_a_server_that_is_trusted_and_to_no_other() {
    let _machine = among_others().await;
    let (directory, authority, stranger) = (Directory::new(), Authority::new(), Authority::new());
    let ca = authority.write(&directory, "ca.pem");
    let login = format!("username: baton, password: hunter2, ca: \"{}\"", ca.display());
    let masters = masters(["a"]).await;
    let config_of = smtp::tls(&authority.sign(&["127.0.0.1"]));
    let starttls = MailServer::start(Security::Starttls(config_of.clone())).await;
    let implicit = MailServer::start(Security::Implicit(config_of)).await;
    let wrong = MailServer::start(Security::Implicit(smtp::tls(&stranger.sign(&["127.0.0.1"])))).await;
    let bare = MailServer::start(Security::None).await;
    let named = |name: &str, receiver: String| receiver.replace("name: mail", &format!("name: {name}"));
    let receivers = [
        named("starttls", mail(&starttls, &login)),
        named("implicit", mail(&implicit, &format!("tls: implicit, {login}"))),
        named("wrong", mail(&wrong, &format!("tls: implicit, {login}"))),
        named("bare", mail(&bare, &login)),
    ];
    let baton = Baton::start(&config(&masters, &receivers.join(", "))).await;
    for (name, server) in [("starttls", &starttls), ("implicit", &implicit)] {
        let (told, said) = ctl(&baton, "operator", &["test", name]).await;
        assert!(told && said.contains("has taken it"), "{said}");
        let letter = server.letters().pop().expect("a letter");
        assert!(letter.secured && letter.text.contains("Subject: [Baton] TEST: ann tries whether"), "{letter:?}");
        // A zero byte, the name, a zero byte, the password.
        assert_eq!(letter.login.as_deref(), Some("AGJhdG9uAGh1bnRlcjI="));
    }
    for (name, server) in [("wrong", &wrong), ("bare", &bare)] {
        let (told, said) = ctl(&baton, "operator", &["test", name]).await;
        assert!(!told && said.contains("was not told") && !said.contains("hunter2"), "{said}");
        assert!(server.letters().is_empty());
    }
    assert!(!baton.process.said(Stream::Err).contains("hunter2"));
}

#[tokio::test]
async fn receivers_are_listed_with_how_it_went_and_tried_by_operators_alone() {
    let _machine = among_others().await;
    let (bot, mut masters) = (Bot::start().await, masters(["a", "b"]).await);
    let receivers = format!(
        "{{ name: ops, attempts: 1, webhook: {{ url: \"http://{}/hooks/secret\" }} }}, \
         {{ name: am, severity: critical, alertmanager: {{ url: \"http://{}/\" }} }}",
        bot.address, bot.address
    );
    let baton = Baton::start(&config(&masters, &receivers)).await;
    assert!(ctl(&baton, "operator", &["test", "ops"]).await.0);
    let test = notification(&bot, 0).await;
    assert_eq!((&test["status"], &test["alerts"][0]["rule"]), (&"test".into(), &"test".into()), "{test}");
    assert!(ctl(&baton, "operator", &["test", "am"]).await.0);
    assert_eq!(notification(&bot, 1).await[0]["labels"]["alertname"], "test");
    let (told, said) = ctl(&baton, "operator", &["test", "nobody"]).await;
    assert!(!told && said.contains("no receiver nobody"), "{said}");
    let (told, said) = ctl(&baton, "viewer", &["test", "ops"]).await;
    assert!(!told && said.contains("operator"), "{said}");
    bot.answer(500);
    let (told, said) = ctl(&baton, "operator", &["test", "ops"]).await;
    assert!(!told && said.contains("it answered 500"), "{said}");
    let audit = alerts(&baton, "/api/v1/audit").await;
    let tests: Vec<_> = audit.iter().filter(|entry| entry["action"] == "alert.test").collect();
    assert_eq!(tests.len(), 4, "{tests:?}");
    masters[1].kill().await;
    let listed = eventually("the failure is listed", async || {
        let list = alerts(&baton, "/api/v1/alerts/receivers").await;
        list[0]["last"]["error"].is_string().then_some(list)
    })
    .await;
    assert_eq!((&listed[0]["failed"], &listed[0]["last"]["error"]), (&1.into(), &"it answered 500".into()));
    assert_eq!((&listed[1]["kind"], &listed[1]["last"]), (&"alertmanager".into(), &Value::Null));
    let (_, said) = ctl(&baton, "viewer", &["receivers"]).await;
    assert!(said.contains("RECEIVER") && said.contains("it answered 500") && !said.contains("secret"), "{said}");
}
