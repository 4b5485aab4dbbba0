//! The monitor told of a day's events, as its users would read them.

use super::*;
use crate::monitor::observation::SpoolNow;
use crate::monitor::series::Pace;
use crate::telemetry::deliveries::Delivered;
use crate::telemetry::deltas::{Attempts, Exchanges, News};
use crate::telemetry::histogram::{Histogram, Reading};
use crate::upstream::admission::{Health, OperatorState};

const START: UnixMillis = 1_800_000_000_000;
const WELL: Admission = Admission::new(Health::Healthy);

/// Exchanges of a route, an upstream and a master that took so long.
fn exchanges(
    [route, upstream, master]: [&str; 3],
    requests: u64,
    failures: u64,
    micros: u64,
) -> (Arc<[String; 3]>, Exchanges) {
    let (histogram, mut duration) = (Histogram::default(), Reading::default());
    (0..requests).for_each(|_| histogram.record(micros));
    duration.add(&histogram);
    (Arc::new([route.into(), upstream.into(), master.into()]), Exchanges { requests, failures, duration })
}

fn upstream(name: &str, masters: &[(&str, Admission)]) -> UpstreamNow {
    let master = |(name, admission): &(&str, Admission)| MasterNow {
        name: (*name).into(),
        admission: *admission,
        weight: 1,
        in_flight: 2,
        queued: 1,
        pending: 0,
        failures_in_row: 0,
    };
    UpstreamNow { name: name.into(), spreads: true, masters: masters.iter().map(master).collect() }
}

fn seen(after_seconds: u64, upstreams: Vec<UpstreamNow>, exchanges: Vec<(Arc<[String; 3]>, Exchanges)>) -> Observation {
    Observation {
        at: START + after_seconds * 1000,
        news: News { exchanges, ..News::default() },
        routes: vec!["webhooks".into()],
        upstreams,
        ..Observation::default()
    }
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

#[test]
fn a_request_is_counted_for_everything_that_it_went_through() {
    let mut core = Core::default();
    let news = vec![exchanges(["webhooks", "bots", "a"], 30, 3, 2000), exchanges([NONE, NONE, NONE], 10, 0, 10)];
    core.observe(&seen(0, vec![upstream("bots", &[("a", WELL), ("b", WELL)])], news));
    for (name, requests, errors) in [
        ("system", 40, 3),
        ("upstream/bots", 30, 3),
        ("route/webhooks", 30, 3),
        ("master/bots/a", 30, 3),
        ("master/bots/b", 0, 0),
    ] {
        let sample = core.series(&key(name)).unwrap().ring(Pace::Second).get(START / 1000);
        assert_eq!((sample.requests(), sample.errors()), (requests, errors), "{name}");
    }
    assert_eq!(core.keys().count(), 5);
    let rates = core.present(&key("upstream/bots")).unwrap().rates;
    assert_eq!((rates.requests_per_second, rates.error_ratio, rates.p99_micros), (3.0, Some(0.1), Some(2000)));
    assert_eq!((rates.in_flight, rates.queued), (4, 2));
    assert_eq!(core.present(&key("master/bots/a")).unwrap().share_percent, Some(100.0));
}

#[test]
fn attempts_that_went_on_elsewhere_count_for_their_master_alone() {
    let mut core = Core::default();
    let mut seen = seen(0, vec![upstream("bots", &[("a", WELL)])], vec![]);
    let labels = Arc::new(["bots".to_owned(), "a".to_owned()]);
    seen.news.attempts = vec![(labels.clone(), Attempts { failed: 4, connections: 3, broken: 1 })];
    seen.news.deliveries = vec![(labels, Delivered { all: 10, failed: 2 })];
    core.observe(&seen);
    for (name, requests, errors) in [("system", 13, 3), ("upstream/bots", 13, 3), ("master/bots/a", 17, 7)] {
        let sample = core.series(&key(name)).unwrap().ring(Pace::Second).get(START / 1000);
        assert_eq!((sample.requests(), sample.errors()), (requests, errors), "{name}");
    }
}

#[test]
fn a_master_that_fails_is_told_with_the_time_since_which() {
    let mut core = Core::default();
    let failed = Admission::new(Health::Failed);
    let mut observe = |after, admission| {
        core.observe(&seen(after, vec![upstream("bots", &[("a", admission), ("b", WELL)])], vec![]));
        let [whole, bots, a] =
            ["system", "upstream/bots", "master/bots/a"].map(|name| core.present(&key(name)).unwrap().clone());
        (
            [whole.state, bots.state, a.state],
            [whole.since, bots.since, a.since].map(|since| (since - START) / 1000),
            whole.score.points,
        )
    };
    use State::{Down, Impaired, Ok};
    assert_eq!(observe(0, WELL), ([Ok, Ok, Ok], [0, 0, 0], 100));
    assert_eq!(observe(7, failed), ([Impaired, Impaired, Down], [7, 7, 7], 60));
    assert_eq!(observe(9, failed), ([Impaired, Impaired, Down], [7, 7, 7], 60));
    // The same state for another reason is another state.
    let parked = WELL.with_operator(OperatorState::Maintenance);
    assert_eq!(observe(12, parked), ([Impaired, Impaired, Down], [7, 7, 12], 90));
    assert_eq!(observe(20, WELL), ([Ok, Ok, Ok], [20, 20, 20], 100));
}

#[test]
fn the_distribution_is_that_of_the_last_minute_over_masters_that_could_have_got_more() {
    let mut core = Core::default();
    let all = || vec![upstream("bots", &[("a", WELL), ("b", WELL), ("c", Admission::new(Health::Failed))])];
    let quality = |core: &Core| core.present(&key("upstream/bots")).unwrap().distribution.clone().map(|it| it.quality);
    core.observe(&seen(0, all(), vec![exchanges(["webhooks", "bots", "a"], 100, 0, 100)]));
    assert_eq!(quality(&core), Some(0));
    core.observe(&seen(30, all(), vec![exchanges(["webhooks", "bots", "b"], 100, 0, 100)]));
    assert_eq!(quality(&core), Some(100));
    core.observe(&seen(61, all(), vec![]));
    assert_eq!(quality(&core), Some(0));
    core.observe(&seen(200, all(), vec![]));
    assert_eq!(quality(&core), None);
}

#[test]
fn what_waits_on_disk_is_the_wholes() {
    let mut core = Core::default();
    let mut seen = seen(0, vec![upstream("bots", &[("a", WELL)])], vec![]);
    seen.spool = SpoolNow { pending: 12, ..SpoolNow::default() };
    core.observe(&seen);
    assert_eq!(core.present(&Key::System).unwrap().rates.pending, 12);
}

#[test]
fn intervals_that_ended_are_given_to_be_kept_and_can_be_taken_back_in() {
    let (mut core, mut kept) = (Core::default(), Vec::new());
    for after in 0..700 {
        let news = vec![exchanges(["webhooks", "bots", "a"], 2, 0, 100)];
        kept.extend(core.observe(&seen(after, vec![upstream("bots", &[("a", WELL)])], news)));
    }
    let mut next = Core::default();
    kept.iter().for_each(|(key, closed)| next.restore(key, closed));
    for pace in [Pace::TenSeconds, Pace::FiveMinutes] {
        for key in core.keys() {
            let (one, other) = (core.series(key).unwrap().ring(pace), next.series(key).unwrap().ring(pace));
            assert_eq!((one.first(), one.end()), (other.first(), other.end()));
            assert!(one.last(usize::MAX).eq(other.last(usize::MAX)), "{key}");
        }
    }
}

#[test]
fn names_that_come_and_go_do_not_pile_up() {
    let mut core = Core::default();
    let masters: Vec<String> = (0..SERIES_MAX + 100).map(|number| format!("m{number}")).collect();
    for (after, part) in masters.chunks(500).enumerate() {
        let named: Vec<_> = part.iter().map(|name| (&**name, WELL)).collect();
        core.observe(&seen(after as u64 * 100, vec![upstream("bots", &named)], vec![]));
    }
    assert_eq!(core.keys().count(), SERIES_MAX);
    assert_eq!(core.left_out(), 0);
    assert!(core.series(&key(&format!("master/bots/m{}", SERIES_MAX + 99))).is_some());
    assert!(core.series(&key("master/bots/m0")).is_none());
}
