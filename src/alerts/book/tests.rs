use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::model::{BUILTIN, Comparison, Only, Scope, Signal};

const NOW: UnixMillis = 1_800_000_000_000;

fn rule(name: &str, hold: u64, keep: u64) -> AlertRule {
    AlertRule {
        name: name.to_owned(),
        builtin: false,
        enabled: true,
        signal: Signal::ErrorPercent,
        scope: Scope::Upstream,
        only: Only::default(),
        comparison: Comparison::Above,
        threshold: 5.0,
        clear: 2.0,
        hold: Duration::from_secs(hold),
        keep: Duration::from_secs(keep),
        severity: Severity::Warning,
        labels: vec![("team".to_owned(), "bots".to_owned())],
        summary: None,
    }
}

fn book(rules: &[AlertRule], escalation: Option<Escalation>) -> Book {
    let mut book = Book::default();
    book.configure(&model::Alerts { enabled: true, rules: rules.to_vec(), escalation, receivers: Vec::new() });
    book
}

fn bots() -> Subject {
    Subject::upstream(&"bots".into())
}

/// What a look at this second and this share of errors comes to.
fn look(book: &mut Book, second: u64, percent: Option<f64>) -> Vec<What> {
    let mut facts = Facts::default();
    if let Some(percent) = percent {
        facts.put(Signal::ErrorPercent, bots(), percent);
    }
    book.look(NOW + second * 1000, &facts).into_iter().map(|change| change.what).collect()
}

#[test]
fn an_alert_begins_when_its_rule_has_held_for_long_enough_and_not_with_a_gap() {
    let mut book = book(&[rule("errors", 3, 0)], None);
    for (second, percent) in [(0, 6.0), (1, 9.0), (2, 5.0), (3, 6.0), (5, 6.0)] {
        assert_eq!(look(&mut book, second, Some(percent)), [], "{second}");
    }
    assert_eq!(look(&mut book, 6, Some(7.25)), [What::Raised]);
    let alert = book.open().next().unwrap();
    assert_eq!((&*alert.summary, alert.raised), ("7.2 % of the requests of upstream bots fail", NOW + 6000));
    assert_eq!(alert.label("team"), Some("bots"));
    assert_eq!(look(&mut book, 7, Some(30.0)), []);
    assert_eq!(book.open().next().unwrap().summary, "30 % of the requests of upstream bots fail");
}

#[test]
fn an_alert_ends_below_the_other_threshold_and_after_its_time() {
    let mut book = book(&[rule("errors", 0, 2)], None);
    assert_eq!(look(&mut book, 0, Some(6.0)), [What::Raised]);
    // Between both thresholds nothing changes.
    assert_eq!(look(&mut book, 1, Some(4.0)), []);
    assert_eq!(look(&mut book, 2, Some(2.0)), []);
    assert_eq!(look(&mut book, 3, Some(3.0)), []);
    assert_eq!(look(&mut book, 4, Some(1.0)), []);
    assert_eq!(look(&mut book, 6, Some(1.0)), [What::Resolved]);
    assert_eq!((book.open().count(), book.ended().count()), (0, 1));
    assert_eq!(book.ended().next().unwrap().resolved, Some(NOW + 6000));
    assert_eq!(look(&mut book, 7, Some(6.0)), [What::Raised]);
}

#[test]
fn what_is_no_longer_measured_ends_and_so_does_what_no_rule_is_about() {
    let mut book = book(&[rule("errors", 0, 2)], None);
    look(&mut book, 0, Some(6.0));
    assert_eq!(look(&mut book, 1, None), []);
    assert_eq!(look(&mut book, 3, None), [What::Resolved]);
    look(&mut book, 4, Some(6.0));
    book.configure(&model::Alerts {
        enabled: false,
        rules: vec![rule("errors", 0, 2)],
        escalation: None,
        receivers: Vec::new(),
    });
    assert_eq!(look(&mut book, 5, Some(6.0)), [What::Resolved]);
    assert_eq!(look(&mut book, 6, Some(6.0)), []);
}

#[test]
fn a_rule_looks_only_at_what_it_names() {
    let only = Only { upstream: Some("bots".to_owned()), ..Only::default() };
    let mut book = book(&[AlertRule { only, ..rule("errors", 0, 0) }], None);
    let mut facts = Facts::default();
    facts.put(Signal::ErrorPercent, Subject::upstream(&"others".into()), 50.0);
    facts.put(Signal::ErrorPercent, Subject::master(&"bots".into(), &"a".into()), 50.0);
    assert_eq!(book.look(NOW, &facts), []);
    assert_eq!(look(&mut book, 1, Some(50.0)), [What::Raised]);
}

#[test]
fn nobody_who_acknowledges_makes_it_matter_more_and_one_who_does_keeps_it_from_that() {
    let escalation =
        Escalation { after: Duration::from_secs(60), severity: Severity::Critical, from: Severity::Warning };
    let mut book = book(&[rule("errors", 0, 0)], Some(escalation));
    look(&mut book, 0, Some(6.0));
    assert_eq!(look(&mut book, 59, Some(6.0)), []);
    assert_eq!(look(&mut book, 60, Some(6.0)), [What::Escalated]);
    assert_eq!(look(&mut book, 61, Some(6.0)), []);
    assert_eq!(book.open().next().unwrap().severity, Severity::Critical);
    look(&mut book, 62, Some(0.0));
    look(&mut book, 70, Some(6.0));
    let id = book.open().next().unwrap().id.clone();
    book.acknowledge(&id, "ann", "on it", NOW + 71_000).unwrap();
    assert_eq!(look(&mut book, 200, Some(6.0)), []);
    assert_eq!(book.open().next().unwrap().acknowledged.as_ref().unwrap().by, "ann");
    assert_eq!(book.acknowledge("0", "ann", "", NOW), Err(Refused::Unknown));
}

#[test]
fn a_silence_hides_what_fits_all_of_it_until_its_end() {
    let mut book = book(&[rule("errors", 0, 0)], None);
    look(&mut book, 0, Some(6.0));
    let matcher = |label: &str, value: &str| Matcher { label: label.to_owned(), value: value.to_owned() };
    let other = vec![matcher("alertname", "errors"), matcher("upstream", "others")];
    book.silence(other, NOW + 5000, "ann", "", NOW).unwrap();
    let alert = book.open().next().unwrap().clone();
    assert_eq!(state(&book, &alert, NOW), "active");
    let silence =
        book.silence(vec![matcher("alertname", "err*"), matcher("team", "bots")], NOW + 5000, "ann", "work", NOW);
    assert_eq!(state(&book, &alert, NOW + 4999), "silenced");
    assert_eq!(state(&book, &alert, NOW + 5000), "active");
    assert_eq!(counts(&book, NOW)[&(Severity::Warning, "silenced")], 1);
    let id = silence.unwrap().id;
    assert!(book.unsilence(&id, NOW + 1000).is_ok());
    assert_eq!(state(&book, &alert, NOW + 1000), "active");
    assert_eq!(book.unsilence(&id, NOW + 1001), Err(Refused::Unknown));
    assert!(book.silence(Vec::new(), NOW + 1, "ann", "", NOW).is_err());
    assert!(book.silence(vec![matcher("a", "b")], NOW, "ann", "", NOW).is_err());
}

#[test]
fn what_was_kept_goes_on_where_it_was() {
    let rules = [rule("errors", 0, 0)];
    let mut before = book(&rules, None);
    look(&mut before, 0, Some(6.0));
    look(&mut before, 1, Some(0.0));
    look(&mut before, 2, Some(7.0));
    let text = serde_json::to_string(&before.to_keep().unwrap()).unwrap();
    assert!(before.to_keep().is_none());
    let mut after = book(&rules, None);
    after.restore(serde_json::from_str(&text).unwrap());
    assert_eq!(look(&mut after, 3, Some(7.0)), []);
    assert_eq!(after.open().collect::<Vec<_>>(), before.open().collect::<Vec<_>>());
    assert_eq!(look(&mut after, 4, Some(0.0)), [What::Resolved]);
    let numbers: Vec<u64> = after.ended().map(|alert| alert.number).collect();
    assert!(numbers.len() == 2 && numbers[0] < numbers[1]);
}

#[test]
fn there_are_never_more_alerts_than_there_is_room_for() {
    let mut book = book(&[rule("errors", 0, 0)], None);
    for round in 0..3 {
        let mut facts = Facts::default();
        for number in 0..OPEN_MAX + 50 {
            let name = format!("u{number}");
            let percent = if round == 1 { 0.0 } else { 50.0 };
            facts.put(Signal::ErrorPercent, Subject::upstream(&name.as_str().into()), percent);
        }
        book.look(NOW + round * 1000, &facts);
    }
    assert_eq!((book.open().count(), book.ended().count()), (OPEN_MAX, HISTORY_MAX));
    assert!(book.left_out() >= 50);
}

#[test]
fn every_built_in_rule_can_end_and_says_something() {
    for builtin in BUILTIN {
        let rule = builtin.rule();
        let sided = if rule.comparison.upwards() { rule.clear <= rule.threshold } else { rule.clear >= rule.threshold };
        assert!(sided, "{}", rule.name);
        let sentence = rule.signal.sentence("upstream bots", 2.0);
        assert!(!sentence.contains(['{', '}']) && !sentence.ends_with('.'), "{sentence}");
    }
}

proptest! {
    #[test]
    fn alerts_begin_and_end_in_turn_whatever_the_values_and_the_clock(
        steps in prop::collection::vec((0u64..20, prop::option::of(0.0f64..10.0)), 1..60), hold in 0u64..4, keep in 0u64..4,
    ) {
        let mut book = book(&[rule("errors", hold, keep)], None);
        let mut open = false;
        for (second, percent) in steps {
            for what in look(&mut book, second, percent) {
                prop_assert_eq!(what, if open { What::Resolved } else { What::Raised });
                open = !open;
            }
            prop_assert_eq!(book.open().count(), usize::from(open));
        }
    }
}
