//! Every interleaving of a few threads, within loom's bounds.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use baton_loom::health::outlier::{Outlier, OutlierRule};
use baton_loom::telemetry::hot::{UpstreamCounters, UpstreamSlot};
use baton_loom::upstream::admission::{Admission, AdmissionWord, Circuit, Health, OperatorState, Role};
use baton_loom::upstream::latency::Latency;
use baton_loom::upstream::permit::{AcquireError, Permits};
use baton_loom::upstream::window::Window;
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Checks a model of up to four threads; three forced switches are known to find nearly all faults of such code.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Counts how many hold a permit and how many did at most.
#[derive(Default)]
struct Holders {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Holders {
    fn hold(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        thread::yield_now();
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn every_waiter_gets_its_permit_and_never_more_hold_one_than_may() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 8));
        let holders = Arc::new(Holders::default());
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (permits, holders) = (Arc::clone(&permits), Arc::clone(&holders));
                thread::spawn(move || {
                    block_on(permits.acquire()).unwrap();
                    holders.hold();
                    permits.release();
                })
            })
            .collect();
        block_on(permits.acquire()).unwrap();
        holders.hold();
        permits.release();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(holders.most.load(Ordering::SeqCst), 1);
        assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
    });
}

#[test]
fn those_who_do_not_queue_never_take_the_limit_over() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 8));
        let holders = Arc::new(Holders::default());
        let worker = {
            let (permits, holders) = (Arc::clone(&permits), Arc::clone(&holders));
            thread::spawn(move || {
                block_on(permits.acquire()).unwrap();
                holders.hold();
                permits.release();
            })
        };
        for _ in 0..2 {
            if permits.try_acquire() {
                holders.hold();
                permits.release();
            }
        }
        worker.join().unwrap();
        assert_eq!(holders.most.load(Ordering::SeqCst), 1);
        assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
    });
}

#[test]
fn a_newcomer_does_not_take_the_permit_that_is_being_handed_to_a_waiter() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 8));
        assert!(permits.try_acquire());
        let waiter = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                block_on(permits.acquire()).unwrap();
                assert_eq!(permits.in_flight(), 1);
                permits.release();
            })
        };
        let newcomer = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                if permits.try_acquire() {
                    assert_eq!(permits.in_flight(), 1);
                    permits.release();
                }
            })
        };
        permits.release();
        waiter.join().unwrap();
        newcomer.join().unwrap();
        assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
    });
}

#[test]
fn a_waiter_that_leaves_takes_no_permit_with_it() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 8));
        assert!(permits.try_acquire());
        let leaver = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                let mut acquire = Box::pin(permits.acquire());
                let polled = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                drop(acquire);
                if polled == Poll::Ready(Ok(())) {
                    permits.release();
                }
            })
        };
        let waiter = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                block_on(permits.acquire()).unwrap();
                permits.release();
            })
        };
        permits.release();
        leaver.join().unwrap();
        waiter.join().unwrap();
        assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
    });
}

#[test]
fn waiters_sent_away_while_a_permit_comes_back_lose_nothing() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 8));
        assert!(permits.try_acquire());
        let waiter = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || match block_on(permits.acquire()) {
                Ok(()) => permits.release(),
                Err(error) => assert_eq!(error, AcquireError::Repick),
            })
        };
        let sender = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.wake_all_for_repick())
        };
        permits.release();
        sender.join().unwrap();
        waiter.join().unwrap();
        assert_eq!((permits.in_flight(), permits.queued()), (0, 0));
    });
}

#[test]
fn a_raised_limit_reaches_a_waiter_that_comes_at_the_same_time() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 8));
        assert!(permits.try_acquire());
        let waiter = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || block_on(permits.acquire()).unwrap())
        };
        permits.set_limits(2, 8);
        waiter.join().unwrap();
        assert_eq!((permits.in_flight(), permits.queued()), (2, 0));
    });
}

#[test]
fn a_queue_never_holds_more_than_it_may() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 1));
        assert!(permits.try_acquire());
        let wait_once = |permits: &Permits| {
            let mut acquire = pin!(permits.acquire());
            let polled = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(permits.queued() <= 1);
            assert_ne!(polled, Poll::Ready(Ok(())));
        };
        let other = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || wait_once(&permits))
        };
        wait_once(&permits);
        other.join().unwrap();
        assert_eq!((permits.in_flight(), permits.queued()), (1, 0));
    });
}

#[test]
fn writers_of_the_admission_word_keep_each_others_bits() {
    check(|| {
        let word = Arc::new(AdmissionWord::new(Admission::new(Health::Unknown)));
        let change = |change: fn(Admission) -> Admission| {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                word.update(change);
            })
        };
        let probe = change(|admission| admission.with_health(Health::Healthy));
        let failover = change(|admission| admission.with_role(Role::Standby, 7));
        word.update(|admission| admission.with_operator(OperatorState::Drain).with_ejected(true));
        probe.join().unwrap();
        failover.join().unwrap();
        let admission = word.read();
        assert_eq!((admission.health(), admission.role(), admission.epoch()), (Health::Healthy, Role::Standby, 7));
        assert_eq!((admission.operator(), admission.ejected()), (OperatorState::Drain, true));
    });
}

#[test]
fn one_request_gets_the_trial_of_a_half_open_circuit() {
    check(|| {
        let admission = Admission::new(Health::Healthy).with_circuit(Circuit::HalfOpen);
        let word = Arc::new(AdmissionWord::new(admission));
        let claims: Vec<_> = (0..2)
            .map(|_| {
                let word = Arc::clone(&word);
                thread::spawn(move || word.claim_trial())
            })
            .collect();
        word.update(|admission| admission.with_suspect(true));
        let claimed = claims.into_iter().map(|claim| claim.join().unwrap());
        assert_eq!(claimed.filter(|claimed| *claimed).count(), 1);
    });
}

const RULE: OutlierRule = OutlierRule { consecutive_failures: 2, base_ejection: 10, max_ejection: 100 };

fn healthy() -> AdmissionWord {
    AdmissionWord::new(Admission::new(Health::Healthy))
}

#[test]
fn a_row_of_failures_seen_by_many_ejects_once() {
    check(|| {
        let master = Arc::new((healthy(), Outlier::new()));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let master = Arc::clone(&master);
                thread::spawn(move || master.1.failed(&master.0, 0, &RULE, || true))
            })
            .collect();
        let mine = master.1.failed(&master.0, 0, &RULE, || true);
        let theirs = workers.into_iter().map(|worker| worker.join().unwrap());
        assert_eq!(theirs.chain([mine]).filter(|ejects| *ejects).count(), 1);
        assert!(master.0.read().ejected());
        assert_eq!(master.1.next_tick(true), Some(10));
    });
}

#[test]
fn two_masters_that_fail_in_the_same_moment_are_not_both_ejected() {
    check(|| {
        let masters = Arc::new([(healthy(), Outlier::new()), (healthy(), Outlier::new())]);
        let fail_twice = |masters: &[(AdmissionWord, Outlier); 2], own: usize| {
            let (word, outlier) = &masters[own];
            let other_usable = || !masters[1 - own].0.read().ejected();
            (0..2).for_each(|_| {
                let _ = outlier.failed(word, 0, &RULE, other_usable);
            });
        };
        let other = {
            let masters = Arc::clone(&masters);
            thread::spawn(move || fail_twice(&masters, 1))
        };
        fail_twice(&masters, 0);
        other.join().unwrap();
        assert!(masters.iter().any(|(word, _)| !word.read().ejected()));
    });
}

#[test]
fn counts_of_one_stretch_are_all_there_and_an_older_stretch_leaves_none_behind() {
    check(|| {
        let window = Arc::new(Window::<2>::new(2_000));
        window.count_first(1_000);
        let other = {
            let window = Arc::clone(&window);
            thread::spawn(move || window.count_first(3_000))
        };
        window.count_first(3_500);
        other.join().unwrap();
        assert_eq!(window.sums(3_900), (2, 0));
    });
}

#[test]
fn the_slowest_of_simultaneous_answers_counts() {
    check(|| {
        let latency = Arc::new(Latency::new());
        let other = {
            let latency = Arc::clone(&latency);
            thread::spawn(move || latency.observe(1_000, 500))
        };
        latency.observe(1_000, 900);
        other.join().unwrap();
        assert_eq!(latency.average(), Some(900));
    });
}

#[test]
fn a_reader_beside_the_one_writer_never_sees_a_count_go_down_and_none_is_lost() {
    check(|| {
        let counters = Arc::new(UpstreamCounters::default());
        let writer = {
            let counters = Arc::clone(&counters);
            thread::spawn(move || {
                counters.increment(UpstreamSlot::BudgetExhausted);
                counters.add(UpstreamSlot::BudgetExhausted, 2);
            })
        };
        let first = counters.get(UpstreamSlot::BudgetExhausted);
        let second = counters.get(UpstreamSlot::BudgetExhausted);
        assert!(first <= second && [0, 1, 3].contains(&first) && [0, 1, 3].contains(&second));
        writer.join().unwrap();
        assert_eq!(counters.get(UpstreamSlot::BudgetExhausted), 3);
    });
}
