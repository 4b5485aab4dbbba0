use proptest::prelude::*;

use super::*;

type Table = Lru<u32>;

const TTL: Micros = 100;

#[test]
fn an_entry_lasts_while_it_is_used() {
    let table = Table::new(10, TTL);
    table.set(1, 7, 0);
    assert_eq!(table.get(1, 99), Some(7));
    assert_eq!(table.get(1, 198), Some(7));
    assert_eq!(table.get(1, 298), None);
    assert_eq!(table.get(2, 0), None);
}

#[test]
fn an_entry_that_lives_is_kept_and_one_that_expired_is_made_anew() {
    let table = Table::new(10, TTL);
    assert_eq!(table.get_or_set(1, 7, 0), 7);
    assert_eq!(table.get_or_set(1, 8, 99), 7);
    assert_eq!(table.get_or_set(1, 8, 199), 8);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_new_value_replaces_the_old_one() {
    let table = Table::new(10, TTL);
    table.set(1, 7, 0);
    table.set(1, 8, 1);
    assert_eq!((table.get(1, 2), table.len()), (Some(8), 1));
}

#[test]
fn a_value_is_replaced_everywhere_and_counted() {
    let table = Table::new(100_000, TTL);
    let hash = crate::ids::mix;
    (0..5000).for_each(|number| table.set(hash(number), (number % 3) as u32, 0));
    assert_eq!(table.count(1), 1667);
    let (mut hashes, mut expected) = (table.replace(1, Some(7)), Vec::new());
    expected.extend((0..5000).filter(|number| number % 3 == 1).map(hash));
    hashes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(hashes, expected);
    assert_eq!((table.count(1), table.count(7), table.len()), (0, 1667, 5000));
    assert_eq!(table.replace(7, None).len(), 1667);
    assert_eq!((table.count(7), table.len()), (0, 3333));
    // Slots that are free again have nothing of what was in them.
    assert_eq!(table.replace(7, Some(1)), [0_u64; 0]);
    assert_eq!(table.get(hash(1), 0), None);
}

#[test]
fn what_is_replaced_is_told_and_keeps_the_time_of_its_last_use() {
    let table = Table::new(10, TTL);
    table.changes(0, |_| {});
    table.set(1, 7, 5);
    table.changes(6, |_| {});
    table.replace(7, Some(8));
    let mut told = Vec::new();
    table.changes(20, |change| told.push(change));
    assert_eq!(told, [Change { hash: 1, entry: Some((8, 15)) }]);
    assert_eq!(table.peek(1, 105), None, "its time goes on");
}

#[test]
fn of_those_who_replace_a_value_at_once_the_first_decides() {
    let table = Table::new(10, TTL);
    table.set(1, 7, 0);
    assert_eq!(table.set_instead(1, 7, 8, 1), 8);
    assert_eq!(table.set_instead(1, 7, 9, 1), 8);
    assert_eq!(table.set_instead(2, 7, 9, 1), 9, "one that has none gets it");
}

#[test]
fn a_full_table_gives_up_the_entry_not_used_for_longest() {
    let table = Table::new(2, TTL);
    table.set(1, 7, 0);
    table.set(2, 7, 1);
    assert_eq!(table.get(1, 2), Some(7));
    table.set(3, 7, 3);
    assert_eq!([1, 2, 3].map(|hash| table.get(hash, 4)), [Some(7), None, Some(7)]);
    assert_eq!(table.len(), 2);
}

#[test]
fn sweeps_remove_expired_entries_and_no_others() {
    let table = Table::new(1000, TTL);
    (0..SWEEP_STEP as u64 + 10).for_each(|hash| table.set(hash, 7, 0));
    table.set(u64::MAX, 7, 50);
    table.sweep(120);
    assert_eq!(table.len(), 11);
    table.sweep(120);
    assert_eq!((table.len(), table.get(u64::MAX, 120)), (1, Some(7)));
}

#[test]
fn the_bound_holds_for_any_number_of_keys() {
    for max in [0, 1, 5, 1023, 1024, 5000] {
        let table = Table::new(max, TTL);
        (0..3 * max as u64 + 3).for_each(|i| table.set(i.wrapping_mul(0x9e37_79b9_7f4a_7c15), 7, i));
        assert!(table.len() <= max.max(1), "{} of {max}", table.len());
        assert!(table.len() >= max * 9 / 10, "{} of {max}", table.len());
    }
}

#[test]
fn workers_may_use_it_all_at_once() {
    let table = Table::new(4096, TTL);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for i in 0..5000_u64 {
                    let hash = (i % 997).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let master = table.get_or_set(hash, worker, 0);
                    assert_eq!(table.get(hash, 0), Some(master));
                }
            });
        }
    });
    assert_eq!(table.len(), 997);
}

#[derive(Debug, Clone)]
enum Step {
    Get(u64),
    Set(u64, u32),
    GetOrSet(u64, u32),
    Sweep,
    Wait(Micros),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..12).prop_map(Step::Get),
        4 => (0_u64..12, 0_u32..3).prop_map(|(hash, master)| Step::Set(hash, master)),
        4 => (0_u64..12, 0_u32..3).prop_map(|(hash, master)| Step::GetOrSet(hash, master)),
        1 => Just(Step::Sweep),
        2 => (0_u64..70).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn it_behaves_like_a_list_in_order_of_use(
        max in 1_usize..8,
        steps in prop::collection::vec(any_step(), 1..200),
    ) {
        let table = Table::new(max, TTL);
        // Hash, master and last use, oldest use first.
        let mut model: Vec<(u64, u32, Micros)> = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Get(hash) => {
                    let found = model.iter().position(|entry| entry.0 == hash && now - entry.2 < TTL);
                    let expected = found.map(|i| model.remove(i).1);
                    model.extend(expected.map(|master| (hash, master, now)));
                    prop_assert_eq!(table.get(hash, now), expected);
                }
                Step::Set(hash, master) => {
                    model.retain(|entry| entry.0 != hash);
                    if model.len() == max {
                        model.remove(0);
                    }
                    model.push((hash, master, now));
                    table.set(hash, master, now);
                }
                Step::GetOrSet(hash, master) => {
                    let held = model.iter().position(|entry| entry.0 == hash);
                    let kept = held.filter(|i| now - model[*i].2 < TTL);
                    let expected = kept.map_or(master, |i| model[i].1);
                    match held {
                        Some(i) => drop(model.remove(i)),
                        None if model.len() == max => drop(model.remove(0)),
                        None => {}
                    }
                    model.push((hash, expected, now));
                    prop_assert_eq!(table.get_or_set(hash, master, now), expected);
                }
                Step::Sweep => {
                    model.retain(|entry| now - entry.2 < TTL);
                    table.sweep(now);
                }
                Step::Wait(time) => now += time,
            }
            prop_assert_eq!(table.len(), model.len());
        }
    }
}

fn changes(table: &Table, now: Micros) -> Vec<Change<u32>> {
    let mut all = Vec::new();
    table.changes(now, |change| all.push(change));
    all
}

#[test]
fn a_change_is_told_once_and_the_first_asked_is_told_all() {
    let table = Table::new(2, TTL);
    table.set(1, 7, 0);
    table.set(2, 8, 5);
    let told = |hash, value, age| Change { hash, entry: Some((value, age)) };
    assert_eq!(changes(&table, 10), [told(1, 7, 10), told(2, 8, 5)]);
    assert_eq!(changes(&table, 10), []);
    table.set(2, 9, 11);
    table.set(3, 7, 11);
    assert_eq!(changes(&table, 12), [Change { hash: 1, entry: None }, told(2, 9, 1), told(3, 7, 1)]);
    table.sweep(11 + TTL);
    assert_eq!(changes(&table, 200), [2, 3].map(|hash| Change { hash, entry: None }));
}

#[test]
fn a_use_is_told_when_the_last_one_told_is_some_time_ago() {
    let table = Table::new(2, 160);
    table.set(1, 7, 0);
    assert_eq!(changes(&table, 0).len(), 1);
    table.get(1, 9);
    assert_eq!(changes(&table, 9), []);
    table.get(1, 10);
    assert_eq!(changes(&table, 12), [Change { hash: 1, entry: Some((7, 2)) }]);
    table.get(1, 19);
    assert_eq!(changes(&table, 19), []);
}

#[test]
fn what_nobody_asks_for_takes_a_bounded_room() {
    let table = Table::new(4, TTL);
    assert_eq!(changes(&table, 0), []);
    (0..1000).for_each(|hash| table.set(hash, 7, 0));
    assert!(changes(&table, 0).len() <= 8);
}

#[test]
fn a_look_is_no_use() {
    let table = Table::new(4, TTL);
    table.set(1, 7, 0);
    assert_eq!((table.peek(1, 5), table.peek(1, TTL - 1), table.peek(2, 5)), (Some((7, 5)), Some((7, TTL - 1)), None));
    assert_eq!((table.peek(1, TTL), table.get(1, TTL)), (None, None));
}

#[test]
fn what_is_restored_lives_for_the_rest_of_its_time_and_gives_way_to_what_is_there() {
    let table = Table::new(4, TTL);
    changes(&table, 0);
    table.set(1, 7, 0);
    for hash in [1, 2] {
        table.restore(hash, 9, 60, 10);
    }
    table.restore(3, 9, TTL, 10);
    assert_eq!(changes(&table, 10), [Change { hash: 1, entry: Some((7, 10)) }], "what is restored is known elsewhere");
    assert_eq!(
        (table.get(1, 10), table.peek(2, 49), table.get(2, 50), table.get(3, 10)),
        (Some(7), Some((9, 99)), None, None)
    );
}

proptest! {
    /// A copy that is kept from the changes is the table, but for how long ago the last use was, by a sixteenth.
    #[test]
    fn changes_add_up_to_the_table(
        max in 1_usize..8,
        steps in prop::collection::vec((any_step(), any::<bool>()), 1..200),
    ) {
        let table = Table::new(max, TTL);
        let mut copy = std::collections::BTreeMap::new();
        let mut now = 0;
        let mut last = |table: &Table, now| {
            for change in changes(table, now) {
                match change.entry {
                    Some((value, age)) => drop(copy.insert(change.hash, (value, now.saturating_sub(age)))),
                    None => drop(copy.remove(&change.hash)),
                }
            }
            copy.clone()
        };
        last(&table, now);
        // More changes than are kept would be lost.
        let mut since = 0;
        for (step, ask) in steps {
            match step {
                Step::Get(hash) => drop(table.get(hash, now)),
                Step::Set(hash, value) => table.set(hash, value, now),
                Step::GetOrSet(hash, value) => drop(table.get_or_set(hash, value, now)),
                Step::Sweep => table.sweep(now),
                Step::Wait(time) => now += time,
            }
            since += 1;
            if ask || since >= max / 2 {
                last(&table, now);
                since = 0;
            }
        }
        let copy = last(&table, now);
        prop_assert_eq!(copy.len(), table.len());
        let restored = Table::new(max, TTL);
        let mut oldest_first: Vec<_> = copy.iter().collect();
        oldest_first.sort_by_key(|(_, (_, used))| *used);
        for (hash, (value, used)) in oldest_first {
            restored.restore(*hash, *value, now - used, now);
            if let Some((_, age)) = table.peek(*hash, now) {
                prop_assert!(now - used >= age && now - used <= age + TTL / TELL_AFTER);
            }
        }
        for hash in 0..12 {
            if table.peek(hash, now).is_some_and(|(_, age)| age + TTL / TELL_AFTER < TTL) {
                prop_assert_eq!(restored.get(hash, now), table.get(hash, now));
            }
        }
    }
}
