//! Rate limits that several workers count at once.

use std::time::Duration;

use baton_loom::limits::buckets::Buckets;
use baton_loom::limits::gcra::Rule;
use loom::sync::Arc;
use loom::thread;

/// How many of two workers' requests, one for each key of theirs, are admitted, by worker.
fn admitted(keys: [&'static [u64]; 2], burst: u32) -> [usize; 2] {
    let buckets = Arc::new(Buckets::new(1));
    let work = move |buckets: &Buckets, keys: &[u64]| {
        let rule = Rule::new(1, Duration::from_secs(1), burst);
        keys.iter().filter(|key| buckets.take(**key, &rule, 1).is_ok()).count()
    };
    let other = {
        let buckets = Arc::clone(&buckets);
        thread::spawn(move || work(&buckets, keys[1]))
    };
    let mine = work(&buckets, keys[0]);
    [mine, other.join().unwrap()]
}

#[test]
fn workers_that_meet_a_new_key_together_admit_its_burst_and_no_more() {
    loom::model(|| assert_eq!(admitted([&[1, 1], &[1, 1]], 3).iter().sum::<usize>(), 3));
}

#[test]
fn workers_with_keys_of_one_set_take_nothing_from_each_other() {
    loom::model(|| assert_eq!(admitted([&[1, 1], &[2, 2]], 1), [1, 1]));
}

#[test]
fn a_sweep_frees_no_word_that_is_taken_meanwhile() {
    loom::model(|| {
        let buckets = Arc::new(Buckets::new(1));
        let rule = Rule::new(1, Duration::from_secs(1), 1);
        // Back at its rate, so the sweep finds it free.
        buckets.take(1, &rule, 1).unwrap();
        let sweeper = {
            let buckets = Arc::clone(&buckets);
            thread::spawn(move || buckets.sweep(&rule, 5_000_000))
        };
        assert!(buckets.take(1, &rule, 5_000_000).is_ok());
        sweeper.join().unwrap();
        assert!(buckets.take(1, &rule, 5_000_000).is_err());
    });
}
