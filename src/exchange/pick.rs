//! Which master gets the next attempt.
//!
//! Masters are looked at in tiers: those in full rotation first; degraded and draining ones only when no other is left;
//! suspected and ejected ones only before giving up. Within a tier the strategy decides, first among masters with room, then
//! among those with room in their queue. A master that this exchange has tried is never picked again.

use std::sync::Arc;

use crate::balance::{Key, View};
use crate::clock::Micros;
use crate::config::model::AllDown;
use crate::snapshot::Upstream;
use crate::upstream::admission::{Circuit, OperatorState, Tier};
use crate::upstream::master::{Master, Trial};

/// Attempts that one exchange may make, whatever is configured.
pub const ATTEMPTS_MAX: usize = 16;

/// Masters that an exchange has tried.
#[derive(Debug, Default, Clone)]
pub struct Tried {
    positions: [u16; ATTEMPTS_MAX],
    count: usize,
}

/// A master for the next attempt.
#[derive(Debug)]
pub struct Picked {
    /// Position in the upstream.
    pub position: usize,
    /// Its circuit is half-open and this exchange is the trial.
    pub trial: Option<Trial>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMaster {
    /// None is usable, or all usable ones have been tried.
    Unavailable,
    /// Those that are usable are full, and their queues too.
    Full,
}

/// What the choice depends on besides the upstream.
#[derive(Debug)]
pub struct Wish<'a> {
    pub key: Key,
    /// The affinity key's hash.
    pub pin: Option<u64>,
    pub tried: &'a Tried,
    pub now: Micros,
}

impl Tried {
    pub fn add(&mut self, position: usize) {
        if let (Some(slot), Ok(position)) = (self.positions.get_mut(self.count), u16::try_from(position)) {
            *slot = position;
            self.count += 1;
        }
    }

    #[must_use]
    pub fn contains(&self, position: usize) -> bool {
        self.positions[..self.count].iter().any(|tried| usize::from(*tried) == position)
    }
}

/// Picks a master. A half-open circuit lets one request through: its trial is claimed here.
///
/// # Errors
/// [`NoMaster`].
pub fn pick(upstream: &Upstream, wish: &Wish<'_>, mut random: impl FnMut() -> u64) -> Result<Picked, NoMaster> {
    if let Some(picked) = pinned(upstream, wish) {
        return Ok(picked);
    }
    let tiers: &[Tier] = match upstream.settings.all_down {
        AllDown::Reject => &[Tier::Full, Tier::Reserved, Tier::Doubtful],
        AllDown::Panic => &[Tier::Full, Tier::Reserved, Tier::Doubtful, Tier::Out],
    };
    for &worst in tiers {
        for queue in [false, true] {
            let members = Members { upstream, wish, worst, queue };
            // The second look is for a lost race for a half-open circuit's trial, whose word then keeps it out.
            for _ in 0..2 {
                let Some(position) = upstream.balancer.pick(&wish.key, &members, random()) else { break };
                let Some(trial) = claim(&upstream.masters[position]) else { continue };
                return Ok(owned(upstream, wish, Picked { position, trial }));
            }
        }
        let members = Members { upstream, wish, worst, queue: true };
        if (0..upstream.masters.len()).any(|i| members.in_rotation(i) && !wish.tried.contains(i)) {
            return Err(NoMaster::Full);
        }
    }
    Err(NoMaster::Unavailable)
}

/// Claims the trial where there is one to claim; `None` when another request has it.
fn claim(master: &Arc<Master>) -> Option<Option<Trial>> {
    if master.admission().circuit() == Circuit::HalfOpen { master.claim_trial().map(Some) } else { Some(None) }
}

/// The master this conversation belongs to, while it can serve at all; full or not, the conversation stays.
fn pinned(upstream: &Upstream, wish: &Wish<'_>) -> Option<Picked> {
    let id = upstream.pins.as_ref()?.get(wish.pin?, wish.now)?;
    let position = upstream.position(id)?;
    let master = &upstream.masters[position];
    if master.admission().tier() > Tier::Reserved || wish.tried.contains(position) {
        return None;
    }
    Some(Picked { position, trial: claim(master)? })
}

/// Pins the conversation to the picked master, unless another request of it has just been quicker: then both go to the
/// quicker one's.
fn owned(upstream: &Upstream, wish: &Wish<'_>, picked: Picked) -> Picked {
    let (Some(pins), Some(key)) = (&upstream.pins, wish.pin) else { return picked };
    let id = upstream.masters[picked.position].id();
    if pins.get_or_set(key, id, wish.now) == id {
        return picked;
    }
    if let Some(others) = pinned(upstream, wish) {
        return others;
    }
    // The master that it belonged to cannot serve it any more.
    pins.set(key, id, wish.now);
    picked
}

struct Members<'a> {
    upstream: &'a Upstream,
    wish: &'a Wish<'a>,
    worst: Tier,
    /// Whether masters without room count, as long as their queue has some.
    queue: bool,
}

impl Members<'_> {
    fn master(&self, i: usize) -> &Arc<Master> {
        &self.upstream.masters[i]
    }
}

impl View for Members<'_> {
    fn eligible(&self, i: usize) -> bool {
        let permits = self.master(i).permits();
        self.in_rotation(i)
            && !self.wish.tried.contains(i)
            && (permits.has_room() || (self.queue && permits.queue_has_room()))
    }

    fn in_rotation(&self, i: usize) -> bool {
        let admission = self.master(i).admission();
        admission.tier() <= self.worst && admission.operator() != OperatorState::Maintenance
    }

    fn in_flight(&self, i: usize) -> u32 {
        let permits = self.master(i).permits();
        permits.in_flight().saturating_add(permits.queued())
    }

    fn cost(&self, i: usize) -> f64 {
        self.master(i).latency().cost(self.wish.now)
    }

    fn ramp(&self, i: usize) -> u32 {
        self.master(i).share_percent(self.wish.now)
    }
}
