//! Every order in which workers and the checker can meet at a circuit breaker, within loom's bounds.

use baton_loom::health::breaker::{Breaker, BreakerRule};
use baton_loom::upstream::admission::{Admission, AdmissionWord, Circuit, Health};
use loom::sync::Arc;
use loom::thread;

const SECOND: u64 = 1_000_000;
const RULE: BreakerRule = BreakerRule { failure_rate: 50, minimum_requests: 1, open_for: 5 * SECOND };

fn check(model: impl Fn(Arc<(AdmissionWord, Breaker)>) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let word = AdmissionWord::new(Admission::new(Health::Healthy));
        model(Arc::new((word, Breaker::new(10 * SECOND))));
    });
}

#[test]
fn an_open_circuit_is_never_half_opened_before_its_time() {
    check(|master| {
        let worker = {
            let master = Arc::clone(&master);
            thread::spawn(move || master.1.record(&master.0, 10 * SECOND, &RULE, true, false))
        };
        assert!(!master.1.tick(&master.0, 15 * SECOND - 1), "half-open before its time");
        assert_eq!(worker.join().unwrap(), Some(Circuit::Open));
        assert!(master.1.tick(&master.0, 15 * SECOND));
    });
}

#[test]
fn of_workers_that_see_the_last_straw_one_opens_the_circuit() {
    check(|master| {
        let worker = {
            let master = Arc::clone(&master);
            thread::spawn(move || master.1.record(&master.0, SECOND, &RULE, true, false))
        };
        let own = master.1.record(&master.0, SECOND, &RULE, true, false);
        let opened = [own, worker.join().unwrap()];
        assert_eq!(opened.iter().flatten().collect::<Vec<_>>(), [&Circuit::Open]);
        assert_eq!(master.0.read().circuit(), Circuit::Open);
    });
}
