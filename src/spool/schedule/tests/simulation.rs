//! A whole world around the schedule: senders, a disk whose commits come late, masters that die, hang, fail and come back, and
//! Baton ending at any moment. Every world follows from one number, so that a failure can be played again:
//! `BATON_SIMULATION_SEED=n cargo test --lib simulation`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::mix;
use crate::spool::schedule::*;

const WORLDS: u64 = 2000;
/// Steps in which things go wrong; then everything is repaired and has to come to an end.
const STEPS: usize = 250;
/// After a repair, steps until nothing may be left.
const REPAIR_STEPS: usize = 20_000;
/// After this long Baton gives up waiting for an answer.
const TIMEOUT: u64 = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Hanging,
    Failing,
    Down,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    conversation: u64,
    accepted: u64,
    due: u64,
    attempts: u16,
    breaks: u8,
}

#[derive(Debug, Clone, Copy)]
enum Commit {
    Accept(u64, Stored),
    Settle(u64, Settlement),
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    seq: u64,
    conversation: u64,
    /// `None` when no master could be reached.
    master: Option<usize>,
    ends: u64,
    outcome: Outcome,
}

/// What is known about a message from outside of Baton.
#[derive(Debug, Default, Clone, Copy)]
struct Fate {
    /// Masters that answered 2xx.
    handled: u32,
    broke: u32,
    killed: u32,
    /// How its last attempt ended as Baton saw it; `None` when Baton ended before that was on disk.
    last: Option<Outcome>,
    started: bool,
    /// Breaks that an end of Baton made it forget.
    forgotten: u32,
}

struct World {
    state: u64,
    now: u64,
    settings: Settings,
    schedule: Schedule,
    disk: BTreeMap<u64, Stored>,
    writer: VecDeque<Commit>,
    masters: Vec<State>,
    /// What Baton believes of them.
    believed: Vec<bool>,
    flights: Vec<Flight>,
    /// Reserved numbers that are not with the writer yet.
    reserved: Vec<(u64, u64)>,
    counter: u64,
    /// When a connection was last refused, and a delivery last ended.
    refused: u64,
    ended: u64,
    acknowledged: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    dead: BTreeMap<u64, Reason>,
    poison: BTreeSet<u64>,
    fates: BTreeMap<u64, Fate>,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = Settings { max_in_flight: 2, backoff: 200, max_backoff: 2000, ..Settings::default() };
        let mut world = Self {
            state: seed,
            now: 1_000_000,
            settings,
            schedule: Schedule::new(0),
            disk: BTreeMap::new(),
            writer: VecDeque::new(),
            masters: Vec::new(),
            believed: Vec::new(),
            flights: Vec::new(),
            reserved: Vec::new(),
            counter: 0,
            refused: 0,
            ended: 0,
            acknowledged: BTreeSet::new(),
            settled: BTreeSet::new(),
            dead: BTreeMap::new(),
            poison: BTreeSet::new(),
            fates: BTreeMap::new(),
        };
        let masters = 1 + world.below(4) as usize;
        world.settings.spacing = if world.one_in(4) { 50 } else { 0 };
        (world.masters, world.believed) = (vec![State::Up; masters], vec![true; masters]);
        world.start();
        world
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A new process: all it knows is what is on disk.
    fn start(&mut self) {
        self.schedule = Schedule::new(self.state);
        let upstream = self.schedule.add_upstream(self.settings);
        self.schedule.add_lane(upstream);
        for (seq, stored) in &self.disk {
            self.schedule.stored(0, &arrival(*seq, *stored), self.now);
        }
        self.schedule.interrupted(self.now);
        self.tell();
    }

    /// Tells the schedule what is believed of the masters.
    fn tell(&mut self) {
        let usable = self.believed.iter().filter(|usable| **usable).count();
        self.schedule.usable(0, usable as u32);
        self.schedule.open(0, usable > 0);
    }

    fn crash(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            // It may have been handled before Baton ended.
            if flight.master.is_some() {
                let handled = flight.outcome == Outcome::Delivered && self.one_in(2);
                let fate = self.fates.get_mut(&flight.seq).unwrap();
                fate.handled += u32::from(handled);
                fate.last = None;
            }
        }
        for commit in std::mem::take(&mut self.writer) {
            if let Commit::Settle(seq, settlement) = commit {
                let fate = self.fates.get_mut(&seq).unwrap();
                fate.last = None;
                fate.forgotten += u32::from(matches!(settlement, Settlement::Retry { .. } | Settlement::Dead { .. }));
            }
        }
        self.reserved.clear();
        self.nothing_is_lost();
        self.start();
    }

    fn commit_one(&mut self) {
        match self.writer.pop_front() {
            Some(Commit::Accept(seq, stored)) => {
                self.disk.insert(seq, stored);
                self.acknowledged.insert(seq);
                assert!(self.schedule.stored(0, &arrival(seq, stored), self.now));
            }
            Some(Commit::Settle(seq, settlement)) => {
                match settlement {
                    Settlement::Delivered => {
                        self.disk.remove(&seq);
                        self.settled.insert(seq);
                    }
                    Settlement::Retry { due, attempts, breaks } => {
                        let stored = self.disk.get_mut(&seq).unwrap();
                        (stored.due, stored.attempts, stored.breaks) = (due, attempts, breaks);
                    }
                    Settlement::Dead { reason, .. } => {
                        self.disk.remove(&seq);
                        self.dead.insert(seq, reason);
                    }
                }
                self.schedule.settled(seq, self.now);
                self.ended = self.now;
            }
            None => {}
        }
    }

    /// Hands out what the schedule has to deliver.
    fn pump(&mut self) {
        while let Some(step) = self.schedule.next(self.now) {
            match step {
                Step::Bury { seq, .. } => panic!("{seq} is not old"),
                Step::Deliver(delivery) => self.begin(delivery),
            }
        }
        // Work is conserved: a master with room and a conversation that may go leave nothing idle, unless a refused
        // connection has just said otherwise.
        let paused = self.now < self.refused + 1000;
        if self.flights.is_empty() && self.writer.is_empty() && self.believed.contains(&true) && !paused {
            let mut heads = BTreeMap::new();
            for stored in self.disk.values() {
                heads.entry(stored.conversation).or_insert(stored.due);
            }
            let spacing = self.settings.spacing;
            let ready = heads.values().find(|due| **due <= self.now && self.ended + spacing <= self.now);
            assert!(ready.is_none(), "something is ready, and nothing is in flight");
        }
    }

    fn begin(&mut self, delivery: Delivery) {
        let Delivery { seq, conversation, attempt, ambiguous, .. } = delivery;
        let (stored, conversation) = (self.disk[&seq], conversation.expect("every message here has one"));
        assert!(self.flights.iter().all(|other| other.conversation != conversation), "two of {conversation} in flight");
        let earlier = self.disk.range(..seq).find(|(_, other)| other.conversation == conversation);
        assert!(earlier.is_none(), "{seq} before {earlier:?}");
        assert_eq!((attempt, conversation), (stored.attempts + 1, stored.conversation));
        let fate = self.fates.entry(seq).or_default();
        if fate.started {
            assert_ne!(fate.last, Some(Outcome::Delivered), "{seq} again, whose delivery is on disk");
            let doubtful = fate.last.is_none() || fate.last == Some(Outcome::Broken);
            assert!(ambiguous || !doubtful, "{seq} again without a mark after {fate:?}");
        }
        let believed: Vec<usize> = (0..self.masters.len()).filter(|master| self.believed[*master]).collect();
        assert!(!believed.is_empty(), "{seq} while no master is usable");
        let master = believed[self.below(believed.len() as u64) as usize];
        let answer = 1 + self.below(30);
        let (master, outcome, after) = match self.masters[master] {
            // A refused connection is seen at once.
            State::Down => {
                self.believed[master] = false;
                self.refused = self.now;
                self.tell();
                (None, Outcome::NotSent, 0)
            }
            State::Hanging => (Some(master), Outcome::Broken, TIMEOUT),
            State::Failing => (Some(master), Outcome::Failed, answer),
            State::Up if self.poison.contains(&seq) => (Some(master), Outcome::Broken, answer),
            State::Up => (Some(master), Outcome::Delivered, answer),
        };
        if master.is_some() {
            let fate = self.fates.entry(seq).or_default();
            (fate.started, fate.last) = (true, None);
        }
        self.flights.push(Flight { seq, conversation, master, ends: self.now + after, outcome });
    }

    /// Ends what is over.
    fn land(&mut self) {
        while let Some(position) = self.flights.iter().position(|flight| flight.ends <= self.now) {
            let flight = self.flights.swap_remove(position);
            let poison = flight.outcome == Outcome::Broken && self.poison.contains(&flight.seq);
            if let Some(master) = flight.master.filter(|master| poison && self.masters[*master] == State::Up) {
                let fate = self.fates.get_mut(&flight.seq).unwrap();
                fate.killed += 1;
                let bound = u32::from(self.settings.masters) + fate.forgotten;
                assert!(fate.killed <= bound, "{} took {} masters down", flight.seq, fate.killed);
                self.kill(master);
            }
            self.ended(flight, flight.outcome);
        }
    }

    fn ended(&mut self, flight: Flight, outcome: Outcome) {
        if flight.master.is_some() {
            let fate = self.fates.get_mut(&flight.seq).unwrap();
            fate.last = Some(outcome);
            fate.handled += u32::from(outcome == Outcome::Delivered);
            fate.broke += u32::from(outcome == Outcome::Broken);
        }
        let random = self.random();
        if let Some(settlement) = self.schedule.outcome(flight.seq, outcome, self.now, random) {
            self.writer.push_back(Commit::Settle(flight.seq, settlement));
        }
    }

    /// A master ends, and with it everything that it was given.
    fn kill(&mut self, master: usize) {
        self.masters[master] = State::Down;
        let (its, others): (Vec<Flight>, _) = self.flights.drain(..).partition(|flight| flight.master == Some(master));
        self.flights = others;
        for flight in its {
            self.ended(flight, Outcome::Broken);
        }
    }

    fn step(&mut self, broken: bool) {
        self.now += self.below(if broken { 40 } else { 300 });
        if broken && self.one_in(2) {
            self.counter += 1;
            let conversation = self.below(5);
            if self.one_in(30) {
                self.poison.insert(self.counter);
            }
            self.reserved.push((self.counter, conversation));
        }
        // Numbers come to the writer in any order, a little late.
        while !self.reserved.is_empty() && !self.one_in(3) {
            let which = self.below(self.reserved.len() as u64) as usize;
            let (seq, conversation) = self.reserved.swap_remove(which);
            let (accepted, due) = (self.now, self.now);
            self.writer.push_back(Commit::Accept(seq, Stored { conversation, accepted, due, attempts: 0, breaks: 0 }));
        }
        for _ in 0..self.below(6) {
            self.commit_one();
        }
        self.land();
        if broken && self.one_in(8) {
            let master = self.below(self.masters.len() as u64) as usize;
            match self.below(4) {
                0 => self.kill(master),
                1 => self.masters[master] = State::Hanging,
                2 => self.masters[master] = State::Failing,
                _ => self.masters[master] = State::Up,
            }
        }
        // Probes see what is so, now and then.
        for master in 0..self.masters.len() {
            if self.one_in(8) {
                self.believed[master] = matches!(self.masters[master], State::Up | State::Failing);
                self.tell();
            } else if !broken && self.masters[master] != State::Up {
                self.masters[master] = State::Up;
            }
        }
        if broken && self.one_in(60) {
            self.crash();
        }
        self.pump();
        assert!(self.schedule.settling() <= self.writer.len());
        assert_eq!(self.schedule.in_flight(), self.flights.len());
    }

    fn nothing_is_lost(&self) {
        for seq in &self.acknowledged {
            let kept = self.disk.contains_key(seq) || self.settled.contains(seq) || self.dead.contains_key(seq);
            assert!(kept, "{seq} was acknowledged and is lost");
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step(true);
        }
        for _ in 0..REPAIR_STEPS {
            if self.disk.is_empty() && self.writer.is_empty() && self.reserved.is_empty() {
                break;
            }
            self.step(false);
        }
        assert!(self.disk.is_empty(), "{:?} are left with every master up", self.disk);
        assert!(self.schedule.is_empty());
        self.nothing_is_lost();
        for seq in &self.settled {
            assert!(self.fates[seq].handled > 0, "{seq} is settled, and no master has handled it");
        }
        for (seq, reason) in &self.dead {
            let fate = self.fates[seq];
            assert!(*reason != Reason::Masters || fate.broke >= 3, "{seq} is dead after {fate:?}");
        }
    }
}

fn arrival(seq: u64, stored: Stored) -> Arrival {
    let Stored { conversation, accepted, due, attempts, breaks } = stored;
    Arrival { seq, conversation: Some(conversation), accepted, due, attempts, breaks }
}

#[test]
fn in_no_world_is_a_message_lost_doubled_without_need_or_out_of_order() {
    if let Ok(seed) = std::env::var("BATON_SIMULATION_SEED") {
        return World::new(seed.parse().unwrap()).run();
    }
    let (mut delivered, mut dead, mut repeated) = (0, 0, 0);
    for seed in 0..WORLDS {
        let mut world = World::new(seed);
        let run = std::panic::AssertUnwindSafe(|| world.run());
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("BATON_SIMULATION_SEED={seed} plays this again");
            std::panic::resume_unwind(panic);
        }
        delivered += world.settled.len();
        dead += world.dead.len();
        repeated += world.fates.values().filter(|fate| fate.handled > 1).count();
    }
    // Worlds in which nothing goes wrong would show nothing.
    assert!(delivered > 100_000 && dead > 1000 && repeated > 100, "{delivered} {dead} {repeated}");
}
