//! The disk fails, or the power does, at every point where it can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::kit::*;
use super::memory::Memory;
use crate::spool::schedule::Reason;
use crate::spool::store::open::Ground;
use crate::spool::store::*;

/// What a workload was promised.
#[derive(Default)]
struct Promises {
    /// Ids that are stored, by the batch they came with, settled or not.
    accepted: Vec<Vec<u128>>,
    /// Batches that were refused, or not answered.
    unanswered: Vec<Vec<u128>>,
    /// Settled as delivered, and said to be.
    delivered: BTreeSet<u64>,
    /// A settlement was asked for, but not confirmed.
    uncertain: BTreeSet<u64>,
    ids: BTreeMap<u64, u128>,
}

fn start(directory: &Directory, memory: &Memory) -> Result<Opened, OpenError> {
    let memory = memory.clone();
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let ground = Ground {
        create: Box::new(move |builder, _| builder.create_with_backend(memory)),
        clock: Arc::new(|| 1_000_000),
    };
    open_on(directory.path(), &settings(), ground, clock)
}

/// Stores, settles, buries and replays, one thing after another, until something fails.
fn work(opened: &mut Opened, promises: &mut Promises) {
    for round in 0..8u128 {
        let ids: Vec<u128> = (0..=round % 3).map(|index| round * 10 + index).collect();
        let messages: Vec<_> = ids.iter().map(|id| message(&opened.store, *id)).collect();
        promises.ids.extend(messages.iter().map(|message| message.seq).zip(ids.iter().copied()));
        let seq = messages[0].seq;
        match opened.store.accept(&messages).ok().and_then(|answer| answer.blocking_recv().ok()) {
            Some(Ok(_)) => promises.accepted.push(ids),
            _ => {
                promises.unanswered.push(ids);
                return;
            }
        }
        if round % 2 == 0 {
            promises.uncertain.insert(seq);
            let settlement = if round % 4 == 0 { Settlement::Delivered } else { dead(Reason::Attempts) };
            opened.store.settle(seq, settlement, None);
            if opened.store.flush().blocking_recv().is_err() {
                return;
            }
            promises.uncertain.remove(&seq);
            if settlement == Settlement::Delivered {
                promises.delivered.insert(seq);
            }
        }
    }
}

/// What was promised is there, and what was not is there whole or not at all.
fn check(opened: &Opened, promises: &Promises, at: &str) {
    assert_eq!(opened.recovered.damaged, 0, "{at}");
    let pending: BTreeSet<u64> = opened.recovered.entries.iter().map(|entry| entry.seq).collect();
    let dead: BTreeSet<u64> = opened.dead().iter().map(|letter| letter.seq).collect();
    let mut found = BTreeMap::<u128, u64>::new();
    for seq in pending.union(&dead) {
        let record = opened.store.load(*seq).unwrap_or_else(|error| panic!("{at}: {error}")).unwrap();
        assert_eq!(record.message.id, Some(promises.ids[seq]), "{at}");
        found.insert(promises.ids[seq], *seq);
    }
    let seq_of = |id: u128| *promises.ids.iter().find(|(_, known)| **known == id).unwrap().0;
    for id in promises.accepted.iter().flatten() {
        let seq = seq_of(*id);
        let gone = promises.delivered.contains(&seq);
        // Its settlement may be on disk although nobody was told.
        let known = !promises.uncertain.contains(&seq);
        assert!(!known || found.contains_key(id) != gone, "{at}: message {id} (settled: {gone})",);
        assert!(opened.store.seen(*id), "{at}: {id} was accepted and is not known any more");
    }
    for batch in &promises.unanswered {
        let there = batch.iter().filter(|id| found.contains_key(id)).count();
        assert!(there == 0 || there == batch.len(), "{at}: {there} of a batch of {} are there", batch.len());
        assert!(batch.iter().all(|id| opened.store.seen(*id) == (there > 0)), "{at}: known without being there");
    }
    let stats = opened.store.stats();
    assert_eq!((stats.pending, stats.dead), (pending.len() as u64, dead.len() as u64), "{at}");
}

#[test]
fn whenever_the_disk_fails_what_was_acknowledged_stays_and_nothing_is_there_by_half() {
    for operation in 0.. {
        let (directory, memory) = (Directory::new(), Memory::default());
        let mut opened = start(&directory, &memory).unwrap();
        let mut promises = Promises::default();
        memory.fail_after(operation);
        work(&mut opened, &mut promises);
        if !memory.has_failed() {
            assert!(promises.unanswered.is_empty());
            assert!(operation > 40, "only {operation} points of failure");
            return;
        }
        // It says why, once and for all, and takes nothing any more.
        opened.store.flush().blocking_recv().ok();
        let cause = opened.store.stats().failed.unwrap_or_else(|| panic!("operation {operation}: not noticed"));
        assert!(cause.contains("the disk of this test fails"), "{cause}");
        let refused = opened.store.accept(&[message(&opened.store, 999)]).unwrap_err();
        assert_eq!(refused, Refused::Failed(cause));
        let events: Vec<_> = std::iter::from_fn(|| opened.events.try_recv().ok()).collect();
        assert!(matches!(events.last(), Some(Event::Failed(_))), "{events:?}");
        let crashed = memory.after_crash(operation);
        opened.close();
        let reopened = start(&directory, &crashed).unwrap_or_else(|error| panic!("operation {operation}: {error}"));
        assert!(!reopened.recovered.clean);
        check(&reopened, &promises, &format!("operation {operation}"));
        reopened.close();
    }
}

#[test]
fn whatever_part_of_the_unsynced_a_crash_leaves_the_last_whole_commit_is_found() {
    // What came after the last sync is lost in part, many times over for the same point.
    for seed in 0..20 {
        let (directory, memory) = (Directory::new(), Memory::default());
        let mut opened = start(&directory, &memory).unwrap();
        let mut promises = Promises::default();
        memory.fail_after(20 + seed * 9);
        work(&mut opened, &mut promises);
        opened.close();
        for crash in 0..3 {
            let crashed = memory.after_crash(seed * 3 + crash);
            let reopened = start(&directory, &crashed).unwrap();
            check(&reopened, &promises, &format!("seed {seed}, crash {crash}"));
            reopened.close();
        }
    }
}
