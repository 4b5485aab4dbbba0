//! What is counted of deliveries.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use metrics::{Counter, Gauge};
use serde_json::json;

use crate::events::{Bus, Event, Kind, Severity};
use crate::spool::schedule::{Outcome, Reason, Settlement};
use crate::telemetry::deliveries::Count;
use crate::telemetry::registry::NONE;
use crate::telemetry::{Telemetry, names};

/// How a message can end.
const ENDS: [&str; 4] = ["delivered", "dead-attempts", "dead-masters", "dead-expired"];

/// Makes the tallies of upstreams.
#[derive(Debug)]
pub struct Tallies {
    telemetry: Arc<Telemetry>,
    bus: Arc<Bus>,
    stranded: Gauge,
}

/// One upstream's.
#[derive(Debug)]
pub struct Tally {
    telemetry: Arc<Telemetry>,
    upstream: Box<str>,
    ended: [Counter; ENDS.len()],
    /// Given up and not told yet, by reason as in [`ENDS`].
    dead: [Cell<u64>; ENDS.len() - 1],
    bus: Arc<Bus>,
    window: Gauge,
    in_flight: Gauge,
    attempts: RefCell<HashMap<(Rc<str>, &'static str), Attempts>>,
}

/// Attempts at a master that ended one way: as they are shown, and as the monitor reads them.
type Attempts = (Counter, Arc<Count>);

impl Tallies {
    pub fn new(telemetry: Arc<Telemetry>, bus: Arc<Bus>) -> Self {
        let stranded = telemetry.cold.gauge(&names::SPOOL_STRANDED, &[]);
        stranded.set(0.0);
        Self { telemetry, bus, stranded }
    }

    pub fn of(&self, upstream: &str) -> Tally {
        let cold = &self.telemetry.cold;
        Tally {
            telemetry: self.telemetry.clone(),
            upstream: upstream.into(),
            ended: ENDS.map(|end| cold.counter(&names::DELIVERED, &[upstream, end])),
            dead: Default::default(),
            bus: self.bus.clone(),
            window: cold.gauge(&names::DELIVERY_WINDOW, &[upstream]),
            in_flight: cold.gauge(&names::DELIVERIES_IN_FLIGHT, &[upstream]),
            attempts: RefCell::default(),
        }
    }

    pub fn stranded(&self, messages: usize) {
        self.stranded.set(messages as f64);
    }
}

impl Tally {
    /// How many deliveries may be in flight, and are.
    pub fn show(&self, (limit, in_flight): (u32, u32)) {
        self.window.set(f64::from(limit));
        self.in_flight.set(f64::from(in_flight));
    }

    /// An attempt ended; `master` is the last that was tried.
    pub fn attempted(&self, master: Option<&str>, outcome: Outcome) {
        let word = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Failed => "failed",
            Outcome::Broken => "broken",
            Outcome::NotSent => "not-sent",
        };
        let master = master.unwrap_or(NONE);
        let mut attempts = self.attempts.borrow_mut();
        let (counter, cell) = attempts.entry((master.into(), word)).or_insert_with(|| {
            let labels = [&*self.upstream, master, word];
            let counter = self.telemetry.cold.counter(&names::DELIVERY_ATTEMPTS, &labels);
            (counter, self.telemetry.deliveries.of(&self.upstream, master))
        });
        counter.increment(1);
        if outcome != Outcome::NotSent {
            cell.count(outcome == Outcome::Delivered);
        }
    }

    /// What became of a message is on disk.
    pub fn settled(&self, settlement: Settlement) {
        let end = match settlement {
            Settlement::Retry { .. } => return,
            Settlement::Delivered => 0,
            Settlement::Dead { reason: Reason::Attempts, .. } => 1,
            Settlement::Dead { reason: Reason::Masters, .. } => 2,
            Settlement::Dead { reason: Reason::Expired, .. } => 3,
        };
        self.ended[end].increment(1);
        if let Some(dead) = end.checked_sub(1).and_then(|reason| self.dead.get(reason)) {
            dead.set(dead.get() + 1);
        }
    }

    /// Tells of messages that were given up since the last time: together, for there may be thousands at once.
    pub fn tell(&self) {
        for (dead, end) in self.dead.iter().zip(&ENDS[1..]) {
            let count = dead.take();
            if count == 0 {
                continue;
            }
            let (name, reason) = (&*self.upstream, end.trim_start_matches("dead-"));
            let message = format!("upstream {name}: {count} stored messages were given up ({reason})");
            let event = Event::new(Kind::DeadLetters, Severity::Warning, message).upstream(name);
            self.bus.publish(event.detail(json!({ "count": count, "reason": reason })));
        }
    }
}
