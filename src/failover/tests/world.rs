//! Masters, cells, pins and a journal as the core sees them, and somebody who carries its acts out.

use std::collections::BTreeMap;

use crate::clock::Micros;
use crate::failover::fleet::{Act, Fleet, Moment, Plan, PlannedGroup, PlannedMaster, Rules, Step, Told, View};
use crate::failover::plan::Facts;
use crate::failover::record::{Moved, Past, Record, State, What};
use crate::failover::recovery;
use crate::upstream::admission::{Admission, Health, Role};

pub const SECOND: Micros = 1_000_000;

/// What is not the core's.
pub struct World {
    pub fleet: Fleet,
    pub now: Micros,
    /// As the data path sees them.
    pub words: Vec<Admission>,
    pub confirmed: Vec<bool>,
    pub loads: Vec<u32>,
    /// Owner and leaving master of each group.
    pub cells: Vec<(Option<usize>, Option<usize>)>,
    pub hopeless: Vec<bool>,
    pub has_left: Vec<bool>,
    /// By conversation.
    pub pins: BTreeMap<u64, usize>,
    moved: BTreeMap<usize, Vec<(u64, usize)>>,
    pub journal: Vec<Record>,
    /// What the journal adds up to.
    pub past: Past,
    /// Records that are on disk for certain.
    pub synced: usize,
    pub disk_fails: bool,
    pub pins_fail: bool,
    pub told: Vec<Told>,
    /// Who had each group under each epoch, restarts included.
    owners: BTreeMap<(String, u32), String>,
    pub masters: Vec<String>,
}

/// An upstream whose masters serve these accounts, with priorities in their order.
pub fn plan(masters: &[&[&str]], groups: &[(&str, &[usize])], fails_back: bool) -> Plan {
    let named = |group: &str, master: usize| masters[master].contains(&group);
    Plan {
        upstream: "bots".into(),
        rules: Rules {
            deadline: 10 * SECOND,
            fails_back,
            recovery: recovery::Rules { timeout: 30 * SECOND, max_attempts: 5, stable_after: 60 * SECOND },
        },
        masters: (0..masters.len())
            .map(|i| PlannedMaster {
                name: ["a", "b", "c", "d"][i].into(),
                address: format!("127.0.0.1:{i}"),
                priority: i as u32,
            })
            .collect(),
        groups: groups
            .iter()
            .map(|(name, members)| PlannedGroup {
                name: (*name).into(),
                accounts: if name.is_empty() { Vec::new() } else { vec![(*name).into()] },
                members: members.iter().map(|member| (*member, named(name, *member))).collect(),
            })
            .collect(),
    }
}

/// Two masters and one group.
pub fn pair(fails_back: bool) -> Plan {
    plan(&[&[], &[]], &[("", &[0, 1])], fails_back)
}

/// Two masters with an account each, and one that stands by for both.
pub fn shared_standby() -> Plan {
    plan(&[&["1"], &["2"], &["1", "2"]], &[("1", &[0, 2]), ("2", &[1, 2])], false)
}

impl World {
    /// All masters well, and adopted.
    pub fn new(plan: Plan) -> Self {
        let (masters, groups) = (plan.masters.len(), plan.groups.len());
        let healthy = Admission::new(Health::Healthy).with_role(Role::Standby, 0);
        let mut world = Self {
            masters: plan.masters.iter().map(|master| master.name.clone()).collect(),
            fleet: Fleet::new(plan, &Past::default()),
            now: SECOND,
            words: vec![healthy; masters],
            confirmed: vec![true; masters],
            loads: vec![0; masters],
            cells: vec![(None, None); groups],
            hopeless: vec![false; groups],
            has_left: vec![true; groups],
            pins: BTreeMap::new(),
            moved: BTreeMap::new(),
            journal: Vec::new(),
            past: Past::default(),
            synced: 0,
            disk_fails: false,
            pins_fail: false,
            told: Vec::new(),
            owners: BTreeMap::new(),
        };
        let acts = world.fleet.adopt(&world.view());
        world.carry_out(acts);
        world
    }

    pub fn view(&self) -> View {
        let facts = |i: usize| Facts { admission: self.words[i], confirmed: self.confirmed[i], load: self.loads[i] };
        View {
            moment: Moment { now: self.now, today: self.now / 1000 },
            masters: (0..self.words.len()).map(facts).collect(),
            has_left: self.has_left.clone(),
        }
    }

    pub fn look(&mut self) {
        let acts = self.fleet.look(&self.view());
        self.carry_out(acts);
    }

    /// Lets time pass, and everything happen that is due in it.
    pub fn pass(&mut self, time: Micros) {
        let end = self.now + time;
        self.look();
        while let Some(at) = self.fleet.wake_at(self.now).filter(|at| *at <= end) {
            assert!(at > self.now, "nothing was done at {at}, and it is due again");
            self.now = at;
            self.look();
        }
        self.now = end;
        self.look();
    }

    pub fn health(&mut self, master: usize, health: Health) {
        self.words[master] = self.words[master].with_health(health);
        self.confirmed[master] = true;
        self.look();
    }

    pub fn change(&mut self, master: usize, change: impl Fn(Admission) -> Admission) {
        self.words[master] = change(self.words[master]);
        self.look();
    }

    pub fn carry_out(&mut self, acts: Vec<Act>) {
        let mut queue: std::collections::VecDeque<Act> = acts.into();
        while let Some(act) = queue.pop_front() {
            queue.extend(self.carry_out_one(act));
        }
    }

    /// Carries one act out; gives what follows.
    pub fn carry_out_one(&mut self, act: Act) -> Vec<Act> {
        let mut follows = Vec::new();
        match act {
            Act::Role { master, role, fenced_in } => {
                let epoch = fenced_in.unwrap_or(self.words[master].epoch());
                assert!(epoch >= self.words[master].epoch(), "{} goes back in time", self.masters[master]);
                self.words[master] = self.words[master].with_role(role, epoch);
            }
            Act::Hand { group, owner, leaving } => {
                self.cells[group] = (owner, leaving);
                if leaving.is_some() {
                    self.has_left[group] = false;
                }
                self.note_owner(group);
            }
            Act::ForgetLeaving { group } => self.cells[group].1 = None,
            Act::Hopeless { group, hopeless } => self.hopeless[group] = hopeless,
            Act::Record(record) => self.write(record),
            Act::Do { group, step } => {
                let outcome = self.step(group, &step);
                follows = self.fleet.done(group, outcome, &self.view());
            }
            Act::MovePins { from, to } => self.pins.values_mut().filter(|at| **at == from).for_each(|at| *at = to),
            Act::Tell(told) => self.told.push(told),
        }
        self.check();
        follows
    }

    fn step(&mut self, group: usize, step: &Step) -> Result<Option<Moved>, String> {
        match step {
            Step::Sync if self.disk_fails => Err("no room".into()),
            Step::Sync => {
                self.synced = self.journal.len();
                Ok(None)
            }
            Step::Pins { from, to } => {
                let moved: Vec<u64> =
                    self.pins.iter().filter(|(_, at)| *at == from).map(|(conversation, _)| *conversation).collect();
                for conversation in &moved {
                    match to {
                        Some(to) => self.pins.insert(*conversation, *to),
                        None => self.pins.remove(conversation),
                    };
                }
                let checksum = moved.iter().fold(0, |sum, conversation| sum ^ conversation);
                let count = moved.len() as u64;
                self.moved.insert(group, moved.into_iter().map(|conversation| (conversation, *from)).collect());
                if self.pins_fail { Err("pins kept coming".into()) } else { Ok(Some(Moved { count, checksum })) }
            }
            Step::Unpin => {
                self.pins.extend(self.moved.remove(&group).unwrap_or_default());
                Ok(None)
            }
        }
    }

    /// Under one epoch a group has one owner, whatever happens in between.
    fn note_owner(&mut self, group: usize) {
        let Some(owner) = self.cells[group].0 else { return };
        let name = &self.fleet.plan().groups[group].name;
        let held = self.past.upstream("bots").and_then(|known| known.groups.get(name)?.owner.as_ref());
        assert_eq!(held, Some(&self.masters[owner]), "who owns {name} is not what is written down");
        // The last word about who owns it: of a failover, or without one, which is on disk a moment later.
        let about = |it: &Record| match &it.what {
            What::Assigned { group, .. } if group == name => Some(None),
            What::Committed { group, epoch, .. } if group == name => Some(Some(*epoch)),
            _ => None,
        };
        let mut words = self.journal.iter().enumerate().rev().filter_map(|(at, it)| Some((at, about(it)?)));
        let Some((at, Some(epoch))) = words.next() else { return };
        assert!(at < self.synced || self.disk_fails, "{name} changes hands before that is on disk");
        if at < self.synced {
            let first = self.owners.entry((name.clone(), epoch)).or_insert_with(|| self.masters[owner].clone());
            assert_eq!(*first, self.masters[owner], "{name} has two owners in epoch {epoch}");
        }
    }

    fn write(&mut self, record: Record) {
        if let What::Begun { epoch, .. } = record.what {
            let known = self.past.upstream("bots").map_or(0, |known| known.epoch);
            assert!(epoch > known, "epoch {epoch} comes after {known}");
        }
        self.past.apply(&record);
        self.journal.push(record);
    }

    /// What holds after every single act.
    pub fn check(&self) {
        for (group, (owner, leaving)) in self.cells.iter().enumerate() {
            for master in [owner, leaving].into_iter().flatten() {
                assert_ne!(self.words[*master].role(), Role::Standby, "{group} is with a standby");
            }
        }
    }

    /// Whatever was on disk when Baton ended, the next start finds failovers that are completed or undone, and who owns what.
    pub fn check_every_end(&self) {
        let mut past = Past::default();
        for record in &self.journal {
            past.apply(record);
            let mut again = past.clone();
            past.close(0).iter().for_each(|record| again.apply(record));
            let is_over = |state: State| matches!(state, State::Completed | State::Undone);
            assert!(again.failovers().all(|it| is_over(it.state)), "{again:?}");
            let fleet = Fleet::new(self.fleet.plan().clone(), &again);
            assert!(fleet.epoch() >= past.failovers().map(|it| it.epoch).max().unwrap_or(0));
        }
    }

    pub fn role(&self, master: usize) -> Role {
        self.words[master].role()
    }

    pub fn roles(&self) -> Vec<Role> {
        self.words.iter().map(|word| word.role()).collect()
    }

    /// The process ends with so many records on disk, and another one begins.
    pub fn restart(&mut self, records: usize) {
        self.journal.truncate(records.max(self.synced));
        self.past = Past::of(&self.journal);
        for record in self.past.close(self.now / 1000) {
            self.write(record);
        }
        self.synced = self.journal.len();
        let plan = self.fleet.plan().clone();
        // A new process has new words, and a probe that says what is so.
        for word in &mut self.words {
            *word = Admission::new(word.health()).with_operator(word.operator()).with_role(Role::Standby, 0);
        }
        self.confirmed.fill(true);
        self.cells.fill((None, None));
        self.hopeless.fill(false);
        self.has_left.fill(true);
        self.moved.clear();
        self.fleet = Fleet::new(plan, &self.past);
        let acts = self.fleet.adopt(&self.view());
        self.carry_out(acts);
    }
}
