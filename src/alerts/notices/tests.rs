use proptest::prelude::*;

use super::kit::{NOW, World, receiver};
use super::*;
use crate::config::model::Rate;

/// What is told at this moment, as `why upstream`; it is delivered.
fn told(notices: &mut Notices, world: &mut World, millis: u64) -> Option<Vec<String>> {
    let notice = notice(notices, world, millis)?;
    notices.delivered(NOW + millis, &mut world.book, &notice);
    Some(said(&notice))
}

fn notice(notices: &mut Notices, world: &mut World, millis: u64) -> Option<Notice> {
    notices.look(NOW + millis, &mut world.book).notice
}

fn said(notice: &Notice) -> Vec<String> {
    let one = |(why, alert): &(Why, Alert)| format!("{} {}", why.word(), alert.upstream.as_deref().unwrap_or_default());
    notice.alerts.iter().map(one).collect()
}

fn all(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn an_alert_is_told_once_after_the_groups_wait_and_its_end_as_well() {
    let (mut world, mut notices) = (World::default(), Notices::new(&receiver("ops")));
    world.look(0, &[("a", 50.0)]);
    let first = notices.look(NOW, &mut world.book);
    assert_eq!((first.notice, first.next), (None, Some(NOW + 500)));
    assert_eq!(told(&mut notices, &mut world, 500), all(&["raised a"]));
    for second in 1..60 {
        world.look(second, &[("a", 50.0 + second as f64)]);
        assert_eq!(told(&mut notices, &mut world, second * 1000), None);
    }
    world.look(60, &[]);
    assert_eq!(told(&mut notices, &mut world, 60_000), None);
    let over = notice(&mut notices, &mut world, 60_500).unwrap();
    assert!(over.is_over() && said(&over) == ["resolved a"], "{over:?}");
    assert_eq!(over.group, BTreeMap::from([("upstream".to_owned(), "a".to_owned())]));
    notices.delivered(NOW + 60_500, &mut world.book, &over);
    assert_eq!((told(&mut notices, &mut world, 200_000), notices.waiting()), (None, 0));
}

#[test]
fn alerts_of_a_group_that_come_together_are_told_together_and_others_for_themselves() {
    let (mut world, mut each) = (World::default(), Notices::new(&receiver("ops")));
    let mut together = Notices::new(&Receiver { group_by: Vec::new(), ..receiver("am") });
    world.look(0, &[("a", 50.0), ("b", 60.0)]);
    for notices in [&mut each, &mut together] {
        assert_eq!(told(notices, &mut world, 0), None);
    }
    assert_eq!(told(&mut together, &mut world, 500), all(&["raised a", "raised b"]));
    let mut one_by_one = [told(&mut each, &mut world, 500), told(&mut each, &mut world, 500)];
    one_by_one.sort();
    assert_eq!(one_by_one, [all(&["raised a"]), all(&["raised b"])]);
    assert_eq!(told(&mut each, &mut world, 500), None);
}

#[test]
fn one_that_matters_more_is_told_again_and_first() {
    let (mut world, mut notices) = (World::default(), Notices::new(&receiver("ops")));
    world.escalate_after(30);
    world.look(0, &[("a", 50.0)]);
    notice(&mut notices, &mut world, 0);
    assert_eq!(told(&mut notices, &mut world, 500), all(&["raised a"]));
    world.look(29, &[("a", 50.0), ("b", 50.0)]);
    notice(&mut notices, &mut world, 29_000);
    world.look(30, &[("a", 50.0), ("b", 50.0)]);
    notice(&mut notices, &mut world, 30_000);
    assert_eq!(told(&mut notices, &mut world, 30_500), all(&["escalated a"]));
    assert_eq!(told(&mut notices, &mut world, 30_500), all(&["raised b"]));
}

#[test]
fn a_reminder_comes_while_nobody_looks_after_it() {
    let (mut world, mut notices) = (World::default(), Notices::new(&receiver("ops")));
    world.look(0, &[("a", 50.0)]);
    notice(&mut notices, &mut world, 0);
    told(&mut notices, &mut world, 500);
    assert_eq!(notice(&mut notices, &mut world, 600_499), None);
    notice(&mut notices, &mut world, 600_500);
    assert_eq!(told(&mut notices, &mut world, 601_000), all(&["reminder a"]));
    let id = world.book.open().next().unwrap().id.clone();
    world.book.acknowledge(&id, "ann", "", NOW + 700_000).unwrap();
    for millis in [1_300_000, 1_300_500, 9_000_000, 9_000_500] {
        assert_eq!(told(&mut notices, &mut world, millis), None);
    }
    let mut never = Notices::new(&Receiver { repeat: Duration::ZERO, ..receiver("ops") });
    notice(&mut never, &mut world, 9_000_000);
    assert_eq!(told(&mut never, &mut world, 9_000_500), None);
}

#[test]
fn a_silence_holds_back_what_it_hides_until_its_end() {
    let (mut world, mut notices) = (World::default(), Notices::new(&receiver("ops")));
    world.look(0, &[("a", 50.0)]);
    notice(&mut notices, &mut world, 0);
    world.silence("a", 0, 10);
    assert_eq!(told(&mut notices, &mut world, 5000), None);
    assert_eq!(notice(&mut notices, &mut world, 10_000), None);
    assert_eq!(told(&mut notices, &mut world, 10_500), all(&["raised a"]));
    // What ends in silence is told when that is over.
    world.silence("a", 11, 10);
    world.look(12, &[]);
    assert_eq!(told(&mut notices, &mut world, 20_000), None);
    notice(&mut notices, &mut world, 21_000);
    assert_eq!(told(&mut notices, &mut world, 21_500), all(&["resolved a"]));
    // What begins and ends in it is told to nobody.
    world.silence("b", 22, 10);
    world.look(23, &[("b", 50.0)]);
    notice(&mut notices, &mut world, 23_000);
    world.look(24, &[]);
    for millis in [24_000, 32_000, 33_000] {
        assert_eq!(told(&mut notices, &mut world, millis), None);
    }
}

#[test]
fn what_was_told_is_not_told_again_after_a_restart_and_what_was_not_is() {
    let (mut world, mut notices) = (World::default(), Notices::new(&receiver("ops")));
    world.look(0, &[("a", 50.0)]);
    notice(&mut notices, &mut world, 0);
    told(&mut notices, &mut world, 500);
    world.look(1, &[("a", 50.0), ("b", 50.0)]);
    world.restart();
    let mut notices = Notices::new(&receiver("ops"));
    notice(&mut notices, &mut world, 5000);
    assert_eq!(told(&mut notices, &mut world, 5500), all(&["raised b"]));
    assert_eq!(told(&mut notices, &mut world, 5500), None);
    world.look(6, &[("b", 50.0)]);
    notice(&mut notices, &mut world, 6000);
    assert_eq!(told(&mut notices, &mut world, 6500), all(&["resolved a"]));
}

#[test]
fn only_what_fits_is_told_and_nobody_hears_that_he_cannot_be_told() {
    let mut world = World::default();
    world.look(0, &[("a", 50.0), ("b", 50.0)]);
    let matchers = vec![("upstream".to_owned(), "b*".to_owned())];
    let mut notices = Notices::new(&Receiver { matchers, ..receiver("ops") });
    notice(&mut notices, &mut world, 0);
    assert_eq!(told(&mut notices, &mut world, 500), all(&["raised b"]));
    assert_eq!(told(&mut notices, &mut world, 500), None);
    let mut critical = Notices::new(&Receiver { severity: Severity::Critical, ..receiver("am") });
    notice(&mut critical, &mut world, 0);
    assert_eq!(told(&mut critical, &mut world, 500), None);
    let mut alert = world.book.open().next().unwrap().clone();
    (alert.rule, alert.name) = (super::super::filter::UNTOLD_RULE.to_owned(), Some("ops".to_owned()));
    assert!(!Filter::new(&receiver("ops")).fits(&alert) && Filter::new(&receiver("am")).fits(&alert));
}

#[test]
fn beyond_its_rate_it_hears_nothing_for_a_while_and_then_all_of_it_at_once() {
    let rate = Rate { count: 2, period: Duration::from_secs(3600) };
    let (mut world, mut notices) = (World::default(), Notices::new(&Receiver { rate, ..receiver("ops") }));
    world.look(0, &[("a", 50.0), ("b", 50.0), ("c", 50.0), ("d", 50.0)]);
    notice(&mut notices, &mut world, 0);
    let first = notice(&mut notices, &mut world, 500).unwrap();
    assert_eq!(first.full_until, None);
    notices.delivered(NOW + 500, &mut world.book, &first);
    let last = notice(&mut notices, &mut world, 500).unwrap();
    assert_eq!(last.full_until, Some(NOW + 1_800_500));
    notices.delivered(NOW + 500, &mut world.book, &last);
    let over = notices.look(NOW + 500, &mut world.book);
    assert_eq!((over.notice, over.held, over.next), (None, 2, Some(NOW + 1_800_500)));
    // They are counted once.
    assert_eq!(notices.look(NOW + 1000, &mut world.book).held, 0);
    world.look(1800, &[("a", 50.0), ("b", 50.0), ("c", 50.0), ("d", 50.0), ("e", 50.0)]);
    notice(&mut notices, &mut world, 1_800_000);
    let all = notice(&mut notices, &mut world, 1_800_500).unwrap();
    assert_eq!((all.count(), all.held, all.group.len()), (5, 2, 0), "{all:?}");
    notices.delivered(NOW + 1_800_500, &mut world.book, &all);
    assert_eq!(notices.look(NOW + 1_800_500, &mut world.book), Look::default());
}

#[test]
fn what_fails_rests_and_is_tried_again_while_it_goes_on() {
    let (mut world, mut notices) = (World::default(), Notices::new(&receiver("ops")));
    world.look(0, &[("a", 50.0)]);
    notice(&mut notices, &mut world, 0);
    let failed = notice(&mut notices, &mut world, 500).unwrap();
    notices.failed(NOW + 30_000, &mut world.book, &failed);
    assert_eq!(told(&mut notices, &mut world, 329_999), None);
    notice(&mut notices, &mut world, 330_000);
    let failed = notice(&mut notices, &mut world, 330_500).unwrap();
    assert_eq!(said(&failed), ["raised a"]);
    notices.failed(NOW + 331_000, &mut world.book, &failed);
    // It ends meanwhile: that is told once more, and given up.
    world.look(400, &[]);
    assert_eq!(told(&mut notices, &mut world, 400_000), None);
    notice(&mut notices, &mut world, 631_000);
    let failed = notice(&mut notices, &mut world, 631_500).unwrap();
    assert_eq!(said(&failed), ["resolved a"]);
    notices.failed(NOW + 632_000, &mut world.book, &failed);
    assert_eq!((told(&mut notices, &mut world, 2_000_000), notices.waiting()), (None, 0));
}

#[test]
fn with_too_many_those_that_matter_less_are_left_out() {
    let (mut world, mut notices) = (World::default(), Notices::new(&receiver("ops")));
    world.escalate_after(5);
    let names: Vec<String> = (0..WAITING_MAX + 20).map(|number| format!("u{number:04}")).collect();
    let early: Vec<_> = names.iter().take(5).map(|name| (name.as_str(), 50.0)).collect();
    world.look(0, &early);
    let failing: Vec<_> = names.iter().map(|name| (name.as_str(), 50.0)).collect();
    world.look(6, &failing);
    let look = notices.look(NOW + 6000, &mut world.book);
    assert_eq!((look.dropped, notices.waiting()), (20, WAITING_MAX));
    assert_eq!(notices.look(NOW + 6001, &mut world.book).dropped, 0);
    // The critical ones are still there, and come first.
    assert_eq!(told(&mut notices, &mut world, 6500), all(&["escalated u0000"]));
    let mut all = Notices::new(&Receiver { group_by: Vec::new(), ..receiver("am") });
    notice(&mut all, &mut world, 6000);
    let long = notice(&mut all, &mut world, 6500).unwrap();
    assert_eq!((long.alerts.len(), long.count()), (NAMED_MAX, WAITING_MAX as u64));
}

proptest! {
    /// Whatever happens, a receiver that takes everything hears of each alert's begin and end once, in this order.
    #[test]
    fn begin_and_end_are_told_once_each_in_turn(
        steps in prop::collection::vec((0u64..3, prop::collection::vec(any::<bool>(), 3), any::<bool>(), any::<bool>()), 1..80),
    ) {
        let names = ["a", "b", "c"];
        let rate = Rate { count: 100, period: Duration::from_secs(1) };
        let settings = Receiver { repeat: Duration::ZERO, rate, ..receiver("ops") };
        let (mut world, mut notices) = (World::default(), Notices::new(&settings));
        let mut known: BTreeMap<u64, bool> = BTreeMap::new();
        let mut second = 0;
        for (step, failing, works, restarts) in steps {
            second += step;
            let failing: Vec<_> = names.iter().zip(&failing).filter(|(_, is)| **is).map(|(name, _)| (*name, 50.0)).collect();
            world.look(second, &failing);
            if restarts {
                world.restart();
                notices = Notices::new(&settings);
            }
            while let Some(notice) = notices.look(NOW + second * 1000, &mut world.book).notice {
                if !works {
                    notices.failed(NOW + second * 1000, &mut world.book, &notice);
                    continue;
                }
                for (why, alert) in &notice.alerts {
                    let before = known.insert(alert.number, *why == Why::Resolved);
                    let fits = match why {
                        Why::Raised => before.is_none(),
                        // One that ended before it could be told is told as it ends.
                        Why::Resolved => before != Some(true),
                        _ => false,
                    };
                    prop_assert!(fits, "{why:?} after {before:?}");
                }
                notices.delivered(NOW + second * 1000, &mut world.book, &notice);
            }
        }
        // In the end it knows what goes on.
        for later in [310, 320, 630, 640] {
            let now = NOW + (second + later) * 1000;
            while let Some(notice) = notices.look(now, &mut world.book).notice {
                known.extend(notice.alerts.iter().map(|(why, alert)| (alert.number, *why == Why::Resolved)));
                notices.delivered(now, &mut world.book, &notice);
            }
        }
        for alert in world.book.open() {
            prop_assert_eq!(known.get(&alert.number), Some(&false));
        }
    }
}
