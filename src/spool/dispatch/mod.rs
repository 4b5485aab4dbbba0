//! The dispatcher: a thread that gives masters what is stored.
//!
//! It is to exchanges what a worker is, without listeners: its own event loop, connections and sweep. The schedule says what
//! goes when, an exchange is made of it, and what came of that is committed by the store, which says so in turn. Every
//! message is on disk until a commit says that it is not needed any more, so this thread can end at any moment.

mod delivery;
mod lanes;
mod tally;

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

use super::joins::{Join, Joins};
use super::record::{Entry, Record};
use super::schedule::join::Joined;
use super::schedule::{Arrival, Delivery, Outcome, Schedule, Settlement, Step};
use super::store::{Event, ReadError, Recovered, Store};
use super::turns::Turns;
use crate::clock::{self, UnixMillis};
use crate::events::Bus;
use crate::exchange::local::{Generation, Local};
use crate::net::watch::SWEEP_INTERVAL;
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;
use crate::worker::Phase;
use delivery::{Delivered, Parcel};
use lanes::Lanes;
use tally::Tallies;

/// Bytes of messages in flight; a single larger message may be, too.
const IN_FLIGHT_BYTES: usize = 64 << 20;

/// Events that are taken up before deliveries have their turn.
const EVENTS_MAX: usize = 64;

/// Sweeps between two looks for lanes that are not needed any more, which is a second.
const SWEEPS_PER_TIDY: u32 = 40;

/// What the dispatcher gets from outside.
#[derive(Debug)]
pub struct Supplies {
    pub published: Arc<ArcSwap<Snapshot>>,
    pub telemetry: Arc<Telemetry>,
    pub phase: watch::Receiver<Phase>,
    pub store: Store,
    pub recovered: Recovered,
    pub events: UnboundedReceiver<Event>,
    pub bus: Arc<Bus>,
    pub turns: Arc<Turns>,
    pub joins: Arc<Joins>,
    /// Told when a turn ended that stored messages wait for.
    pub turned: Arc<Notify>,
}

/// Starts the dispatcher. When this returns, every message of `recovered` has its place in the turns.
///
/// # Errors
/// When its thread or event loop cannot be made.
pub fn start(supplies: Supplies) -> io::Result<JoinHandle<()>> {
    let (report, reported) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("dispatcher".to_owned()).spawn(move || {
        // A local event loop has to be made on the thread that runs it.
        match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
            Ok(runtime) => runtime.block_on(run(supplies, report)),
            Err(error) => {
                let _ = report.try_send(Err(error));
            }
        }
    })?;
    reported.recv().unwrap_or_else(|_| Err(io::Error::other("the dispatcher ended before it began")))?;
    Ok(thread)
}

async fn run(supplies: Supplies, report: std::sync::mpsc::SyncSender<io::Result<()>>) {
    let Supplies { published, telemetry, mut phase, store, recovered, mut events, bus, turns, joins, turned } =
        supplies;
    let local = Rc::new(Local::new(&published, telemetry.hot.worker()));
    let ended = Rc::new(Ended::default());
    let mut dispatcher = Dispatcher {
        schedule: Schedule::new(local.random()),
        lanes: Lanes::default(),
        tallies: Tallies::new(telemetry, bus),
        generation: local.generation(),
        held: HashSet::new(),
        joins,
        joining: Vec::new(),
        stopped: false,
        sweeps: 0,
        local,
        store,
        turns,
        ended: ended.clone(),
    };
    dispatcher.recover(&recovered);
    // The channel holds one report, and this is the only one.
    let _ = report.try_send(Ok(()));
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let draining = match *phase.borrow_and_update() {
            Phase::Stopped => break,
            Phase::Draining(_) => true,
            Phase::Serving => false,
        };
        for _ in 0..EVENTS_MAX {
            let Ok(event) = events.try_recv() else { break };
            dispatcher.take_up(event);
        }
        if draining && dispatcher.schedule.in_flight() == 0 {
            break;
        }
        if !draining {
            dispatcher.pump();
        }
        tokio::select! {
            biased;
            changed = phase.changed() => if changed.is_err() { break },
            _ = ticks.tick() => {
                // What has come is read before its time is over.
                tokio::task::yield_now().await;
                dispatcher.sweep();
            }
            () = ended.some() => dispatcher.take_up_ended(),
            () = turned.notified() => {
                dispatcher.join();
                dispatcher.release();
            }
            event = events.recv() => match event {
                Some(event) => dispatcher.take_up(event),
                // The store is closed: nothing can be settled any more.
                None => break,
            },
        }
    }
    dispatcher.lanes.tell_of_dead();
    // What did not finish in time may have reached its master all the same.
    for (seq, settlement) in dispatcher.schedule.abandon(clock::unix_millis()) {
        dispatcher.store.settle(seq, settlement, None);
    }
}

/// Deliveries that ended, until they are taken up.
#[derive(Debug, Default)]
struct Ended {
    deliveries: RefCell<VecDeque<(Delivery, Delivered)>>,
    told: Notify,
    /// Of messages in flight.
    bytes: Cell<usize>,
}

impl Ended {
    async fn some(&self) {
        while self.deliveries.borrow().is_empty() {
            self.told.notified().await;
        }
    }
}

/// A delivery under way. However its task ends, it is reported.
struct UnderWay {
    ended: Rc<Ended>,
    delivery: Delivery,
    bytes: usize,
    delivered: Option<Delivered>,
}

impl UnderWay {
    fn end(mut self, delivered: Delivered) {
        self.delivered = Some(delivered);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.ended.bytes.set(self.ended.bytes.get() - self.bytes);
        // A task that was torn down may have sent all of it.
        let unknown = Delivered { outcome: Outcome::Broken, attempt: None, master: None };
        let delivered = self.delivered.take().unwrap_or(unknown);
        self.ended.deliveries.borrow_mut().push_back((self.delivery, delivered));
        self.ended.told.notify_one();
    }
}

struct Dispatcher {
    local: Rc<Local>,
    store: Store,
    turns: Arc<Turns>,
    schedule: Schedule,
    lanes: Lanes,
    tallies: Tallies,
    generation: Rc<Generation>,
    /// Conversations, with their lane, that wait for a worker's turn to end.
    held: HashSet<(u32, u64)>,
    joins: Arc<Joins>,
    /// Those that are not done.
    joining: Vec<Join>,
    ended: Rc<Ended>,
    /// The store has failed.
    stopped: bool,
    sweeps: u32,
}

impl Dispatcher {
    fn recover(&mut self, recovered: &Recovered) {
        let now = clock::unix_millis();
        for entry in &recovered.entries {
            self.stored(entry, true, now);
        }
        if !recovered.clean {
            self.schedule.interrupted(now);
        }
        self.lanes.tell(&mut self.schedule, &self.generation);
    }

    /// Takes a message into the schedule. `counted_here`: no worker has counted it among its conversation's.
    fn stored(&mut self, entry: &Entry, counted_here: bool, now: UnixMillis) {
        let counted = entry.conversation;
        let conversation = self.generation.snapshot.aliases.resolve(counted, clock::now());
        let lane = self.lanes.of(entry, &mut self.schedule, &self.store, &self.generation, &self.tallies);
        let conversation = (entry.flags & Entry::UNORDERED == 0).then_some(conversation);
        // What was forwarded at once and not answered has broken off with a master, too.
        let breaks = entry.breaks.max(u8::from(entry.flags & Entry::MAYBE_DELIVERED != 0));
        let Entry { seq, accepted, due, attempts, .. } = *entry;
        let arrival = Arrival { seq, conversation, accepted, due, attempts, breaks };
        if self.schedule.stored(lane, &arrival, now)
            && let Some(conversation) = conversation.filter(|it| counted_here || *it != counted)
        {
            self.turns.storing(conversation);
            if !counted_here {
                self.turns.settled(counted);
            }
        }
    }

    fn take_up(&mut self, event: Event) {
        let now = clock::unix_millis();
        match event {
            Event::Stored(entries) => {
                self.join();
                for entry in entries {
                    self.stored(&entry, entry.flags & Entry::REPLAYED != 0, now);
                }
            }
            Event::Settled(numbers) => {
                for seq in numbers {
                    self.settled(seq, now);
                }
            }
            Event::Failed(_) => self.stopped = true,
        }
    }

    fn settled(&mut self, seq: u64, now: UnixMillis) {
        let Some(settled) = self.schedule.settled(seq, now) else { return };
        if let (Some(known), Some(settlement)) = (self.lanes.known(settled.lane), settled.settlement) {
            known.tally.settled(settlement);
        }
        let gone = !matches!(settled.settlement, Some(Settlement::Retry { .. }));
        if let Some(conversation) = settled.conversation.filter(|_| gone) {
            self.turns.settled(conversation);
        }
    }

    fn sweep(&mut self) {
        self.local.sweep(clock::now());
        let generation = self.local.generation();
        if !Rc::ptr_eq(&generation, &self.generation) {
            self.generation = generation;
            self.lanes.renew(&mut self.schedule, &self.generation);
        }
        self.lanes.tell(&mut self.schedule, &self.generation);
        self.release();
        self.join();
        self.sweeps = (self.sweeps + 1) % SWEEPS_PER_TIDY;
        if self.sweeps == 0 {
            self.lanes.tidy(&mut self.schedule);
            self.lanes.tell_of_dead();
            self.lanes.tell_masters(&self.schedule, &self.generation);
            self.tallies.stranded(self.lanes.stranded(&self.schedule));
        }
    }

    /// Makes conversations one that have turned out to be. What a worker is forwarding of the one that ended is waited for.
    fn join(&mut self) {
        self.joining.append(&mut self.joins.take());
        if self.joining.is_empty() {
            return;
        }
        self.release();
        let (turns, schedule, now) = (&self.turns, &mut self.schedule, clock::unix_millis());
        self.joining.retain(|(ended, into)| {
            if turns.is_taken(*ended) {
                return true;
            }
            let Joined { moved, left } = schedule.join(*ended, *into, now);
            (0..moved).for_each(|_| turns.storing(*into));
            (0..moved).for_each(|_| turns.settled(*ended));
            left
        });
    }

    /// Lets conversations go on whose turn it is again.
    fn release(&mut self) {
        let (turns, schedule, now) = (&self.turns, &mut self.schedule, clock::unix_millis());
        self.held.retain(|(lane, conversation)| {
            let taken = turns.is_taken(*conversation);
            if !taken {
                schedule.release(*lane, *conversation, now);
            }
            taken
        });
    }

    /// Begins what is to be delivered now, as far as there is memory for it.
    fn pump(&mut self) {
        while !self.stopped && self.ended.bytes.get() < IN_FLIGHT_BYTES {
            match self.schedule.next(clock::unix_millis()) {
                Some(Step::Bury { seq, settlement }) => self.store.settle(seq, settlement, None),
                Some(Step::Deliver(delivery)) => self.begin(delivery),
                None => return,
            }
        }
    }

    fn begin(&mut self, delivery: Delivery) {
        if let Some(conversation) = delivery.conversation.filter(|it| self.turns.is_taken(*it)) {
            self.schedule.hold(delivery.seq);
            self.held.insert((delivery.lane, conversation));
            return;
        }
        let Some(upstream) = self.lanes.known(delivery.lane).and_then(|known| known.position) else {
            self.schedule.outcome(delivery.seq, Outcome::NotSent, clock::unix_millis(), 0);
            return;
        };
        let Some(record) = self.load(delivery) else { return };
        let bytes = record.message.head.len() + record.message.body.len();
        self.ended.bytes.set(self.ended.bytes.get() + bytes);
        let under_way = UnderWay { ended: self.ended.clone(), delivery, bytes, delivered: None };
        let (local, generation) = (self.local.clone(), self.generation.clone());
        let parcel = Parcel { local, generation, upstream, delivery, record };
        spawn_local(async move { under_way.end(parcel.deliver().await) });
    }

    /// Reads a message. Where that fails its delivery is over.
    fn load(&mut self, delivery: Delivery) -> Option<Record> {
        let Delivery { seq, .. } = delivery;
        let now = clock::unix_millis();
        match self.store.load(seq) {
            Ok(Some(record)) => return Some(record),
            Ok(None) => {
                tracing::error!(seq, "a message that was to be delivered is not in the store any more");
                self.schedule.withdraw(seq);
                self.settled(seq, now);
            }
            Err(ReadError::Unreadable(..)) => {
                self.schedule.withdraw(seq);
                self.store.quarantine(seq);
            }
            Err(error @ ReadError::Failed(_)) => {
                tracing::error!(seq, "{error}");
                self.schedule.outcome(seq, Outcome::NotSent, now, 0);
            }
            Err(ReadError::Closed) => {
                self.stopped = true;
                self.schedule.outcome(seq, Outcome::NotSent, now, 0);
            }
        }
        None
    }

    fn take_up_ended(&mut self) {
        loop {
            let next = self.ended.deliveries.borrow_mut().pop_front();
            let Some((delivery, Delivered { outcome, attempt, master })) = next else { return };
            if let Some(known) = self.lanes.known(delivery.lane) {
                known.tally.attempted(master.as_deref(), outcome);
            }
            let (now, random) = (clock::unix_millis(), self.local.random());
            if let Some(settlement) = self.schedule.outcome(delivery.seq, outcome, now, random) {
                self.store.settle(delivery.seq, settlement, attempt);
            }
        }
    }
}
