//! What masters own goes over with the rest: real masters that die, hang and lie, seen from outside.

use std::num::NonZeroU32;
use std::time::Duration;

use baton::failover::hooks::signature::sha256;
use baton::sample::client;
use baton::sample::gateway::{Gateway, Plan};
use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kit::http::Client;
use crate::kit::{Baton, Config, Master, SOON, among_others, eventually, meta, within};

const SECRET: &str = "what masters and Baton share";

const PROBES: &str =
    "health_check: { interval: 500ms, timeout: 500ms, unhealthy_threshold: 2, http: { path: /health } }";

async fn masters<const N: usize>(names: [&str; N]) -> Vec<Master> {
    let mut masters = Vec::new();
    for name in names {
        masters.push(Master::start_with(name, &["--hook-secret", SECRET]).await);
    }
    masters
}

fn config(masters: &[Master], timeout: &str) -> Config {
    let named = |config: Config, (priority, master): (usize, &Master)| {
        config.master(&master.name, master.address, &format!("priority: {priority}"))
    };
    let failover = format!(
        "failover:
  stable_after: 500ms
  recovery: {{ timeout: 5s }}
  hooks:
    export: /state
    import: /state
    activate: /activate
    deactivate: /deactivate
    interval: 200ms
    timeout: {timeout}
    secret: {SECRET}
    key: thirty-two bytes or more, for all that is kept"
    );
    masters
        .iter()
        .enumerate()
        .fold(Config::empty(), named)
        .route("whatsapp: { provider: cloud-api, app_secret: \"s3cret\" }")
        .routes("  - { name: plain, match: { path_prefix: /slow }, upstream: bots }")
        .upstream(PROBES)
        .upstream("affinity: { key: conversation }")
        .upstream(&failover)
}

/// Baton, when the first master has been told that it serves.
async fn started(masters: &[Master], timeout: &str) -> Baton {
    let baton = Baton::start(&config(masters, timeout)).await;
    until_active(&masters[0]).await;
    baton
}

async fn until_active(master: &Master) {
    eventually(&format!("{} was told that it serves", master.name), async || {
        (master.own().await["active"] == true).then_some(())
    })
    .await;
}

async fn until_passive(master: &Master) {
    eventually(&format!("{} was told that it does not serve", master.name), async || {
        (master.own().await["active"] != true).then_some(())
    })
    .await;
}

async fn until_owner(baton: &Baton, name: &str) {
    within(SOON * 2, &format!("{name} is active"), async || {
        (baton.status().await["upstreams"][0]["active"] == name).then_some(())
    })
    .await;
}

/// Sends so many messages, one after the other.
async fn send(baton: &Baton, count: u32) {
    let plan = Plan {
        app_secret: Some(meta::SECRET.to_owned()),
        rate: NonZeroU32::new(count * 4).unwrap(),
        duration: Some(Duration::from_millis(250)),
        ..Plan::new(baton.address(), "/webhook")
    };
    let report = Gateway::start(plan).finished().await;
    assert_eq!(report.failed, 0, "{report}");
}

async fn handled(master: &Master) -> u64 {
    master.own().await["handled"].as_u64().unwrap_or(0)
}

/// Waits until Baton keeps a state of a master that has handled so many.
async fn until_kept(baton: &Baton, handled: u64) {
    let digest = sha256(json!({ "handled": handled }).to_string().as_bytes());
    eventually("the state is kept", async || {
        let status = baton.status().await;
        let kept = &status["upstreams"][0]["failover"]["groups"][0]["kept"];
        (kept["state"]["sha256"] == digest.as_str()).then_some(())
    })
    .await;
}

async fn last(baton: &Baton) -> Value {
    let (status, body) = client::get(baton.admin, "/api/v1/failovers").await.unwrap();
    assert_eq!(status, 200);
    serde_json::from_slice::<Value>(&body).unwrap()["items"][0].take()
}

async fn ask(baton: &Baton, verb: &str) -> Value {
    let token = crate::admin::token(&baton.config_path(), "operator");
    let mut client = Client::connect(baton.admin).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("content-type", "application/json"), ("host", "127.0.0.1")];
    let path = format!("/api/v1/upstreams/bots/{verb}");
    let answer = client.send(Method::POST, &path, &headers, "{}").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn a_killed_masters_state_goes_to_the_next_one_before_that_gets_anything() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let baton = started(&masters, "2s").await;
    send(&baton, 20).await;
    let count = handled(&masters[0]).await;
    assert!(count > 0);
    until_kept(&baton, count).await;
    for entry in std::fs::read_dir(baton.directory().join("data/hooks")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("handled"), "the state can be read on disk");
    }
    masters[0].kill().await;
    until_owner(&baton, "b").await;
    assert_eq!((masters[1].own().await["active"].clone(), handled(&masters[1]).await), (json!(true), count));
    let it = last(&baton).await;
    assert_eq!((&it["state"], &it["given"]["from"]), (&json!("completed"), &json!("a")));
    assert_eq!(it["given"]["bytes"], json!({ "handled": count }).to_string().len());
    assert!(it["given_ms"].is_number(), "{it}");
    let answered = [("hook", "import"), ("outcome", "answered")];
    assert_eq!(baton.metric("baton_hook_calls_total", &answered).await, 1.0);
    send(&baton, 20).await;
    assert!(handled(&masters[1]).await > count);
}

#[tokio::test]
async fn a_master_whose_hook_fails_or_lies_is_passed_over_for_the_next_one() {
    let _machine = among_others().await;
    for fault in ["import-500", "import-lies", "import-hangs", "activate-500", "activate-hangs"] {
        let mut masters = masters(["a", "b", "c"]).await;
        let baton = started(&masters, "500ms").await;
        send(&baton, 20).await;
        let count = handled(&masters[0]).await;
        until_kept(&baton, count).await;
        masters[1].fault(&json!({ "hook": fault }).to_string()).await;
        masters[0].kill().await;
        until_owner(&baton, "c").await;
        let it = last(&baton).await;
        assert_eq!((&it["passed"][0]["master"], &it["epoch"]), (&json!("b"), &json!(1)), "{fault}: {it}");
        assert_eq!(handled(&masters[2]).await, count, "{fault}");
        until_passive(&masters[1]).await;
    }
}

#[tokio::test]
async fn with_no_master_that_takes_the_state_it_is_stuck_until_one_does() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let baton = started(&masters, "500ms").await;
    send(&baton, 20).await;
    let count = handled(&masters[0]).await;
    until_kept(&baton, count).await;
    masters[1].fault(r#"{"hook":"import-lies"}"#).await;
    masters[0].kill().await;
    eventually("nobody serves", async || (baton.metric("baton_failover_stuck", &[]).await == 1.0).then_some(())).await;
    let it = last(&baton).await;
    assert!(it["passed"][0]["why"].as_str().unwrap().contains("holds another state"), "{it}");
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(meta::post(&mut client, &meta::message("1", "AE.1", "wamid.1")).await.status, 503);
    masters[1].fault("{}").await;
    until_owner(&baton, "b").await;
    assert_eq!((handled(&masters[1]).await, baton.metric("baton_failover_stuck", &[]).await), (count, 0.0));
}

#[tokio::test]
async fn a_planned_failover_loses_nothing_of_the_state_and_no_message() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = started(&masters, "2s").await;
    let plan = Plan {
        app_secret: Some(meta::SECRET.to_owned()),
        rate: NonZeroU32::new(200).unwrap(),
        duration: Some(Duration::from_secs(3)),
        ..Plan::new(baton.address(), "/webhook")
    };
    let gateway = Gateway::start(plan);
    crate::kit::load::until(&gateway, Duration::from_secs(1)).await;
    let done = ask(&baton, "failover").await;
    assert_eq!(done["moves"][0]["done"], true, "{done}");
    assert_eq!(masters[0].own().await["active"], false);
    crate::kit::load::until(&gateway, Duration::from_secs(2)).await;
    assert_eq!(ask(&baton, "failback").await["moves"][0]["done"], true);
    let report = gateway.finished().await;
    assert_eq!(report.failed, 0, "{report}");
    assert_eq!(handled(&masters[0]).await, report.succeeded, "each message is in the state exactly once");
    assert_eq!(masters[1].own().await["active"], false);
    let it = last(&baton).await;
    assert_eq!(
        (&it["manner"], &it["state"], &it["given"]["from"]),
        (&json!("leave"), &json!("completed"), &json!("b"))
    );
}

#[tokio::test]
async fn a_planned_failover_waits_for_what_is_under_way_whatever_it_belongs_to() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = started(&masters, "2s").await;
    masters[0].fault(r#"{"delay_ms":1500}"#).await;
    let address = baton.address();
    // No webhook, and so of no conversation.
    let slow = tokio::spawn(async move { client::get(address, "/slow").await.unwrap().0 });
    eventually("the request is under way", async || (baton.master("a").await["in_flight"] == 1).then_some(())).await;
    assert_eq!(ask(&baton, "failover").await["moves"][0]["done"], true);
    assert!(slow.is_finished(), "the state went over before the request had ended");
    assert_eq!(slow.await.unwrap(), 200);
}

#[tokio::test]
async fn a_planned_failover_whose_state_is_not_taken_leaves_the_owner() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = started(&masters, "500ms").await;
    for (master, fault) in [(1, "import-lies"), (1, "activate-hangs"), (0, "export-large"), (0, "deactivate-500")] {
        masters[master].fault(&json!({ "hook": fault }).to_string()).await;
        let done = ask(&baton, "failover").await;
        assert_eq!(done["moves"][0]["done"], false, "{fault}: {done}");
        assert_eq!(last(&baton).await["state"], "undone", "{fault}");
        masters[master].fault("{}").await;
        until_active(&masters[0]).await;
        until_passive(&masters[1]).await;
        send(&baton, 20).await;
    }
}

#[tokio::test]
async fn baton_killed_while_a_hook_hangs_ends_with_one_owner_that_all_masters_agree_on() {
    let _machine = among_others().await;
    for comes_back in [true, false] {
        let mut masters = masters(["a", "b"]).await;
        let baton = started(&masters, "9s").await;
        send(&baton, 20).await;
        let count = handled(&masters[0]).await;
        until_kept(&baton, count).await;
        masters[1].fault(r#"{"hook":"activate-hangs"}"#).await;
        masters[0].kill().await;
        // It has obeyed, and Baton does not know.
        until_active(&masters[1]).await;
        let directory = baton.kill().await;
        masters[1].fault("{}").await;
        if comes_back {
            masters[0].restart_dead().await;
        }
        let baton = Baton::start_again(directory).await;
        let (owner, other) = if comes_back { (0, 1) } else { (1, 0) };
        until_owner(&baton, &masters[owner].name).await;
        until_active(&masters[owner]).await;
        assert_eq!(handled(&masters[owner]).await, count);
        if comes_back {
            until_passive(&masters[other]).await;
            assert_eq!(last(&baton).await["state"], "undone");
        }
        let status = baton.status().await;
        let roles: Vec<&Value> =
            status["upstreams"][0]["masters"].as_array().unwrap().iter().map(|it| &it["role"]).collect();
        assert_eq!(roles.iter().filter(|role| **role == "active").count(), 1, "{roles:?}");
    }
}

#[tokio::test]
async fn an_owner_that_was_restarted_gets_its_state_back() {
    let _machine = among_others().await;
    let mut masters = masters(["a"]).await;
    let baton = started(&masters, "2s").await;
    send(&baton, 20).await;
    let count = handled(&masters[0]).await;
    until_kept(&baton, count).await;
    masters[0].kill().await;
    masters[0].restart_dead().await;
    until_active(&masters[0]).await;
    assert_eq!(handled(&masters[0]).await, count);
}

#[tokio::test]
async fn a_master_that_hung_hears_that_another_one_serves_when_it_goes_on() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = started(&masters, "500ms").await;
    masters[0].signal(Signal::STOP);
    until_owner(&baton, "b").await;
    masters[0].signal(Signal::CONT);
    until_passive(&masters[0]).await;
    assert_eq!(masters[1].own().await["active"], true);
}

#[tokio::test]
async fn hooks_are_called_over_http2_where_the_master_speaks_that() {
    let _machine = among_others().await;
    let mut masters = Vec::new();
    for name in ["a", "b"] {
        masters.push(Master::start_with(name, &["--hook-secret", SECRET, "--http2"]).await);
    }
    let baton = Baton::start(&config(&masters, "2s").upstream("protocol: http2")).await;
    eventually("a state is kept", async || {
        let status = baton.status().await;
        (status["upstreams"][0]["failover"]["groups"][0]["kept"]["state"]["from"] == "a").then_some(())
    })
    .await;
    masters[0].kill().await;
    until_owner(&baton, "b").await;
    assert_eq!(last(&baton).await["given"]["sha256"], sha256(br#"{"handled":0}"#));
}

#[tokio::test]
async fn a_state_that_is_too_large_or_does_not_fit_its_digest_leaves_the_one_before() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    let baton = started(&masters, "2s").await;
    send(&baton, 20).await;
    let count = handled(&masters[0]).await;
    until_kept(&baton, count).await;
    for fault in ["export-large", "export-lies", "export-500"] {
        masters[0].fault(&json!({ "hook": fault }).to_string()).await;
        let problem = eventually("it is said that no newer state is kept", async || {
            let status = baton.status().await;
            let problem = status["upstreams"][0]["failover"]["groups"][0]["kept"]["problem"].as_str()?.to_owned();
            (!problem.is_empty()).then_some(problem)
        })
        .await;
        let expected = match fault {
            "export-large" => "a does not give its state: its state is larger than 16MiB (hooks.max_bytes)",
            "export-lies" => "a does not give its state: its digest is not that of its state",
            _ => "a does not give its state: status 500",
        };
        assert_eq!(problem, expected);
        masters[0].fault("{}").await;
        eventually("a newer state is kept again", async || {
            let status = baton.status().await;
            (status["upstreams"][0]["failover"]["groups"][0]["kept"]["problem"] == "").then_some(())
        })
        .await;
    }
    masters[0].fault(r#"{"hook":"export-lies"}"#).await;
    masters[0].kill().await;
    until_owner(&baton, "b").await;
    assert_eq!(handled(&masters[1]).await, count);
}
