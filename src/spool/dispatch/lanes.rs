//! Which messages go where: the names in stored entries, the schedule's lanes, and the masters of the present generation.

use std::collections::HashMap;
use std::sync::Arc;

use super::tally::{Tallies, Tally};
use crate::clock;
use crate::config::model::Redelivery;
use crate::exchange::local::{Generation, LocalUpstream};
use crate::snapshot::{Takers, Upstream};
use crate::spool::record::Entry;
use crate::spool::schedule::{Schedule, Settings};
use crate::spool::store::Store;
use crate::upstream::admission::Tier;

/// Where the messages of one upstream and account go.
#[derive(Debug)]
struct Way {
    upstream: u32,
    /// The pair that it is found by.
    names: (u32, u32),
    account: Option<Arc<str>>,
}

/// An upstream that messages were stored for.
#[derive(Debug)]
pub struct Known {
    pub name: Arc<str>,
    /// In the present generation; `None` when the configuration does not have it any more.
    pub position: Option<usize>,
    pub tally: Tally,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Lanes {
    /// By the schedule's number.
    upstreams: Vec<Known>,
    by_upstream: HashMap<u32, u32>,
    /// By the schedule's number; `None` where that is free.
    ways: Vec<Option<Way>>,
    by_names: HashMap<(u32, u32), u32>,
}

impl Lanes {
    /// The lane of a stored message; made when it is the first of its kind.
    pub fn of(
        &mut self,
        entry: &Entry,
        schedule: &mut Schedule,
        store: &Store,
        generation: &Generation,
        tallies: &Tallies,
    ) -> u32 {
        let names = (entry.upstream, entry.account);
        if let Some(lane) = self.by_names.get(&names) {
            return *lane;
        }
        let upstream = match self.by_upstream.get(&entry.upstream) {
            Some(upstream) => *upstream,
            None => {
                let name = store.name(entry.upstream).unwrap_or_else(|| Arc::from(""));
                let position = position(generation, &name);
                let settings = position.map_or_else(Settings::default, |position| settings(generation, position));
                let upstream = schedule.add_upstream(settings);
                self.upstreams.push(Known { tally: tallies.of(&name), name, position });
                self.by_upstream.insert(entry.upstream, upstream);
                upstream
            }
        };
        let lane = schedule.add_lane(upstream);
        let account = store.name(entry.account);
        self.ways.resize_with(self.ways.len().max(lane as usize + 1), || None);
        self.ways[lane as usize] = Some(Way { upstream, names, account });
        self.by_names.insert(names, lane);
        self.tell_lane(lane, schedule, generation);
        lane
    }

    /// The upstream of a lane.
    #[must_use]
    pub fn known(&self, lane: u32) -> Option<&Known> {
        let way = self.ways.get(lane as usize)?.as_ref()?;
        self.upstreams.get(way.upstream as usize)
    }

    /// Finds the upstreams in a new generation, and takes its settings over.
    pub fn renew(&mut self, schedule: &mut Schedule, generation: &Generation) {
        for (number, known) in (0..).zip(&mut self.upstreams) {
            known.position = position(generation, &known.name);
            if let Some(position) = known.position {
                schedule.configure(number, settings(generation, position));
            }
        }
    }

    /// Tells the schedule which masters are usable, and what of it there is to see.
    pub fn tell(&self, schedule: &mut Schedule, generation: &Generation) {
        for (number, known) in (0..).zip(&self.upstreams) {
            let usable = known.position.map_or(0, |position| usable(&generation.upstreams[position].shared).count());
            schedule.usable(number, u32::try_from(usable).unwrap_or(u32::MAX));
            known.tally.show(schedule.window(number));
        }
        for lane in 0..self.ways.len() {
            self.tell_lane(lane as u32, schedule, generation);
        }
    }

    /// Lets lanes go that have no messages, so that accounts that are gone cost nothing.
    pub fn tidy(&mut self, schedule: &mut Schedule) {
        for (lane, way) in (0..).zip(&mut self.ways) {
            if let Some(names) = way.as_ref().map(|way| way.names)
                && schedule.remove_lane(lane)
            {
                *way = None;
                self.by_names.remove(&names);
            }
        }
    }

    /// Tells masters what waits for them alone.
    pub fn tell_masters(&self, schedule: &Schedule, generation: &Generation) {
        let mut stored: Vec<Vec<u64>> =
            generation.upstreams.iter().map(|upstream| vec![0; upstream.shared.masters.len()]).collect();
        for (lane, way) in (0..).zip(&self.ways) {
            let Some(way) = way else { continue };
            let position = self.upstreams.get(way.upstream as usize).and_then(|known| known.position);
            let Some(position) = position else { continue };
            if let Some(master) = sole_taker(&generation.upstreams[position].shared, way.account.as_deref()) {
                stored[position][master] += schedule.pending_in(lane) as u64;
            }
        }
        for (upstream, stored) in generation.upstreams.iter().zip(stored) {
            upstream.shared.masters.iter().zip(stored).for_each(|(master, stored)| master.set_stored(stored));
        }
    }

    /// Tells of the messages that were given up.
    pub fn tell_of_dead(&self) {
        self.upstreams.iter().for_each(|known| known.tally.tell());
    }

    /// Messages whose upstream is not configured.
    #[must_use]
    pub fn stranded(&self, schedule: &Schedule) -> usize {
        let gone = (0..).zip(&self.upstreams).filter(|(_, known)| known.position.is_none());
        gone.map(|(number, _)| schedule.pending(number)).sum()
    }

    fn tell_lane(&self, lane: u32, schedule: &mut Schedule, generation: &Generation) {
        let Some(Some(way)) = self.ways.get(lane as usize) else { return };
        let position = self.upstreams.get(way.upstream as usize).and_then(|known| known.position);
        let open = position.is_some_and(|position| is_open(&generation.upstreams[position], way.account.as_deref()));
        schedule.open(lane, open);
    }
}

fn position(generation: &Generation, name: &str) -> Option<usize> {
    generation.upstreams.iter().position(|upstream| upstream.shared.settings.name == name)
}

fn settings(generation: &Generation, position: usize) -> Settings {
    Settings::from(&generation.upstreams[position].shared.settings.redelivery)
}

impl From<&Redelivery> for Settings {
    fn from(given: &Redelivery) -> Self {
        let Redelivery { max_in_flight, spacing, attempts, masters, backoff, max_backoff, max_age } = *given;
        Self {
            max_in_flight,
            spacing: clock::millis(spacing),
            attempts: u16::try_from(attempts).unwrap_or(u16::MAX),
            masters: u8::try_from(masters).unwrap_or(u8::MAX),
            backoff: clock::millis(backoff),
            max_backoff: clock::millis(max_backoff),
            max_age: clock::millis(max_age),
        }
    }
}

/// Masters that stored messages are given to. One that is suspected, or ejected, gets what cannot wait.
fn usable(upstream: &Upstream) -> impl Iterator<Item = usize> {
    let masters = upstream.masters.iter().enumerate();
    masters.filter(|(_, master)| master.admission().tier() <= Tier::Reserved).map(|(position, _)| position)
}

/// The one master that may get messages of this account; none where several may, or nobody.
fn sole_taker(upstream: &Upstream, account: Option<&str>) -> Option<usize> {
    let Takers { allowed, owner } = upstream.takers(account, true);
    if let Some(owner) = owner {
        return owner.holders().owner.and_then(|id| upstream.position(id));
    }
    let mut takers = (0..upstream.masters.len()).filter(|position| allowed.is_none_or(|set| set.contains(*position)));
    takers.next().filter(|_| takers.next().is_none())
}

/// Whether some master is usable that may get messages of this account. Where nobody names it, that depends on the message.
fn is_open(upstream: &LocalUpstream, account: Option<&str>) -> bool {
    let upstream = &*upstream.shared;
    let Takers { allowed, owner } = upstream.takers(account, true);
    let mut usable = usable(upstream);
    match owner.map(|owner| owner.holders().owner) {
        Some(owner) => owner.and_then(|id| upstream.position(id)).is_some_and(|owner| usable.any(|it| it == owner)),
        None => usable.any(|position| allowed.is_none_or(|allowed| allowed.contains(position))),
    }
}
