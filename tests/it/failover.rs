//! One master serves, another one takes over: under load, from outside, with processes that die, hang and come back.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use baton::sample::gateway::{Gateway, Plan};
use baton::sample::tally::{Exchange, Outcome, Report};
use baton::sample::webhook;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kit::http::Client;
use crate::kit::load::{measured, until};
use crate::kit::{Baton, Config, Master, SOON, alone, among_others, eventually, masters, meta, within};

const PROBES: &str =
    "health_check: { interval: 500ms, timeout: 500ms, unhealthy_threshold: 2, http: { path: /health } }";

const STANDBY: &str = "failover: { mode: active-standby, stable_after: 500ms, recovery: { timeout: 5s } }";

const SIGNED: &str = "whatsapp: { provider: cloud-api, app_secret: \"s3cret\" }";

/// The deliveries of a route, each of which has to keep its promise.
const DELIVERIES: [&str; 3] = ["inline", "inline-then-spool", "spool"];

fn config(masters: &[Master], delivery: &str) -> Config {
    let named = |config: Config, (priority, master): (usize, &Master)| {
        config.master(&master.name, master.address, &format!("priority: {priority}"))
    };
    let config = masters.iter().enumerate().fold(Config::empty(), named);
    config
        .route(&format!("delivery: {delivery}\n{SIGNED}"))
        .upstream(PROBES)
        .upstream("affinity: { key: conversation }")
        .upstream("redelivery: { backoff: 50ms, max_backoff: 200ms }")
        .upstream(STANDBY)
}

/// 400 webhooks a second over 100 conversations.
fn load(baton: &Baton, duration: Duration) -> Gateway {
    Gateway::start(Plan {
        app_secret: Some(meta::SECRET.to_owned()),
        rate: NonZeroU32::new(400).unwrap(),
        duration: Some(duration),
        keep_exchanges: 100_000,
        ..Plan::new(baton.address(), "/webhook")
    })
}

async fn active(baton: &Baton) -> Value {
    baton.status().await["upstreams"][0]["active"].clone()
}

async fn until_active(baton: &Baton, name: &str) {
    eventually(&format!("{name} is active"), async || (active(baton).await == name).then_some(())).await;
}

async fn until_empty(baton: &Baton) {
    let limit = SOON * 2;
    within(limit, "nothing is pending", async || (baton.metric("baton_spool_pending", &[]).await == 0.0).then_some(()))
        .await;
}

async fn history(baton: &Baton) -> Vec<Value> {
    let (status, body) = baton::sample::client::get(baton.admin, "/api/v1/failovers").await.unwrap();
    assert_eq!(status, 200);
    serde_json::from_slice::<Value>(&body).unwrap()["items"].as_array().unwrap().clone()
}

/// A change through the admin API, with the token of an operator.
async fn ask(baton: &Baton, verb: &str, body: Value) -> (u16, Value) {
    let token = crate::admin::token(&baton.config_path(), "operator");
    let mut client = Client::connect(baton.admin).await;
    let (bearer, body) = (format!("Bearer {token}"), body.to_string());
    let headers = [("authorization", &*bearer), ("content-type", "application/json"), ("host", "127.0.0.1")];
    let path = format!("/api/v1/upstreams/bots/{verb}");
    let answer = client.send(hyper::Method::POST, &path, &headers, &body).await.unwrap();
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

fn assert_none_failed(report: &Report) {
    let failures: Vec<&Exchange> = report.exchanges.iter().filter(|e| !e.succeeded()).take(5).collect();
    assert!(report.failed == 0, "{report}\nthe first failures: {failures:#?}");
}

/// What each master has seen, by conversation.
async fn seen(masters: &[&Master]) -> Vec<BTreeMap<String, Vec<u64>>> {
    let mut all = Vec::new();
    for master in masters {
        all.push(master.seen().await.conversations);
    }
    all
}

/// Compares what was sent, acknowledged and read: nothing acknowledged is lost, nothing is out of order, and nothing comes twice but
/// what was under way when its master failed. `dead` is a master whose memory is gone, and when it ended. Returns how many came twice.
async fn compare(report: &Report, survivors: &[&Master], dead: Option<(&str, Duration)>) -> u64 {
    let seen = seen(survivors).await;
    let mut repeated = 0;
    let mut read: BTreeSet<(String, u64)> = BTreeSet::new();
    for conversations in &seen {
        for (who, sequences) in conversations {
            let mut firsts: Vec<u64> = Vec::new();
            for sequence in sequences {
                if !firsts.contains(sequence) {
                    firsts.push(*sequence);
                }
            }
            assert!(firsts.is_sorted(), "{who} is out of order: {sequences:?}");
            repeated += (sequences.len() - firsts.len()) as u64;
            for sequence in firsts {
                repeated += u64::from(!read.insert((who.clone(), sequence)));
            }
        }
    }
    for exchange in report.exchanges.iter().filter(|exchange| exchange.succeeded()) {
        let message = (webhook::sender(exchange.conversation), exchange.sequence);
        let answered_by = match &exchange.outcome {
            Outcome::Answered { master, .. } => master.as_deref(),
            Outcome::Unanswered(_) => None,
        };
        let gone = dead.is_some_and(|(name, at)| {
            // Of what is stored only the masters know who got it.
            answered_by.map_or(exchange.sent < at, |master| master == name)
        });
        assert!(gone || read.contains(&message), "{message:?} was acknowledged and is nowhere: {exchange:?}");
    }
    repeated
}

/// From the fault to the last answer that took far longer than any before it.
fn disturbance(report: &Report, fault: Duration) -> Duration {
    let before = report.exchanges.iter().filter(|e| e.ended < fault).map(Exchange::latency).max().unwrap_or_default();
    let usual = 2 * before.max(Duration::from_millis(20));
    let late = report.exchanges.iter().filter(|e| e.ended > fault && e.latency() > usual);
    late.map(|e| e.ended.saturating_sub(fault)).max().unwrap_or_default()
}

#[tokio::test]
async fn one_master_serves_and_the_others_stand_by() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&config(&masters, "inline")).await;
    let report = load(&baton, Duration::from_secs(1)).finished().await;
    assert_none_failed(&report);
    assert_eq!(report.by_master.keys().collect::<Vec<_>>(), ["a"]);
    let status = baton.status().await;
    let upstream = &status["upstreams"][0];
    assert_eq!(
        (&upstream["active"], &upstream["epoch"], &status["health_score"]),
        (&json!("a"), &json!(0), &json!(100))
    );
    let roles: Vec<&Value> = upstream["masters"].as_array().unwrap().iter().map(|master| &master["role"]).collect();
    assert_eq!(roles, ["active", "standby", "standby"]);
    assert_eq!(upstream["failover"]["groups"][0]["standbys"], 2);
    assert_eq!(baton.metric("baton_failover_standbys", &[("upstream", "bots")]).await, 2.0);
}

#[tokio::test]
async fn a_crash_costs_no_answer_and_a_tenth_of_a_second() {
    for delivery in DELIVERIES {
        let _machine = alone().await;
        let (took, patience) = measured(async || {
            let mut masters = masters(["a", "b"]).await;
            let baton = Baton::start(&config(&masters, delivery)).await;
            let gateway = load(&baton, Duration::from_secs(4));
            until(&gateway, Duration::from_secs(2)).await;
            masters[0].kill().await;
            let fault = gateway.elapsed();
            let report = gateway.finished().await;
            assert_none_failed(&report);
            assert_eq!((report.connections_closed, active(&baton).await), (0, json!("b")));
            until_empty(&baton).await;
            // What the dead one had and had not answered was given to the other one as well.
            compare(&report, &[&masters[1]], Some(("a", fault))).await;
            let stored = baton.metric("baton_delivered_total", &[("outcome", "delivered")]).await;
            let by_each = ["a", "b"].map(|name| [("master", name), ("outcome", "delivered")]);
            let delivered =
                [&by_each[0], &by_each[1]].map(|labels| baton.metric("baton_delivery_attempts_total", labels));
            let [by_a, by_b] = delivered;
            assert_eq!(by_a.await + by_b.await, stored, "each was answered for by one master");
            let history = history(&baton).await;
            assert_eq!(
                (history.len(), &history[0]["state"], &history[0]["cause"]),
                (1, &json!("completed"), &json!("a has failed"))
            );
            assert_eq!(baton.metric("baton_failovers_total", &[("outcome", "completed")]).await, 1.0);
            let took = disturbance(&report, fault);
            println!("{delivery}: crash, {took:?} to the last late answer; failover {} ms", history[0]["duration_ms"]);
            took
        })
        .await;
        let limit = patience.limit(Duration::from_millis(100));
        // What is stored is answered by the disk, whoever lives.
        assert!(
            delivery == "spool" || took <= limit,
            "{delivery}: {took:?} until answers came as before, more than {limit:?}"
        );
    }
}

#[tokio::test]
async fn a_hang_costs_no_answer_and_less_than_a_second() {
    for delivery in DELIVERIES {
        let _machine = alone().await;
        let (took, patience) = measured(async || {
            let masters = masters(["a", "b"]).await;
            let baton = Baton::start(&config(&masters, delivery)).await;
            let gateway = load(&baton, Duration::from_secs(5));
            until(&gateway, Duration::from_secs(2)).await;
            masters[0].signal(Signal::STOP);
            let fault = gateway.elapsed();
            let report = gateway.finished().await;
            assert_none_failed(&report);
            assert_eq!(report.connections_closed, 0);
            assert_eq!(active(&baton).await, "b");
            assert_eq!(baton.master("a").await["role"], "fenced");
            // What was sent to it while it stood still comes to light when it goes on, and its answers settle nothing.
            masters[0].signal(Signal::CONT);
            eventually("a stands by", async || (baton.master("a").await["role"] == "standby").then_some(())).await;
            until_empty(&baton).await;
            let repeated = compare(&report, &[&masters[0], &masters[1]], None).await;
            let took = disturbance(&report, fault);
            println!("{delivery}: hang, {took:?} to the last late answer, {repeated} came twice");
            // What was due in the time until silence is suspicious, and no more: then all wait for the probe.
            assert!(repeated <= 150, "{repeated} messages came twice");
            took
        })
        .await;
        let limit = patience.limit(Duration::from_secs(1));
        assert!(
            delivery == "spool" || took <= limit,
            "{delivery}: {took:?} until answers came as before, more than {limit:?}"
        );
    }
}

#[tokio::test]
async fn an_operator_moves_conversations_one_by_one_and_nothing_fails_or_comes_twice() {
    let _machine = alone().await;
    for delivery in ["inline", "spool"] {
        let masters = masters(["a", "b"]).await;
        let baton = Baton::start(&config(&masters, delivery)).await;
        let gateway = load(&baton, Duration::from_secs(4));
        until(&gateway, Duration::from_secs(1)).await;
        let (status, dry) = ask(&baton, "failover", json!({ "dry_run": true })).await;
        assert_eq!((status, &dry["moves"][0]["from"], &dry["moves"][0]["to"]), (200, &json!("a"), &json!("b")));
        assert_eq!((&dry["moves"][0]["pins"], &dry["moves"][0]["epoch"]), (&json!(100), &json!(null)));
        assert_eq!(active(&baton).await, "a", "a dry run changes nothing");
        let (status, done) = ask(&baton, "failover", json!({ "target": "b", "reason": "an update of a" })).await;
        assert_eq!((status, &done["moves"][0]["epoch"], &done["moves"][0]["done"]), (200, &json!(1), &json!(true)));
        assert_eq!(active(&baton).await, "b");
        until(&gateway, Duration::from_millis(2500)).await;
        assert_eq!(ask(&baton, "failback", json!({})).await.0, 200);
        let report = gateway.finished().await;
        assert_none_failed(&report);
        until_empty(&baton).await;
        let repeated = compare(&report, &[&masters[0], &masters[1]], None).await;
        assert_eq!((repeated, report.connections_closed), (0, 0));
        let history = history(&baton).await;
        let told: Vec<_> = history.iter().map(|it| (&it["cause"], &it["by"], &it["manner"], &it["state"])).collect();
        let [leave, ann, completed] = [json!("leave"), json!("ann"), json!("completed")];
        let causes = [json!("an operator asked for it"), json!("an update of a")];
        assert_eq!(told, [(&causes[0], &ann, &leave, &completed), (&causes[1], &ann, &leave, &completed)]);
        assert!(history.iter().all(|it| it["left_ms"].is_number()), "{history:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b", "c", "d"]).await;
    let [a, b, c, d] = &masters;
    let of = |config: Config, master: &Master, account: &str| {
        config.master(&master.name, master.address, &format!("accounts: [\"{account}\"]"))
    };
    let config = Config::empty().route(SIGNED).upstream(PROBES).upstream(STANDBY);
    let config = of(of(of(of(config, a, "1"), b, "2"), c, "*"), d, "*");
    let baton = Baton::start(&config).await;
    masters[3].kill().await;
    baton.until_health("d", "failed").await;
    let before = baton.status().await["upstreams"][0]["failover"].clone();
    let refused = async |verb: &str, body: Value| {
        let (status, problem) = ask(&baton, verb, body).await;
        (status, problem["detail"].as_str().unwrap_or_default().to_owned())
    };
    let expected = [
        ("failover", json!({ "target": "x" }), 404, "upstream bots has no master x"),
        ("failover", json!({ "target": "d" }), 409, "d has failed"),
        ("failover", json!({ "target": "b", "account": "1" }), 409, "b does not serve account 1"),
        ("failover", json!({ "target": "a", "account": "1" }), 409, "a is active already"),
        ("failback", json!({ "account": "2" }), 409, "b is active already"),
        ("reset", json!({ "master": "x" }), 404, "upstream bots has no master x"),
    ];
    for (verb, body, status, why) in expected {
        assert_eq!(refused(verb, body.clone()).await, (status, why.to_owned()), "{verb} {body}");
    }
    let (status, why) = refused("failover", json!({ "to": "c" })).await;
    assert_eq!(status, 422, "{why}");
    let after = baton.status().await;
    assert_eq!((&after["upstreams"][0]["failover"], &after["upstreams"][0]["epoch"]), (&before, &json!(0)));
    assert!(history(&baton).await.is_empty());
    let mut client = Client::connect(baton.admin).await;
    let headers = [("content-type", "application/json"), ("host", "127.0.0.1")];
    let answer = client.send(hyper::Method::POST, "/api/v1/upstreams/bots/failover", &headers, "{}").await.unwrap();
    assert_eq!(answer.status, 401, "without a token");
}

#[tokio::test]
async fn with_nobody_left_requests_are_answered_503_or_stored_until_somebody_is_there() {
    let _machine = among_others().await;
    for delivery in ["inline", "inline-then-spool"] {
        let mut masters = masters(["a", "b"]).await;
        let baton = Baton::start(&config(&masters, delivery)).await;
        masters[1].kill().await;
        baton.until_health("b", "failed").await;
        masters[0].kill().await;
        eventually("nobody serves", async || (baton.metric("baton_failover_stuck", &[]).await == 1.0).then_some(()))
            .await;
        let mut client = Client::connect(baton.address()).await;
        let answer = meta::post(&mut client, &meta::message("1", "AE.1", "wamid.1")).await;
        match delivery {
            "inline" => assert_eq!((answer.status, answer.headers["retry-after"].as_bytes()), (503, &b"1"[..])),
            _ => assert_eq!(answer.status, 200, "it is stored"),
        }
        let status = baton.status().await;
        let group = &status["upstreams"][0]["failover"]["groups"][0];
        assert_eq!((&group["state"], &group["active"]), (&json!("stuck"), &json!(null)));
        masters[1].restart_dead().await;
        until_active(&baton, "b").await;
        assert_eq!(baton.metric("baton_failover_stuck", &[]).await, 0.0);
        let answer = meta::post(&mut client, &meta::message("1", "AE.1", "wamid.2")).await;
        assert_eq!(answer.status, 200);
        until_empty(&baton).await;
        let outcomes = ["stuck", "completed"].map(|outcome| [("upstream", "bots"), ("outcome", outcome)]);
        for outcome in &outcomes {
            assert_eq!(baton.metric("baton_failovers_total", outcome).await, 1.0, "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_restart_goes_on_with_the_owner_the_epoch_and_the_history() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let baton = Baton::start(&config(&masters, "inline")).await;
    masters[0].kill().await;
    until_active(&baton, "b").await;
    masters[0].restart_dead().await;
    eventually("a stands by", async || (baton.master("a").await["role"] == "standby").then_some(())).await;
    let baton = Baton::start_again(baton.kill().await).await;
    let status = baton.status().await;
    assert_eq!((&status["upstreams"][0]["active"], &status["upstreams"][0]["epoch"]), (&json!("b"), &json!(1)));
    assert_eq!((history(&baton).await.len(), &baton.master("a").await["role"]), (1, &json!("standby")));
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(meta::post(&mut client, &meta::message("1", "AE.1", "wamid.1")).await.master(), "b");
}

#[tokio::test]
async fn baton_killed_in_the_middle_of_failovers_ends_each_of_them_at_its_next_start() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let mut baton = Baton::start(&config(&masters, "inline-then-spool")).await;
    let mut epoch = 0;
    for round in 0..12u64 {
        let owner = active(&baton).await;
        let (dying, other) = if owner == "a" { (0, 1) } else { (1, 0) };
        masters[dying].kill().await;
        let mut client = Client::connect(baton.address()).await;
        // Its answer is not waited for: Baton ends some time before, in, or after the failover.
        let post = tokio::spawn(async move {
            let body = meta::message("1", &format!("AE.{round}"), &format!("wamid.{round}"));
            let signature = meta::signature(&body);
            let headers = [("content-type", "application/json"), ("x-hub-signature-256", &*signature)];
            client.send(hyper::Method::POST, "/webhook", &headers, &body).await.map(|answer| answer.status)
        });
        tokio::time::sleep(Duration::from_micros(round * 400)).await;
        let directory = baton.kill().await;
        let answered = post.await.unwrap();
        baton = Baton::start_again(directory).await;
        until_active(&baton, &masters[other].name).await;
        let status = baton.status().await;
        let now = status["upstreams"][0]["epoch"].as_u64().unwrap();
        assert!(now >= epoch && now <= epoch + 2, "epoch {now} after {epoch}");
        epoch = now;
        let active: Vec<&Value> =
            status["upstreams"][0]["masters"].as_array().unwrap().iter().map(|it| &it["role"]).collect();
        assert_eq!(active.iter().filter(|role| **role == "active").count(), 1, "{active:?}");
        for failover in history(&baton).await {
            let state = failover["state"].as_str().unwrap();
            assert!(["completed", "undone"].contains(&state), "{failover}");
        }
        masters[dying].restart_dead().await;
        let name = masters[dying].name.clone();
        eventually("the dead one stands by", async || (baton.master(&name).await["role"] == "standby").then_some(()))
            .await;
        if let Ok(status) = answered {
            assert_eq!(status, 200, "round {round}");
        }
    }
    until_empty(&baton).await;
    assert!(epoch >= 12, "only {epoch} failovers");
}

#[tokio::test]
async fn the_command_line_has_failovers_made_and_shows_them() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = Baton::start(&config(&masters, "inline")).await;
    let token = crate::admin::token(&baton.config_path(), "operator");
    let ctl = |arguments: &[&str]| {
        let admin = baton.admin.to_string();
        let fixed = ["ctl", "--admin", &*admin, "--token", &*token];
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_baton")).args(fixed).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (_, said, _) = ctl(&["failover", "--dry-run"]);
    assert_eq!(said, "bots would go from a to b: 0 pinned conversations\n");
    let (code, said, _) = ctl(&["failover", "bots", "--to", "b", "--reason", "night shift"]);
    assert_eq!(
        (code, &*said),
        (0, "bots goes over from a to b, conversation by conversation: 0 pinned conversations\n")
    );
    let (code, _, said) = ctl(&["failover", "--to", "b"]);
    assert_eq!((code, &*said), (1, "error: b is active already\n"));
    let (_, said, _) = ctl(&["status"]);
    assert!(said.contains("bots: b is active (epoch 1), 1 stand by\n"), "{said}");
    eventually("a is left", async || {
        (baton.status().await["upstreams"][0]["failover"]["groups"][0]["state"] == "steady").then_some(())
    })
    .await;
    assert_eq!(ctl(&["failback"]).0, 0);
    let (_, said, _) = ctl(&["failovers"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[2].contains("night shift") && lines[2].contains("completed") && lines[2].contains("ann"), "{said}");
    assert_eq!(ctl(&["reset"]), (0, "no master of bots has failures to forget\n".to_owned(), String::new()));
    let (code, _, said) = ctl(&["failover", "others"]);
    assert_eq!((code, &*said), (1, "error: there is no upstream others\n"));
}
