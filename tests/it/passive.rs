//! What requests themselves tell about a master, and what Baton makes of it: ejection, the circuit, further attempts and
//! their budget, silence, and what is left when nobody is well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::config::{PROBES, RETRY};
use crate::kit::http::{Answer, Client};
use crate::kit::load::measured;
use crate::kit::{Baton, Config, Master, alone, among_others, eventually, masters};

/// One try, so that what a master answers is what the client gets.
const ONE_TRY: &str = "retry: { attempts: 1 }";

/// `a` is asked first, `b` when `a` cannot.
fn a_before_b(masters: &[Master; 2]) -> Config {
    let [a, b] = masters;
    Config::empty()
        .master("a", a.address, "priority: 0")
        .master("b", b.address, "priority: 1")
        .upstream("strategy: priority")
}

async fn metric(baton: &Baton, name: &str) -> f64 {
    baton.metric(name, &[]).await
}

/// One POST on each of so many connections, all at once; the answers with the time each took.
async fn at_once(baton: &Baton, count: usize) -> Vec<(Answer, Duration)> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(baton.address()).await);
    }
    let asking: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let start = Instant::now();
                let answer = client.post("/webhook", "{}").await;
                (answer, start.elapsed())
            })
        })
        .collect();
    let mut answers = Vec::new();
    for asked in asking {
        answers.push(asked.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_row_of_503_ejects_a_master_for_its_time() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let outliers = "outlier_detection: { consecutive_failures: 3, base_ejection: 1s, max_ejection: 1s }";
    let baton = Baton::start(&Config::of(&masters).upstream(outliers).upstream(ONE_TRY)).await;
    masters[0].fault(r#"{"status":503}"#).await;
    let mut client = Client::connect(baton.address()).await;
    let (mut failed, mut ejected) = (0, Instant::now());
    for _ in 0..30 {
        if client.get("/").await.status == 503 {
            (failed, ejected) = (failed + 1, Instant::now());
        }
    }
    assert_eq!(failed, 3, "requests that failed before a was out");
    assert_eq!(baton.metric("baton_master_ejections_total", &[("master", "a")]).await, 1.0);
    assert_eq!(baton.metric("baton_master_usable", &[("master", "a")]).await, 0.0);

    masters[0].fault("{}").await;
    eventually("a answers again", async || (client.get("/").await.master() == "a").then_some(())).await;
    let out = ejected.elapsed();
    assert!(out >= Duration::from_millis(900), "it was out for {out:?} only");
    assert_eq!(baton.metric("baton_master_usable", &[("master", "a")]).await, 1.0);
}

#[tokio::test]
async fn a_500_is_an_answer_and_ejects_nobody() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let outliers = "outlier_detection: { consecutive_failures: 3 }";
    let baton = Baton::start(&Config::of(&masters).upstream(outliers)).await;
    masters[0].fault(r#"{"status":500}"#).await;
    let mut client = Client::connect(baton.address()).await;
    let mut statuses = BTreeMap::new();
    for _ in 0..20 {
        *statuses.entry(client.get("/").await.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 10), (500, 10)]));
    assert_eq!(metric(&baton, "baton_master_ejections_total").await, 0.0);
}

#[tokio::test]
async fn the_last_usable_master_is_never_ejected() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let outliers = "outlier_detection: { consecutive_failures: 2, base_ejection: 30s }";
    let baton = Baton::start(&Config::of(&masters).upstream(outliers).upstream(ONE_TRY)).await;
    for master in &masters {
        master.fault(r#"{"status":503}"#).await;
    }
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..20 {
        // It is a master's own answer, never one that no master is available.
        assert!(["a", "b"].contains(&client.get("/").await.master()));
    }
    assert_eq!(metric(&baton, "baton_master_usable").await, 1.0);
}

const BREAKER: &str = "\
outlier_detection: off
circuit_breaker: { failure_rate: 50, minimum_requests: 6, window: 10s, open_for: 600ms }";

#[tokio::test]
async fn a_circuit_opens_tries_one_request_and_closes() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let [a, _] = &masters;
    let baton = Baton::start(&a_before_b(&masters).upstream(BREAKER).upstream(ONE_TRY)).await;
    let circuit = async || baton.master("a").await["circuit"].as_str().map(str::to_owned);
    let until = async |word: &str| {
        eventually(&format!("the circuit of a is {word}"), async || circuit().await.filter(|now| now == word)).await
    };
    a.fault(r#"{"status":503}"#).await;
    let mut client = Client::connect(baton.address()).await;
    for request in 1..=6 {
        assert_eq!(client.get("/").await.status, 503, "request {request}");
    }
    // The data path knows in the moment of the sixth failure.
    assert_eq!(client.get("/").await.master(), "b");
    assert_eq!(a.seen().await.requests, 6);
    assert_eq!(baton.metric("baton_master_usable", &[("master", "a")]).await, 0.0);

    // Half-open, one request of those that come at once is the trial. It fails, and the circuit is open again.
    a.fault(r#"{"status":503,"delay_ms":300}"#).await;
    until("half-open").await;
    let answers = at_once(&baton, 8).await;
    let by_a = answers.iter().filter(|(answer, _)| answer.master() == "a").count();
    assert_eq!((by_a, a.seen().await.requests), (1, 7));
    assert_eq!(client.get("/").await.master(), "b");

    // The next trial succeeds and closes it.
    a.fault("{}").await;
    until("half-open").await;
    assert_eq!(client.get("/").await.master(), "a");
    assert_eq!(circuit().await.as_deref(), Some("closed"));
    assert!(at_once(&baton, 8).await.iter().all(|(answer, _)| answer.master() == "a"));
}

#[tokio::test]
async fn a_trial_whose_client_leaves_leaves_the_trial_to_the_next_one() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let [a, _] = &masters;
    let baton = Baton::start(&a_before_b(&masters).upstream(BREAKER).upstream(ONE_TRY)).await;
    a.fault(r#"{"status":503}"#).await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..6 {
        client.get("/").await;
    }
    a.fault(r#"{"delay_ms":60000}"#).await;
    eventually("a half-open circuit", async || (baton.master("a").await["circuit"] == "half-open").then_some(())).await;
    let mut impatient = crate::kit::raw::Raw::connect(baton.address()).await;
    impatient.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    eventually("the trial at a", async || (a.seen().await.requests == 7).then_some(())).await;
    assert_eq!(client.get("/").await.master(), "b");
    a.fault("{}").await;
    impatient.reset();
    eventually("another trial", async || (client.get("/").await.master() == "a").then_some(())).await;
    assert_eq!(baton.master("a").await["circuit"], "closed");
}

#[tokio::test]
async fn a_try_that_takes_too_long_moves_on() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let retry = "retry: { attempts: 2, per_try_timeout: 300ms, non_idempotent: true }";
    let baton = Baton::start(&a_before_b(&masters).upstream(retry)).await;
    masters[0].fault(r#"{"delay_ms":5000}"#).await;
    let mut client = Client::connect(baton.address()).await;
    let start = Instant::now();
    let answer = client.post("/webhook", "{}").await;
    let took = start.elapsed();
    assert_eq!((answer.status, answer.master()), (200, "b"));
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(baton.metric("baton_retries_total", &[("reason", "timeout")]).await, 1.0);
    assert_eq!(baton.metric("baton_failed_attempts_total", &[("master", "a")]).await, 1.0);
}

#[tokio::test]
async fn a_post_that_may_not_be_repeated_is_504_when_its_try_takes_too_long() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let baton = Baton::start(&a_before_b(&masters).upstream("retry: { attempts: 2, per_try_timeout: 300ms }")).await;
    masters[0].fault(r#"{"delay_ms":5000}"#).await;
    let mut client = Client::connect(baton.address()).await;
    assert_eq!(client.post("/webhook", "{}").await.status, 504);
    assert_eq!(masters[1].seen().await.requests, 0);
    assert_eq!((client.get("/").await.status, masters[1].seen().await.requests), (200, 1));
}

#[tokio::test]
async fn a_master_that_falls_silent_is_out_in_half_a_second_and_its_requests_are_answered_elsewhere() {
    let _machine = alone().await;
    let ((answers, out), patience) = measured(async || {
        let masters = masters(["a", "b"]).await;
        // The next probe by the clock is far away: what is noticed is noticed by requests.
        let probes = PROBES.replace("interval: 500ms", "interval: 1h");
        let baton = Baton::start(&a_before_b(&masters).upstream(&probes).upstream(RETRY)).await;
        baton.all_health("all healthy", |health| health == "healthy").await;
        assert!(at_once(&baton, 4).await.iter().all(|(answer, _)| answer.master() == "a"));
        // Its connections stay, and the kernel accepts new ones for it.
        masters[0].signal(Signal::STOP);
        let stopped = Instant::now();
        let out = async {
            eventually("a is out", async || {
                (baton.metric("baton_master_usable", &[("master", "a")]).await == 0.0).then(|| stopped.elapsed())
            })
            .await
        };
        let (answers, out) = tokio::join!(at_once(&baton, 20), out);
        baton.until_health("a", "failed").await;
        (answers, out)
    })
    .await;
    assert!(answers.iter().all(|(answer, _)| (answer.status, answer.master()) == (200, "b")));
    let limit = patience.limit(Duration::from_millis(500));
    assert!(out <= limit, "out after {out:?}, more than {limit:?}");
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
    let limit = patience.limit(Duration::from_millis(1500));
    assert!(slowest <= limit, "the slowest answer took {slowest:?}, more than {limit:?}");
}

#[tokio::test]
async fn a_master_that_is_slow_but_alive_loses_no_request_and_is_not_failed() {
    let _machine = alone().await;
    let masters = masters(["a", "b"]).await;
    let retry = RETRY.replace("per_try_timeout: 2s", "per_try_timeout: 8s");
    let baton = Baton::start(&a_before_b(&masters).upstream(PROBES).upstream(&retry)).await;
    baton.all_health("all healthy", |health| health == "healthy").await;
    masters[0].fault(r#"{"delay_ms":1000}"#).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.extend(at_once(&baton, 10).await);
    }
    assert!(answers.iter().all(|(answer, _)| answer.status == 200));
    // Each was answered by whoever had got it, and nobody got it twice.
    let by_a = answers.iter().filter(|(answer, _)| answer.master() == "a").count() as u64;
    assert!(by_a >= 10, "a answered {by_a} only, which proves little");
    assert_eq!(masters[0].seen().await.requests, by_a);
    assert_eq!(masters[1].seen().await.requests, 30 - by_a);
    assert_eq!(baton.health("a").await, "healthy");
    assert_eq!(baton.metric("baton_health_probes_total", &[("outcome", "failed")]).await, 0.0);
    assert_eq!(metric(&baton, "baton_retries_total").await, 0.0);
}

#[tokio::test]
async fn a_master_that_comes_back_starts_with_a_small_share() {
    let _machine = among_others().await;
    let window = Duration::from_secs(4);
    let mut masters = masters(["a", "b"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES).upstream("slow_start: 4s")).await;
    baton.all_health("all healthy", |health| health == "healthy").await;
    let mut client = Client::connect(baton.address()).await;
    let mut share = async |requests: usize| {
        let mut by_b = 0;
        for _ in 0..requests {
            by_b += usize::from(client.get("/").await.master() == "b");
        }
        by_b
    };
    let full = share(40).await;
    masters[1].kill().await;
    baton.until_health("b", "failed").await;
    masters[1].restart_dead().await;
    let back = Instant::now();
    baton.until_health("b", "healthy").await;
    let warming = share(44).await;
    // The ramp at the end of these is the most that b can have had, as a share of a's weight.
    let ramp = (back.elapsed().as_secs_f64() / window.as_secs_f64()).clamp(0.1, 1.0);
    let most = 44.0 * ramp / (1.0 + ramp) + 2.0;
    assert!(warming > 0, "b got nothing while it warmed up");
    assert!(warming as f64 <= most, "b got {warming} of 44 while its share was {ramp}");
    tokio::time::sleep(window.saturating_sub(back.elapsed())).await;
    let warm = eventually("the whole share", async || Some(share(40).await).filter(|by_b| *by_b >= 19)).await;
    assert!((19..=21).contains(&full) && (19..=21).contains(&warm), "b's share was {full} and is {warm} of 40");
}

#[tokio::test]
async fn a_spent_retry_budget_is_503_and_counted() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let retry = "\
outlier_detection: off
retry: { attempts: 2, non_idempotent: true, budget: { percent: 0, interval: 10s, min_retry_rate: 1 } }";
    let baton = Baton::start(&a_before_b(&masters).upstream(retry)).await;
    masters[0].fault(r#"{"close":true}"#).await;
    let mut client = Client::connect(baton.address()).await;
    // One a second over ten seconds: all ten may go at once.
    for request in 1..=10 {
        assert_eq!(client.post("/", "{}").await.status, 200, "request {request}");
    }
    let refused = client.post("/", "{}").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    assert_eq!(metric(&baton, "baton_retry_budget_exhausted_total").await, 1.0);
    assert_eq!(metric(&baton, "baton_retries_total").await, 10.0);
    assert_eq!(masters[1].seen().await.requests, 10);
    // What needs no further attempt is not concerned.
    masters[0].fault("{}").await;
    assert_eq!(client.post("/", "{}").await.status, 200);
}

#[tokio::test]
async fn when_all_are_down_requests_are_rejected_and_counted() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    for master in &masters {
        master.fault(r#"{"health":"TIMEOUT"}"#).await;
    }
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES).upstream("all_down: reject")).await;
    baton.all_health("all failed", |health| health == "failed").await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..6 {
        let answer = client.post("/webhook", "{}").await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    }
    assert!(!client.is_closed());
    assert_eq!(masters[0].seen().await.requests + masters[1].seen().await.requests, 0);
    assert_eq!(baton.metric("baton_refused_total", &[("reason", "no-master")]).await, 6.0);
}

#[tokio::test]
async fn when_all_are_down_panic_waits_for_the_masters_like_for_any_other() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    for master in &masters {
        // Longer than several sweeps, as bots that think are.
        master.fault(r#"{"health":"TIMEOUT","delay_ms":200}"#).await;
    }
    let baton = Baton::start(&Config::of(&masters).upstream(PROBES).upstream("all_down: panic")).await;
    baton.all_health("all failed", |health| health == "failed").await;
    let mut client = Client::connect(baton.address()).await;
    for _ in 0..4 {
        let answer = client.post("/webhook", "{}").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(masters[0].seen().await.requests + masters[1].seen().await.requests, 4);
}
