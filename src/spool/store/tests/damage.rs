//! Files that were changed behind the store's back, and copies.

use std::collections::BTreeMap;
use std::path::Path;

use super::kit::*;
use crate::ids::mix;
use crate::spool::schedule::Reason;
use crate::spool::store::open::NAME;
use crate::spool::store::*;

/// A closed store with pending messages and dead letters; its file, and what is in it.
fn filled(directory: &Directory) -> (Vec<u8>, BTreeMap<u64, u128>, usize) {
    let opened = open(directory);
    opened.accept(0..40);
    for seq in opened.sequences().into_iter().step_by(5) {
        opened.store.settle(seq, dead(Reason::Attempts), None);
    }
    opened.flush();
    let pending = opened.store.pending(0, 100).unwrap().rows.into_iter();
    let pending = pending.map(|row| (row.entry.seq, row.record.unwrap().message.id.unwrap())).collect();
    opened.close();
    (std::fs::read(directory.path().join(NAME)).unwrap(), pending, 8)
}

fn with_file(bytes: &[u8]) -> Directory {
    let directory = Directory::new();
    std::fs::write(directory.path().join(NAME), bytes).unwrap();
    directory
}

/// It says which file, and what can be done.
fn check_refusal(error: &OpenError, path: &Path) {
    assert!(matches!(error.kind, OpenErrorKind::Damaged | OpenErrorKind::Newer | OpenErrorKind::Io), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&*path.join(NAME).to_string_lossy()), "{text}");
    assert!(["restore", "run the version", "see to the disk"].iter().any(|word| text.contains(word)), "{text}");
}

#[test]
fn a_changed_bit_is_refused_or_reported_and_never_becomes_another_message() {
    let directory = Directory::new();
    let (bytes, pending, letters) = filled(&directory);
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let (mut refused, mut reported, mut unharmed) = (0, 0, 0);
    for round in 0..120 {
        let at = used[(mix(round) % used.len() as u64) as usize];
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (mix(!round) % 8);
        let changed = with_file(&bytes);
        let opened = match try_open(changed.path(), &settings(), 1_000_000) {
            Ok(opened) => opened,
            Err(error) => {
                check_refusal(&error, changed.path());
                refused += 1;
                continue;
            }
        };
        let mut troubles = opened.recovered.damaged;
        for (seq, id) in &pending {
            match opened.store.load(*seq) {
                Ok(Some(record)) => assert_eq!(record.message.id, Some(*id), "byte {at}"),
                // Counted as damaged by the start.
                Ok(None) => {
                    assert!(opened.recovered.damaged > 0, "byte {at}: message {seq} is gone and nobody says so");
                }
                Err(_) => troubles += 1,
            }
        }
        let there = opened.recovered.entries.len() as u64 + opened.recovered.damaged;
        assert!(there >= pending.len() as u64, "byte {at}: of {} messages {there} are accounted for", pending.len());
        assert!(opened.store.stats().dead <= letters as u64);
        *(if troubles > 0 { &mut reported } else { &mut unharmed }) += 1;
        opened.close();
    }
    assert!(reported > 10 && unharmed > 0, "refused {refused}, reported {reported}, unharmed {unharmed}");
}

#[test]
fn a_file_cut_short_is_refused() {
    let directory = Directory::new();
    let (bytes, ..) = filled(&directory);
    for length in [1, 100, 4096, bytes.len() / 3, bytes.len() - 4096] {
        let cut = with_file(&bytes[..length]);
        let error = try_open(cut.path(), &settings(), 1).err().unwrap_or_else(|| panic!("{length} bytes were opened"));
        check_refusal(&error, cut.path());
        assert_eq!(std::fs::read(cut.path().join(NAME)).unwrap().len(), length, "it was not touched");
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    let other = with_file(b"#!/bin/sh\necho this is no spool\n".repeat(500).as_slice());
    let error = try_open(other.path(), &settings(), 1).err().unwrap();
    assert_eq!(error.kind, OpenErrorKind::Damaged);
    check_refusal(&error, other.path());
}

#[test]
fn a_damaged_record_is_put_aside_and_blocks_nobody() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept([1, 2]);
    let first = opened.sequences()[0];
    opened.close();
    let path = directory.path().join(NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    let text = b"{\"id\":1}{\"id\":1}";
    let places: Vec<usize> = (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&path, bytes).unwrap();

    let mut opened = open(&directory);
    assert!(matches!(opened.store.load(first), Err(ReadError::Unreadable(seq, _)) if seq == first));
    opened.store.quarantine(first);
    assert_eq!(opened.events.blocking_recv(), Some(Event::Settled(vec![first])));
    assert_eq!((opened.store.stats().pending, opened.store.stats().damaged), (1, 1));
    opened.close();
    let opened = open(&directory);
    assert_eq!((opened.recovered.entries.len(), opened.recovered.damaged), (1, 1));
}

#[test]
fn a_copy_made_under_load_is_one_moment_and_can_be_put_back() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept(0..50);
    for seq in opened.sequences().into_iter().take(5) {
        opened.settle(seq, dead(Reason::Attempts));
    }
    let file = directory.path().join("copy");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in 1000.. {
                // Pairs: a copy has both or none.
                let pair = vec![message(&opened.store, id), message(&opened.store, 1_000_000 + id)];
                opened.store.accept(&pair).unwrap().blocking_recv().unwrap().unwrap();
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let summary = opened.store.backup(&file).unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        summary
    });
    assert!(summary.pending >= 45 && summary.dead == 5, "{summary:?}");

    let other = Directory::new();
    let restored = restore(&file, other.path(), false).unwrap();
    assert_eq!((restored.pending, restored.dead, restored.unreadable), (summary.pending, 5, 0));
    let reopened = open(&other);
    assert!(!reopened.recovered.clean, "what was in flight may have been delivered");
    let ids: std::collections::BTreeSet<u128> = reopened
        .recovered
        .entries
        .iter()
        .map(|entry| reopened.store.load(entry.seq).unwrap().unwrap().message.id.unwrap())
        .collect();
    assert_eq!(ids.len() as u64, summary.pending);
    assert!(
        ids.iter()
            .filter(|id| **id >= 1000)
            .all(|id| ids.contains(&(id + 1_000_000)) || ids.contains(&(id - 1_000_000)))
    );
    assert_eq!(reopened.accept([7]), [Accepted::Duplicate]);
}

#[test]
fn a_copy_is_not_put_back_over_a_store_unless_that_is_wanted() {
    let directory = Directory::new();
    let opened = open(&directory);
    opened.accept([1]);
    let file = directory.path().join("copy");
    opened.store.backup(&file).unwrap();
    opened.accept([2]);
    let error = restore(&file, directory.path(), true).unwrap_err();
    assert!(error.to_string().contains("has it open"), "{error}");
    opened.close();
    let error = restore(&file, directory.path(), false).unwrap_err();
    assert!(error.to_string().contains("there is a spool already"), "{error}");
    assert_eq!(restore(&file, directory.path(), true).unwrap().pending, 1);
    assert_eq!(open(&directory).recovered.entries.len(), 1);
    assert!(directory.path().join("spool.redb.replaced").exists());
}

#[test]
fn a_damaged_copy_is_not_put_back() {
    let directory = Directory::new();
    let (mut bytes, ..) = filled(&directory);
    let at = bytes.windows(8).rposition(|window| window == b"{\"id\":3}").unwrap();
    bytes[at] ^= 1;
    let file = directory.path().join("copy");
    std::fs::write(&file, bytes).unwrap();
    let other = Directory::new();
    let error = restore(&file, other.path(), false).unwrap_err();
    assert!(error.to_string().contains("not a whole copy"), "{error}");
    assert!(!other.path().join(NAME).exists());
    assert!(restore(&directory.path().join("none"), other.path(), false).is_err());
}
