//! The schedule against one that keeps a plain list and looks through all of it for every answer.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::spool::schedule::verdict::{Past, judge};
use crate::spool::schedule::window::Window;
use crate::spool::schedule::*;

const UPSTREAMS: usize = 2;
/// Lanes: two of the first upstream, one of the second.
const LANES: [usize; 3] = [0, 0, 1];
const CONVERSATIONS: u64 = 4;

#[derive(Debug, Clone)]
enum Op {
    Reserve,
    /// One of the reserved numbers, in any order, is stored.
    Store {
        which: usize,
        lane: usize,
        conversation: Option<u64>,
        breaks: u8,
        due: u64,
    },
    Next,
    Outcome {
        which: usize,
        outcome: Outcome,
        random: u64,
    },
    Settle {
        which: usize,
    },
    Hold {
        which: usize,
    },
    Release {
        lane: usize,
        conversation: u64,
    },
    Usable {
        upstream: usize,
        masters: u32,
    },
    Open {
        lane: usize,
        open: bool,
    },
    Advance(u64),
}

#[derive(Debug)]
struct Message {
    lane: usize,
    arrival: Arrival,
    /// In flight without a settlement, settling with one.
    busy: Option<Option<Settlement>>,
}

#[derive(Debug, Default)]
struct LaneModel {
    open: bool,
    paused_until: u64,
    pause: u64,
}

/// Conversation of a lane; a message without one is its own.
type Owner = (usize, Result<u64, u64>);

#[derive(Debug)]
struct Naive {
    settings: [Settings; UPSTREAMS],
    windows: [Window; UPSTREAMS],
    lanes: [LaneModel; 3],
    messages: BTreeMap<u64, Message>,
    not_before: BTreeMap<Owner, u64>,
    held: BTreeSet<Owner>,
    turn: usize,
}

impl Message {
    fn owner(&self) -> Owner {
        (self.lane, self.arrival.conversation.ok_or(self.arrival.seq))
    }

    fn suspect(&self) -> bool {
        self.arrival.breaks > 0
    }
}

impl Naive {
    fn new(settings: [Settings; UPSTREAMS]) -> Self {
        let lanes = std::array::from_fn(|_| LaneModel { pause: 100, ..LaneModel::default() });
        let windows = settings.map(|settings| Window::new(settings.max_in_flight));
        let (messages, not_before) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, windows, lanes, messages, not_before, held: BTreeSet::new(), turn: 0 }
    }

    /// First messages of conversations that are neither busy nor held, with the time from which on they may go.
    fn firsts(&self) -> Vec<(u64, &Message)> {
        let owners: BTreeSet<Owner> = self.messages.values().map(Message::owner).collect();
        let first = |owner: &Owner| {
            let mut own = self.messages.values().filter(|message| message.owner() == *owner);
            let busy = self.messages.values().any(|message| message.owner() == *owner && message.busy.is_some());
            let first = own.next().filter(|_| !busy && !self.held.contains(owner))?;
            Some((first.arrival.due.max(self.not_before.get(owner).copied().unwrap_or(0)), first))
        };
        owners.iter().filter_map(first).collect()
    }

    fn next(&mut self, now: u64) -> Option<Step> {
        let mut ready: Vec<(u64, usize, bool, u64)> = self
            .firsts()
            .into_iter()
            .filter(|(due, _)| *due <= now)
            .map(|(_, first)| (first.arrival.seq, first.lane, first.suspect(), first.arrival.accepted))
            .collect();
        ready.sort_unstable();
        for &(seq, lane, suspect, accepted) in &ready {
            // Of a lane's messages only the first is looked at, and the first suspect.
            let first = ready.iter().find(|other| (other.1, other.2) == (lane, suspect)).is_some_and(|it| it.0 == seq);
            if first && now >= accepted + self.settings[LANES[lane]].max_age {
                let message = self.messages.get_mut(&seq)?;
                let Arrival { attempts, breaks, .. } = message.arrival;
                let settlement = Settlement::Dead { reason: Reason::Expired, attempts, breaks };
                message.busy = Some(Some(settlement));
                return Some(Step::Bury { seq, settlement });
            }
        }
        for upstream in (0..UPSTREAMS).map(|step| (self.turn + step) % UPSTREAMS) {
            let of_upstream = |message: &&Message| LANES[message.lane] == upstream;
            let flying = |message: &&Message| message.busy == Some(None);
            let suspect = self.messages.values().filter(of_upstream).filter(flying).any(Message::suspect);
            let in_flight = self.messages.values().filter(of_upstream).filter(flying).count();
            let may = ready.iter().filter(|(_, lane, suspected, _)| {
                let state = &self.lanes[*lane];
                LANES[*lane] == upstream && state.open && state.paused_until <= now && !(suspect && *suspected)
            });
            let Some((seq, lane, suspect, _)) = may.min() else { continue };
            if in_flight >= self.windows[upstream].limit() as usize {
                continue;
            }
            self.turn = (upstream + 1) % UPSTREAMS;
            let (message, lane) = (self.messages.get_mut(seq)?, index(*lane));
            message.busy = Some(None);
            let Arrival { seq, conversation, attempts, .. } = message.arrival;
            return Some(Step::Deliver(Delivery {
                seq,
                conversation,
                lane,
                attempt: attempts + 1,
                ambiguous: *suspect,
            }));
        }
        None
    }

    fn outcome(&mut self, seq: u64, outcome: Outcome, now: u64, random: u64) -> Option<Settlement> {
        let message = self.messages.get_mut(&seq)?;
        let Arrival { accepted, attempts, breaks, .. } = message.arrival;
        let upstream = LANES[message.lane];
        let lane = &mut self.lanes[message.lane];
        let settlement = judge(Past { accepted, attempts, breaks }, outcome, &self.settings[upstream], now, random);
        message.busy = settlement.map(Some);
        match outcome {
            Outcome::Delivered => self.windows[upstream].succeeded(),
            Outcome::NotSent => {
                if lane.paused_until <= now {
                    (lane.paused_until, lane.pause) = (now + lane.pause, (lane.pause * 2).min(1000));
                }
                return None;
            }
            _ => self.windows[upstream].failed(),
        }
        (lane.paused_until, lane.pause) = (0, 100);
        settlement
    }

    fn settled(&mut self, seq: u64, now: u64) {
        let message = &self.messages[&seq];
        let owner = message.owner();
        let spacing = self.settings[LANES[message.lane]].spacing;
        let settlement = message.busy.flatten();
        if let Some(Settlement::Retry { due, attempts, breaks }) = settlement {
            let message = self.messages.get_mut(&seq).unwrap();
            message.arrival = Arrival { due, attempts, breaks, ..message.arrival };
            message.busy = None;
        } else {
            self.messages.remove(&seq);
        }
        self.not_before.insert(owner, if spacing > 0 { now + spacing } else { 0 });
    }
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..1000usize;
    let outcome = prop_oneof![
        3 => Just(Outcome::Delivered),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Broken),
        1 => Just(Outcome::NotSent),
    ];
    let conversation = proptest::option::weighted(0.9, 0..CONVERSATIONS);
    prop_oneof![
        5 => Just(Op::Reserve),
        6 => (which.clone(), 0..LANES.len(), conversation, prop_oneof![4 => Just(0u8), 1 => 1..3u8], prop_oneof![4 => Just(0u64), 1 => 0..2000u64])
            .prop_map(|(which, lane, conversation, breaks, due)| Op::Store { which, lane, conversation, breaks, due }),
        8 => Just(Op::Next),
        5 => (which.clone(), outcome, any::<u64>()).prop_map(|(which, outcome, random)| Op::Outcome { which, outcome, random }),
        5 => which.clone().prop_map(|which| Op::Settle { which }),
        1 => which.prop_map(|which| Op::Hold { which }),
        1 => (0..LANES.len(), 0..CONVERSATIONS).prop_map(|(lane, conversation)| Op::Release { lane, conversation }),
        2 => (0..UPSTREAMS, 0..4u32).prop_map(|(upstream, masters)| Op::Usable { upstream, masters }),
        2 => (0..LANES.len(), prop_oneof![3 => Just(true), 1 => Just(false)]).prop_map(|(lane, open)| Op::Open { lane, open }),
        4 => prop_oneof![0..50u64, 0..3000u64].prop_map(Op::Advance),
    ]
}

fn nth<T>(mut some: Vec<T>, which: usize) -> Option<T> {
    (!some.is_empty()).then(|| some.swap_remove(which % some.len()))
}

fn agree(ops: &[Op], spacing: u64) -> Result<(), TestCaseError> {
    let short = Settings { max_in_flight: 3, attempts: 3, masters: 2, max_age: 4000, ..Settings::default() };
    let settings = [short, Settings { spacing, ..short }];
    let (mut naive, mut schedule) = (Naive::new(settings), Schedule::new(7));
    for settings in settings {
        schedule.add_upstream(settings);
    }
    for upstream in LANES {
        schedule.add_lane(index(upstream));
    }
    let (mut now, mut counter, mut reserved) = (10_000, 0, Vec::new());
    for op in ops {
        let busy = |settling: bool| {
            let some = naive
                .messages
                .iter()
                .filter(|(_, message)| message.busy.is_some_and(|busy| busy.is_some() == settling));
            some.map(|(seq, _)| *seq).collect::<Vec<_>>()
        };
        match *op {
            Op::Reserve => {
                counter += 1;
                reserved.push(counter);
            }
            Op::Store { which, lane, conversation, breaks, due } => {
                let Some(seq) = nth(reserved.clone(), which) else { continue };
                reserved.retain(|other| *other != seq);
                let due = if due == 0 { now } else { now + due };
                let arrival = Arrival { seq, conversation, accepted: now, due, attempts: breaks.into(), breaks };
                prop_assert!(schedule.stored(index(lane), &arrival, now));
                naive.messages.insert(seq, Message { lane, arrival, busy: None });
            }
            Op::Next => {
                prop_assert_eq!(schedule.next(now), naive.next(now));
            }
            Op::Outcome { which, outcome, random } => {
                let Some(seq) = nth(busy(false), which) else { continue };
                prop_assert_eq!(schedule.outcome(seq, outcome, now, random), naive.outcome(seq, outcome, now, random));
            }
            Op::Settle { which } => {
                let Some(seq) = nth(busy(true), which) else { continue };
                schedule.settled(seq, now);
                naive.settled(seq, now);
            }
            Op::Hold { which } => {
                let Some(seq) = nth(busy(false), which) else { continue };
                let message = naive.messages.get_mut(&seq).unwrap();
                if message.arrival.conversation.is_some() {
                    message.busy = None;
                    naive.held.insert(message.owner());
                    schedule.hold(seq);
                }
            }
            Op::Release { lane, conversation } => {
                schedule.release(index(lane), conversation, now);
                naive.held.remove(&(lane, Ok(conversation)));
            }
            Op::Usable { upstream, masters } => {
                schedule.usable(index(upstream), masters);
                naive.windows[upstream].usable(masters);
            }
            Op::Open { lane, open } => {
                schedule.open(index(lane), open);
                let lane = &mut naive.lanes[lane];
                if open && !lane.open {
                    (lane.paused_until, lane.pause) = (0, 100);
                }
                lane.open = open;
            }
            Op::Advance(by) => now += by,
        }
        prop_assert_eq!(schedule.len(), naive.messages.len());
        let count = |settling| {
            let state = |message: &&Message| message.busy.is_some_and(|busy| busy.is_some() == settling);
            naive.messages.values().filter(state).count()
        };
        prop_assert_eq!((schedule.in_flight(), schedule.settling()), (count(false), count(true)));
        // Whatever waits for a time alone is not slept through.
        let waits = naive.firsts().into_iter().map(|(due, _)| due).filter(|due| *due > now).min();
        if let Some(due) = waits {
            prop_assert!(schedule.wake_at(now).is_some_and(|wake| wake <= due));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn it_answers_as_a_plain_list_does(
        ops in proptest::collection::vec(op(), 1..150),
        spacing in prop_oneof![Just(0u64), 1..300u64],
    ) {
        agree(&ops, spacing)?;
    }
}
