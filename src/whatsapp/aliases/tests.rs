use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{Kind, Names};
use super::*;

const TTL: Micros = 1_000_000;

fn names<'a>(list: &[&'a str]) -> Names<'a> {
    let mut names = Names::default();
    list.iter().for_each(|name| names.push(Cow::Borrowed(*name)));
    names
}

fn update<'a>(present: &[&'a str], former: &[&'a str]) -> Update<'a> {
    let mut update = Update::new(Kind::Message, Cow::Borrowed("messages"));
    (update.names, update.moved) = (names(present), names(former));
    update
}

/// The key alone.
fn conversation(aliases: &Aliases, account: &str, update: &Update<'_>) -> u64 {
    aliases.learn(account, update, 0).unwrap().conversation
}

fn learn(aliases: &Aliases, present: &[&str], now: Micros) -> Learnt {
    aliases.learn("account", &update(present, &[]), now).unwrap()
}

#[test]
fn a_person_with_two_names_has_one_conversation_by_each() {
    let aliases = Aliases::new(100, TTL);
    let both = learn(&aliases, &["AE.134", "971501234567"], 0).conversation;
    for name in ["AE.134", "971501234567", "+971501234567", "971501234567:3@s.whatsapp.net"] {
        assert_eq!(learn(&aliases, &[name], 1), Learnt { conversation: both, ended: Few::default() });
    }
    assert_ne!(learn(&aliases, &["971501234568"], 1).conversation, both);
}

#[test]
fn a_name_learnt_later_joins_the_conversation_that_is_there() {
    let aliases = Aliases::new(100, TTL);
    let first = learn(&aliases, &["251556368777322@lid"], 0);
    let second = learn(&aliases, &["971501234567@s.whatsapp.net", "251556368777322@lid"], 1);
    assert_eq!(second, first);
    assert_eq!(learn(&aliases, &["971501234567"], 2), first);
}

#[test]
fn of_two_conversations_of_one_person_the_one_used_last_goes_on_and_the_end_of_the_other_is_told() {
    for last in ["AE.134", "971501234567"] {
        let aliases = Aliases::new(100, TTL);
        let user = learn(&aliases, &["AE.134"], 0).conversation;
        let number = learn(&aliases, &["971501234567"], 1).conversation;
        let kept = learn(&aliases, &[last], 2).conversation;
        let both = learn(&aliases, &["AE.134", "971501234567"], 3);
        assert_eq!(both.conversation, kept);
        assert_eq!(both.merged(), [if kept == user { number } else { user }]);
        assert_eq!(learn(&aliases, &["AE.134", "971501234567"], 4).merged(), [0_u64; 0]);
    }
}

#[test]
fn who_changes_number_keeps_the_conversation() {
    let aliases = Aliases::new(100, TTL);
    let before = learn(&aliases, &["971501234567"], 0).conversation;
    let moved = aliases.learn("account", &update(&["971509999999"], &["971501234567"]), 1).unwrap();
    assert_eq!((moved.conversation, moved.merged()), (before, &[][..]));
    assert_eq!(learn(&aliases, &["971509999999"], 2).conversation, before);
}

#[test]
fn a_group_alone_names_its_conversation_and_tells_nothing_of_people() {
    let aliases = Aliases::new(100, TTL);
    let mut first = update(&["971501234567"], &[]);
    first.group = Some(Cow::Borrowed("120363025246125486@g.us"));
    let mut second = update(&["971509999999"], &[]);
    second.group = first.group.clone();
    let group = conversation(&aliases, "account", &first);
    assert_eq!(conversation(&aliases, "account", &second), group);
    assert!(aliases.table().is_empty());
    assert_ne!(learn(&aliases, &["971501234567"], 0).conversation, group);
}

#[test]
fn accounts_know_nothing_of_each_other() {
    let aliases = Aliases::new(100, TTL);
    let both = update(&["AE.134", "971501234567"], &[]);
    let number = update(&["971501234567"], &[]);
    assert_ne!(conversation(&aliases, "a", &both), conversation(&aliases, "b", &number));
    assert_eq!(conversation(&aliases, "a", &both), conversation(&aliases, "a", &number));
}

#[test]
fn an_update_that_names_nobody_has_no_conversation() {
    let aliases = Aliases::new(100, TTL);
    assert_eq!(aliases.learn("account", &update(&[], &[]), 0), None);
}

#[test]
fn a_name_that_was_not_seen_for_long_is_a_stranger() {
    let aliases = Aliases::new(100, TTL);
    let both = learn(&aliases, &["AE.134", "971501234567"], 0).conversation;
    assert_eq!(learn(&aliases, &["AE.134"], TTL - 1).conversation, both);
    assert_ne!(learn(&aliases, &["971501234567"], TTL).conversation, both);
}

#[test]
fn what_is_kept_over_a_restart_is_what_was_learnt() {
    let before = Aliases::new(100, TTL);
    let both = learn(&before, &["AE.134", "971501234567"], 0).conversation;
    let after = Aliases::new(100, TTL);
    before.table().changes(0, |change| {
        let (parent, age) = change.entry.unwrap();
        after.table().restore(change.hash, parent, age, 0);
    });
    assert_eq!(learn(&after, &["971501234567"], 0).conversation, both);
}

#[test]
fn workers_that_learn_at_once_agree_in_the_end() {
    let aliases = Aliases::new(10_000, TTL);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let aliases = &aliases;
            // Each links neighbours in a circle of sixty-four, from another place on.
            scope.spawn(move || {
                for i in 0..64 {
                    let at = (i * (2 * worker + 1) + 16 * worker) % 64;
                    aliases.learn_hashes(&[1000 + at, 1000 + (at + 1) % 64], 0);
                }
            });
        }
    });
    let found: BTreeSet<_> =
        (0..64).map(|name| aliases.learn_hashes(&[1000 + name], 0).unwrap().conversation).collect();
    assert_eq!(found.len(), 1);
}

/// Names by the least of their class.
struct Model(Vec<usize>);

impl Model {
    fn union(&mut self, names: &[usize]) {
        let classes: Vec<usize> = names.iter().map(|name| self.0[*name]).collect();
        let least = *classes.iter().min().unwrap();
        self.0.iter_mut().filter(|class| classes.contains(class)).for_each(|class| *class = least);
    }
}

fn any_payloads() -> impl Strategy<Value = Vec<(Vec<usize>, Micros)>> {
    prop::collection::vec((prop::collection::vec(0_usize..20, 1..4), 0_u64..3), 1..60)
}

/// No hash is another's neighbour by chance.
fn hash(name: usize) -> u64 {
    crate::ids::mix(name as u64 + 1)
}

proptest! {
    #[test]
    fn conversations_are_the_classes_of_union_and_find(payloads in any_payloads()) {
        let aliases = Aliases::new(1000, TTL);
        let mut model = Model((0..20).collect());
        let mut now = 0;
        // Every key that was ever given out, to the one that it ended in.
        let mut ended: BTreeMap<u64, u64> = BTreeMap::new();
        let mut given: Vec<(usize, u64)> = Vec::new();
        let last = |ended: &BTreeMap<u64, u64>, mut key: u64| {
            while let Some(next) = ended.get(&key) {
                key = *next;
            }
            key
        };
        for (names, wait) in payloads {
            now += wait;
            model.union(&names);
            let hashes: Vec<u64> = names.iter().map(|name| hash(*name)).collect();
            let learnt = aliases.learn_hashes(&hashes, now).unwrap();
            for key in learnt.merged() {
                prop_assert_eq!(ended.insert(*key, learnt.conversation), None, "a conversation ends once");
            }
            given.push((names[0], learnt.conversation));
            // Whatever was given out for a person before leads to what is given out now, and to nobody else's.
            for (name, key) in &given {
                let same = model.0[*name] == model.0[names[0]];
                prop_assert_eq!(last(&ended, *key) == learnt.conversation, same);
            }
        }
    }

    #[test]
    fn the_order_of_learning_does_not_matter(
        (payloads, shuffled) in any_payloads().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
    ) {
        let classes = |payloads: &[(Vec<usize>, Micros)]| {
            let aliases = Aliases::new(1000, TTL);
            for (names, _) in payloads {
                aliases.learn_hashes(&names.iter().map(|name| hash(*name)).collect::<Vec<_>>(), 0);
            }
            let mut classes: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
            for (name, _) in payloads.iter().flat_map(|(names, _)| names).map(|name| (*name, ())) {
                let key = aliases.learn_hashes(&[hash(name)], 0).unwrap().conversation;
                classes.entry(key).or_default().insert(name);
            }
            classes.into_values().collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(classes(&payloads), classes(&shuffled));
    }

    #[test]
    fn a_full_table_forgets_and_still_gives_the_names_of_one_payload_one_conversation(
        max in 5_usize..12,
        payloads in any_payloads(),
    ) {
        let aliases = Aliases::new(max, TTL);
        let mut now = 0;
        for (names, wait) in payloads {
            now += wait;
            let hashes: Vec<u64> = names.iter().map(|name| hash(*name)).collect();
            let learnt = aliases.learn_hashes(&hashes, now).unwrap();
            for name in hashes {
                prop_assert_eq!(aliases.learn_hashes(&[name], now).unwrap().conversation, learnt.conversation);
            }
            prop_assert!(aliases.table().len() <= max);
        }
    }
}
