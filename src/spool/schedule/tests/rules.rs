//! The rules one by one.

use crate::spool::schedule::*;

const NOW: UnixMillis = 1_000_000;

fn schedule(masters: u32, settings: Settings) -> Schedule {
    let mut schedule = Schedule::new(0);
    let upstream = schedule.add_upstream(settings);
    let lane = schedule.add_lane(upstream);
    schedule.usable(upstream, masters);
    schedule.open(lane, true);
    schedule
}

fn arrival(seq: u64, conversation: u64) -> Arrival {
    Arrival { seq, conversation: Some(conversation), accepted: NOW, due: NOW, attempts: 0, breaks: 0 }
}

/// Stores messages, each given by its number and conversation.
fn store(schedule: &mut Schedule, messages: &[(u64, u64)]) {
    for (seq, conversation) in messages {
        assert!(schedule.stored(0, &arrival(*seq, *conversation), NOW));
    }
}

fn next(schedule: &mut Schedule, now: UnixMillis) -> Option<u64> {
    match schedule.next(now)? {
        Step::Deliver(delivery) => Some(delivery.seq),
        Step::Bury { .. } => None,
    }
}

fn all(schedule: &mut Schedule, now: UnixMillis) -> Vec<u64> {
    std::iter::from_fn(|| next(schedule, now)).collect()
}

#[test]
fn one_of_each_conversation_is_in_flight_and_the_oldest_goes_first() {
    let mut schedule = schedule(10, Settings::default());
    store(&mut schedule, &[(3, 7), (1, 8), (2, 7), (5, 9), (4, 8)]);
    assert_eq!(all(&mut schedule, NOW), [1, 2, 5]);
    assert_eq!((schedule.in_flight(), schedule.len()), (3, 5));
}

#[test]
fn the_next_of_a_conversation_waits_for_the_commit_of_the_one_before() {
    let mut schedule = schedule(1, Settings::default());
    store(&mut schedule, &[(1, 7), (2, 7)]);
    assert_eq!(next(&mut schedule, NOW), Some(1));
    assert_eq!(schedule.outcome(1, Outcome::Delivered, NOW, 0), Some(Settlement::Delivered));
    assert_eq!(next(&mut schedule, NOW), None);
    schedule.settled(1, NOW);
    assert_eq!(next(&mut schedule, NOW), Some(2));
}

#[test]
fn a_lower_number_that_comes_later_goes_first() {
    let mut schedule = schedule(1, Settings::default());
    store(&mut schedule, &[(5, 7), (6, 7), (3, 7), (4, 7)]);
    assert!(!schedule.stored(0, &arrival(6, 7), NOW), "a number is stored once");
    let mut order = Vec::new();
    while let Some(seq) = next(&mut schedule, NOW) {
        schedule.outcome(seq, Outcome::Delivered, NOW, 0);
        schedule.settled(seq, NOW);
        order.push(seq);
    }
    assert_eq!(order, [3, 4, 5, 6]);
}

#[test]
fn a_lower_number_goes_before_the_repeat_of_a_higher_one() {
    let mut schedule = schedule(1, Settings::default());
    store(&mut schedule, &[(5, 7)]);
    assert_eq!(next(&mut schedule, NOW), Some(5));
    store(&mut schedule, &[(4, 7)]);
    schedule.outcome(5, Outcome::Failed, NOW, 0);
    schedule.settled(5, NOW);
    assert_eq!(next(&mut schedule, NOW), Some(4));
}

#[test]
fn a_failure_blocks_its_own_conversation_until_it_is_due() {
    let mut schedule = schedule(2, Settings::default());
    store(&mut schedule, &[(1, 7), (2, 7), (3, 8)]);
    assert_eq!(all(&mut schedule, NOW), [1, 3]);
    let settlement = schedule.outcome(1, Outcome::Failed, NOW, 0);
    assert_eq!(settlement, Some(Settlement::Retry { due: NOW + 500, attempts: 1, breaks: 0 }));
    schedule.settled(1, NOW);
    assert_eq!((next(&mut schedule, NOW), schedule.wake_at(NOW)), (None, Some(NOW + 500)));
    let Some(Step::Deliver(again)) = schedule.next(NOW + 500) else { panic!("it is due") };
    assert_eq!((again.seq, again.attempt, again.ambiguous), (1, 2, false));
}

#[test]
fn nothing_sent_is_no_attempt_and_pauses_its_lane_alone() {
    let mut schedule = schedule(8, Settings::default());
    let other = schedule.add_lane(0);
    schedule.open(other, true);
    store(&mut schedule, &[(1, 7)]);
    let mut now = NOW;
    for pause in [100, 200, 400, 800, 1000, 1000] {
        assert_eq!(next(&mut schedule, now), Some(1));
        assert_eq!(schedule.outcome(1, Outcome::NotSent, now, 0), None);
        assert_eq!((next(&mut schedule, now), schedule.wake_at(now)), (None, Some(now + pause)));
        now += pause;
    }
    let Some(Step::Deliver(first)) = schedule.next(now) else { panic!("the pause is over") };
    assert_eq!(first.attempt, 1);
    schedule.outcome(1, Outcome::NotSent, now, 0);
    assert!(schedule.stored(other, &arrival(2, 8), now));
    assert_eq!(next(&mut schedule, now), Some(2));
    // A master that comes back ends the pause.
    schedule.open(0, false);
    schedule.open(0, true);
    assert_eq!(next(&mut schedule, now), Some(1));
}

#[test]
fn one_suspect_is_in_flight_and_innocents_pass_it() {
    let mut schedule = schedule(10, Settings::default());
    for seq in [1, 2] {
        schedule.stored(0, &Arrival { breaks: 1, attempts: 1, ..arrival(seq, seq) }, NOW);
    }
    store(&mut schedule, &[(3, 3), (4, 4)]);
    assert_eq!(all(&mut schedule, NOW), [1, 3, 4]);
    schedule.outcome(1, Outcome::Delivered, NOW, 0);
    let Some(Step::Deliver(suspect)) = schedule.next(NOW) else { panic!("the other suspect may go") };
    assert_eq!((suspect.seq, suspect.ambiguous), (2, true));
}

#[test]
fn what_waited_too_long_is_buried_also_while_no_master_is_there() {
    let mut schedule = schedule(0, Settings::default());
    schedule.open(0, false);
    let age = Settings::default().max_age;
    store(&mut schedule, &[(1, 7)]);
    assert_eq!((next(&mut schedule, NOW), schedule.wake_at(NOW)), (None, Some(NOW + age)));
    let settlement = Settlement::Dead { reason: Reason::Expired, attempts: 0, breaks: 0 };
    assert_eq!(schedule.next(NOW + age), Some(Step::Bury { seq: 1, settlement }));
    assert_eq!(schedule.next(NOW + age), None);
    schedule.settled(1, NOW + age);
    assert!(schedule.is_empty());
}

#[test]
fn deliveries_of_a_conversation_keep_their_distance_also_when_it_was_empty_in_between() {
    let mut schedule = schedule(4, Settings { spacing: 250, ..Settings::default() });
    store(&mut schedule, &[(1, 7)]);
    assert_eq!(next(&mut schedule, NOW), Some(1));
    schedule.outcome(1, Outcome::Delivered, NOW, 0);
    schedule.settled(1, NOW + 50);
    assert!(schedule.is_empty() && !schedule.remove_lane(0));
    schedule.stored(0, &arrival(2, 7), NOW + 60);
    assert_eq!((next(&mut schedule, NOW + 299), next(&mut schedule, NOW + 300)), (None, Some(2)));
}

#[test]
fn a_lane_without_conversations_can_go_and_its_position_come_again() {
    let mut schedule = schedule(1, Settings::default());
    store(&mut schedule, &[(1, 7)]);
    assert!(!schedule.remove_lane(0));
    assert_eq!(next(&mut schedule, NOW), Some(1));
    schedule.outcome(1, Outcome::Delivered, NOW, 0);
    schedule.settled(1, NOW);
    assert!(schedule.remove_lane(0));
    assert_eq!(schedule.add_lane(0), 0);
}

#[test]
fn a_held_conversation_goes_on_when_it_is_released() {
    let mut schedule = schedule(4, Settings::default());
    store(&mut schedule, &[(1, 7), (2, 7)]);
    assert_eq!(next(&mut schedule, NOW), Some(1));
    schedule.hold(1);
    store(&mut schedule, &[(0, 7)]);
    assert_eq!((next(&mut schedule, NOW), schedule.in_flight()), (None, 0));
    schedule.release(0, 7, NOW);
    assert_eq!(next(&mut schedule, NOW), Some(0));
}

#[test]
fn after_an_end_without_notice_what_may_have_been_in_flight_is_marked() {
    let mut schedule = schedule(10, Settings::default());
    // What waits for its next attempt was not in flight.
    schedule.stored(0, &Arrival { due: NOW + 400, attempts: 1, ..arrival(3, 8) }, NOW);
    store(&mut schedule, &[(1, 7), (4, 9)]);
    schedule.stored(0, &Arrival { accepted: NOW + 5000, ..arrival(2, 7) }, NOW);
    schedule.interrupted(NOW);
    let mut seen = Vec::new();
    for now in [NOW, NOW + 400] {
        while let Some(Step::Deliver(delivery)) = schedule.next(now) {
            seen.push((delivery.seq, delivery.ambiguous));
            schedule.outcome(delivery.seq, Outcome::Delivered, now, 0);
            schedule.settled(delivery.seq, now);
        }
    }
    assert_eq!(seen, [(1, true), (2, false), (4, true), (3, false)]);
}

#[test]
fn what_is_in_flight_at_a_stop_comes_again_with_a_mark() {
    let mut schedule = schedule(4, Settings::default());
    schedule.stored(0, &Arrival { attempts: 4, breaks: 2, ..arrival(1, 7) }, NOW);
    store(&mut schedule, &[(2, 8), (3, 8)]);
    assert_eq!(all(&mut schedule, NOW), [1, 2]);
    let mut left = schedule.abandon(NOW);
    left.sort_unstable_by_key(|(seq, _)| *seq);
    let again = |attempts, breaks| Settlement::Retry { due: NOW, attempts, breaks };
    assert_eq!(left, [(1, again(4, 2)), (2, again(0, 1))]);
    assert_eq!((schedule.in_flight(), schedule.settling(), schedule.abandon(NOW).len()), (0, 2, 0));
    schedule.settled(2, NOW);
    let Some(Step::Deliver(delivery)) = schedule.next(NOW) else { panic!("it may go") };
    assert_eq!((delivery.seq, delivery.attempt, delivery.ambiguous), (2, 1, true));
}

#[test]
fn what_others_take_away_frees_its_conversation_when_it_is_gone() {
    let mut schedule = schedule(1, Settings::default());
    store(&mut schedule, &[(1, 7), (2, 7)]);
    assert_eq!(next(&mut schedule, NOW), Some(1));
    schedule.withdraw(1);
    assert_eq!((next(&mut schedule, NOW), schedule.in_flight()), (None, 0));
    let gone = Settled { lane: 0, conversation: Some(7), settlement: None };
    assert_eq!(schedule.settled(1, NOW), Some(gone));
    assert_eq!((next(&mut schedule, NOW), schedule.pending(0)), (Some(2), 1));
}

#[test]
fn a_clock_that_was_set_back_does_not_make_a_wait_longer() {
    let mut schedule = schedule(1, Settings::default());
    schedule.stored(0, &Arrival { due: NOW * 1000, ..arrival(1, 7) }, NOW);
    assert_eq!((next(&mut schedule, NOW), schedule.wake_at(NOW)), (None, Some(NOW + 300_000)));
}

#[test]
fn upstreams_take_turns() {
    let mut schedule = schedule(1, Settings::default());
    let upstream = schedule.add_upstream(Settings::default());
    let lane = schedule.add_lane(upstream);
    schedule.usable(upstream, 1);
    schedule.open(lane, true);
    for seq in 0..4 {
        schedule.stored(if seq < 2 { 0 } else { lane }, &arrival(seq, seq), NOW);
    }
    let mut order = Vec::new();
    while let Some(seq) = next(&mut schedule, NOW) {
        schedule.outcome(seq, Outcome::Delivered, NOW, 0);
        schedule.settled(seq, NOW);
        order.push(seq);
    }
    assert_eq!(order, [0, 2, 1, 3]);
}
