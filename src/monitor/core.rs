//! The monitor without a clock, a thread or a disk: it is told what is, once a second, and answers what is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::distribution::{Distribution, Load, distribution};
use super::observation::{MasterNow, Observation, UpstreamNow};
use super::sample::{Gauges, Tally};
use super::score::{self, Minute, Score, Standing};
use super::series::{Closed, Key, Series};
use crate::clock::UnixMillis;
use crate::telemetry::registry::{NONE, OTHER};
use crate::upstream::admission::{Admission, Tier};

/// Series at once: more than two thousand masters in a hundred upstreams have. When there are as many, one that is no longer
/// observed gives way to a new one; if none is, there is none for the new one.
pub const SERIES_MAX: usize = 4096;

/// Seconds over which rates are taken.
const RATE_SECONDS: usize = 10;
/// Seconds over which shares of errors and of load are taken.
const MINUTE: usize = 60;

/// Everything that was measured, and what is made of it.
#[derive(Debug, Default)]
pub struct Core {
    series: BTreeMap<Key, Series>,
    present: BTreeMap<Key, Present>,
    over_budget: HashMap<Arc<str>, OverBudget>,
    /// Series for which there was no room, since the process started.
    left_out: u64,
}

/// Retries over the budget in each of the last sixty seconds, as a sum that old ones leave.
#[derive(Debug, Default)]
struct OverBudget(Vec<(u64, u64)>);

/// How something stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Present {
    pub state: State,
    /// Since when it is in this state; for how it was found at the first observation, that one.
    pub since: UnixMillis,
    pub score: Score,
    /// Of an upstream whose load can be judged.
    pub distribution: Option<Distribution>,
    pub rates: Rates,
    /// Of a master: failures since the last success.
    pub failures_in_row: u32,
    /// Of a master: its part of the upstream's requests in the last minute, in percent.
    pub share_percent: Option<f64>,
    /// Of a master.
    admission: Option<Admission>,
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// It works, and something is wrong.
    Impaired,
    /// Nobody is served.
    Down,
}

/// What passes at present.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// A second, over the last ten.
    pub requests_per_second: f64,
    /// Share of requests that failed in the last minute, 0 to 1; none without a request.
    pub error_ratio: Option<f64>,
    /// Over the last ten to twenty seconds.
    pub p50_micros: Option<u64>,
    pub p99_micros: Option<u64>,
    pub in_flight: u64,
    pub queued: u64,
    /// Stored messages that wait.
    pub pending: u64,
}

impl State {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Impaired => "impaired",
            Self::Down => "down",
        }
    }

    fn of(score: &Score) -> Self {
        match score.points {
            0 => Self::Down,
            100 => Self::Ok,
            _ => Self::Impaired,
        }
    }
}

impl Core {
    /// Takes in an observation; gives the longer intervals that it ended, to be kept.
    pub fn observe(&mut self, seen: &Observation) -> Vec<(Key, Closed)> {
        let second = seen.at / 1000;
        let mut tallies = tallies(seen);
        for (labels, count) in &seen.news.budgets {
            let [upstream] = &**labels;
            self.over_budget.entry(upstream.as_str().into()).or_default().0.push((second, *count));
        }
        self.over_budget.retain(|_, over| over.forget(second));
        let mut closed = Vec::new();
        let before = std::mem::take(&mut self.present);
        for upstream in &seen.upstreams {
            self.observe_upstream(seen.at, upstream, &mut tallies, &before, &mut closed);
        }
        for route in &seen.routes {
            let key = Key::Route(route.clone());
            let tally = tallies.remove(&key).unwrap_or_default();
            let gauges = Gauges::default();
            self.push(&key, second, &tally, &gauges, &mut closed);
            let rates = self.rates(&key, &gauges, 0);
            let present = Present::new(State::Ok, seen.at, Score { points: 100, reasons: Vec::new() }, rates);
            self.present.insert(key, present);
        }
        let upstreams = self.present.iter().filter_map(|(key, present)| match key {
            Key::Upstream(name) => Some((&**name, &present.score)),
            _ => None,
        });
        let score = score::of_system(upstreams, &seen.system);
        let (in_flight, queued) = self.in_flight();
        let gauges = Gauges { in_flight, pending: seen.spool.pending, health: Some(score.points), distribution: None };
        let tally = tallies.remove(&Key::System).unwrap_or_default();
        self.push(&Key::System, second, &tally, &gauges, &mut closed);
        let rates = self.rates(&Key::System, &gauges, queued);
        let present = Present::new(State::of(&score), seen.at, score, rates).after(before.get(&Key::System));
        self.present.insert(Key::System, present);
        closed
    }

    fn observe_upstream(
        &mut self,
        at: UnixMillis,
        upstream: &UpstreamNow,
        tallies: &mut HashMap<Key, Tally>,
        before: &BTreeMap<Key, Present>,
        closed: &mut Vec<(Key, Closed)>,
    ) {
        let second = at / 1000;
        let key = Key::Upstream(upstream.name.clone());
        let keys: Vec<_> =
            upstream.masters.iter().map(|master| Key::Master(upstream.name.clone(), master.name.clone())).collect();
        for (master, key) in upstream.masters.iter().zip(&keys) {
            let (does, why) = score::of_master(master.admission);
            let gauges = Gauges {
                in_flight: master.in_flight,
                pending: master.pending,
                health: Some(does),
                ..Gauges::default()
            };
            let tally = tallies.remove(key).unwrap_or_default();
            self.push(key, second, &tally, &gauges, closed);
            let reasons = (does < 100).then(|| score::Reason { points: 100 - does, text: why.to_owned() });
            let score = Score { points: does, reasons: reasons.into_iter().collect() };
            let state = match master.admission.tier() {
                Tier::Out if does == 0 => State::Down,
                _ => State::of(&score),
            };
            let rates = self.rates(key, &gauges, master.queued);
            let present = Present {
                failures_in_row: master.failures_in_row,
                admission: Some(master.admission),
                ..Present::new(state, at, score, rates)
            };
            self.present.insert(key.clone(), present.after(before.get(key)));
        }
        let requests: Vec<u64> = keys.iter().map(|key| self.sums(key, MINUTE).0).collect();
        let all: u64 = requests.iter().sum();
        for (key, requests) in keys.iter().zip(&requests) {
            if let Some(present) = self.present.get_mut(key) {
                present.share_percent = (all > 0).then(|| 100.0 * *requests as f64 / all as f64);
            }
        }
        let spread = upstream.spreads.then(|| distribution(&loads(&upstream.masters, &requests))).flatten();
        let tally = tallies.remove(&key).unwrap_or_default();
        // What is scored is what has passed up to now, so this second counts as well.
        let (mut minute, queued) =
            (self.minute(&key, &upstream.name), upstream.masters.iter().map(|it| it.queued).sum());
        minute.requests += tally.requests;
        minute.errors += tally.errors;
        let standings: Vec<_> = upstream.masters.iter().map(MasterNow::standing).collect();
        let score = score::of_upstream(&standings, &minute);
        let gauges = Gauges {
            in_flight: upstream.masters.iter().map(|master| master.in_flight).sum(),
            pending: 0,
            health: Some(score.points),
            distribution: spread.as_ref().map(|spread| spread.quality),
        };
        self.push(&key, second, &tally, &gauges, closed);
        let rates = self.rates(&key, &gauges, queued);
        let present = Present { distribution: spread, ..Present::new(State::of(&score), at, score, rates) };
        self.present.insert(key.clone(), present.after(before.get(&key)));
    }

    fn push(&mut self, key: &Key, second: u64, tally: &Tally, gauges: &Gauges, closed: &mut Vec<(Key, Closed)>) {
        if !self.series.contains_key(key) && !self.make_room(second) {
            self.left_out += 1;
            return;
        }
        let series = self.series.entry(key.clone()).or_default();
        closed.extend(series.observe(second, tally, gauges).map(|closed| (key.clone(), closed)));
    }

    /// Whether there is room for one more series, if need be in the place of the one that has not been observed for longest.
    fn make_room(&mut self, second: u64) -> bool {
        if self.series.len() < SERIES_MAX {
            return true;
        }
        let gone = self.series.iter().filter(|(_, series)| series.seen() + (MINUTE as u64) < second);
        let oldest = gone.min_by_key(|(_, series)| series.seen()).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.series.remove(&key).is_some())
    }

    fn sums(&self, key: &Key, seconds: usize) -> (u64, u64) {
        self.series.get(key).map_or((0, 0), |series| series.sums(seconds))
    }

    fn minute(&self, key: &Key, upstream: &str) -> Minute {
        let (requests, errors) = self.sums(key, MINUTE - 1);
        let over_budget = self.over_budget.get(upstream).map_or(0, OverBudget::sum);
        Minute { requests, errors, over_budget }
    }

    fn rates(&self, key: &Key, gauges: &Gauges, queued: u64) -> Rates {
        let series = self.series.get(key);
        let (recent, _) = self.sums(key, RATE_SECONDS);
        let (requests, errors) = self.sums(key, MINUTE);
        Rates {
            requests_per_second: recent as f64 / RATE_SECONDS as f64,
            error_ratio: (requests > 0).then(|| errors as f64 / requests as f64),
            p50_micros: series.and_then(|series| series.quantile_micros(0.5)),
            p99_micros: series.and_then(|series| series.quantile_micros(0.99)),
            in_flight: gauges.in_flight,
            queued,
            pending: gauges.pending,
        }
    }

    fn in_flight(&self) -> (u64, u64) {
        let of_upstreams = self.present.iter().filter(|(key, _)| matches!(key, Key::Upstream(_)));
        of_upstreams.fold((0, 0), |(in_flight, queued), (_, present)| {
            (in_flight + present.rates.in_flight, queued + present.rates.queued)
        })
    }

    /// How something of the configuration in use stands; none before the first observation.
    #[must_use]
    pub fn present(&self, key: &Key) -> Option<&Present> {
        self.present.get(key)
    }

    /// Everything of the configuration in use.
    pub fn all_present(&self) -> impl Iterator<Item = (&Key, &Present)> {
        self.present.iter()
    }

    /// Samples of something.
    #[must_use]
    pub fn series(&self, key: &Key) -> Option<&Series> {
        self.series.get(key)
    }

    /// Everything of which there are samples.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.series.keys()
    }

    /// Takes in what a process before this one has kept.
    pub fn restore(&mut self, key: &Key, closed: &Closed) {
        if self.series.contains_key(key) || self.series.len() < SERIES_MAX {
            self.series.entry(key.clone()).or_default().restore(closed);
        }
    }

    /// Series for which there was no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Present {
    fn new(state: State, at: UnixMillis, score: Score, rates: Rates) -> Self {
        Self {
            state,
            since: at,
            score,
            distribution: None,
            rates,
            failures_in_row: 0,
            share_percent: None,
            admission: None,
        }
    }

    /// With the time since which nothing has changed.
    fn after(self, before: Option<&Self>) -> Self {
        let same = |before: &&Self| before.state == self.state && before.why() == self.why();
        match before.filter(same) {
            Some(before) => Self { since: before.since, ..self },
            None => self,
        }
    }

    /// What makes a master's state another one.
    fn why(&self) -> Option<&str> {
        self.admission.and(self.score.reasons.first()).map(|reason| &*reason.text)
    }
}

impl OverBudget {
    fn forget(&mut self, second: u64) -> bool {
        self.0.retain(|(at, _)| *at + MINUTE as u64 > second && *at <= second);
        !self.0.is_empty()
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl MasterNow {
    fn standing(&self) -> Standing<'_> {
        Standing { name: &self.name, weight: self.weight, admission: self.admission }
    }
}

/// The masters that could have got more.
fn loads<'a>(masters: &'a [MasterNow], requests: &[u64]) -> Vec<Load<'a>> {
    let able = masters.iter().zip(requests).filter(|(master, _)| master.admission.tier() == Tier::Full);
    able.map(|(master, requests)| Load { master: &master.name, weight: master.weight, requests: *requests }).collect()
}

/// What has happened, by what it happened to.
#[must_use]
pub fn tallies(seen: &Observation) -> HashMap<Key, Tally> {
    let mut tallies: HashMap<Key, Tally> = HashMap::new();
    let named = |name: &String| *name != NONE && *name != OTHER;
    for (labels, exchanges) in &seen.news.exchanges {
        let [route, upstream, master] = &**labels;
        let mut count = |key: Key| {
            let tally = tallies.entry(key).or_default();
            tally.count(exchanges.requests, exchanges.failures, Some(&exchanges.duration));
        };
        count(Key::System);
        if named(route) {
            count(Key::Route(route.as_str().into()));
        }
        if named(upstream) {
            count(Key::Upstream(upstream.as_str().into()));
            if named(master) {
                count(Key::Master(upstream.as_str().into(), master.as_str().into()));
            }
        }
    }
    let mut count = |labels: &[String; 2], failed_over: u64, all: u64, failed: u64| {
        let [upstream, master] = labels;
        if named(master) {
            // An attempt that went on elsewhere is in the exchange that it was for; for its master it is one more.
            let key = Key::Master(upstream.as_str().into(), master.as_str().into());
            tallies.entry(key).or_default().count(all + failed_over, failed + failed_over, None);
        }
        if all > 0 {
            for key in [Key::System, Key::Upstream(upstream.as_str().into())] {
                tallies.entry(key).or_default().count(all, failed, None);
            }
        }
    };
    for (labels, attempts) in &seen.news.attempts {
        count(labels, attempts.failed, attempts.connections, attempts.broken);
    }
    for (labels, delivered) in &seen.news.deliveries {
        count(labels, 0, delivered.all, delivered.failed);
    }
    tallies
}

#[cfg(test)]
mod tests;
