use super::kit::*;
use crate::spool::record::Ending;
use crate::spool::schedule::Reason;
use crate::spool::store::*;

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let directory = Directory::new();
    let opened = open(&directory);
    let messages: Vec<_> = (0..10).map(|id| message(&opened.store, id)).collect();
    let answer = opened.store.accept(&messages).unwrap().blocking_recv().unwrap();
    assert_eq!(answer, Ok(vec![Accepted::Stored; 10]));
    opened.close();

    let opened = open(&directory);
    assert!(opened.recovered.clean);
    assert_eq!(opened.recovered.entries.len(), 10);
    for message in messages {
        let record = opened.store.load(message.seq).unwrap().unwrap();
        assert_eq!((record.accepted, record.message), (1_000_000, message));
    }
}

#[test]
fn a_copy_counts_as_accepted_and_is_not_stored() {
    let directory = Directory::new();
    let opened = open(&directory);
    assert_eq!(opened.accept([1, 2]), [Accepted::Stored; 2]);
    assert_eq!(opened.accept([2, 3]), [Accepted::Duplicate, Accepted::Stored]);
    assert_eq!((opened.store.stats().pending, opened.store.stats().duplicates), (3, 1));
    opened.close();
    let opened = open(&directory);
    assert_eq!(
        opened.accept([1, 2, 3, 4]),
        [Accepted::Duplicate, Accepted::Duplicate, Accepted::Duplicate, Accepted::Stored]
    );
}

#[test]
fn of_two_copies_that_come_together_one_is_stored() {
    let directory = Directory::new();
    let opened = open(&directory);
    let pair = vec![message(&opened.store, 7), message(&opened.store, 7)];
    let answer = opened.store.accept(&pair).unwrap().blocking_recv().unwrap().unwrap();
    assert_eq!(answer, [Accepted::Stored, Accepted::Duplicate]);
    assert_eq!(opened.store.stats().pending, 1);
}

#[test]
fn what_was_delivered_is_gone_and_still_known() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept([1, 2]);
    let first = opened.sequences()[0];
    opened.settle(first, Settlement::Delivered);
    assert_eq!(opened.store.load(first), Ok(None));
    assert_eq!(opened.accept([1]), [Accepted::Duplicate]);
    opened.close();
    let opened = open(&directory);
    assert_eq!(opened.recovered.entries.len(), 1);
    assert!(opened.store.seen(1));
}

#[test]
fn the_dispatcher_is_told_of_every_commit_in_order() {
    let directory = Directory::new();
    let mut opened = open(&directory);
    opened.accept([1]);
    let Some(Event::Stored(entries)) = opened.events.blocking_recv() else { panic!("a stored message") };
    assert_eq!(entries.len(), 1);
    assert_eq!(opened.store.name(entries[0].upstream).as_deref(), Some("bots"));
    assert_eq!(opened.store.name(entries[0].account).as_deref(), Some("106540352242922"));
    opened.settle(entries[0].seq, Settlement::Delivered);
    assert_eq!(opened.events.blocking_recv(), Some(Event::Settled(vec![entries[0].seq])));
}

#[test]
fn a_retry_is_on_disk_with_what_lies_behind_it() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept([1]);
    let seq = opened.sequences()[0];
    let attempt = Attempt { at: 5, master: "dubai-1".into(), ending: Ending::Status(500) };
    opened.store.settle(seq, Settlement::Retry { due: 77, attempts: 1, breaks: 0 }, Some(attempt.clone()));
    opened.close();
    let opened = open(&directory);
    let entry = opened.recovered.entries[0];
    assert_eq!((entry.due, entry.attempts), (77, 1));
    assert_eq!(opened.store.pending(0, 10).unwrap().rows[0].history, [attempt]);
}

#[test]
fn a_dead_letter_has_its_reason_and_every_attempt_and_can_be_put_in_line_again() {
    let directory = Directory::new();
    let mut opened = open(&directory);
    opened.accept([1, 2]);
    let seq = opened.sequences()[0];
    let [first, second] = [Ending::Reset, Ending::TimedOut].map(|ending| Attempt { at: 5, master: "a".into(), ending });
    opened.store.settle(seq, Settlement::Retry { due: 77, attempts: 1, breaks: 1 }, Some(first.clone()));
    opened.store.settle(
        seq,
        Settlement::Dead { reason: Reason::Masters, attempts: 2, breaks: 2 },
        Some(second.clone()),
    );
    opened.flush();
    let letter = &opened.dead()[0];
    assert_eq!((letter.seq, letter.reason, &letter.history), (seq, Reason::Masters, &vec![first, second]));
    assert_eq!((&*letter.message_id, &*letter.upstream, letter.conversation), ("wamid.1", "bots", 1));
    assert_eq!((opened.store.stats().pending, opened.store.stats().dead), (1, 1));
    assert!(opened.store.load(seq).unwrap().is_some());
    opened.close();

    opened = open(&directory);
    assert_eq!(opened.store.replay(Which::One(seq)).unwrap().blocking_recv().unwrap(), Ok(1));
    assert_eq!((opened.store.stats().pending, opened.store.stats().dead), (2, 0));
    let Some(Event::Stored(entries)) = opened.events.blocking_recv() else { panic!("a stored message") };
    assert_eq!((entries[0].seq, entries[0].attempts), (seq, 0));
    assert_eq!(entries[0].flags, Entry::REPLAYED | Entry::MAYBE_DELIVERED);
    assert_eq!(opened.dead(), []);
    assert_eq!(opened.store.replay(Which::One(seq)).unwrap().blocking_recv().unwrap(), Ok(0));
}

#[test]
fn dead_letters_can_be_discarded_by_filter_and_all() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept(0..20);
    for (index, seq) in opened.sequences().into_iter().enumerate() {
        opened.settle(seq, dead(if index % 2 == 0 { Reason::Attempts } else { Reason::Expired }));
    }
    let expired = DeadFilter { reason: Some(Reason::Expired), ..DeadFilter::default() };
    assert_eq!(opened.store.dead_letters(&expired, None, 100).unwrap().rows.len(), 10);
    assert_eq!(opened.store.discard(Which::Matching(expired)).unwrap().blocking_recv().unwrap(), Ok(10));
    let other = DeadFilter { upstream: Some("others".into()), ..DeadFilter::default() };
    assert_eq!(opened.store.discard(Which::Matching(other)).unwrap().blocking_recv().unwrap(), Ok(0));
    assert_eq!(opened.store.stats().dead, 10);
    assert_eq!(opened.store.discard(Which::Matching(DeadFilter::default())).unwrap().blocking_recv().unwrap(), Ok(10));
    let stats = opened.store.stats();
    assert_eq!((stats.dead, stats.dead_bytes, stats.pending_bytes), (0, 0, 0));
}

#[test]
fn pages_of_dead_letters_are_whole_together() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept(0..25);
    for seq in opened.sequences() {
        opened.store.settle(seq, dead(Reason::Attempts), None);
    }
    opened.flush();
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = opened.store.dead_letters(&DeadFilter::default(), before, 10).unwrap();
        found.extend(page.rows.iter().map(|letter| letter.seq));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 25);
    assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
}

#[test]
fn dead_letters_go_when_they_are_old_or_too_many() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept(0..3);
    opened.settle(opened.sequences()[0], dead(Reason::Attempts));
    opened.clock.fetch_add(4_000_000, std::sync::atomic::Ordering::SeqCst);
    opened.settle(opened.sequences()[0], dead(Reason::Attempts));
    assert_eq!(opened.store.stats().dead, 2);
    opened.clock.fetch_add(1_000_001, std::sync::atomic::Ordering::SeqCst);
    opened.accept([100]);
    opened.flush();
    assert_eq!(opened.store.stats().dead, 1);
    opened.store.configure(&Spool { dead_max_bytes: 0, ..settings() });
    opened.accept([101]);
    opened.flush();
    assert_eq!((opened.store.stats().dead, opened.store.stats().dead_bytes), (0, 0));
}

#[test]
fn an_id_is_forgotten_after_the_window_and_the_oldest_when_there_are_too_many() {
    let directory = Directory::new();
    let opened = try_open(directory.path(), &Spool { dedup_max_ids: 3, ..settings() }, 1_000_000).unwrap();
    opened.accept([1]);
    opened.accept([2]);
    opened.accept([3]);
    opened.accept([4]);
    opened.flush();
    assert_eq!([1, 2, 3, 4].map(|id| opened.store.seen(id)), [false, true, true, true]);
    opened.clock.fetch_add(1_000_000, std::sync::atomic::Ordering::SeqCst);
    opened.accept([5]);
    opened.flush();
    assert_eq!([2, 3, 4, 5].map(|id| opened.store.seen(id)), [false, false, false, true]);
    assert_eq!(opened.store.stats().ids, 1);
}

#[test]
fn a_noted_message_is_seen_at_once_and_after_a_restart() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.store.note_seen(vec![5, 6, 5]);
    assert!(opened.store.seen(5));
    assert_eq!(opened.accept([5]), [Accepted::Duplicate]);
    opened.close();
    let opened = open(&directory);
    assert!(opened.store.seen(6));
    assert_eq!(opened.store.stats().ids, 2);
}

#[test]
fn rows_of_others_are_kept() {
    let directory = Directory::new();
    let opened = open(&directory);
    let put = |key, row: &[u8]| RowChange { key, row: Some(row.into()) };
    assert!(opened.store.put_rows(Rows::Pins, vec![put(1, b"a"), put(2, b"b"), RowChange { key: 1, row: None }]));
    assert!(opened.store.put_rows(Rows::Aliases, vec![put(1, b"c")]));
    opened.close();
    let opened = open(&directory);
    let rows = |table| {
        let mut rows = Vec::new();
        opened.store.each_row(table, |key, row| rows.push((key, row.to_vec()))).unwrap();
        rows
    };
    assert_eq!(rows(Rows::Pins), [(2, b"b".to_vec())]);
    assert_eq!(rows(Rows::Aliases), [(1, b"c".to_vec())]);
}

#[test]
fn what_has_no_room_is_refused_and_what_is_settled_makes_room() {
    let directory = Directory::new();
    let opened = try_open(directory.path(), &Spool { max_messages: 2, ..settings() }, 1).unwrap();
    opened.accept([1, 2]);
    let refused = opened.store.accept(&[message(&opened.store, 3)]).unwrap_err();
    assert!(matches!(refused, Refused::Full { why: Full::Messages, .. }), "{refused:?}");
    assert_eq!(opened.accept([2]), [Accepted::Duplicate], "a copy needs no room");
    opened.settle(opened.sequences()[0], Settlement::Delivered);
    assert_eq!(opened.accept([3]), [Accepted::Stored]);
    assert_eq!(opened.store.stats().full, Some(Full::Messages));
    opened.store.configure(&Spool { max_bytes: 100, ..settings() });
    let refused = opened.store.accept(&[message(&opened.store, 4)]).unwrap_err();
    assert!(matches!(refused, Refused::Full { why: Full::Bytes, .. }), "{refused:?}");
    assert_eq!(opened.store.stats().full, Some(Full::Bytes));
    opened.sequences().into_iter().for_each(|seq| opened.settle(seq, Settlement::Delivered));
    assert_eq!(opened.store.stats().full, None);
}

#[test]
fn a_disk_with_too_little_room_keeps_messages_out_and_lets_settlements_through() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept([1]);
    opened.store.configure(&Spool { min_free: u64::MAX, ..settings() });
    let refused = (0..200).find_map(|id| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        opened.store.accept(&[message(&opened.store, 1000 + id)]).err()
    });
    assert!(matches!(refused, Some(Refused::Full { why: Full::Disk, .. })), "{refused:?}");
    let first = opened.sequences()[0];
    opened.settle(first, Settlement::Delivered);
    assert_eq!(opened.store.load(first), Ok(None));
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_directory() {
    let directory = Directory::new();
    let opened = open(&directory);
    let error = try_open(directory.path(), &settings(), 1).err().unwrap();
    assert_eq!(error.kind, OpenErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process {} has it open", std::process::id())), "{error}");
    opened.close();
    assert!(try_open(directory.path(), &settings(), 1).is_ok());
}

#[test]
fn whoever_waits_gets_the_store_when_it_is_closed() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept([1]);
    let path = directory.path().to_owned();
    let waiting = std::thread::spawn(move || {
        let (events, _receiver) = tokio::sync::mpsc::unbounded_channel();
        Store::open_waiting(&path, &settings(), &events, std::time::Duration::from_secs(20)).unwrap().1.entries.len()
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    opened.close();
    assert_eq!(waiting.join().unwrap(), 1);
}

#[test]
fn a_closed_store_refuses() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.close();
    assert_eq!(opened.store.accept(&[message(&opened.store, 1)]).err(), Some(Refused::Closed));
    assert_eq!(opened.store.load(1), Err(ReadError::Closed));
    assert_eq!(opened.store.replay(Which::One(1)).err(), Some(Refused::Closed));
    opened.store.settle(1, Settlement::Delivered, None);
    opened.close();
}

#[test]
fn numbers_are_never_given_out_twice() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept([1]);
    opened.settle(opened.sequences()[0], Settlement::Delivered);
    let last = opened.store.next_seq();
    opened.close();
    assert_eq!(open(&directory).store.next_seq(), last + 1);
}
