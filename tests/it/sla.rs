//! What was promised and how it was kept: figures of real requests, maintenance that does not count, a restart that loses nothing.

use std::process::Command;

use baton::sample::client;
use serde_json::Value;

use super::admin::token;
use super::kit::config::PROBES;
use super::kit::http::Client;
use super::kit::{Baton, Config, among_others, eventually, masters};

async fn get(baton: &Baton, path: &str) -> (u16, String) {
    let (status, body) = client::get(baton.admin, path).await.expect("an answer");
    (status.as_u16(), String::from_utf8(body.to_vec()).expect("text"))
}

async fn json(baton: &Baton, path: &str) -> Value {
    let (status, body) = get(baton, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// So many webhooks, one after the other.
async fn send(baton: &Baton, webhooks: usize) {
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..webhooks {
        client.post("/webhook", "{}").await;
    }
}

/// Something's entry, when its last hour satisfies `wanted`.
async fn item(baton: &Baton, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("figures of {name}"), async || {
        let view = json(baton, "/api/v1/sla").await;
        let item = view["items"].as_array()?.iter().find(|item| item["name"] == name)?.clone();
        wanted(&item["windows"][0]).then_some(item)
    })
    .await
}

#[tokio::test]
async fn requests_that_fail_spend_the_budget_and_burn_it() {
    let _machine = among_others().await;
    let mut masters = masters(["a"]).await;
    let config =
        Config::of(&masters).route("sla: { objective: 99 }").upstream("sla: { objective: 90, by: time, period: 7d }");
    let baton = Baton::start(&config.upstream(PROBES)).await;
    send(&baton, 20).await;
    let route = item(&baton, "route/webhooks", |hour| hour["requests"] == 20).await;
    assert_eq!(route["windows"][0]["availability_percent"], 100.0);
    assert_eq!(route["budget"]["remaining_percent"], 100.0);
    masters[0].kill().await;
    send(&baton, 20).await;
    let route = item(&baton, "route/webhooks", |hour| hour["failed"] == 20).await;
    assert_eq!((&route["budget"]["spent"], &route["promise"]["objective_percent"]), (&20.into(), &99.0.into()));
    assert!(route["budget"]["remaining_percent"].as_f64().unwrap() < -1000.0, "{route}");
    assert_eq!(route["burn"][0]["long"], 50.0, "{route}");
    assert!(route["burn"].as_array().unwrap().iter().all(|burn| burn["burning"] == true), "{route}");
    let upstream = item(&baton, "upstream/bots", |hour| hour["down_seconds"].as_u64() >= Some(2)).await;
    assert_eq!(upstream["promise"]["by"], "time");
    item(&baton, "master/bots/a", |hour| hour["down_seconds"].as_u64() >= Some(2)).await;
    let burn =
        baton.metric("baton_sla_burn_rate_ratio", &[("route", "webhooks"), ("upstream", ""), ("window", "5m")]).await;
    assert_eq!(burn, 50.0);
    assert!(baton.metric("baton_sla_error_budget_remaining_ratio", &[("route", "webhooks")]).await < -10.0);
}

#[tokio::test]
async fn maintenance_counts_neither_for_nor_against() {
    let _machine = among_others().await;
    let mut masters = masters(["a"]).await;
    let work = "sla: { objective: 99.9, maintenance: [{ at: \"00:00\", lasts: 7d }] }";
    let baton = Baton::start(&Config::of(&masters).route(work).upstream(PROBES)).await;
    let token = token(&baton.config_path(), "operator");
    let parked = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["ctl", "maintenance", "a"])
        .env("BATON_ADMIN", format!("http://{}", baton.admin))
        .env("BATON_TOKEN", token)
        .output()
        .unwrap();
    assert!(parked.status.success(), "{}", String::from_utf8_lossy(&parked.stderr));
    masters[0].kill().await;
    send(&baton, 5).await;
    // The only master of the upstream: so both are.
    for name in ["master/bots/a", "upstream/bots"] {
        let item = item(&baton, name, |hour| hour["maintenance_seconds"].as_u64() >= Some(2)).await;
        assert_eq!(item["windows"][0]["down_seconds"], 0, "{item}");
    }
    let route = item(&baton, "route/webhooks", |hour| hour["maintenance_seconds"].as_u64() >= Some(3)).await;
    assert_eq!((&route["promise"]["maintenance"], &route["windows"][0]["requests"]), (&true.into(), &0.into()));
    assert_eq!(baton.metric("baton_sla_maintenance", &[("route", "webhooks")]).await, 1.0);
}

#[tokio::test]
async fn a_report_of_the_month_outlives_a_restart_in_every_format() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).route("sla: { objective: 99.9 }")).await;
    send(&baton, 30).await;
    item(&baton, "route/webhooks", |hour| hour["requests"] == 30).await;
    let directory = baton.stop().await;
    let baton = Baton::start_again(directory).await;
    send(&baton, 10).await;
    item(&baton, "route/webhooks", |hour| hour["requests"] == 40).await;
    let report = json(&baton, "/api/v1/sla/report").await;
    let month = report["month"].as_str().unwrap().to_owned();
    let route = report["items"].as_array().unwrap().iter().find(|item| item["name"] == "route/webhooks").unwrap();
    assert_eq!((&route["met"], &route["total"]["requests"]), (&true.into(), &40.into()), "{report}");
    let days = route["days"].as_array().unwrap();
    assert!(days.iter().all(|day| day["date"].as_str().unwrap().starts_with(&month)), "{days:?}");
    let (_, csv) = get(&baton, "/api/v1/sla/report?format=csv").await;
    assert!(csv.contains(&format!("route/webhooks,{month},99.9,requests,yes,40,0,100,")), "{csv}");
    let (_, page) = get(&baton, &format!("/api/v1/sla/report?format=html&month={month}")).await;
    assert!(page.starts_with("<!doctype html>") && page.contains("<td>99.9 % of requests</td><td>yes</td>"), "{page}");
    let (_, early) = get(&baton, "/api/v1/sla/report?month=2020-02").await;
    assert!(early.contains("\"items\":[]"), "{early}");
    for (path, word) in [("month=2026-13", "2026-11"), ("format=pdf", "html"), ("year=1", "year")] {
        let (status, problem) = get(&baton, &format!("/api/v1/sla/report?{path}")).await;
        assert!(status == 400 && problem.contains(word), "{path}: {problem}");
    }
    for (arguments, words) in [(&["sla"][..], "99.9% of requests in 30d"), (&["sla", "--month", &month], "yes")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.arg("ctl").args(arguments).env("BATON_ADMIN", format!("http://{}", baton.admin));
        let said = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(said.status.success() && text.contains(words), "{text}{}", String::from_utf8_lossy(&said.stderr));
    }
}
