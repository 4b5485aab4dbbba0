//! Which member of an upstream gets a request.
//!
//! A [`Balancer`] is one strategy with the tables it needs, built once for a set of members and shared by all workers.
//! [`Balancer::pick`] takes what it has to know as arguments: the request's [`Key`], a [`View`] of the members at this
//! instant, and a random number. It reads no clock, takes no lock and allocates nothing, except that a rotation
//! rebuilds its table when the set of members in rotation, or a step of their slow start, has changed.
//!
//! Guarantees, for every strategy:
//! * a member for which [`View::eligible`] says no is never picked;
//! * whenever at least one member is eligible, one is picked;
//! * a member outside the rotation is picked only when no eligible one is inside it.
//!
//! What else a strategy looks at:
//!
//! | strategy | weight | slow start |
//! |---|---|---|
//! | round-robin | ignored | share of turns |
//! | weighted-round-robin | share of turns | share of turns |
//! | priority | share of turns within a level | share of turns within a level |
//! | least-loaded | divides the load | divides the load |
//! | peak-ewma | ignored: latency tells what a member can carry | divides the load |
//! | random | ignored | chance of being drawn |
//! | ip-hash, consistent-hash | share of keys | ignored: moving keys twice would cost more than it spares |
//! | geo | ignored | ignored: the place decides |
//!
//! Health, time-outs and pins are not decided here: the caller's [`View`] has the first two, and a pinned request
//! comes here only when its pin is gone (see [`affinity`]).

pub mod accounts;
mod countries;
mod geo;
mod globe;
mod least_loaded;
mod priority;
mod rendezvous;
mod rotation;
mod set;
pub mod split;
mod two_choices;

pub mod affinity;

use std::net::IpAddr;

use crate::config::model::{Master, StrategyKind, Upstream};

pub use geo::Place;
pub use rendezvous::client_hash;
pub use set::Set;

/// Members a balancer can tell apart; further ones are never picked, so validation has to refuse them.
///
/// Bounds the stack a pick uses (a set of members is this many bits) and the time of strategies that look at every
/// member: up to 6 µs at this size, and 0.3 µs for 32 members.
pub const MAX_MEMBERS: usize = 1024;

/// Larger weights count as this one; validation allows 1000. Keeps products of weights and loads within 64 bits.
const MAX_WEIGHT: u32 = 1_000_000;

/// Seed of every hash that decides where a key goes. Part of the format: another value moves nearly all keys.
const SEED: u64 = 0;

/// What a strategy may ask about member `i`, its index in the slice given to [`Balancer::new`].
///
/// Answers may change between two calls, as they come from atomics that others write: a strategy decides from what it
/// was told and does not ask the same twice to compare.
pub trait View {
    /// Whether this request may go to the member now: usable, below its limits, and not tried yet by this request.
    fn eligible(&self, i: usize) -> bool;

    /// Whether the member is one of those that new requests are spread over. Shares are computed over these.
    ///
    /// Must not depend on the request: a member that this request has tried, or whose queue is full, stays in
    /// rotation and is only not eligible. Otherwise precomputed rotations would be rebuilt again and again.
    fn in_rotation(&self, i: usize) -> bool;

    /// Requests at the member, those queued for it and open tunnels included.
    fn in_flight(&self, i: usize) -> u32;

    /// Peak-EWMA of the latency in microseconds, decayed to now; 0 before the first answer.
    fn cost(&self, i: usize) -> f64;

    /// Slow start: percent of its full share, 10 to 100.
    fn ramp(&self, i: usize) -> u32;
}

/// What is fixed about a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its identity for the hash strategies, which therefore do not depend on the order of the members.
    pub name: String,
    /// 1 to 1000.
    pub weight: u32,
    /// 0 is the most preferred.
    pub priority: u32,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<[u8; 2]>,
    /// Latitude and longitude in degrees; outranks the country's centre.
    pub location: Option<(f64, f64)>,
}

/// What the request says about where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Key {
    /// [`stable_hash`] of the affinity key.
    pub hash: Option<u64>,
    pub client: Option<IpAddr>,
    pub place: Option<Place>,
}

/// Settings of single strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `consistent-hash`: see [`Upstream::hash_balance_factor`].
    pub hash_balance_factor: u32,
    /// `priority`: see [`Upstream::masters_that_suffice`].
    pub masters_that_suffice: Option<usize>,
}

/// A strategy, ready to pick.
#[derive(Debug)]
pub struct Balancer {
    kind: StrategyKind,
    strategy: Strategy,
}

#[derive(Debug)]
enum Strategy {
    Rotation(rotation::Rotation),
    Priority(priority::Priority),
    LeastLoaded(least_loaded::LeastLoaded),
    Geo { geo: geo::Geo, unknown: rotation::Rotation },
    IpHash { hash: rendezvous::Rendezvous, unknown: rotation::Rotation },
    ConsistentHash { hash: rendezvous::Rendezvous, balance_factor: u32, unknown: rotation::Rotation },
    PeakEwma { members: usize },
    Random { members: usize },
}

/// The hash that keys and member names are placed by: XXH3, 64 bits, fixed seed; the same in every process.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, SEED)
}

impl Spec {
    #[must_use]
    pub fn of(master: &Master) -> Self {
        Self {
            name: master.name.clone(),
            weight: master.weight,
            priority: master.priority,
            country: master.country,
            location: master.location,
        }
    }

    /// The weight, within the bounds that calculations rely on.
    fn bounded_weight(&self) -> u32 {
        self.weight.clamp(1, MAX_WEIGHT)
    }
}

impl Options {
    #[must_use]
    pub fn of(upstream: &Upstream) -> Self {
        Self { hash_balance_factor: upstream.hash_balance_factor, masters_that_suffice: upstream.masters_that_suffice }
    }
}

impl Balancer {
    /// Prepares a strategy for these members. Only the first [`MAX_MEMBERS`] take part.
    #[must_use]
    pub fn new(kind: StrategyKind, specs: &[Spec], options: Options) -> Self {
        use rotation::Rotation;
        let specs = &specs[..specs.len().min(MAX_MEMBERS)];
        let members = specs.len();
        let strategy = match kind {
            StrategyKind::RoundRobin => Strategy::Rotation(Rotation::even(members)),
            StrategyKind::WeightedRoundRobin => Strategy::Rotation(Rotation::weighted(specs)),
            StrategyKind::Priority => Strategy::Priority(priority::Priority::new(specs, options.masters_that_suffice)),
            StrategyKind::LeastLoaded => Strategy::LeastLoaded(least_loaded::LeastLoaded::new(specs)),
            StrategyKind::Geo => Strategy::Geo { geo: geo::Geo::new(specs), unknown: Rotation::even(members) },
            StrategyKind::IpHash => {
                Strategy::IpHash { hash: rendezvous::Rendezvous::new(specs), unknown: Rotation::even(members) }
            }
            StrategyKind::ConsistentHash => Strategy::ConsistentHash {
                hash: rendezvous::Rendezvous::new(specs),
                balance_factor: options.hash_balance_factor,
                unknown: Rotation::even(members),
            },
            StrategyKind::PeakEwma => Strategy::PeakEwma { members },
            StrategyKind::Random => Strategy::Random { members },
        };
        Self { kind, strategy }
    }

    #[must_use]
    pub fn kind(&self) -> StrategyKind {
        self.kind
    }

    /// The member to send the request to, or `None` when none is eligible. `random` is uniform over all of `u64` and
    /// new for each call; the same arguments in the same state give the same answer.
    pub fn pick(&self, key: &Key, view: &impl View, random: u64) -> Option<usize> {
        match &self.strategy {
            Strategy::Rotation(rotation) => rotation.pick(view, random),
            Strategy::Priority(priority) => priority.pick(view, random),
            Strategy::LeastLoaded(least) => Candidates::of(view).first(|candidates| least.pick(candidates)),
            Strategy::Geo { geo, unknown } => match key.place.and_then(|place| geo.origin(&place)) {
                Some(origin) => Candidates::of(view).first(|candidates| geo.pick(origin, candidates)),
                None => unknown.pick(view, random),
            },
            Strategy::IpHash { hash, unknown } => match key.client.map(rendezvous::client_hash) {
                Some(key) => Candidates::of(view).first(|candidates| hash.pick(key, candidates)),
                None => unknown.pick(view, random),
            },
            Strategy::ConsistentHash { hash, balance_factor, unknown } => {
                match key.hash.or_else(|| key.client.map(rendezvous::client_hash)) {
                    Some(key) => hash
                        .pick_bounded(key, *balance_factor, view)
                        .or_else(|| Candidates::of(view).first(|candidates| hash.pick(key, candidates))),
                    None => unknown.pick(view, random),
                }
            }
            Strategy::PeakEwma { members } => {
                Candidates::of(view).first(|candidates| two_choices::peak_ewma(*members, candidates, random))
            }
            Strategy::Random { members } => {
                Candidates::of(view).first(|candidates| two_choices::least_in_flight(*members, candidates, random))
            }
        }
    }
}

/// Who may be picked: the eligible members in rotation, and when there is none, all eligible ones.
#[derive(Debug)]
struct Candidates<'a, V> {
    view: &'a V,
    outside_rotation: bool,
}

impl<'a, V: View> Candidates<'a, V> {
    fn of(view: &'a V) -> Self {
        Self { view, outside_rotation: false }
    }

    /// The pick among those in rotation, else among all.
    fn first(self, pick: impl Fn(&Self) -> Option<usize>) -> Option<usize> {
        pick(&self).or_else(|| pick(&Self { outside_rotation: true, ..self }))
    }

    fn contain(&self, i: usize) -> bool {
        self.view.eligible(i) && (self.outside_rotation || self.view.in_rotation(i))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
