//! Workers that ask who owns a group, beside the thread that changes that.

use std::sync::Arc;

use baton_loom::upstream::admission::{Admission, AdmissionWord, Health, Role};
use baton_loom::upstream::owner::{Holders, Owner};
use loom::thread;

const OLD: u32 = 1;
const NEW: u32 = 2;

fn held(owner: Option<u32>, leaving: Option<u32>) -> Holders {
    Holders { owner, leaving }
}

/// A cell of one bucket, so that all conversations meet in it.
fn owned() -> Arc<Owner> {
    let owner = Arc::new(Owner::new(1));
    owner.hand(held(Some(OLD), None));
    owner
}

#[test]
fn once_everything_has_left_nothing_goes_to_the_old_owner_any_more() {
    loom::model(|| {
        let owner = owned();
        let worker = {
            let owner = Arc::clone(&owner);
            thread::spawn(move || {
                let (master, flight) = owner.enter(Some(5));
                // In flight until here.
                thread::yield_now();
                drop(flight);
                master
            })
        };
        owner.hand(held(Some(NEW), Some(OLD)));
        let closed = owner.close();
        if closed {
            // Whoever comes from here on goes to the new owner, or waits for one who has looked at the cell of before.
            assert!([None, Some(NEW)].contains(&owner.enter(Some(5)).0));
        }
        assert!([None, Some(OLD), Some(NEW)].contains(&worker.join().unwrap()));
        assert!(owner.close());
        assert_eq!(owner.enter(Some(5)).0, Some(NEW));
    });
}

#[test]
fn two_messages_of_a_conversation_are_never_with_two_masters_at_once() {
    loom::model(|| {
        let owner = owned();
        let (first, in_flight) = owner.enter(Some(5));
        let worker = {
            let owner = Arc::clone(&owner);
            thread::spawn(move || owner.enter(Some(5)))
        };
        owner.hand(held(Some(NEW), Some(OLD)));
        assert!(!owner.close());
        let (second, _too) = worker.join().unwrap();
        let second = second.or(first);
        assert_eq!(first, second, "the first one is still in flight");
        drop(in_flight);
    });
}

#[test]
fn what_was_sent_to_the_old_owner_has_ended_when_it_is_closed() {
    loom::model(|| {
        let owner = owned();
        // What the old owner has in hand, as it counts itself.
        let at_old = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let worker = {
            let (owner, at_old) = (Arc::clone(&owner), Arc::clone(&at_old));
            thread::spawn(move || {
                let (master, flight) = owner.enter(Some(5));
                if master == Some(OLD) {
                    at_old.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
                    thread::yield_now();
                    at_old.fetch_sub(1, loom::sync::atomic::Ordering::Relaxed);
                }
                drop(flight);
            })
        };
        owner.hand(held(Some(NEW), Some(OLD)));
        if owner.close() {
            let (master, _flight) = owner.enter(Some(5));
            if master == Some(NEW) {
                assert_eq!(at_old.load(loom::sync::atomic::Ordering::Relaxed), 0);
            }
        }
        worker.join().unwrap();
    });
}

#[test]
fn while_nothing_is_in_flight_a_conversation_goes_over_at_once() {
    loom::model(|| {
        let owner = owned();
        let worker = {
            let owner = Arc::clone(&owner);
            thread::spawn(move || drop(owner.enter(Some(5))))
        };
        owner.hand(held(Some(NEW), Some(OLD)));
        worker.join().unwrap();
        assert_eq!(owner.enter(Some(5)).0, Some(NEW));
    });
}

#[test]
fn a_fence_beside_a_probe_and_a_dying_request_keeps_what_each_has_said() {
    loom::model(|| {
        let word = Arc::new(AdmissionWord::new(Admission::new(Health::Healthy)));
        let change = |change: fn(Admission) -> Admission| {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                word.update(change);
            })
        };
        let fence = change(|it| it.with_role(Role::Fenced, 7));
        let probe = change(|it| it.with_health(Health::Failed).with_dead(false));
        word.update(|it| it.with_suspect(true));
        fence.join().unwrap();
        probe.join().unwrap();
        let seen = word.read();
        assert_eq!((seen.role(), seen.epoch(), seen.health()), (Role::Fenced, 7, Health::Failed));
        assert!(seen.suspect() && seen.abandoned());
    });
}
