//! What happens, as programs and people hear of it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use baton::sample::client;
use baton::sample::signing::hub;
use rustix::process::Signal;
use serde_json::Value;

use super::admin::{baton as program, token};
use super::kit::bot::{Bot, HANG_UP, SILENT};
use super::kit::config::PROBES;
use super::kit::events::Events;
use super::kit::process::Stream;
use super::kit::raw::header;
use super::kit::{Baton, Config, SOON, among_others, eventually, masters};

async fn recent(baton: &Baton, query: &str) -> (u16, Value) {
    let (status, body) = client::get(baton.admin, &format!("/api/v1/events/recent{query}")).await.unwrap();
    (status.as_u16(), serde_json::from_slice(&body).unwrap())
}

fn ctl(baton: &Baton, token: &str, arguments: &[&str]) {
    let admin = format!("http://{}", baton.admin);
    let output = program(&[&["ctl", "--admin", &admin, "--token", token], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_happens_is_told_in_order_and_a_reader_that_comes_back_misses_nothing() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let config = Config::of(&masters).upstream(PROBES);
    let baton = Baton::start(&config).await;
    let operator = token(&baton.config_path(), "operator");
    let mut events = Events::open(baton.admin, "").await.unwrap();
    ctl(&baton, &operator, &["drain", "b", "--reason", "a new disk"]);
    let drained = events.of_kind("operator-state").await;
    assert_eq!((&drained["upstream"], &drained["master"]), (&"bots".into(), &"b".into()));
    assert_eq!((&drained["detail"]["by"], &drained["detail"]["reason"]), (&"ann".into(), &"a new disk".into()));
    let seen = events.last_id;
    assert_eq!(drained["id"].as_u64(), seen);
    drop(events);

    masters[0].kill().await;
    baton.until_health("a", "failed").await;
    masters[1].kill().await;
    baton.until_health("b", "failed").await;
    let mut events = Events::open_after(baton.admin, "", seen).await.unwrap();
    let failed = events.of_kind("master-health").await;
    assert_eq!((&failed["master"], &failed["detail"]["health"]), (&"a".into(), &"failed".into()), "{failed}");
    assert_eq!(failed["severity"], "warning");
    let down = events.of_kind("upstream-down").await;
    assert_eq!((&down["upstream"], &down["severity"]), (&"bots".into(), &"critical".into()));

    baton.write_text("upstreams: nonsense");
    baton.hang_up();
    let rejected = events.of_kind("config-rejected").await;
    assert!(rejected["message"].as_str().unwrap().contains("refused"), "{rejected}");
    baton.write(&config.clone().top("drain_timeout: 7s"));
    baton.hang_up();
    let applied = events.of_kind("config-applied").await;
    assert!(applied["detail"]["changes"].to_string().contains("drain_timeout"), "{applied}");

    let (_, page) = recent(&baton, "?kinds=config-applied,config-rejected").await;
    let kinds: Vec<&str> = page["items"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["config-applied", "config-rejected"]);
    let (_, page) = recent(&baton, "?limit=1").await;
    let next = page["next"].as_str().expect("a further page").to_owned();
    let (_, older) = recent(&baton, &format!("?limit=1&cursor={next}")).await;
    assert!(older["items"][0]["id"].as_u64() < page["items"][0]["id"].as_u64());
}

#[tokio::test]
async fn a_stream_has_only_what_was_asked_for_and_ends_properly_with_baton() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let mut baton = Baton::start(&Config::of(&masters)).await;
    let operator = token(&baton.config_path(), "operator");
    let mut events = Events::open(baton.admin, "?kinds=operator-state,process-stopping").await.unwrap();
    baton.hang_up();
    ctl(&baton, &operator, &["maintenance", "a"]);
    assert_eq!(events.event().await.unwrap()["kind"], "operator-state");
    ctl(&baton, &operator, &["ready", "a"]);
    assert_eq!(events.event().await.unwrap()["detail"]["after"], "ready");
    baton.process.signal(Signal::TERM);
    assert_eq!(events.event().await.unwrap()["kind"], "process-stopping");
    assert_eq!(events.event().await, None);
    assert!(baton.process.ended().await.success());
}

#[tokio::test]
async fn wrong_questions_and_too_many_readers_are_turned_away() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    for query in ["?kinds=nonsense", "?kinds=", "?after=soon", "?until=7"] {
        assert_eq!(Events::open(baton.admin, query).await.err(), Some(400), "{query}");
    }
    let (status, problem) = recent(&baton, "?kinds=nonsense").await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("master-health"), "{problem}");
    assert_eq!(recent(&baton, "?limit=0").await.0, 400);
    let mut open = Vec::new();
    while let Ok(events) = Events::open(baton.admin, "").await {
        open.push(events);
    }
    assert_eq!(open.len(), 32);
    assert_eq!(Events::open(baton.admin, "").await.err(), Some(503));
    // The API answers all the same.
    assert_eq!(baton.generation().await, 1);
    open.pop();
    eventually("a place that was given back", async || Events::open(baton.admin, "").await.ok()).await;
}

#[tokio::test]
async fn people_follow_what_happens_over_a_restart() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config::of(&masters);
    let baton = Baton::start(&config).await;
    // The next process has the same address.
    let text = std::fs::read_to_string(baton.config_path()).unwrap();
    baton.write_text(&text.replace("admin: { address: \"127.0.0.1:0\"", &format!("admin: {{ address: \"{port}\"")));
    let baton = Baton::start_again(baton.kill().await).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["ctl", "--admin", &format!("http://{port}"), "events", "--json", "--recent", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut until = async |kind: &str| loop {
        let line = tokio::time::timeout(SOON, lines.recv()).await.expect("a line in time").expect("a line");
        let event: Value = serde_json::from_str(&line).expect("a line is JSON");
        if event["kind"] == kind {
            return event["id"].as_u64().unwrap();
        }
    };
    let first = until("process-started").await;
    let baton = Baton::start_again(baton.kill().await).await;
    let second = until("process-started").await;
    assert!(second > first);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(baton);
}

/// A webhook of events in a configuration.
fn webhook(bot: &Bot, keys: &str) -> String {
    format!("events: {{ webhooks: [{{ name: pager, url: \"http://{}/told?by=baton\"{keys} }}] }}", bot.address)
}

fn told(bot: &Bot) -> Vec<Value> {
    bot.bodies().iter().map(|body| serde_json::from_str(body).expect("a body is JSON")).collect()
}

async fn eventually_told(bot: &Bot, expected: &str, pick: impl Fn(&Value) -> bool) -> Value {
    eventually(expected, async || told(bot).into_iter().find(&pick)).await
}

#[tokio::test]
async fn a_webhook_is_told_each_transition_in_order_and_signed() {
    let _machine = among_others().await;
    let (bot, mut masters) = (Bot::start().await, masters(["a"]).await);
    let keys = ", secret: hunter2, severity: warning";
    let config = Config::of(&masters).upstream(PROBES).top(&webhook(&bot, keys)).top("alerts: { enabled: false }");
    let baton = Baton::start(&config).await;
    masters[0].kill().await;
    let down = eventually_told(&bot, "the outage is told", |event| event["kind"] == "upstream-down").await;
    assert_eq!(down["severity"], "critical");
    // Others are below what the webhook wants to hear.
    let kinds: Vec<String> = told(&bot).iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["master-health", "upstream-down"]);
    for got in bot.got() {
        let value = |name| header(&got.head, name);
        let expected = hub("hunter2", &got.body);
        assert_eq!(value("x-hub-signature-256"), Some(&*expected));
        let event: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(value("baton-event"), event["kind"].as_str());
        assert_eq!(value("idempotency-key"), Some(&*event["id"].to_string()));
        assert!(got.head.starts_with("POST /told?by=baton HTTP/1.1\r\n"), "{}", got.head);
    }
    let delivered = [("webhook", "pager"), ("outcome", "delivered")];
    eventually("both are counted", async || {
        (baton.metric("baton_event_webhooks_total", &delivered).await == 2.0).then_some(())
    })
    .await;
    assert!(baton.metric("baton_events_total", &[("kind", "upstream-down")]).await == 1.0);
    let said = baton.process.said(Stream::Err);
    assert!(!said.contains("hunter2") && !said.contains("by=baton"), "{said}");
}

#[tokio::test]
async fn a_webhook_that_fails_is_told_again_and_what_it_never_takes_is_given_up_and_counted() {
    let _machine = among_others().await;
    let (bot, masters) = (Bot::start().await, masters(["a"]).await);
    let config = Config::of(&masters).top(&webhook(&bot, ", kinds: [operator-state], attempts: 2"));
    let baton = Baton::start(&config).await;
    let operator = token(&baton.config_path(), "operator");
    bot.answer(503);
    ctl(&baton, &operator, &["drain", "a"]);
    eventually("the first attempt", async || (bot.got().len() == 1).then_some(())).await;
    bot.answer(200);
    let attempts = async |count: usize| {
        eventually("a further attempt", async || (bot.got().len() == count).then_some(())).await;
        bot.got().iter().map(|got| header(&got.head, "baton-attempt").unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(attempts(2).await, ["1", "2"]);
    assert_eq!(told(&bot)[0], told(&bot)[1]);
    // Nobody answers at all: two attempts, and on to the next.
    bot.answer(HANG_UP);
    ctl(&baton, &operator, &["ready", "a"]);
    attempts(4).await;
    bot.answer(200);
    ctl(&baton, &operator, &["maintenance", "a"]);
    eventually_told(&bot, "what came later", |event| event["detail"]["after"] == "maintenance").await;
    let count = async |outcome| baton.metric("baton_event_webhooks_total", &[("outcome", outcome)]).await;
    eventually("all are counted", async || (count("delivered").await == 2.0).then_some(())).await;
    assert_eq!((count("failed").await, count("dropped").await), (1.0, 0.0));
    assert!(baton.process.said(Stream::Err).contains("is not told event"));
}

#[tokio::test]
async fn a_webhook_that_never_answers_holds_up_nobody_and_the_last_words_are_told() {
    let _machine = among_others().await;
    let (silent, bot, masters) = (Bot::start().await, Bot::start().await, masters(["a"]).await);
    silent.answer(SILENT);
    let hooks = format!(
        "events: {{ webhooks: [{{ name: silent, url: \"http://{}/\" }}, {{ name: b, url: \"http://{}/\" }}] }}",
        silent.address, bot.address
    );
    let mut baton = Baton::start(&Config::of(&masters).top(&hooks)).await;
    eventually_told(&bot, "the start", |event| event["kind"] == "process-started").await;
    // A reload that leaves them as they are tells nothing twice.
    baton.write(&Config::of(&masters).top(&hooks).top("drain_timeout: 7s"));
    baton.hang_up();
    eventually_told(&bot, "the reload", |event| event["kind"] == "config-applied").await;
    baton.process.signal(Signal::TERM);
    assert!(baton.process.ended().await.success());
    let kinds: Vec<String> = told(&bot).iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "process-started").count(), 1, "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("process-stopping"));
}
