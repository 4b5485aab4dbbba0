//! Two conversations that have turned out to be one are delivered as one.

use proptest::prelude::*;

use crate::spool::schedule::*;

fn schedule() -> (Schedule, u32) {
    let mut schedule = Schedule::new(7);
    let upstream = schedule.add_upstream(Settings { max_in_flight: 100, ..Settings::default() });
    let lane = schedule.add_lane(upstream);
    schedule.usable(upstream, 100);
    schedule.open(lane, true);
    (schedule, lane)
}

fn store(schedule: &mut Schedule, lane: u32, seq: u64, conversation: u64) {
    let arrival = Arrival { seq, conversation: Some(conversation), accepted: 0, due: 0, attempts: 0, breaks: 0 };
    assert!(schedule.stored(lane, &arrival, 0));
}

fn next(schedule: &mut Schedule) -> Option<u64> {
    match schedule.next(0) {
        Some(Step::Deliver(delivery)) => Some(delivery.seq),
        Some(Step::Bury { .. }) => panic!("nothing is old"),
        None => None,
    }
}

fn deliver(schedule: &mut Schedule, seq: u64) -> Option<u64> {
    schedule.outcome(seq, Outcome::Delivered, 0, 0);
    schedule.settled(seq, 0).and_then(|settled| settled.conversation)
}

#[test]
fn messages_of_both_go_one_by_one_in_the_order_of_their_numbers() {
    let (mut schedule, lane) = schedule();
    for (seq, conversation) in [(1, 10), (2, 20), (3, 20), (4, 10), (5, 20), (6, 10)] {
        store(&mut schedule, lane, seq, conversation);
    }
    assert_eq!(schedule.join(20, 10, 0), join::Joined { moved: 3, left: false });
    for seq in 1..=6 {
        assert_eq!((next(&mut schedule), next(&mut schedule)), (Some(seq), None));
        assert_eq!(deliver(&mut schedule, seq), Some(10));
    }
    assert!(schedule.is_empty() && schedule.remove_lane(lane));
}

#[test]
fn what_is_in_flight_is_waited_for() {
    for (first, second) in [(10, 20), (20, 10)] {
        let (mut schedule, lane) = schedule();
        store(&mut schedule, lane, 1, first);
        assert_eq!(next(&mut schedule), Some(1));
        store(&mut schedule, lane, 2, second);
        store(&mut schedule, lane, 3, first);
        schedule.join(20, 10, 0);
        assert_eq!(next(&mut schedule), None);
        assert_eq!(deliver(&mut schedule, 1), Some(10));
        assert_eq!((next(&mut schedule), next(&mut schedule)), (Some(2), None));
    }
}

#[test]
fn of_two_in_flight_the_one_that_has_to_come_again_takes_its_place() {
    let (mut schedule, lane) = schedule();
    for (seq, conversation) in [(1, 10), (2, 20), (3, 20), (4, 10)] {
        store(&mut schedule, lane, seq, conversation);
    }
    assert_eq!((next(&mut schedule), next(&mut schedule)), (Some(1), Some(2)));
    assert_eq!(schedule.join(20, 10, 0), join::Joined { moved: 1, left: true });
    schedule.outcome(2, Outcome::NotSent, 0, 0);
    assert_eq!(schedule.join(20, 10, 0), join::Joined { moved: 1, left: false });
    deliver(&mut schedule, 1);
    schedule.open(lane, false);
    schedule.open(lane, true);
    for seq in 2..=4 {
        assert_eq!((next(&mut schedule), next(&mut schedule)), (Some(seq), None));
        assert_eq!(deliver(&mut schedule, seq), Some(10));
    }
}

#[test]
fn a_conversation_that_others_do_not_have_keeps_its_place_under_the_other_name() {
    let (mut schedule, lane) = schedule();
    store(&mut schedule, lane, 1, 20);
    store(&mut schedule, lane, 2, 20);
    assert_eq!(schedule.join(20, 10, 0).moved, 2);
    assert_eq!(schedule.join(20, 10, 0).moved, 0);
    store(&mut schedule, lane, 3, 10);
    for seq in 1..=3 {
        assert_eq!((next(&mut schedule), next(&mut schedule)), (Some(seq), None));
        deliver(&mut schedule, seq);
    }
}

proptest! {
    #[test]
    fn however_many_are_joined_each_is_delivered_once_and_in_order_within_what_is_left(
        stored in prop::collection::vec(0..6_u64, 1..40), joins in prop::collection::vec((0..6_u64, 0..6_u64), 0..8),
    ) {
        let (mut schedule, lane) = schedule();
        let mut names: Vec<u64> = (0..6).collect();
        for (seq, conversation) in (1..).zip(&stored) {
            store(&mut schedule, lane, seq, *conversation);
        }
        for (ended, into) in joins {
            schedule.join(ended, into, 0);
            names.iter_mut().filter(|name| **name == ended).for_each(|name| *name = into);
        }
        let mut last = [0; 6];
        let mut delivered = 0;
        let mut flying = Vec::new();
        loop {
            while let Some(seq) = next(&mut schedule) {
                let name = names[stored[seq as usize - 1] as usize] as usize;
                prop_assert!(last[name] < seq, "{} before {}", last[name], seq);
                last[name] = seq;
                flying.push((seq, name as u64));
            }
            let Some((seq, name)) = flying.pop() else { break };
            prop_assert_eq!(deliver(&mut schedule, seq), Some(name));
            delivered += 1;
        }
        prop_assert_eq!(delivered, stored.len());
        prop_assert!(schedule.is_empty());
    }
}
