//! When which stored message is delivered: a pure core, which is given time and randomness and told what happens.
//!
//! A message is [`Schedule::stored`] when its commit is on disk. [`Schedule::next`] hands one out, [`Schedule::outcome`] says
//! what its attempt means, and [`Schedule::settled`] that this is on disk too. In between its conversation is busy: the next
//! message of a conversation goes only when what became of the one before can no longer be forgotten, so that a crash
//! repeats at most the last one of each conversation and never changes their order.
//!
//! The rules:
//! 1. Within a conversation the lowest number goes first, whenever it came.
//! 2. Among conversations the one whose first message is oldest.
//! 3. Of an upstream as many as its [`window`] lets, and among them one suspect: a message that broke off with a master, of
//!    which one may be what breaks them.
//! 4. What nobody could be given waits with its [`lane`]; what failed waits alone, its conversation behind it.
//! 5. What failed too often, broke off too often or is too old is dead ([`verdict`]).

mod flow;
pub mod join;
mod lane;
mod queues;
mod slab;
mod verdict;
mod window;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use lane::Lane;
use queues::Queues;
use window::Window;

pub use crate::clock::UnixMillis;

/// Messages that may wait for the commit of what became of them; beyond that nothing new begins.
pub const SETTLING_MAX: usize = 4096;

/// How an upstream's messages are delivered; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Deliveries in flight for each usable master.
    pub max_in_flight: u32,
    /// From the end of one delivery of a conversation to the beginning of the next.
    pub spacing: UnixMillis,
    /// Attempts after which a message is dead.
    pub attempts: u16,
    /// Masters that it may break off with before it is dead.
    pub masters: u8,
    pub backoff: UnixMillis,
    pub max_backoff: UnixMillis,
    /// Age from which on it is dead.
    pub max_age: UnixMillis,
}

/// A message that is on disk.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Orders messages, and names this one.
    pub seq: u64,
    /// `None` when it needs no order.
    pub conversation: Option<u64>,
    pub accepted: UnixMillis,
    pub due: UnixMillis,
    /// Attempts so far.
    pub attempts: u16,
    /// Those of them that broke off.
    pub breaks: u8,
}

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Deliver(Delivery),
    /// It waited too long: to be settled as dead.
    Bury {
        seq: u64,
        settlement: Settlement,
    },
}

/// A message to be delivered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub seq: u64,
    /// `None` when it needs no order.
    pub conversation: Option<u64>,
    pub lane: u32,
    /// Number of the attempt, from 1.
    pub attempt: u16,
    /// An attempt before this one may have reached a master that did not say so.
    pub ambiguous: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx.
    Delivered,
    /// Any other answer.
    Failed,
    /// It was sent, and no answer came.
    Broken,
    /// No master was given anything of it.
    NotSent,
}

/// What is to be committed of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    Delivered,
    Retry { due: UnixMillis, attempts: u16, breaks: u8 },
    Dead { reason: Reason, attempts: u16, breaks: u8 },
}

/// A message whose settlement is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub lane: u32,
    /// `None` when it needs no order.
    pub conversation: Option<u64>,
    /// `None` when others took it away.
    pub settlement: Option<Settlement>,
}

/// Why a message is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It failed too often.
    Attempts,
    /// It broke off with too many masters.
    Masters,
    /// It waited too long.
    Expired,
}

/// The schedule of everything that is stored and not yet delivered.
#[derive(Debug)]
pub struct Schedule {
    queues: Queues,
    upstreams: Vec<Upstream>,
    lanes: Vec<Lane>,
    free_lanes: Vec<u32>,
    /// Conversations that wait, by the time they wait for.
    waiting: BTreeSet<(UnixMillis, u32)>,
    /// By number, from when it is handed out until its settlement is committed.
    busy: HashMap<u64, Busy>,
    in_flight: usize,
    /// The upstream that is asked first.
    turn: usize,
}

#[derive(Debug)]
struct Upstream {
    settings: Settings,
    window: Window,
    lanes: Vec<u32>,
    suspect_in_flight: bool,
    /// Messages, those in flight included.
    pending: usize,
}

/// A message that was handed out.
#[derive(Debug, Clone, Copy)]
struct Busy {
    message: u32,
    conversation: u32,
    suspect: bool,
    /// Others take it away.
    withdrawn: bool,
    /// What is being committed; `None` while in flight.
    settlement: Option<Settlement>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_in_flight: 32,
            spacing: 0,
            attempts: 6,
            masters: 3,
            backoff: 1000,
            max_backoff: 5 * 60 * 1000,
            max_age: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

impl Schedule {
    /// An empty schedule; the seed keeps clients from choosing conversations that collide in its table.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            queues: Queues::new(seed),
            upstreams: Vec::new(),
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            waiting: BTreeSet::new(),
            busy: HashMap::new(),
            in_flight: 0,
            turn: 0,
        }
    }

    /// A further upstream, none of whose masters is usable yet; returns its position.
    pub fn add_upstream(&mut self, settings: Settings) -> u32 {
        let window = Window::new(settings.max_in_flight);
        self.upstreams.push(Upstream { settings, window, lanes: Vec::new(), suspect_in_flight: false, pending: 0 });
        index(self.upstreams.len() - 1)
    }

    pub fn configure(&mut self, upstream: u32, settings: Settings) {
        let upstream = &mut self.upstreams[upstream as usize];
        upstream.settings = settings;
        upstream.window.configure(settings.max_in_flight);
    }

    /// A further lane of an upstream, closed at first; returns its position.
    pub fn add_lane(&mut self, upstream: u32) -> u32 {
        let lane = match self.free_lanes.pop() {
            Some(lane) => {
                self.lanes[lane as usize] = Lane::new(upstream);
                lane
            }
            None => {
                self.lanes.push(Lane::new(upstream));
                index(self.lanes.len() - 1)
            }
        };
        self.upstreams[upstream as usize].lanes.push(lane);
        lane
    }

    /// Takes a lane away, whose position may then be given to another; false when it has messages, or had one so recently
    /// that spacing is owed.
    pub fn remove_lane(&mut self, lane: u32) -> bool {
        let (upstream, conversations) = (self.lanes[lane as usize].upstream, self.lanes[lane as usize].conversations);
        if conversations == 0 {
            self.upstreams[upstream as usize].lanes.retain(|other| *other != lane);
            self.free_lanes.push(lane);
        }
        conversations == 0
    }

    /// How many of an upstream's masters are usable.
    pub fn usable(&mut self, upstream: u32, masters: u32) {
        self.upstreams[upstream as usize].window.usable(masters);
    }

    /// Whether some master that may take this lane's messages is usable.
    pub fn open(&mut self, lane: u32, open: bool) {
        self.lanes[lane as usize].open(open);
    }

    /// Messages, those in flight included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queues.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Deliveries handed out whose outcome is not known.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Messages that wait for the commit of what became of them.
    #[must_use]
    pub fn settling(&self) -> usize {
        self.busy.len() - self.in_flight
    }

    /// How many deliveries of an upstream may be in flight now, and how many are.
    #[must_use]
    pub fn window(&self, upstream: u32) -> (u32, u32) {
        let window = &self.upstreams[upstream as usize].window;
        (window.limit(), window.in_flight())
    }

    /// Messages of an upstream, those in flight included.
    #[must_use]
    pub fn pending(&self, upstream: u32) -> usize {
        self.upstreams[upstream as usize].pending
    }

    /// Messages of a lane, those in flight included.
    #[must_use]
    pub fn pending_in(&self, lane: u32) -> usize {
        self.lanes.get(lane as usize).map_or(0, |lane| lane.messages)
    }

    fn upstream_of(&mut self, lane: u32) -> &mut Upstream {
        &mut self.upstreams[self.lanes[lane as usize].upstream as usize]
    }

    fn settings(&self, lane: u32) -> &Settings {
        &self.upstreams[self.lanes[lane as usize].upstream as usize].settings
    }
}

/// A position as it is stored; there are far fewer than four thousand million of anything here.
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
