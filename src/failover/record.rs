//! What is written down of failovers, and what it adds up to: who owns what, who is fenced or given up, and what has happened.
//!
//! The same records are the way back after a crash and the history that operators read. [`Past::apply`] is the one place that
//! knows what they mean: a start reads them all through it, and a running process sends each new one through it as well.
//!
//! A failover counts from its [`What::Committed`] on. One that has none was never put into use as far as anybody can
//! know, and [`Past::close`] undoes it at the next start: the owner from before owns again, and if it is still down the next
//! failover begins with its first probe.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;

/// Failovers that are remembered.
pub const HISTORY_MAX: usize = 1000;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In milliseconds since 1970.
    pub at: UnixMillis,
    pub upstream: String,
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Masters are named as in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// A group was given to a master without a failover: at the first start, or because the configuration asks for it.
    Assigned { group: String, owner: String, epoch: u32, held: bool, why: String },
    /// A failover begins; its epoch is used up from here on.
    Begun { epoch: u32, group: String, manner: Manner, from: Option<String>, cause: String, by: String },
    /// This master is to take over.
    Chosen { epoch: u32, to: String },
    /// It could not; everything done for it is undone.
    Passed { epoch: u32, to: String, why: String },
    /// Nobody can take over, for now.
    Stuck { epoch: u32, why: String },
    /// The master owns the group from here on.
    Committed {
        epoch: u32,
        group: String,
        to: String,
        held: bool,
        micros: u64,
        pins: Option<Moved>,
        /// What the master was given of its own kind of state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given: Option<Given>,
        steps: Vec<Took>,
    },
    /// The last conversation has left the owner from before.
    Left { epoch: u32, micros: u64 },
    /// Nothing has changed.
    Undone { epoch: u32, why: String },
    /// A master may not serve until it has shown that it is well.
    Fenced { master: String, epoch: u32 },
    /// It stands by again.
    Rejoined { master: String },
    /// It failed too often, and stays out until a reset.
    GaveUp { master: String },
    /// An operator forgets its failures.
    Reset { master: String, by: String },
}

/// How a group changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// The owner is fenced, and all goes over at once.
    Fence,
    /// The owner is well enough to finish what it has: conversations go over one by one.
    Leave,
}

/// Pins that were moved, counted and summed up on both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub count: u64,
    /// Their keys, combined by exclusive or.
    pub checksum: u64,
}

/// A state that the next owner was given, and answered for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
    /// The master that it comes from.
    pub from: String,
    /// When that gave it, in milliseconds since 1970.
    pub taken: UnixMillis,
}

/// How long a step took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    pub step: String,
    pub micros: u64,
}

/// Everything that the records so far add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    upstreams: BTreeMap<String, PastUpstream>,
    failovers: VecDeque<Failover>,
}

/// What is known of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastUpstream {
    /// The last one used.
    pub epoch: u32,
    pub groups: BTreeMap<String, PastGroup>,
    pub fenced: BTreeSet<String>,
    pub given_up: BTreeSet<String>,
}

/// Who owns a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastGroup {
    pub owner: Option<String>,
    /// An operator chose the owner: it is not to be changed but for a failure.
    pub held: bool,
}

/// One failover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    pub began: UnixMillis,
    pub upstream: String,
    /// With the upstream it names the failover.
    pub epoch: u32,
    pub group: String,
    pub manner: Manner,
    pub from: Option<String>,
    pub to: Option<String>,
    pub cause: String,
    pub by: String,
    pub state: State,
    /// Why it is in that state, where that is not plain.
    pub why: String,
    /// Until the new owner had it.
    pub micros: Option<u64>,
    /// Until the last conversation had left.
    pub left_micros: Option<u64>,
    pub pins: Option<Moved>,
    /// What the new owner was given; none without hooks.
    pub given: Option<Given>,
    pub steps: Vec<Took>,
    /// Masters that could not take over, and why.
    pub passed: Vec<(String, String)>,
}

/// How a failover stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    UnderWay,
    Stuck,
    Completed,
    Undone,
}

impl Past {
    /// Takes the next record in.
    pub fn apply(&mut self, record: &Record) {
        let known = self.upstreams.entry(record.upstream.clone()).or_default();
        match &record.what {
            What::Assigned { group, owner, epoch, held, .. } => {
                known.epoch = known.epoch.max(*epoch);
                known.groups.insert(group.clone(), PastGroup { owner: Some(owner.clone()), held: *held });
            }
            What::Begun { epoch, group, manner, from, cause, by } => {
                known.epoch = known.epoch.max(*epoch);
                if let (Manner::Fence, Some(from)) = (manner, from) {
                    known.fenced.insert(from.clone());
                }
                self.failovers.push_back(Failover {
                    began: record.at,
                    upstream: record.upstream.clone(),
                    group: group.clone(),
                    epoch: *epoch,
                    manner: *manner,
                    from: from.clone(),
                    to: None,
                    cause: cause.clone(),
                    by: by.clone(),
                    state: State::UnderWay,
                    why: String::new(),
                    micros: None,
                    left_micros: None,
                    pins: None,
                    given: None,
                    steps: Vec::new(),
                    passed: Vec::new(),
                });
                if self.failovers.len() > HISTORY_MAX {
                    self.failovers.pop_front();
                }
            }
            What::Committed { epoch, group, to, held, micros, pins, given, steps } => {
                known.fenced.remove(to);
                known.epoch = known.epoch.max(*epoch);
                known.groups.insert(group.clone(), PastGroup { owner: Some(to.clone()), held: *held });
                let Some(failover) = find(&mut self.failovers, &record.upstream, *epoch) else { return };
                (failover.to, failover.micros, failover.pins) = (Some(to.clone()), Some(*micros), *pins);
                (failover.state, failover.why) = (State::Completed, String::new());
                failover.steps.clone_from(steps);
                failover.given.clone_from(given);
            }
            What::Undone { epoch, why } => {
                let Some(failover) = find(&mut self.failovers, &record.upstream, *epoch) else { return };
                if let (Manner::Fence, Some(from)) = (failover.manner, &failover.from) {
                    known.fenced.remove(from);
                }
                (failover.state, failover.why, failover.to) = (State::Undone, why.clone(), None);
            }
            What::Fenced { master, epoch } => {
                known.epoch = known.epoch.max(*epoch);
                known.fenced.insert(master.clone());
            }
            What::Rejoined { master } => {
                known.fenced.remove(master);
            }
            What::GaveUp { master } => {
                known.given_up.insert(master.clone());
            }
            What::Reset { master, .. } => {
                known.given_up.remove(master);
            }
            What::Chosen { epoch, to } => {
                let Some(failover) = find(&mut self.failovers, &record.upstream, *epoch) else { return };
                (failover.to, failover.state) = (Some(to.clone()), State::UnderWay);
            }
            What::Passed { epoch, to, why } => {
                let Some(failover) = find(&mut self.failovers, &record.upstream, *epoch) else { return };
                failover.to = None;
                failover.passed.push((to.clone(), why.clone()));
            }
            What::Stuck { epoch, why } => {
                let Some(failover) = find(&mut self.failovers, &record.upstream, *epoch) else { return };
                (failover.state, failover.why) = (State::Stuck, why.clone());
            }
            What::Left { epoch, micros } => {
                let Some(failover) = find(&mut self.failovers, &record.upstream, *epoch) else { return };
                failover.left_micros = Some(*micros);
            }
        }
    }

    /// The records that end what was under way when the process before this one ended.
    #[must_use]
    pub fn close(&self, at: UnixMillis) -> Vec<Record> {
        let open = self.failovers.iter().filter(|it| matches!(it.state, State::UnderWay | State::Stuck));
        open.map(|failover| Record {
            at,
            upstream: failover.upstream.clone(),
            what: What::Undone { epoch: failover.epoch, why: "Baton ended in the middle of it".to_owned() },
        })
        .collect()
    }

    /// What is known of an upstream.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<&PastUpstream> {
        self.upstreams.get(name)
    }

    /// The failovers, the oldest first; the last [`HISTORY_MAX`] of them.
    pub fn failovers(&self) -> impl DoubleEndedIterator<Item = &Failover> {
        self.failovers.iter()
    }

    /// Fewer records that add up to the same, with the last `kept` failovers told in full: those of `all`, from which this was made.
    #[must_use]
    pub fn condense(&self, all: &[Record], kept: usize, at: UnixMillis) -> Vec<Record> {
        let newest: BTreeSet<(&str, u32)> =
            self.failovers.iter().rev().take(kept).map(|it| (&*it.upstream, it.epoch)).collect();
        let is_kept = |it: &&Record| it.what.failover().is_some_and(|epoch| newest.contains(&(&*it.upstream, epoch)));
        let of = |name: &String, what: What| Record { at, upstream: name.clone(), what };
        let mut told: Vec<Record> = all.iter().filter(is_kept).cloned().collect();
        for (name, known) in &self.upstreams {
            for (group, PastGroup { owner, held }) in &known.groups {
                let Some(owner) = owner.clone() else { continue };
                let why = "as it was when the journal was condensed".to_owned();
                told.push(of(
                    name,
                    What::Assigned { group: group.clone(), owner, epoch: known.epoch, held: *held, why },
                ));
            }
            for master in &known.fenced {
                told.push(of(name, What::Fenced { master: master.clone(), epoch: known.epoch }));
            }
            let again = Self::of(&told);
            let fenced = again.upstream(name).map(|it| it.fenced.clone()).unwrap_or_default();
            for master in fenced.difference(&known.fenced) {
                told.push(of(name, What::Rejoined { master: master.clone() }));
            }
            for master in &known.given_up {
                told.push(of(name, What::GaveUp { master: master.clone() }));
            }
        }
        told
    }

    /// What these records add up to.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut past = Self::default();
        records.iter().for_each(|record| past.apply(record));
        past
    }
}

impl Manner {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Leave => "leave",
        }
    }
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::UnderWay => "under-way",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Undone => "undone",
        }
    }
}

impl What {
    /// The epoch of the failover that it is about.
    #[must_use]
    pub fn failover(&self) -> Option<u32> {
        match self {
            Self::Begun { epoch, .. }
            | Self::Chosen { epoch, .. }
            | Self::Passed { epoch, .. }
            | Self::Stuck { epoch, .. }
            | Self::Committed { epoch, .. }
            | Self::Left { epoch, .. }
            | Self::Undone { epoch, .. } => Some(*epoch),
            Self::Assigned { .. }
            | Self::Fenced { .. }
            | Self::Rejoined { .. }
            | Self::GaveUp { .. }
            | Self::Reset { .. } => None,
        }
    }
}

fn find<'f>(failovers: &'f mut VecDeque<Failover>, upstream: &str, epoch: u32) -> Option<&'f mut Failover> {
    // The newest are asked for.
    failovers.iter_mut().rev().find(|failover| failover.epoch == epoch && failover.upstream == upstream)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(what: What) -> Record {
        Record { at: 7, upstream: "bots".into(), what }
    }

    fn begun(epoch: u32, manner: Manner) -> Record {
        let (group, from, cause, by) = (String::new(), Some("a".into()), "a has failed".into(), "baton".into());
        record(What::Begun { epoch, group, manner, from, cause, by })
    }

    fn committed(epoch: u32, to: &str) -> Record {
        record(What::Committed {
            epoch,
            group: String::new(),
            to: to.into(),
            held: false,
            micros: 5,
            pins: None,
            given: None,
            steps: Vec::new(),
        })
    }

    fn owner(past: &Past) -> Option<&str> {
        past.upstream("bots")?.groups.get("")?.owner.as_deref()
    }

    fn assigned() -> Record {
        record(What::Assigned { group: "".into(), owner: "a".into(), epoch: 0, held: false, why: "first".into() })
    }

    #[test]
    fn every_prefix_ends_in_a_completed_or_an_undone_failover() {
        let whole = [
            assigned(),
            begun(1, Manner::Fence),
            record(What::Chosen { epoch: 1, to: "b".into() }),
            record(What::Passed { epoch: 1, to: "b".into(), why: "it has failed".into() }),
            record(What::Stuck { epoch: 1, why: "nobody is left".into() }),
            record(What::Chosen { epoch: 1, to: "c".into() }),
            committed(1, "c"),
        ];
        for length in 0..=whole.len() {
            let mut past = Past::of(&whole[..length]);
            past.close(9).iter().for_each(|record| past.apply(record));
            let is_over = |failover: &Failover| matches!(failover.state, State::Completed | State::Undone);
            assert!(past.failovers().all(is_over), "{past:?}");
            let expected = [None, Some("a"), Some("c")][usize::from(length > 0) + usize::from(length == whole.len())];
            assert_eq!(owner(&past), expected);
            let known = past.upstream("bots").cloned().unwrap_or_default();
            assert_eq!((known.epoch, known.fenced.contains("a")), (u32::from(length > 1), length == whole.len()));
        }
    }

    #[test]
    fn a_record_is_one_line_and_is_read_as_it_was_written() {
        let step = Took { step: "choose".into(), micros: 12 };
        let moved = Some(Moved { count: 3, checksum: u64::MAX });
        let record = record(What::Committed {
            epoch: 1,
            group: "1".into(),
            to: "b\n".into(),
            held: true,
            micros: 5,
            pins: moved,
            given: None,
            steps: vec![step],
        });
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.contains('\n') && line.contains(r#""kind":"committed""#), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn what_a_version_without_hooks_has_written_is_still_read() {
        let line = r#"{"at":7,"upstream":"bots","kind":"committed","epoch":1,"group":"","to":"b","held":false,"micros":5,"pins":null,"steps":[]}"#;
        assert_eq!(serde_json::from_str::<Record>(line).unwrap(), committed(1, "b"));
    }

    fn any_what() -> impl Strategy<Value = What> {
        let name = || prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
        let group = || prop::sample::select(vec!["", "1"]).prop_map(str::to_owned);
        let manner = prop::sample::select(vec![Manner::Fence, Manner::Leave]);
        prop_oneof![
            (group(), name(), 0..9_u32, any::<bool>()).prop_map(|(group, owner, epoch, held)| What::Assigned {
                group,
                owner,
                epoch,
                held,
                why: String::new()
            }),
            (group(), 0..9_u32, manner, name()).prop_map(|(group, epoch, manner, from)| What::Begun {
                epoch,
                group,
                manner,
                from: Some(from),
                cause: String::new(),
                by: String::new()
            }),
            (0..9_u32, name()).prop_map(|(epoch, to)| What::Chosen { epoch, to }),
            (0..9_u32, group(), name(), any::<bool>()).prop_map(|(epoch, group, to, held)| What::Committed {
                epoch,
                group,
                to,
                held,
                micros: 1,
                pins: None,
                given: None,
                steps: Vec::new()
            }),
            (0..9_u32).prop_map(|epoch| What::Undone { epoch, why: String::new() }),
            (name(), 0..9_u32).prop_map(|(master, epoch)| What::Fenced { master, epoch }),
            name().prop_map(|master| What::Rejoined { master }),
            name().prop_map(|master| What::GaveUp { master }),
            name().prop_map(|master| What::Reset { master, by: String::new() }),
        ]
    }

    proptest! {
        #[test]
        fn a_condensed_journal_adds_up_to_the_same(whats in prop::collection::vec(any_what(), 0..40), kept in 0..9_usize) {
            // A number is given once.
            let mut begun = BTreeSet::new();
            let is_new = |what: &What| !matches!(what, What::Begun { epoch, .. } if !begun.insert(*epoch));
            let all: Vec<Record> = whats.into_iter().filter(is_new).map(record).collect();
            let past = Past::of(&all);
            let again = Past::of(&past.condense(&all, kept, 9));
            for (name, known) in &past.upstreams {
                let known_again = again.upstream(name).cloned().unwrap_or_default();
                prop_assert_eq!(&known.groups, &known_again.groups);
                prop_assert_eq!((&known.fenced, &known.given_up), (&known_again.fenced, &known_again.given_up));
                prop_assert!(known.groups.is_empty() || known.epoch == known_again.epoch);
            }
            let newest: Vec<&Failover> = past.failovers().rev().take(kept).collect();
            prop_assert_eq!(newest, again.failovers().rev().collect::<Vec<_>>());
        }
    }
}
