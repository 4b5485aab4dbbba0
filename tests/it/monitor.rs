//! What Baton says about how it goes: scores with their reasons, and samples that outlive a restart.

use std::time::Duration;

use baton::sample::client;
use serde_json::Value;

use super::kit::config::{PROBES, RETRY};
use super::kit::http::Client;
use super::kit::{Baton, Config, among_others, eventually, masters, within};

async fn trends(baton: &Baton, query: &str) -> (u16, Value) {
    let (status, body) = client::get(baton.admin, &format!("/api/v1/trends?{query}")).await.expect("an answer");
    (status.as_u16(), serde_json::from_slice(&body).expect("JSON"))
}

/// So many webhooks, one after the other.
async fn send(baton: &Baton, webhooks: usize) {
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..webhooks {
        client.post("/webhook", "{}").await;
    }
}

/// The sum of a field over all steps.
fn sum(trends: &Value, series: usize, field: &str) -> f64 {
    let values = trends["series"][series][field].as_array().unwrap_or_else(|| panic!("{field} in {trends}"));
    values.iter().filter_map(Value::as_f64).sum()
}

#[tokio::test]
async fn a_killed_master_lowers_the_score_with_a_reason_within_two_seconds() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES).upstream(RETRY)).await;
    let standing = async || baton.status().await["standing"].clone();
    eventually("a score of 100", async || (standing().await["health_score"] == 100).then_some(())).await;
    masters[1].kill().await;
    send(&baton, 10).await;
    let status = within(Duration::from_secs(2), "a lower score", async || {
        let status = baton.status().await;
        (status["health_score"].as_u64()? < 100).then_some(status)
    })
    .await;
    let reasons = &status["upstreams"][0]["standing"]["reasons"];
    assert!(reasons[0]["text"].as_str().unwrap().starts_with("b "), "{reasons}");
    assert_eq!(status["standing"]["state"], "impaired");
    let found = baton.master("b").await["standing"].clone();
    assert_eq!(found["state"], "down", "{found}");
    assert!(found["since"].as_u64().unwrap() > 1_600_000_000_000);
    assert!(baton.metric("baton_upstream_health_score", &[("upstream", "bots")]).await < 100.0);
    masters[1].restart_dead().await;
    eventually("all is well again", async || (standing().await["state"] == "ok").then_some(())).await;
}

#[tokio::test]
async fn requests_are_in_the_trends_of_all_they_went_through() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    send(&baton, 60).await;
    let query = "series=system,upstream/bots,route/webhooks,master/bots/a,master/bots/b&range=1m";
    let trends = eventually("sixty requests in the trends", async || {
        let (status, trends) = trends(&baton, query).await;
        (status == 200 && sum(&trends, 0, "requests_per_second") == 60.0).then_some(trends)
    })
    .await;
    for (series, expected) in [(1, 60.0), (2, 60.0), (3, 30.0), (4, 30.0)] {
        assert_eq!(sum(&trends, series, "requests_per_second"), expected, "{}", trends["series"][series]["name"]);
    }
    assert!(sum(&trends, 0, "p99_ms") > 0.0);
    let quality = baton.status().await["upstreams"][0]["standing"]["distribution"]["quality"].as_u64();
    assert!(quality.is_some_and(|quality| quality > 95), "{quality:?}");
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_said() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    for (query, status, word) in [
        ("series=nothing", 400, "upstream/NAME"),
        ("series=upstream/nobody", 404, "upstream/nobody"),
        ("range=soon", 400, "range"),
        ("points=0", 400, "points"),
        ("fields=speed", 400, "requests_per_second"),
        ("color=red", 400, "color"),
    ] {
        let (answered, problem) = trends(&baton, query).await;
        assert_eq!(answered, status, "{query}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{query}: {problem}");
    }
}

#[tokio::test]
async fn samples_outlive_a_killed_process() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    send(&baton, 50).await;
    let query = "series=master/bots/a&range=1h&fields=requests_per_second";
    let steps = async |baton: &Baton| {
        let (status, trends) = trends(baton, query).await;
        let steps = trends["series"][0]["requests_per_second"].as_array().filter(|_| status == 200)?;
        Some(steps.iter().map(|it| it.as_f64().unwrap_or(0.0) * 10.0).collect::<Vec<_>>())
    };
    let all = |steps: &[f64]| ((steps.iter().sum::<f64>() - 50.0).abs() < 0.1).then_some(());
    // The ten seconds that they are in, or both, have to end: the last step is under way, and for a second the one before it as well.
    within(Duration::from_secs(25), "all in steps that have ended", async || {
        steps(&baton).await.and_then(|steps| all(&steps[..steps.len() - 1]))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let directory = baton.kill().await;
    let baton = Baton::start_again(directory).await;
    eventually("the samples of before", async || steps(&baton).await.and_then(|steps| all(&steps))).await;
}
