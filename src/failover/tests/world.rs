//! Masters, cells, pins and a journal as the core sees them, and somebody who carries its acts out.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Micros;
use crate::failover::fleet::{
    Act, Brought, Fleet, Handing, Moment, Plan, PlannedGroup, PlannedMaster, Rules, Step, Told, View,
};
use crate::failover::plan::Facts;
use crate::failover::record::{Given, Moved, Past, Record, State, What};
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
    /// Masters' hooks fail, each in the middle of what it does.
    pub hooks_fail: bool,
    /// Their answers come when they are asked for.
    pub hooks_are_slow: bool,
    answers: Vec<(usize, Result<Brought, String>)>,
    /// By group and master.
    pub own: Vec<Vec<Own>>,
    /// By group.
    pub kept: Vec<u64>,
    pub told: Vec<Told>,
    /// Who had each group under each epoch, restarts included.
    owners: BTreeMap<(String, u32), String>,
    /// What was handed over since the start.
    handed: BTreeSet<(String, u32)>,
    pub masters: Vec<String>,
}

/// What a master owns of a group, and whether its hooks have told it that it serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Own {
    pub active: bool,
    pub state: u64,
}

/// The same with hooks.
pub fn with_hooks(mut plan: Plan) -> Plan {
    plan.rules.hooks = true;
    plan
}

/// An upstream whose masters serve these accounts, with priorities in their order.
pub fn plan(masters: &[&[&str]], groups: &[(&str, &[usize])], fails_back: bool) -> Plan {
    let named = |group: &str, master: usize| masters[master].contains(&group);
    Plan {
        upstream: "bots".into(),
        rules: Rules {
            deadline: 10 * SECOND,
            fails_back,
            hooks: false,
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
            hooks_fail: false,
            hooks_are_slow: false,
            answers: Vec::new(),
            own: vec![vec![Own { active: true, state: 0 }; masters]; groups],
            kept: vec![0; groups],
            told: Vec::new(),
            owners: BTreeMap::new(),
            handed: BTreeSet::new(),
        };
        let acts = world.fleet.adopt(&world.view());
        world.carry_out(acts);
        world.tend();
        world
    }

    /// Keeps the states of owners, and tells everybody who serves, as far as they answer.
    pub fn tend(&mut self) {
        for group in 0..self.cells.len() {
            let Some(owner) = self.fleet.settled(group) else { continue };
            for master in 0..self.words.len() {
                let is_well = self.view().masters[master].fit().is_ok();
                if is_well && master != owner {
                    self.own[group][master].active = false;
                } else if is_well && std::mem::replace(&mut self.own[group][master].active, true) {
                    self.kept[group] = self.own[group][master].state;
                } else if is_well {
                    self.own[group][master].state = self.kept[group];
                }
            }
        }
    }

    /// Slow hooks answer now.
    pub fn answer_hooks(&mut self) -> Vec<Act> {
        let view = self.view();
        let answers = std::mem::take(&mut self.answers);
        answers.into_iter().flat_map(|(group, answer)| self.fleet.done(group, answer, &view)).collect()
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
        let acts = self.answer_hooks();
        self.carry_out(acts);
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
                if self.hooks_are_slow && matches!(step, Step::Give(_) | Step::TakeBack(_)) {
                    self.answers.push((group, outcome));
                } else {
                    follows = self.fleet.done(group, outcome, &self.view());
                }
            }
            Act::MovePins { from, to } => self.pins.values_mut().filter(|at| **at == from).for_each(|at| *at = to),
            Act::Tell(told) => self.told.push(told),
        }
        self.check();
        follows
    }

    fn step(&mut self, group: usize, step: &Step) -> Result<Brought, String> {
        match step {
            Step::Sync if self.disk_fails => Err("no room".into()),
            Step::Sync => {
                self.synced = self.journal.len();
                Ok(Brought::default())
            }
            Step::Give(handing) => self.give(group, handing),
            Step::TakeBack(Handing { from, to, .. }) => {
                self.own[group][*to].active = false;
                from.iter().for_each(|from| self.own[group][*from].active = true);
                Ok(Brought::default())
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
                let pins = Some(Moved { count, checksum });
                if self.pins_fail { Err("pins kept coming".into()) } else { Ok(Brought { pins, given: None }) }
            }
            Step::Unpin => {
                self.pins.extend(self.moved.remove(&group).unwrap_or_default());
                Ok(Brought::default())
            }
        }
    }

    fn give(&mut self, group: usize, Handing { from, whole, to, .. }: &Handing) -> Result<Brought, String> {
        let own = &mut self.own[group];
        if let Some(from) = from {
            if self.hooks_fail && *whole {
                return Err(format!("{} does not give its state", self.masters[*from]));
            }
            self.kept[group] = own[*from].state;
            own[*from].active = false;
        }
        if self.hooks_fail || self.words[*to].health() == Health::Failed {
            from.iter().for_each(|from| own[*from].active = true);
            own[*to].active = false;
            return Err(format!("{} does not import", self.masters[*to]));
        }
        own[*to] = Own { active: true, state: self.kept[group] };
        let from = from.map_or_else(String::new, |from| self.masters[from].clone());
        let given = Given { bytes: 1, sha256: self.kept[group].to_string(), from, taken: self.now / 1000 };
        Ok(Brought { pins: None, given: Some(given) })
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
        // An owner that goes on after a failover that came to nothing was handed it before.
        let is_new = self.handed.insert((name.clone(), epoch));
        assert!(at < self.synced || self.disk_fails || !is_new, "{name} changes hands before that is on disk");
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
            if let (Some(owner), true) = (owner, self.fleet.plan().rules.hooks) {
                assert!(self.own[group][*owner].active, "{} owns {group}, and was not told", self.masters[*owner]);
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
        self.answers.clear();
        self.handed.clear();
        // Nobody knows what masters were told, until they are told again.
        self.own.iter_mut().flatten().for_each(|own| own.active = true);
        self.fleet = Fleet::new(plan, &self.past);
        let acts = self.fleet.adopt(&self.view());
        self.carry_out(acts);
        self.tend();
    }
}
