//! Alerts of a running Baton: raised by what happens, seen, acknowledged, silenced, and not forgotten.

use baton::sample::client;
use serde_json::{Value, json};

use super::admin::{baton as program, token};
use super::kit::config::PROBES;
use super::kit::events::Events;
use super::kit::http::Client;
use super::kit::{Baton, Config, among_others, eventually, masters};

async fn get(baton: &Baton, path: &str) -> (u16, Value) {
    let (status, body) = client::get(baton.admin, path).await.expect("an answer");
    (status.as_u16(), serde_json::from_slice(&body).expect("JSON"))
}

async fn items(baton: &Baton, path: &str) -> Vec<Value> {
    let (status, page) = get(baton, path).await;
    assert_eq!(status, 200, "{path}: {page}");
    page["items"].as_array().expect("a page").clone()
}

/// The alert of a rule, as soon as it is in this state.
async fn alert(baton: &Baton, rule: &str, state: &str) -> Value {
    let list = if state == "resolved" { "/alerts/history" } else { "/alerts" };
    let path = format!("/api/v1{list}?rule={rule}&state={state}");
    eventually(&format!("alert {rule} is {state}"), async || items(baton, &path).await.into_iter().next()).await
}

/// What a command prints as JSON.
fn ctl(baton: &Baton, token: &str, arguments: &[&str]) -> Value {
    let admin = format!("http://{}", baton.admin);
    let output = program(&[&["ctl", "--json", "--admin", &admin, "--token", token], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn a_failed_master_is_an_alert_that_somebody_acknowledges_and_that_ends_with_the_fault() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let config = Config::of(&masters).upstream(PROBES);
    let baton = Baton::start(&config).await;
    let operator = token(&baton.config_path(), "operator");
    let mut events = Events::open(baton.admin, "?kinds=alert-raised,alert-acknowledged,alert-resolved").await.unwrap();
    assert_eq!(items(&baton, "/api/v1/alerts").await, Vec::<Value>::new());

    masters[1].kill().await;
    let raised = events.of_kind("alert-raised").await;
    assert_eq!((&raised["upstream"], &raised["master"]), (&"bots".into(), &"b".into()), "{raised}");
    let found = alert(&baton, "master-failed", "active").await;
    assert_eq!((&found["severity"], &found["master"]), (&"warning".into(), &"b".into()), "{found}");
    assert!(found["summary"].as_str().unwrap().starts_with("master b of bots has failed: it "), "{found}");
    assert_eq!(found["labels"]["alertname"], "master-failed");
    assert_eq!(baton.metric("baton_alerts", &[("severity", "warning"), ("state", "active")]).await, 1.0);

    let id = found["id"].as_str().unwrap();
    let acknowledged = ctl(&baton, &operator, &["alerts", "acknowledge", id, "--note", "a new disk"]);
    let by = &acknowledged["acknowledged"];
    assert_eq!((&by["by"], &by["note"]), (&"ann".into(), &"a new disk".into()), "{acknowledged}");
    assert_eq!(events.of_kind("alert-acknowledged").await["detail"]["by"], "ann");
    alert(&baton, "master-failed", "acknowledged").await;

    masters[1].restart_dead().await;
    assert_eq!(events.of_kind("alert-resolved").await["master"], "b");
    let resolved = alert(&baton, "master-failed", "resolved").await;
    assert_eq!((&resolved["number"], &resolved["acknowledged"]["by"]), (&found["number"], &"ann".into()));
    assert!(resolved["resolved"].as_u64() > resolved["raised"].as_u64());
    let audit = items(&baton, "/api/v1/audit").await;
    let written = audit.iter().find(|entry| entry["action"] == "alert.acknowledge").expect("it is written down");
    assert_eq!((&written["who"], &written["reason"]), (&"ann".into(), &"a new disk".into()), "{written}");
}

#[tokio::test]
async fn alerts_silences_and_history_outlive_a_killed_process() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    let operator = token(&baton.config_path(), "operator");
    masters[0].kill().await;
    let id = alert(&baton, "master-failed", "active").await["id"].as_str().unwrap().to_owned();
    masters[0].restart_dead().await;
    alert(&baton, "master-failed", "resolved").await;
    masters[1].kill().await;
    let raised = alert(&baton, "master-failed", "active").await;
    let silence = ["alerts", "silence", "upstream=bots", "alertname=master-*", "--for", "2h", "--reason", "disks"];
    let silence = ctl(&baton, &operator, &silence);
    assert_eq!((&silence["alerts"], &silence["by"]), (&1.into(), &"ann".into()), "{silence}");
    let silenced = alert(&baton, "master-failed", "silenced").await;
    assert_eq!(silenced["silence"], silence["id"]);
    // What changed is on disk within a second.
    let file = baton.directory().join("data/alerts.json");
    eventually("the silence is on disk", async || {
        std::fs::read_to_string(&file).ok()?.contains("\"disks\"").then_some(())
    })
    .await;
    let baton = Baton::start_again(baton.kill().await).await;
    let after = alert(&baton, "master-failed", "silenced").await;
    assert_eq!((&after["number"], &after["raised"]), (&raised["number"], &raised["raised"]));
    let history = items(&baton, "/api/v1/alerts/history").await;
    assert!(history.iter().any(|it| it["id"] == id.as_str()), "{history:?}");
    let number = silence["id"].as_str().unwrap();
    ctl(&baton, &operator, &["alerts", "unsilence", number]);
    alert(&baton, "master-failed", "active").await;
}

#[tokio::test]
async fn rules_are_switched_off_changed_and_added_with_a_reload() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let plain = Config::of(&masters).upstream(PROBES);
    let rules = "\
alerts:
  builtin: [{ name: latency-high, enabled: false }, { name: backlog-old, threshold: 30 }]
  rules:
    - { name: busy, signal: request-rate, route: webhooks, threshold: 0, severity: critical, labels: [{ name: team, value: bots }] }";
    let baton = Baton::start(&plain.clone().top(rules)).await;
    let rules = items(&baton, "/api/v1/alerts/rules").await;
    let rule = |name: &str| rules.iter().find(|rule| rule["name"] == name).expect("the rule").clone();
    assert_eq!((&rule("latency-high")["enabled"], &rule("error-rate")["enabled"]), (&false.into(), &true.into()));
    assert_eq!((&rule("backlog-old")["threshold"], &rule("backlog-old")["clear"]), (&30.0.into(), &30.0.into()));
    assert_eq!(rule("busy")["scope"], "route");
    let mut client = Client::connect(baton.address()).await;
    client.post("/webhook", "{}").await;
    let busy = alert(&baton, "busy", "active").await;
    assert_eq!((&busy["route"], &busy["labels"]["team"]), (&"webhooks".into(), &"bots".into()), "{busy}");
    baton.write(&plain);
    baton.hang_up();
    alert(&baton, "busy", "resolved").await;
}

#[tokio::test]
async fn a_refused_configuration_is_an_alert_that_says_why() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let config = Config::of(&masters);
    let baton = Baton::start(&config).await;
    baton.write_text("upstreams: nonsense");
    baton.hang_up();
    let found = alert(&baton, "configuration-rejected", "active").await;
    assert!(found["summary"].as_str().unwrap().contains("refused"), "{found}");
    baton.write(&config);
    baton.hang_up();
    alert(&baton, "configuration-rejected", "resolved").await;
}

#[tokio::test]
async fn what_is_asked_for_wrongly_or_without_the_role_is_refused() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let operator = token(&baton.config_path(), "operator");
    for (path, word) in [
        ("/api/v1/alerts?state=odd", "acknowledged"),
        ("/api/v1/alerts?severity=odd", "critical"),
        ("/api/v1/alerts?limit=0", "limit"),
        ("/api/v1/alerts/history?cursor=7", "cursor"),
        ("/api/v1/alerts/rules?color=red", "color"),
    ] {
        let (status, problem) = get(&baton, path).await;
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(word), "{path}: {problem}");
    }
    let admin = format!("http://{}", baton.admin);
    let refused = |token: &str, arguments: &[&str]| {
        let output = program(&[&["ctl", "--admin", &admin, "--token", token], arguments].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let silence = |of: &'static str, time: &'static str, reason: &'static str| {
        ["alerts", "silence", of, "--for", time, "--reason", reason]
    };
    assert!(refused(&operator, &silence("upstream=bots", "soon", "x")).contains("duration"));
    assert!(refused(&operator, &silence("upstream=bots", "1h", " ")).contains("say why"));
    assert!(refused(&operator, &silence("bots", "1h", "x")).contains("LABEL=VALUE"));
    assert!(refused(&operator, &["alerts", "acknowledge", "nothing"]).contains("no alert"));
    assert!(refused(&operator, &["alerts", "unsilence", "nothing"]).contains("no silence"));
    let viewer = token(&baton.config_path(), "viewer");
    assert!(refused(&viewer, &silence("upstream=bots", "1h", "x")).contains("operator"));
    assert_eq!(items(&baton, "/api/v1/alerts/silences").await, Vec::<Value>::new());
    assert_eq!(get(&baton, "/api/v1/alerts").await.1, json!({ "items": [], "next": null }));
}
