//! Routes that lead elsewhere than to one upstream: redirects, and a split for canaries.

use crate::kit::http::Client;
use crate::kit::raw::Raw;
use crate::kit::{Baton, Config, Master, among_others, eventually, masters};

#[tokio::test]
async fn a_redirect_is_answered_without_a_master_on_a_connection_that_lives() {
    let _machine = among_others().await;
    let redirect = "redirect: { scheme: https, path_prefix: /new, status: 308 }";
    let routes = format!("  - name: moved\n    match: {{ path_prefix: /old }}\n    {redirect}");
    let nobody = "127.0.0.1:1".parse().unwrap();
    let config = Config::empty().master("a", nobody, "").routes(&routes).listener("paths: { repeated_slashes: pass }");
    let baton = Baton::start_unprobed(&config).await;
    let mut client = Raw::connect(baton.address()).await;
    client.send("POST /old/a?b=//c HTTP/1.1\r\nHost: bot.example:8080\r\nContent-Length: 5\r\n\r\nhello").await;
    let wanted = "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://bot.example/new/a?b=//c\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";
    client.expect(wanted).await;
    client.send("GET /old//evil.example HTTP/1.1\r\nHost: bot.example\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.contains("\r\nLocation: https://bot.example/new//evil.example\r\n"), "{head}");
    // Whoever names no host has none to be sent to.
    client.send("GET /old HTTP/1.1\r\nHost:\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 400 "));
    let moved = [("route", "moved"), ("code", "3xx"), ("upstream", "none")];
    assert_eq!(baton.metric("baton_requests_total", &moved).await, 2.0);
    assert_eq!(baton.metric("baton_refused_total", &[]).await, 1.0);
}

fn split(stable: &Master, canary: &Master, weights: (u32, u32)) -> Config {
    split_with(stable, canary, weights, "")
}

/// `more`: keys of both upstreams.
fn split_with(stable: &Master, canary: &Master, weights: (u32, u32), more: &str) -> Config {
    let (stable, canary) = (stable.address, canary.address);
    let split = format!(
        "  - name: shared\n    match: {{ path_prefix: /shared }}\n    split: [{{ upstream: stable, weight: {} }}, {{ upstream: canary, weight: {} }}]",
        weights.0, weights.1
    );
    let upstream = |name: &str, address| {
        let affinity = "affinity: { key: \"header:x-chat\" }";
        format!("  - {{ name: {name}, {affinity}, {more} masters: [{{ name: {name}, address: \"{address}\" }}] }}\n")
    };
    let upstreams = format!("{}{}", upstream("stable", stable), upstream("canary", canary));
    Config::empty().master("a", stable, "").routes(&split).upstreams(&upstreams)
}

#[tokio::test]
async fn a_split_deals_by_weight_and_keeps_conversations_where_they_are() {
    let _machine = among_others().await;
    let [stable, canary] = masters(["stable", "canary"]).await;
    let baton = Baton::start_unprobed(&split(&stable, &canary, (80, 20))).await;
    let mut client = Client::connect(baton.address()).await;
    let mut canaries = 0;
    for _ in 0..500 {
        canaries += u32::from(client.get("/shared").await.master() == "canary");
    }
    // Six standard deviations around 100.
    assert!((46..=154).contains(&canaries), "{canaries} of 500");
    let counted = baton.metric("baton_requests_total", &[("route", "shared"), ("upstream", "canary")]).await;
    assert_eq!(counted, f64::from(canaries));

    let chats: Vec<String> = (0..100).map(|chat| format!("chat-{chat}")).collect();
    let ask = async |client: &mut Client, chat: &str| {
        client.get_with("/shared", &[("x-chat", chat)]).await.master().to_owned()
    };
    let mut before = Vec::new();
    for chat in &chats {
        before.push(ask(&mut client, chat).await);
        assert_eq!(ask(&mut client, chat).await, before[before.len() - 1]);
    }
    assert!(before.iter().any(|master| master == "canary") && before.iter().any(|master| master == "stable"));

    // A larger share moves conversations to the canary, and none back.
    let generation = baton.generation().await;
    baton.write(&split(&stable, &canary, (50, 50)));
    baton.hang_up();
    eventually("another generation", async || (baton.generation().await > generation).then_some(())).await;
    for (chat, before) in chats.iter().zip(&before) {
        let after = ask(&mut client, chat).await;
        assert!(after == *before || after == "canary", "{chat} moved from {before} to {after}");
    }
}

#[tokio::test]
async fn a_canary_that_nobody_answers_for_costs_no_request_and_gets_its_share_back() {
    let _machine = among_others().await;
    let [stable, canary] = masters(["stable", "canary"]).await;
    let probes = "health_check: { interval: 100ms, timeout: 100ms, unhealthy_threshold: 1, healthy_threshold: 1, http: { path: /health, json: { pointer: /state, healthy: [CONNECTED] } } },";
    let baton = Baton::start(&split_with(&stable, &canary, (20, 80), probes)).await;
    let until = async |health: &str| {
        let is = async || (baton.status().await["upstreams"][2]["masters"][0]["health"] == health).then_some(());
        eventually(health, is).await;
    };
    until("healthy").await;
    let mut client = Client::connect(baton.address()).await;
    canary.fault(r#"{"health":"TIMEOUT"}"#).await;
    until("failed").await;
    for _ in 0..50 {
        let answer = client.get("/shared").await;
        assert_eq!((answer.status, answer.master()), (200, "stable"));
    }
    canary.fault("{}").await;
    until("healthy").await;
    eventually("the canary", async || (client.get("/shared").await.master() == "canary").then_some(())).await;
}
