//! The store against a model that is a few maps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::kit::*;
use super::memory::Memory;
use crate::spool::record::Ending;
use crate::spool::schedule::Reason;
use crate::spool::store::open::Ground;
use crate::spool::store::*;

#[derive(Debug, Clone)]
enum Act {
    /// Ids of one batch.
    Accept(Vec<u8>),
    Note(u8),
    Deliver(prop::sample::Index),
    Retry(prop::sample::Index),
    Bury(prop::sample::Index, bool),
    ReplayOne(prop::sample::Index),
    ReplayExpired,
    DiscardOne(prop::sample::Index),
    DiscardAll,
    Wait(u16),
    Reopen,
    /// With the seed of what is left of the unsynced.
    Crash(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        6 => proptest::collection::vec(0u8..40, 1..5).prop_map(Act::Accept),
        1 => (0u8..40).prop_map(Act::Note),
        4 => index().prop_map(Act::Deliver),
        2 => index().prop_map(Act::Retry),
        3 => (index(), any::<bool>()).prop_map(|(index, expired)| Act::Bury(index, expired)),
        1 => index().prop_map(Act::ReplayOne),
        1 => Just(Act::ReplayExpired),
        1 => index().prop_map(Act::DiscardOne),
        1 => Just(Act::DiscardAll),
        2 => (0u16..400).prop_map(Act::Wait),
        1 => Just(Act::Reopen),
        1 => any::<u8>().prop_map(Act::Crash),
    ]
}

/// Seconds that ids are remembered in [`settings`].
const WINDOW: u64 = 1000;

#[derive(Debug, Default)]
struct Model {
    /// Id, attempts that count, and attempts in the history.
    pending: BTreeMap<u64, (u8, u16, u16)>,
    /// Id, reason, and attempts in the history.
    dead: BTreeMap<u64, (u8, Reason, u16)>,
    /// When an id was remembered last, in seconds.
    known: BTreeMap<u8, u64>,
}

struct Run {
    directory: Directory,
    memory: Memory,
    clock: Arc<AtomicU64>,
    opened: Opened,
    model: Model,
}

impl Run {
    fn start(directory: &Directory, memory: &Memory, clock: &Arc<AtomicU64>) -> Opened {
        let (memory, ticks) = (memory.clone(), Arc::clone(clock));
        let ground = Ground {
            create: Box::new(move |builder, _| builder.create_with_backend(memory)),
            clock: Arc::new(move || ticks.load(Ordering::SeqCst)),
        };
        let settings = Spool { dead_max_age: std::time::Duration::from_secs(1_000_000), ..settings() };
        open_on(directory.path(), &settings, ground, Arc::clone(clock)).unwrap()
    }

    fn new() -> Self {
        let (directory, memory, clock) = (Directory::new(), Memory::default(), Arc::new(AtomicU64::new(1_000_000)));
        let opened = Self::start(&directory, &memory, &clock);
        Self { directory, memory, clock, opened, model: Model::default() }
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst) / 1000
    }

    fn pick<T: Copy>(map: &BTreeMap<u64, T>, index: &prop::sample::Index) -> Option<(u64, T)> {
        (!map.is_empty()).then(|| map.iter().nth(index.index(map.len())).map(|(seq, value)| (*seq, *value))).flatten()
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let now = self.now();
        match act {
            Act::Accept(ids) => {
                let messages: Vec<_> = ids.iter().map(|id| message(&self.opened.store, (*id).into())).collect();
                let sequences: Vec<_> = messages.iter().map(|message| message.seq).collect();
                let answer = self.opened.store.accept(&messages).unwrap().blocking_recv().unwrap().unwrap();
                for ((id, seq), accepted) in ids.iter().zip(sequences).zip(answer) {
                    let known = self.model.known.get(id);
                    // What is older than the window may be known for a little longer.
                    let expected = match known {
                        None => Some(Accepted::Stored),
                        Some(time) if now - time < WINDOW => Some(Accepted::Duplicate),
                        Some(_) => None,
                    };
                    prop_assert!(
                        expected.is_none_or(|expected| expected == accepted),
                        "{} {:?} {:?}",
                        id,
                        expected,
                        accepted
                    );
                    if accepted == Accepted::Stored {
                        self.model.known.insert(*id, now);
                        self.model.pending.insert(seq, (*id, 0, 0));
                    }
                }
            }
            Act::Note(id) => {
                let known = self.opened.store.seen((*id).into());
                self.opened.store.note_seen(vec![(*id).into()]);
                prop_assert!(self.opened.store.seen((*id).into()));
                if !known {
                    self.model.known.insert(*id, now);
                }
            }
            Act::Deliver(index) => {
                if let Some((seq, _)) = Self::pick(&self.model.pending, index) {
                    self.opened.settle(seq, Settlement::Delivered);
                    self.model.pending.remove(&seq);
                }
            }
            Act::Retry(index) => {
                if let Some((seq, (id, attempts, history))) = Self::pick(&self.model.pending, index) {
                    let attempt = Attempt { at: now, master: "a".into(), ending: Ending::Reset };
                    let settlement = Settlement::Retry { due: now, attempts: attempts + 1, breaks: 0 };
                    self.opened.store.settle(seq, settlement, Some(attempt));
                    self.opened.flush();
                    self.model.pending.insert(seq, (id, attempts + 1, history + 1));
                }
            }
            Act::Bury(index, expired) => {
                if let Some((seq, (id, attempts, history))) = Self::pick(&self.model.pending, index) {
                    let reason = if *expired { Reason::Expired } else { Reason::Masters };
                    self.opened.settle(seq, Settlement::Dead { reason, attempts, breaks: 0 });
                    self.model.pending.remove(&seq);
                    self.model.dead.insert(seq, (id, reason, history));
                }
            }
            Act::ReplayOne(index) => {
                if let Some((seq, (id, _, history))) = Self::pick(&self.model.dead, index) {
                    let replayed = self.opened.store.replay(Which::One(seq)).unwrap().blocking_recv().unwrap();
                    prop_assert_eq!(replayed, Ok(1));
                    self.model.dead.remove(&seq);
                    self.model.pending.insert(seq, (id, 0, history));
                }
            }
            Act::ReplayExpired => {
                let filter = DeadFilter { reason: Some(Reason::Expired), ..DeadFilter::default() };
                let replayed = self.opened.store.replay(Which::Matching(filter)).unwrap().blocking_recv().unwrap();
                let meant: Vec<u64> =
                    self.model.dead.iter().filter(|(_, dead)| dead.1 == Reason::Expired).map(|(seq, _)| *seq).collect();
                prop_assert_eq!(replayed, Ok(meant.len() as u64));
                for seq in meant {
                    let (id, _, history) = self.model.dead.remove(&seq).unwrap();
                    self.model.pending.insert(seq, (id, 0, history));
                }
            }
            Act::DiscardOne(index) => {
                if let Some((seq, _)) = Self::pick(&self.model.dead, index) {
                    let discarded = self.opened.store.discard(Which::One(seq)).unwrap().blocking_recv().unwrap();
                    prop_assert_eq!(discarded, Ok(1));
                    self.model.dead.remove(&seq);
                }
            }
            Act::DiscardAll => {
                let all = Which::Matching(DeadFilter::default());
                let discarded = self.opened.store.discard(all).unwrap().blocking_recv().unwrap();
                prop_assert_eq!(discarded, Ok(self.model.dead.len() as u64));
                self.model.dead.clear();
            }
            Act::Wait(seconds) => {
                self.clock.fetch_add(u64::from(*seconds) * 1000, Ordering::SeqCst);
            }
            Act::Reopen => {
                self.opened.close();
                self.opened = Self::start(&self.directory, &self.memory, &self.clock);
                prop_assert!(self.opened.recovered.clean);
            }
            Act::Crash(seed) => {
                // Notes are only promised to be on disk soon.
                self.opened.flush();
                let crashed = self.memory.after_crash((*seed).into());
                self.opened.close();
                self.memory = crashed;
                self.opened = Self::start(&self.directory, &self.memory, &self.clock);
                prop_assert!(!self.opened.recovered.clean);
            }
        }
        self.check(matches!(act, Act::Reopen | Act::Crash(_)))
    }

    fn check(&self, is_new: bool) -> Result<(), TestCaseError> {
        let Opened { store, recovered, .. } = &self.opened;
        let Model { pending, dead, known } = &self.model;
        if is_new {
            let found: Vec<_> = recovered.entries.iter().map(|entry| (entry.seq, entry.attempts)).collect();
            let expected: Vec<_> = pending.iter().map(|(seq, (_, attempts, _))| (*seq, *attempts)).collect();
            prop_assert_eq!(found, expected);
        }
        let page = store.pending(0, 1000).unwrap();
        let found: Vec<_> = page.rows.iter().map(|row| (row.entry.seq, row.history.len())).collect();
        let expected: Vec<_> =
            pending.iter().map(|(seq, (.., history))| (*seq, usize::from(*history).min(32))).collect();
        prop_assert_eq!(found, expected);
        for (seq, (id, ..)) in pending {
            let record = store.load(*seq).unwrap().unwrap();
            prop_assert_eq!(record.message.id, Some((*id).into()));
        }
        let mut letters = self.opened.dead();
        letters.sort_by_key(|letter| letter.seq);
        let found: Vec<_> = letters.iter().map(|letter| (letter.seq, letter.reason, letter.history.len())).collect();
        let expected: Vec<_> =
            dead.iter().map(|(seq, (_, reason, history))| (*seq, *reason, usize::from(*history).min(32))).collect();
        prop_assert_eq!(found, expected);
        let now = self.now();
        for (id, time) in known {
            prop_assert!(now - time >= WINDOW || store.seen((*id).into()), "{} was forgotten", id);
        }
        let stats = store.stats();
        let bytes: u64 = page.rows.iter().map(|row| u64::from(row.entry.size)).sum();
        let dead_bytes: u64 = letters.iter().map(|letter| u64::from(letter.size)).sum();
        prop_assert_eq!((stats.pending, stats.pending_bytes), (pending.len() as u64, bytes));
        prop_assert_eq!((stats.dead, stats.dead_bytes), (dead.len() as u64, dead_bytes));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_its_model_does(acts in proptest::collection::vec(act(), 1..40)) {
        let mut run = Run::new();
        for act in &acts {
            run.act(act)?;
        }
        run.opened.close();
    }
}
