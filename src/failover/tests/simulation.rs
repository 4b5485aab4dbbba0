//! Thousands of worlds in which masters, disks and Baton itself fail at any moment, with messages on their way.

use std::collections::{BTreeMap, VecDeque};

use super::world::{SECOND, World, pair, plan, shared_standby, with_hooks};
use crate::clock::Micros;
use crate::failover::ask::Ask;
use crate::failover::fleet::Act;
use crate::ids::mix;
use crate::upstream::admission::{Health, OperatorState, Role};

const WORLDS: u64 = 2000;
const STEPS: usize = 120;
/// With all well, longer than any pause, ejection or deadline.
const REPAIR: Micros = 1000 * SECOND;

/// A message on its way to a master.
struct Flight {
    conversation: u64,
    sequence: u64,
    master: usize,
    /// When the master was fenced last.
    epoch: u32,
    ends: Micros,
}

struct Play {
    world: World,
    random: u64,
    /// By conversation: what is acknowledged and not settled.
    stored: BTreeMap<u64, VecDeque<u64>>,
    flights: Vec<Flight>,
    next: u64,
    /// What each conversation's masters have handled, in order.
    handled: BTreeMap<u64, Vec<(u64, usize)>>,
    acknowledged: u64,
    late: u64,
    restarts: u64,
}

impl Play {
    fn new(seed: u64) -> Self {
        let plan = match seed % 4 {
            0 => pair(seed % 8 < 4),
            1 => plan(&[&[], &[], &[]], &[("", &[0, 1, 2])], true),
            2 => shared_standby(),
            _ => plan(&[&["1"], &["*"], &["2"], &["*"]], &[("1", &[0, 1, 3]), ("2", &[1, 2, 3]), ("*", &[1, 3])], true),
        };
        // The plans come in fours, and every other four has hooks.
        let plan = if seed / 4 % 2 == 1 { with_hooks(plan) } else { plan };
        Self {
            world: World::new(plan),
            random: mix(seed),
            stored: BTreeMap::new(),
            flights: Vec::new(),
            next: 0,
            handled: BTreeMap::new(),
            acknowledged: 0,
            late: 0,
            restarts: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.random) % bound as u64) as usize
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    /// Something happens, or nothing.
    fn disturb(&mut self) {
        let master = self.below(self.world.words.len());
        let word = self.world.words[master];
        match self.below(18) {
            0 | 1 => {
                self.world.words[master] = word.with_health(Health::Failed);
                self.world.confirmed[master] = !self.one_in(4);
            }
            2 => self.world.words[master] = word.with_suspect(!word.suspect()),
            3 => self.world.words[master] = word.with_ejected(!word.ejected()),
            4..=7 => {
                self.world.words[master] = word.with_health(Health::Healthy).with_suspect(false).with_ejected(false);
                self.world.confirmed[master] = true;
            }
            8 => self.world.words[master] = word.with_health(Health::Degraded),
            9 => {
                let states = [OperatorState::Ready, OperatorState::Drain, OperatorState::Maintenance];
                let state = states[self.below(3)];
                self.world.words[master] = word.with_operator(state);
            }
            10 => self.world.disk_fails = self.one_in(2),
            11 => self.world.pins_fail = self.one_in(2),
            12 => {
                let target = self.one_in(2).then(|| self.world.masters[master].clone());
                self.ask(&Ask::Failover { account: None, target });
            }
            13 => self.ask(&Ask::Failback { account: None }),
            14 => self.ask(&Ask::Reset { master: None }),
            15 => self.world.hooks_fail = self.one_in(3),
            16 => self.world.hooks_are_slow = self.one_in(2),
            _ => {}
        }
    }

    fn ask(&mut self, ask: &Ask) {
        let view = self.world.view();
        if let Ok(answer) = self.world.fleet.weigh(ask, &view) {
            let acts = self.world.fleet.carry_out(&answer, "ann", "", &view);
            self.carry_out(acts);
        }
    }

    /// Carries acts out, unless Baton ends in the middle of them, or a master changes in between.
    fn carry_out(&mut self, acts: Vec<Act>) {
        let mut queue: VecDeque<Act> = acts.into();
        while let Some(act) = queue.pop_front() {
            let follows = self.world.carry_out_one(act);
            queue.extend(follows);
            if self.one_in(400) {
                return self.restart();
            }
            if self.one_in(50) {
                let master = self.below(self.world.words.len());
                self.world.words[master] = self.world.words[master].with_health(Health::Failed);
            }
        }
    }

    /// Baton ends, with any part of what was not known to be on disk, and begins anew.
    fn restart(&mut self) {
        self.restarts += 1;
        let unsure = self.world.journal.len() - self.world.synced;
        let records = self.world.synced + self.below(unsure + 1);
        self.flights.clear();
        self.world.restart(records);
        for group in 0..self.world.cells.len() {
            assert!(self.world.cells[group].0.is_some(), "after a start every group has an owner");
        }
    }

    /// The master that gets a message of this conversation now.
    fn owner(&self, conversation: u64) -> Option<usize> {
        let group = (conversation % self.world.cells.len() as u64) as usize;
        let (owner, leaving) = self.world.cells[group];
        let stays = |master: &usize| {
            self.flights.iter().any(|flight| flight.conversation == conversation && flight.master == *master)
        };
        leaving.filter(stays).or(owner).filter(|master| self.world.words[*master].role() == Role::Active)
    }

    fn messages(&mut self) {
        for _ in 0..self.below(3) {
            let conversation = self.below(6) as u64;
            self.next += 1;
            self.acknowledged += 1;
            self.stored.entry(conversation).or_default().push_back(self.next);
        }
        // One of a conversation at a time.
        for conversation in 0..6 {
            let is_busy = self.flights.iter().any(|flight| flight.conversation == conversation);
            let first = self.stored.get(&conversation).and_then(|queue| queue.front().copied());
            if let (false, Some(sequence), Some(master)) = (is_busy, first, self.owner(conversation)) {
                let (epoch, ends) = (self.world.words[master].epoch(), self.world.now + self.below(200_000) as u64);
                self.flights.push(Flight { conversation, sequence, master, epoch, ends });
            }
        }
        self.land();
        for group in 0..self.world.cells.len() {
            let leaving = self.world.cells[group].1;
            let groups = self.world.cells.len() as u64;
            let is_left =
                |flight: &Flight| (flight.conversation % groups) as usize == group && Some(flight.master) == leaving;
            self.world.has_left[group] = !self.flights.iter().any(is_left);
        }
    }

    fn land(&mut self) {
        let now = self.world.now;
        let (landed, still): (Vec<Flight>, Vec<Flight>) = self.flights.drain(..).partition(|it| it.ends <= now);
        self.flights = still;
        for Flight { conversation, sequence, master, epoch, .. } in landed {
            let word = self.world.words[master];
            if word.health() == Health::Failed {
                // It never answers; whoever waits for it gives up.
                continue;
            }
            self.handled.entry(conversation).or_default().push((sequence, master));
            if word.epoch() != epoch {
                self.late += 1;
                continue;
            }
            let group = (conversation % self.world.cells.len() as u64) as usize;
            self.world.own[group][master].state += 1;
            let queue = self.stored.entry(conversation).or_default();
            assert_eq!(queue.front(), Some(&sequence), "{sequence} was settled by somebody else");
            queue.pop_front();
        }
    }

    fn step(&mut self) {
        let longest = if self.one_in(9) { 3_000_000 } else { 60_000 };
        self.world.now += self.below(longest) as u64;
        self.disturb();
        self.messages();
        if self.one_in(3) {
            self.world.tend();
        }
        if self.one_in(2) {
            let acts = self.world.answer_hooks();
            self.carry_out(acts);
        }
        let acts = self.world.fleet.look(&self.world.view());
        self.carry_out(acts);
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        // From here on all are well.
        (self.world.disk_fails, self.world.pins_fail) = (false, false);
        (self.world.hooks_fail, self.world.hooks_are_slow) = (false, false);
        for word in &mut self.world.words {
            *word = word.with_health(Health::Healthy).with_suspect(false).with_ejected(false);
            *word = word.with_operator(OperatorState::Ready);
        }
        self.world.confirmed.fill(true);
        let end = self.world.now + REPAIR;
        while self.world.now < end {
            self.world.has_left.fill(true);
            self.world.pass(100 * SECOND);
            self.messages_end();
        }
        for (group, (owner, leaving)) in self.world.cells.iter().enumerate() {
            assert!(
                owner.is_some() && leaving.is_none() && !self.world.hopeless[group],
                "{group} is left without an owner"
            );
        }
        self.world.tend();
        for (group, (owner, _)) in self.world.cells.iter().enumerate() {
            let active = |master: &usize| self.world.own[group][*master].active;
            let active: Vec<usize> = (0..self.world.words.len()).filter(active).collect();
            assert_eq!(active, owner.iter().copied().collect::<Vec<_>>(), "{group} was told that another one serves");
        }
        assert!(self.stored.values().all(VecDeque::is_empty), "{:?} was acknowledged and is nowhere", self.stored);
        for (conversation, handled) in &self.handled {
            let first_times =
                handled.iter().enumerate().filter(|(at, it)| !handled[..*at].iter().any(|old| old.0 == it.0));
            let order: Vec<u64> = first_times.map(|(_, it)| it.0).collect();
            assert!(order.is_sorted(), "{conversation} is out of order: {handled:?}");
        }
    }

    /// Delivers without anything new.
    fn messages_end(&mut self) {
        for _ in 0..50 {
            for conversation in 0..6 {
                let first = self.stored.get(&conversation).and_then(|queue| queue.front().copied());
                let is_busy = self.flights.iter().any(|flight| flight.conversation == conversation);
                if let (false, Some(sequence), Some(master)) = (is_busy, first, self.owner(conversation)) {
                    let epoch = self.world.words[master].epoch();
                    self.flights.push(Flight { conversation, sequence, master, epoch, ends: self.world.now });
                }
            }
            self.land();
        }
    }
}

#[test]
fn in_no_world_has_an_account_two_owners_or_loses_a_message() {
    if let Ok(seed) = std::env::var("BATON_SIMULATION_SEED") {
        return Play::new(seed.parse().unwrap()).run();
    }
    let (mut failovers, mut restarts, mut late, mut acknowledged) = (0, 0, 0, 0);
    for seed in 0..WORLDS {
        let mut play = Play::new(seed);
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play.run())) {
            eprintln!("BATON_SIMULATION_SEED={seed} plays this again");
            std::panic::resume_unwind(panic);
        }
        if seed % 50 == 0 {
            play.world.check_every_end();
        }
        failovers += u64::from(play.world.fleet.epoch());
        restarts += play.restarts;
        late += play.late;
        acknowledged += play.acknowledged;
    }
    // Worlds in which nothing goes wrong would show nothing.
    assert!(
        failovers > 10_000 && restarts > 500 && late > 200 && acknowledged > 100_000,
        "{failovers} {restarts} {late} {acknowledged}"
    );
}
