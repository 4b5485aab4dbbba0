//! Workers that forward at once, beside the dispatcher with what is stored.

use baton_loom::spool::turns::Turns;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// How many messages of one conversation masters have been given. One is lost where two give together, or where the second
/// does not see what the first did.
#[derive(Default)]
struct Given(AtomicUsize);

impl Given {
    fn give(&self) {
        let before = self.0.load(Ordering::Relaxed);
        thread::yield_now();
        self.0.store(before + 1, Ordering::Relaxed);
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A table of one bucket, how often the dispatcher was woken, and what masters were given.
fn world() -> (Arc<Turns>, Arc<AtomicUsize>, Arc<Given>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let turns = Turns::new(1, move || {
        count.fetch_add(1, Ordering::Release);
    });
    (Arc::new(turns), woken, Arc::new(Given::default()))
}

#[test]
fn a_worker_and_the_dispatcher_never_deliver_together_and_no_wake_up_is_missed() {
    loom::model(|| {
        let (turns, woken, given) = world();
        let worker = {
            let (turns, given) = (Arc::clone(&turns), Arc::clone(&given));
            thread::spawn(move || {
                let turn = turns.take(7);
                if turn.is_some() {
                    given.give();
                }
                turn.is_some()
            })
        };
        // Another worker stores a message, and the dispatcher is told of it.
        turns.storing(7);
        if turns.is_taken(7) {
            while woken.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            assert!(!turns.is_taken(7));
        }
        given.give();
        turns.settled(7);
        let forwarded = worker.join().unwrap();
        assert_eq!(given.count(), 1 + usize::from(forwarded));
        assert!(turns.take(7).is_some());
    });
}

#[test]
fn two_workers_do_not_forward_messages_of_a_conversation_together() {
    loom::model(|| {
        let (turns, _, given) = world();
        let forward = |turns: &Turns, given: &Given| {
            let turn = turns.take(7);
            if turn.is_some() {
                given.give();
            }
            usize::from(turn.is_some())
        };
        let worker = {
            let (turns, given) = (Arc::clone(&turns), Arc::clone(&given));
            thread::spawn(move || forward(&turns, &given))
        };
        let mine = forward(&turns, &given);
        let others = worker.join().unwrap();
        assert_eq!(given.count(), mine + others);
    });
}

#[test]
fn what_failed_at_once_is_delivered_before_what_was_stored_behind_it() {
    loom::model(|| {
        let (turns, _, _) = world();
        // The numbers that the dispatcher knows of.
        let stored = Arc::new(Mutex::new(Vec::new()));
        let worker = {
            let (turns, stored) = (Arc::clone(&turns), Arc::clone(&stored));
            thread::spawn(move || {
                let Some(turn) = turns.take(7) else { return };
                // No master takes it: it is stored before the turn ends.
                turns.storing(7);
                stored.lock().unwrap().push(1);
                drop(turn);
            })
        };
        thread::yield_now();
        let behind = turns.is_taken(7);
        turns.storing(7);
        stored.lock().unwrap().push(2);
        if behind && !turns.is_taken(7) {
            let mut known = stored.lock().unwrap().clone();
            known.sort_unstable();
            assert_eq!(known, [1, 2]);
        }
        worker.join().unwrap();
    });
}
