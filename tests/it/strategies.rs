//! Each strategy through the whole program; the exact arithmetic is tested where it is written.

use std::collections::BTreeMap;

use crate::kit::config::{PROBES, RETRY};
use crate::kit::http::Client;
use crate::kit::{Baton, Config, Master, among_others, masters};

/// Sends so many requests, one after the other on one connection, and counts who answers.
async fn counts(baton: &Baton, requests: usize, headers: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let mut client = Client::connect(baton.address()).await;
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(client.get_with("/", headers).await.master().to_owned()).or_default() += 1;
    }
    counts
}

fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

fn weighted(masters: &[Master], keys: [&str; 3]) -> Config {
    masters.iter().zip(keys).fold(Config::empty(), |config, (m, keys)| config.master(&m.name, m.address, keys))
}

#[tokio::test]
async fn round_robin_takes_turns() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("strategy: round-robin")).await;
    assert_eq!(counts(&baton, 30, &[]).await, expected([("a", 10), ("b", 10), ("c", 10)]));
}

#[tokio::test]
async fn weights_are_kept_exactly() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let config = weighted(&masters, ["weight: 5", "weight: 1", "weight: 1"]);
    let baton = Baton::start(&config.upstream("strategy: weighted-round-robin")).await;
    assert_eq!(counts(&baton, 70, &[]).await, expected([("a", 50), ("b", 10), ("c", 10)]));
}

#[tokio::test]
async fn priority_uses_the_backup_only_when_the_first_level_is_down() {
    let _machine = among_others().await;
    let mut masters = masters(["a", "b", "c"]).await;
    let config = weighted(&masters, ["priority: 0", "priority: 1", "priority: 2"]);
    let baton = Baton::start(&config.upstream("strategy: priority").upstream(PROBES).upstream(RETRY)).await;
    baton.all_health("all healthy", |health| health == "healthy").await;
    assert_eq!(counts(&baton, 20, &[]).await, expected([("a", 20)]));
    masters[0].kill().await;
    assert_eq!(counts(&baton, 20, &[]).await, expected([("b", 20)]));
    masters[1].kill().await;
    assert_eq!(counts(&baton, 20, &[]).await, expected([("c", 20)]));
    masters[0].restart_dead().await;
    baton.until_health("a", "healthy").await;
    assert_eq!(counts(&baton, 20, &[]).await, expected([("a", 20)]));
}

#[tokio::test]
async fn least_loaded_avoids_a_master_that_is_busy() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("strategy: least-loaded")).await;
    assert_busy_is_avoided(&baton, &masters).await;
}

#[tokio::test]
async fn peak_ewma_avoids_a_master_that_is_slow() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("strategy: peak-ewma")).await;
    assert_busy_is_avoided(&baton, &masters).await;
}

/// With one master that takes 300 ms and two that answer at once, eight clients of 25 requests each would hold
/// up a third of them at the slow one if turns were taken.
async fn assert_busy_is_avoided(baton: &Baton, masters: &[Master; 3]) {
    masters[0].fault(r#"{"delay_ms":300}"#).await;
    let clients = (0..8).map(|_| counts(baton, 25, &[])).collect::<Vec<_>>();
    let mut slow = 0;
    for counts in join_all(clients).await {
        slow += counts.get("a").copied().unwrap_or(0);
    }
    assert!(slow <= 200 / 6, "{slow} of 200 requests went to the slow master");
}

#[tokio::test]
async fn geo_prefers_masters_of_the_same_country() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let config = weighted(&masters, ["country: AE", "country: SA", "country: BR"]);
    let config = config.upstream("strategy: geo").upstream("geo: { country_header: cf-ipcountry }");
    let baton = Baton::start(&config).await;
    for (country, master) in [("AE", "a"), ("SA", "b"), ("BR", "c"), ("sa", "b")] {
        assert_eq!(counts(&baton, 5, &[("cf-ipcountry", country)]).await, expected([(master, 5)]), "{country}");
    }
    assert_eq!(counts(&baton, 30, &[]).await.len(), 3);
}

#[tokio::test]
async fn ip_hash_keeps_a_client_with_one_master() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("strategy: ip-hash")).await;
    let first = counts(&baton, 10, &[]).await;
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(counts(&baton, 10, &[]).await, first);
}

#[tokio::test]
async fn consistent_hash_gives_the_same_owner_after_a_restart() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    // Without the bound on the load, which passes a busy owner over.
    let hashed = "strategy: consistent-hash\nhash_balance_factor: 0\naffinity: { key: \"header:x-chat\" }";
    let hashed = Config::of(&masters).upstream(hashed);
    let mut owners = Vec::new();
    for _ in 0..2 {
        let baton = Baton::start(&hashed).await;
        let mut by_key = BTreeMap::new();
        for key in 0..30 {
            let key = key.to_string();
            let counts = counts(&baton, 2, &[("x-chat", &key)]).await;
            assert_eq!(counts.len(), 1, "key {key} went to {counts:?}");
            by_key.insert(key, counts.into_keys().next().unwrap());
        }
        owners.push(by_key);
    }
    assert_eq!(owners[0], owners[1]);
}

#[tokio::test]
async fn random_reaches_everyone() {
    let _machine = among_others().await;
    let masters = masters(["a", "b", "c"]).await;
    let baton = Baton::start(&Config::of(&masters).upstream("strategy: random")).await;
    let counts = counts(&baton, 300, &[]).await;
    // Five standard deviations around 100 are 59 to 141.
    assert!(counts.len() == 3 && counts.values().all(|count| (59..=141).contains(count)), "{counts:?}");
}

/// Drives all to their end; the order of the results is that of the futures.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<_> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}
