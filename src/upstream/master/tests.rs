//! What reports do to a master's admission.

use proptest::prelude::*;

use super::*;
use crate::upstream::permit::AcquireError;

const SECOND: Micros = 1_000_000;

fn policy() -> Policy {
    Policy {
        max_in_flight: 2,
        max_queue: 4,
        outlier: OutlierRule { consecutive_failures: 3, base_ejection: 30 * SECOND, max_ejection: 300 * SECOND },
        breaker: BreakerRule { failure_rate: 50, minimum_requests: 10, open_for: 5 * SECOND },
        breaker_window: 10 * SECOND,
        slow_start: 60 * SECOND,
        suspect_after: Some(150_000),
        stands_by: false,
    }
}

fn master(policy: Policy) -> Arc<Master> {
    let address = Address::Socket(SocketAddr::from(([127, 0, 0, 1], 1)));
    Arc::new(Master::new(Arc::from("bots"), address, policy))
}

fn healthy() -> Arc<Master> {
    let master = master(policy());
    master.set_health(Health::Healthy, 0);
    master
}

#[test]
fn a_checked_master_is_out_until_its_first_verdict_and_an_unchecked_one_is_in() {
    assert_eq!(master(policy()).admission().tier(), Tier::Out);
    assert_eq!(master(Policy { suspect_after: None, ..policy() }).admission().tier(), Tier::Full);
}

#[test]
fn a_refused_connection_takes_it_out_at_once_even_when_it_is_the_last_one() {
    let master = healthy();
    assert_eq!(master.failed(0, Failure::ConnectRefused, None, || false), Some(Transition::Died));
    assert_eq!(master.admission().tier(), Tier::Out);
    assert_eq!(master.failed(0, Failure::ConnectRefused, None, || false), None);
}

#[test]
fn refused_connections_count_for_neither_outlier_detection_nor_breaker() {
    let master = healthy();
    (0..100).for_each(|_| {
        master.failed(0, Failure::ConnectRefused, None, || true);
    });
    assert!(!master.admission().ejected());
    assert_eq!((master.breaker_counts(0), master.outlier.consecutive()), ((0, 0), 0));
}

#[test]
fn answers_with_4xx_and_500_never_count_and_end_a_row_of_failures() {
    let master = healthy();
    for _ in 0..100 {
        assert_eq!(master.failed(0, Failure::Timeout, None, || true), None);
        for status in [400, 404, 429, 500] {
            assert_eq!(master.failed(0, Failure::Status(status), None, || true), None);
        }
    }
    assert_eq!(master.admission().tier(), Tier::Full);
}

#[test]
fn gateway_failures_in_a_row_eject_it_and_time_brings_it_back() {
    let master = master(Policy { breaker: BreakerRule::default(), suspect_after: None, ..policy() });
    let failures = [Failure::Status(503), Failure::Reset, Failure::ConnectTimeout];
    let reports = failures.map(|failure| master.failed(SECOND, failure, None, || true));
    assert_eq!(reports, [None, None, Some(Transition::Ejected)]);
    assert_eq!(master.next_tick(), Some(31 * SECOND));
    master.tick(31 * SECOND - 1);
    assert_eq!(master.admission().tier(), Tier::Doubtful);
    master.tick(31 * SECOND);
    assert_eq!(master.admission().tier(), Tier::Full);
}

#[test]
fn a_fresh_connection_that_breaks_makes_a_checked_master_suspect() {
    let master = healthy();
    assert_eq!(master.failed(SECOND, Failure::Reset, None, || true), Some(Transition::Suspected));
    assert_eq!(master.admission().tier(), Tier::Doubtful);
    assert!(master.clear_suspicion(SECOND));
    assert_eq!(master.admission().tier(), Tier::Full);
    assert_eq!(master.failed(SECOND + 1, Failure::Reset, None, || true), None);
    master.succeeded(SECOND + 2, 1, None);
    assert_eq!(master.failed(2 * SECOND, Failure::Reset, None, || true), Some(Transition::Suspected));
}

#[test]
fn silence_makes_it_suspect_once_and_an_answered_probe_makes_the_watch_more_patient() {
    let master = healthy();
    assert_eq!(master.suspect_at(SECOND, SECOND), Some(SECOND + 150_000));
    assert_eq!(master.watch(SECOND + 149_999, SECOND), None);
    assert_eq!(master.watch(SECOND + 150_000, SECOND), Some(Transition::Suspected));
    assert_eq!(master.watch(SECOND + 150_001, SECOND), None);
    assert!(master.clear_suspicion(SECOND + 151_000));
    assert_eq!(master.watch(SECOND + 450_999, SECOND), None);
    assert_eq!(master.watch(SECOND + 451_000, SECOND), Some(Transition::Suspected));
}

#[test]
fn a_threshold_of_zero_switches_the_watch_on_silence_off() {
    let master = master(Policy { suspect_after: Some(0), ..policy() });
    master.set_health(Health::Healthy, 0);
    assert_eq!(master.watch(100 * SECOND, 0), None);
    assert_eq!(master.suspect_at(100 * SECOND, 0), None);
    assert_eq!(master.failed(0, Failure::Reset, None, || true), Some(Transition::Suspected));
}

#[test]
fn a_master_without_a_health_check_is_never_suspect() {
    let master = master(Policy { suspect_after: None, ..policy() });
    assert_eq!(master.watch(100 * SECOND, 0), None);
    assert_eq!(master.failed(0, Failure::Reset, None, || true), None);
    assert!(!master.admission().suspect());
}

#[test]
fn an_open_circuit_takes_it_out_and_one_trial_closes_it() {
    let master = master(Policy { outlier: OutlierRule::default(), suspect_after: None, ..policy() });
    let opened = (0..10).find_map(|_| master.failed(0, Failure::Timeout, None, || true));
    assert_eq!(opened, Some(Transition::CircuitOpened));
    assert_eq!(master.next_tick(), Some(5 * SECOND));
    let (before, after) = master.tick(5 * SECOND);
    assert_eq!((before.circuit(), after.circuit()), (Circuit::Open, Circuit::HalfOpen));
    let trial = master.claim_trial();
    assert!(trial.is_some() && master.claim_trial().is_none());
    assert_eq!(master.succeeded(5 * SECOND, 1, trial), Some(Transition::CircuitClosed));
    assert_eq!(master.admission().tier(), Tier::Full);
}

#[test]
fn a_trial_nobody_reported_is_free_again() {
    let master = master(Policy { outlier: OutlierRule::default(), suspect_after: None, ..policy() });
    assert!((0..10).any(|_| master.failed(0, Failure::Timeout, None, || true).is_some()));
    master.tick(5 * SECOND);
    drop(master.claim_trial());
    assert!(master.claim_trial().is_some());
}

#[test]
fn a_circuit_left_open_when_the_breaker_was_switched_off_closes_with_its_trial() {
    let ruled = Policy { outlier: OutlierRule::default(), suspect_after: None, ..policy() };
    let master = master(ruled);
    master.set_policy(Policy { breaker: BreakerRule::default(), ..ruled });
    // A worker that had read the rule just before.
    let opened = (0..10).find_map(|_| master.breaker.record(&master.word, 0, &ruled.breaker, true, false));
    assert_eq!(opened, Some(Circuit::Open));
    master.tick(5 * SECOND);
    let trial = master.claim_trial();
    assert!(trial.is_some());
    assert_eq!(master.failed(5 * SECOND, Failure::Timeout, trial, || true), Some(Transition::CircuitClosed));
    assert_eq!(master.admission().tier(), Tier::Full);
}

#[test]
fn recovery_starts_afresh_and_warms_up_but_a_first_verdict_does_not() {
    let master = healthy();
    assert_eq!(master.share_percent(0), 100);
    assert!((0..10).any(|_| master.failed(0, Failure::Timeout, None, || true) == Some(Transition::CircuitOpened)));
    assert!(master.admission().ejected());
    master.set_health(Health::Failed, SECOND);
    master.set_health(Health::Healthy, 2 * SECOND);
    assert_eq!(master.admission().tier(), Tier::Full);
    assert_eq!(master.share_percent(17 * SECOND), 25);
    assert_eq!(master.share_percent(62 * SECOND), 100);
    assert_eq!(master.share_percent(3 * SECOND), 100);
}

#[tokio::test]
async fn those_who_queue_for_a_master_that_dies_pick_again() {
    let master = healthy();
    assert!(master.permits().try_acquire() && master.permits().try_acquire() && !master.permits().try_acquire());
    let waiting = tokio::spawn({
        let master = Arc::clone(&master);
        async move { master.permits().acquire().await }
    });
    while master.permits().queued() == 0 {
        tokio::task::yield_now().await;
    }
    master.failed(0, Failure::ConnectRefused, None, || true);
    assert_eq!(waiting.await.unwrap(), Err(AcquireError::Repick));
    assert_eq!((master.permits().in_flight(), master.permits().queued()), (2, 0));
}

#[test]
fn leaving_maintenance_a_checked_master_is_unknown_again() {
    let master = healthy();
    master.set_operator(OperatorState::Drain);
    assert_eq!(master.admission().tier(), Tier::Reserved);
    master.set_operator(OperatorState::Maintenance);
    master.set_operator(OperatorState::Ready);
    assert_eq!(master.admission().health(), Health::Unknown);
}

#[test]
fn a_reload_changes_limits_and_keeps_health_and_counts() {
    let master = healthy();
    master.failed(0, Failure::Timeout, None, || true);
    master.set_policy(Policy { max_in_flight: 9, ..policy() });
    assert_eq!(master.permits().max_in_flight(), 9);
    assert_eq!(master.admission().tier(), Tier::Full);
    assert_eq!(master.breaker_counts(0), (1, 1));
}

#[test]
fn a_master_that_is_no_longer_checked_and_has_no_verdict_becomes_healthy() {
    let master = master(policy());
    master.set_policy(Policy { suspect_after: None, ..policy() });
    assert_eq!(master.admission().tier(), Tier::Full);
}

fn failure() -> impl Strategy<Value = Option<Failure>> {
    prop_oneof![
        Just(None),
        Just(Some(Failure::Timeout)),
        Just(Some(Failure::BadResponse)),
        Just(Some(Failure::ConnectTimeout)),
        Just(Some(Failure::Status(502))),
    ]
}

proptest! {
    #[test]
    fn the_last_usable_master_is_never_ejected(
        reports in proptest::collection::vec((0..3_usize, failure(), 0..20 * SECOND), 0..300),
    ) {
        let policy = Policy { breaker: BreakerRule::default(), suspect_after: None, ..policy() };
        let masters = [master(policy), master(policy), master(policy)];
        let mut now = 0;
        for (index, failure, pause) in reports {
            now += pause;
            masters.iter().for_each(|master| {
                master.tick(now);
            });
            let others = || {
                let usable = |(other, master): (usize, &Arc<Master>)| {
                    other != index && master.admission().tier() <= Tier::Reserved
                };
                masters.iter().enumerate().any(usable)
            };
            match failure {
                Some(failure) => masters[index].failed(now, failure, None, others),
                None => masters[index].succeeded(now, 1_000, None),
            };
            prop_assert!(masters.iter().any(|master| master.admission().tier() == Tier::Full));
        }
    }
}
