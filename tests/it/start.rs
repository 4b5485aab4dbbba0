//! Starting: what is told when it works, and what is told when it does not.

use std::net::TcpListener;

use baton::sample::client;

use crate::kit::baton::run;
use crate::kit::config::PROBES;
use crate::kit::directory::Directory;
use crate::kit::http::Client;
use crate::kit::process::{Process, Stream};
use crate::kit::{Baton, Config, among_others, eventually, masters};

/// Runs to the end and gives the exit code with what was said on standard error.
async fn failure(mut process: Process) -> (Option<i32>, String) {
    let status = process.ended().await;
    (status.code(), process.said(Stream::Err))
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let path = directory.path().join("absent.yaml");
    let (code, said) = failure(run(&path)).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    assert!(said.to_lowercase().contains("no such file"), "{said}");
}

#[tokio::test]
async fn every_mistake_of_a_file_is_told_at_once_with_its_line() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let text = Config::empty().upstream("stratgey: random").text(directory.path());
    let text = text.replace("upstream: bots", "upstream: boots");
    let path = directory.write("baton.yaml", &text);
    let line = |needle: &str| 1 + text.lines().position(|line| line.contains(needle)).unwrap();
    for command in ["run", "check"] {
        let process = Process::start(command, &[command, "--config", path.to_str().unwrap()]);
        let (code, said) = failure(process).await;
        assert_eq!(code, Some(2), "{said}");
        for place in [format!("baton.yaml:{}", line("stratgey")), "strategy".to_owned()] {
            assert!(said.contains(&place), "{command} does not say {place:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_dangling_upstream_is_told_with_those_that_exist() {
    let _machine = among_others().await;
    let directory = Directory::new();
    let master = "127.0.0.1:9".parse().unwrap();
    let text = Config::empty().master("a", master, "").text(directory.path());
    let path = directory.write("baton.yaml", &text.replace("upstream: bots", "upstream: boots"));
    let (code, said) = failure(run(&path)).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("boots") && said.contains("bots"), "{said}");
}

#[tokio::test]
async fn check_accepts_a_good_file_without_binding_anything() {
    let _machine = among_others().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = Directory::new();
    let config = Config::empty().master("a", "127.0.0.1:9".parse().unwrap(), "");
    let config = config.address(taken.local_addr().unwrap());
    let path = directory.write("baton.yaml", &config.text(directory.path()));
    let mut process = Process::start("check", &["check", "--config", path.to_str().unwrap()]);
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.said(Stream::Err));
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_listener() {
    let _machine = among_others().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = Directory::new();
    let config = Config::empty().master("a", "127.0.0.1:9".parse().unwrap(), "").address(address);
    let path = directory.write("baton.yaml", &config.text(directory.path()));
    let (code, said) = failure(run(&path)).await;
    assert_eq!(code, Some(1), "{said}");
    for word in [address.to_string().as_str(), "gateway", "in use"] {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

#[tokio::test]
async fn a_running_baton_is_alive_and_ready() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    for path in ["/healthz", "/readyz"] {
        let (status, body) = client::get(baton.admin, path).await.unwrap();
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    }
    let status = baton.status().await;
    assert_eq!(status["upstreams"][0]["name"], "bots");
    assert_eq!(status["upstreams"][0]["strategy"], "round-robin");
    assert_eq!(baton.master("a").await["address"], masters[0].address.to_string());
}

#[tokio::test]
async fn a_master_gets_nothing_before_its_first_good_probe() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    masters[0].fault(r#"{"health":"STARTING"}"#).await;
    let baton = Baton::start_unprobed(&Config::of(&masters).upstream(PROBES)).await;
    baton.until_health("b", "healthy").await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.master(), "b");
    }
    assert_eq!(masters[0].seen().await.requests, 0);

    masters[0].fault("{}").await;
    eventually("a takes part", async || (client.get("/").await.master() == "a").then_some(())).await;
}

#[tokio::test]
async fn a_degraded_master_serves_only_when_nothing_better_is_left() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b"]).await;
    masters[0].fault(r#"{"health":"OPENING"}"#).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    baton.until_health("b", "healthy").await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.master(), "b");
    }
    masters[1].kill().await;
    assert_eq!(client.get("/").await.master(), "a");
    assert_eq!(baton.health("a").await, "degraded");
}

#[tokio::test]
async fn without_a_usable_master_the_answer_is_503_with_a_time_to_come_back() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    masters[0].fault(r#"{"health":"TIMEOUT"}"#).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES)).await;
    let mut client = Client::connect(baton.address()).await;
    let answer = client.post("/webhook", "{}").await;
    assert_eq!(answer.status, 503);
    let seconds = answer.headers["retry-after"].to_str().unwrap();
    assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{seconds}");
    assert!(!client.is_closed());
}
