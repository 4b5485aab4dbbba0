//! What a gateway notices when a master dies, hangs or fails, and when the configuration is reloaded: 400 webhooks a
//! second over 100 conversations on three masters.

use std::collections::BTreeSet;
use std::time::Duration;

use baton::sample::tally::{Exchange, Outcome, Report};
use baton::sample::webhook;
use rustix::process::Signal;

use crate::kit::config::{PROBES, RETRY};
use crate::kit::load::{measured, until, until_served, webhooks};
use crate::kit::{Baton, Config, Master, alone, masters};

/// Ejection by count, with the figures that a configuration would start from.
const OUTLIERS: &str = "outlier_detection: { consecutive_failures: 5, base_ejection: 30s, max_ejection: 300s }";

fn resilient(masters: &[Master]) -> Config {
    Config::of(masters).upstream(PROBES).upstream(RETRY).upstream(OUTLIERS)
}

fn assert_all_succeeded(report: &Report) {
    let failures: Vec<&Exchange> = report.exchanges.iter().filter(|e| !e.succeeded()).take(5).collect();
    assert!(report.failed == 0, "{report}\nthe first failures: {failures:#?}");
}

/// Every message reached a master at least once, whoever it was.
async fn assert_all_arrived(report: &Report, alive: &[&Master]) {
    let mut arrived = BTreeSet::new();
    for master in alive {
        for (from, sequences) in master.seen().await.conversations {
            arrived.extend(sequences.into_iter().map(|sequence| (from.clone(), sequence)));
        }
    }
    for exchange in &report.exchanges {
        let by_dead = |name: &str| !alive.iter().any(|master| master.name == name);
        let elsewhere = matches!(&exchange.outcome, Outcome::Answered { master: Some(name), .. } if by_dead(name));
        let message = (webhook::sender(exchange.conversation), exchange.sequence);
        assert!(elsewhere || arrived.contains(&message), "{message:?} was answered and is nowhere: {exchange:?}");
    }
}

#[tokio::test]
async fn healthy_masters_share_the_load_and_nothing_fails() {
    let _machine = alone().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&resilient(&masters)).await;
    let report = webhooks(baton.address(), Duration::from_secs(3)).finished().await;
    assert_all_succeeded(&report);
    assert_eq!((report.succeeded, report.connections_closed), (1200, 0));
    for master in &masters {
        let share = report.by_master.get(&master.name).copied().unwrap_or(0);
        // Not exactly 400: a master that is silent for a moment is passed over until it has been probed.
        assert!((360..=440).contains(&share), "{}'s share of 1200 is {share}", master.name);
    }
    assert_all_arrived(&report, &masters.each_ref()).await;
}

#[tokio::test]
async fn a_killed_master_costs_no_answer_and_no_pause() {
    let _machine = alone().await;
    let (report, patience) = measured(async || {
        let mut masters = masters(["a", "b", "c"]).await;
        let baton = Baton::start(&resilient(&masters)).await;
        let gateway = webhooks(baton.address(), Duration::from_secs(5));
        until(&gateway, Duration::from_secs(2)).await;
        // Without traffic its death would prove nothing.
        until_served(&gateway, "b", 100).await;
        masters[1].kill().await;
        let report = gateway.finished().await;
        assert_all_succeeded(&report);
        assert_eq!(report.connections_closed, 0);
        assert_all_arrived(&report, &[&masters[0], &masters[2]]).await;
        assert_eq!(baton.health("b").await, "failed");
        report
    })
    .await;
    let limit = patience.limit(Duration::from_millis(50));
    assert!(report.largest_gap <= limit, "no answer for {:?}, more than {limit:?}", report.largest_gap);
}

#[tokio::test]
async fn a_killed_master_comes_back_after_its_probes_succeed() {
    let _machine = alone().await;
    let mut masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&resilient(&masters)).await;
    let gateway = webhooks(baton.address(), Duration::from_secs(6));
    until(&gateway, Duration::from_secs(1)).await;
    masters[1].kill().await;
    baton.until_health("b", "failed").await;
    masters[1].restart_dead().await;
    baton.until_health("b", "healthy").await;
    let back = gateway.elapsed();
    let report = gateway.finished().await;

    assert_all_succeeded(&report);
    let later = report.exchanges.iter().filter(|e| e.sent > back + Duration::from_millis(100)).count();
    let served = report.exchanges.iter().filter(|e| e.sent > back).filter(|e| answered_by(e, "b")).count();
    assert!(later > 200, "only {later} webhooks were sent after b came back, which proves nothing");
    assert!(served * 5 > later, "b served {served} of {later} webhooks after it came back");
}

#[tokio::test]
async fn a_stopped_master_leaves_the_rotation_in_half_a_second() {
    let _machine = alone().await;
    let ((report, stopped, seen), patience) = measured(async || {
        let masters = masters(["a", "b", "c"]).await;
        let baton = Baton::start(&resilient(&masters)).await;
        let gateway = webhooks(baton.address(), Duration::from_secs(6));
        until(&gateway, Duration::from_secs(2)).await;
        until_served(&gateway, "b", 100).await;
        masters[1].signal(Signal::STOP);
        let stopped = gateway.elapsed();
        let report = gateway.finished().await;
        assert_all_succeeded(&report);
        assert_eq!(report.connections_closed, 0);
        assert_eq!(baton.health("b").await, "failed");

        // What was sent to it while it stood still lies in its sockets and comes to light when it goes on.
        masters[1].signal(Signal::CONT);
        baton.until_health("b", "healthy").await;
        assert_all_arrived(&report, &masters.each_ref()).await;
        (report, stopped, masters[1].seen().await.conversations)
    })
    .await;
    let limit = patience.limit(Duration::from_millis(1500));
    assert!(report.max <= limit, "the slowest answer took {:?}, more than {limit:?}", report.max);
    let out_by = stopped + patience.limit(Duration::from_millis(500));
    let late: Vec<&Exchange> = report
        .exchanges
        .iter()
        .filter(|e| e.sent > out_by)
        .filter(|e| seen.get(&webhook::sender(e.conversation)).is_some_and(|sent| sent.contains(&e.sequence)))
        .collect();
    assert!(late.is_empty(), "{} webhooks went to b later than {out_by:?}, such as {:?}", late.len(), late[0]);
}

#[tokio::test]
async fn a_master_that_answers_500_is_not_seen_by_the_gateway() {
    let _machine = alone().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&resilient(&masters)).await;
    let gateway = webhooks(baton.address(), Duration::from_secs(5));
    until(&gateway, Duration::from_secs(1)).await;
    masters[1].fault(r#"{"status":500}"#).await;
    let before = masters[1].seen().await.requests;
    let report = gateway.finished().await;

    assert!(masters[1].seen().await.requests > before, "b got nothing, so its answers prove nothing");
    assert_all_succeeded(&report);
    assert_eq!(report.by_status.keys().collect::<Vec<_>>(), [&200]);
}

#[tokio::test]
async fn reloading_ten_times_a_second_fails_no_request_and_closes_no_connection() {
    let _machine = alone().await;
    let masters = masters(["a", "b", "c"]).await;
    let even = resilient(&masters);
    let [a, b, c] = &masters;
    let uneven = resilient(&[]).master("a", a.address, "weight: 5").master("b", b.address, "weight: 1").master(
        "c",
        c.address,
        "weight: 1",
    );
    let baton = Baton::start(&even).await;
    let first = baton.generation().await;
    let gateway = webhooks(baton.address(), Duration::from_secs(10));
    for reload in 1..100 {
        until(&gateway, Duration::from_millis(100) * reload).await;
        baton.write(if reload % 2 == 0 { &even } else { &uneven });
        baton.hang_up();
    }
    let report = gateway.finished().await;

    let generations = baton.generation().await - first;
    assert!(generations >= 30, "only {generations} generations came into force, which proves little");
    assert_all_succeeded(&report);
    assert_eq!((report.succeeded, report.connections_closed), (4000, 0));
    for master in &masters {
        assert_eq!(baton.health(&master.name).await, "healthy");
    }
}

fn answered_by(exchange: &Exchange, name: &str) -> bool {
    matches!(&exchange.outcome, Outcome::Answered { master: Some(master), .. } if master == name)
}
