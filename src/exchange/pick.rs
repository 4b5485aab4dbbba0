//! Which master gets the next attempt.
//!
//! Masters are looked at in tiers: those in full rotation first; degraded and draining ones only when no other is left;
//! suspected and ejected ones only before giving up. Within a tier the strategy decides, first among masters with room, then
//! among those with room in their queue. A master that this exchange has tried is never picked again.
//!
//! Where one master serves at a time (`failover`) there is nothing to choose: its owner gets it, or it waits for the next one.

use std::sync::Arc;

use crate::balance::{Key, Set, View};
use crate::clock::Micros;
use crate::config::model::AllDown;
use crate::snapshot::Upstream;
use crate::upstream::admission::{Circuit, OperatorState, Tier};
use crate::upstream::master::{Master, Trial};
use crate::upstream::owner::{Flight, Owner};

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
    /// It is out of use, and picked because all are (`all_down: panic`): that it is given up says nothing new.
    pub in_panic: bool,
    /// Keeps the conversation at this master while it goes on.
    pub flight: Option<Flight>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMaster {
    /// None is usable, or all usable ones have been tried.
    Unavailable,
    /// Those that are usable are full, and their queues too.
    Full,
    /// The owner cannot be used, and another one may be there in a moment.
    Changing,
}

/// What a request says about where it is to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Aim<'a> {
    pub key: Key,
    /// The affinity key's hash.
    pub pin: Option<u64>,
    /// Masters that may get it; `None` for all.
    pub allowed: Option<&'a Set>,
    /// The one that gets it, where one master serves at a time.
    pub owner: Option<&'a Arc<Owner>>,
    /// The conversation that it is in, by hash.
    pub conversation: Option<u64>,
    /// Position of the master that it is meant for, as long as that can serve it.
    pub preferred: Option<usize>,
}

/// What the choice depends on besides the upstream.
#[derive(Debug)]
pub struct Wish<'a> {
    pub aim: Aim<'a>,
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
    if let Some(owner) = wish.aim.owner.or_else(|| upstream.owners.as_ref()?.sole()) {
        return of_owner(upstream, wish, owner);
    }
    if let Some(picked) = preferred(upstream, wish).or_else(|| pinned(upstream, wish)) {
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
                let Some(position) = upstream.balancer.pick(&wish.aim.key, &members, random()) else { break };
                let Some(trial) = claim(&upstream.masters[position]) else { continue };
                let picked = Picked { position, trial, in_panic: worst == Tier::Out, flight: None };
                return Ok(owned(upstream, wish, picked));
            }
        }
        let members = Members { upstream, wish, worst, queue: true };
        if (0..upstream.masters.len()).any(|i| members.in_rotation(i) && wish.admits(i)) {
            return Err(NoMaster::Full);
        }
    }
    Err(NoMaster::Unavailable)
}

/// Claims the trial where there is one to claim; `None` when another request has it.
fn claim(master: &Arc<Master>) -> Option<Option<Trial>> {
    if master.admission().circuit() == Circuit::HalfOpen { master.claim_trial().map(Some) } else { Some(None) }
}

/// The master that it is meant for, without a pin: what a message leads back to its sender does not move a conversation.
fn preferred(upstream: &Upstream, wish: &Wish<'_>) -> Option<Picked> {
    let position = wish.aim.preferred?;
    serving(upstream, wish, position)
}

/// The master at this position, if it can serve at all and may get this; full or not.
fn serving(upstream: &Upstream, wish: &Wish<'_>, position: usize) -> Option<Picked> {
    let master = upstream.masters.get(position)?;
    // A suspicion that a probe clears a moment later must not tear a conversation away; one that it confirms sends the
    // request on from where it waits.
    let usable = master.admission().with_suspect(false).tier() <= Tier::Reserved;
    if !usable || !wish.admits(position) {
        return None;
    }
    Some(Picked { position, trial: claim(master)?, in_panic: false, flight: None })
}

/// The one master that serves this now; full or not, there is no other.
fn of_owner(upstream: &Upstream, wish: &Wish<'_>, owner: &Arc<Owner>) -> Result<Picked, NoMaster> {
    // Read first: once it says that nobody comes, whoever is there has come before.
    let hopeless = owner.is_hopeless();
    let nobody = if hopeless { NoMaster::Unavailable } else { NoMaster::Changing };
    let (id, flight) = owner.enter(wish.aim.conversation);
    let Some(position) = id.and_then(|id| upstream.position(id)) else { return Err(nobody) };
    let master = &upstream.masters[position];
    // A probe decides about a suspected one, and somebody takes over from one that is out: what waits for that is sent once.
    let tier = master.admission().tier();
    if tier == Tier::Out || (tier == Tier::Doubtful && !hopeless) {
        return Err(nobody);
    }
    if wish.tried.contains(position) {
        return Err(NoMaster::Unavailable);
    }
    if !master.permits().has_room() && !master.permits().queue_has_room() {
        return Err(NoMaster::Full);
    }
    let trial = claim(master).ok_or(nobody)?;
    if let (Some(pins), Some(key)) = (&upstream.pins, wish.aim.pin)
        && pins.get_or_set(key, master.id(), wish.now) != master.id()
    {
        pins.set(key, master.id(), wish.now);
    }
    Ok(Picked { position, trial, in_panic: false, flight })
}

/// The master this conversation belongs to, while it can serve at all; full or not, the conversation stays.
fn pinned(upstream: &Upstream, wish: &Wish<'_>) -> Option<Picked> {
    let id = upstream.pins.as_ref()?.get(wish.aim.pin?, wish.now)?;
    serving(upstream, wish, upstream.position(id)?)
}

/// Pins the conversation to the picked master, unless another request of it has just been quicker: then both go to the
/// quicker one's.
fn owned(upstream: &Upstream, wish: &Wish<'_>, picked: Picked) -> Picked {
    let (Some(pins), Some(key)) = (&upstream.pins, wish.aim.pin) else { return picked };
    let id = upstream.masters[picked.position].id();
    let held = pins.get_or_set(key, id, wish.now);
    if held == id {
        return picked;
    }
    if let Some(others) = pinned(upstream, wish) {
        return others;
    }
    // The master that it belonged to cannot serve it any more. Of requests that see this at once, the first one decides.
    if pins.set_instead(key, held, id, wish.now) != id
        && let Some(others) = pinned(upstream, wish)
    {
        return others;
    }
    picked
}

impl Wish<'_> {
    /// Whether this master may get it, and has not been tried.
    fn admits(&self, position: usize) -> bool {
        !self.tried.contains(position) && self.aim.allowed.is_none_or(|allowed| allowed.contains(position))
    }
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
        self.in_rotation(i) && self.wish.admits(i) && (permits.has_room() || (self.queue && permits.queue_has_room()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::snapshot::Snapshot;
    use crate::upstream::admission::Health;
    use crate::upstream::master::Failure;

    const NOW: Micros = 1_000_000;

    /// An upstream of three masters `a`, `b`, `c` with further keys.
    fn upstream(keys: &str) -> Arc<Upstream> {
        let text = format!(
            "listeners: [{{ name: l, address: 127.0.0.1:1 }}]\nroutes: [{{ name: r, upstream: u }}]\nupstreams:\n  - name: u\n    masters:\n{}{keys}",
            ["a", "b", "c"].map(|name| format!("      - {{ name: {name}, address: \"unix:/{name}\" }}\n")).concat(),
        );
        let loaded = config::parse(&text, "test".as_ref(), &config::System).unwrap_or_else(|error| panic!("{error}"));
        Snapshot::build(loaded.config, vec![vec![None; 3]], None).upstreams.remove(0)
    }

    fn position(upstream: &Upstream, pin: Option<u64>, tried: &Tried) -> Result<usize, NoMaster> {
        let wish = Wish { aim: Aim { pin, ..Aim::default() }, tried, now: NOW };
        pick(upstream, &wish, || 7).map(|picked| picked.position)
    }

    #[test]
    fn a_master_that_was_tried_is_not_picked_again() {
        let (upstream, mut tried) = (upstream(""), Tried::default());
        for _ in 0..3 {
            let position = position(&upstream, None, &tried).unwrap();
            assert!(!tried.contains(position));
            tried.add(position);
        }
        assert_eq!(position(&upstream, None, &tried), Err(NoMaster::Unavailable));
    }

    #[test]
    fn better_tiers_come_first_and_the_worst_is_not_used() {
        let upstream = upstream("");
        let [a, b, c] = &upstream.masters[..] else { panic!() };
        a.set_health(Health::Degraded, NOW);
        b.set_health(Health::Failed, NOW);
        let some = |count| (0..count).map(|_| position(&upstream, None, &Tried::default())).collect::<Vec<_>>();
        assert_eq!(some(3), [Ok(2); 3]);
        c.set_health(Health::Failed, NOW);
        assert_eq!(some(3), [Ok(0); 3]);
        a.set_health(Health::Failed, NOW);
        assert_eq!(some(1), [Err(NoMaster::Unavailable)]);
    }

    #[test]
    fn in_panic_failed_masters_are_tried_all_the_same() {
        let upstream = upstream("    all_down: panic\n");
        upstream.masters.iter().for_each(|master| {
            master.set_health(Health::Failed, NOW);
        });
        assert!(position(&upstream, None, &Tried::default()).is_ok());
    }

    #[test]
    fn full_masters_are_queued_at_only_when_all_are_full() {
        let upstream = upstream("    limits: { max_in_flight: 1, max_queue: 1 }\n");
        assert!(upstream.masters[0].permits().try_acquire() && upstream.masters[1].permits().try_acquire());
        for _ in 0..3 {
            assert_eq!(position(&upstream, None, &Tried::default()), Ok(2));
        }
        assert!(upstream.masters[2].permits().try_acquire());
        assert!(position(&upstream, None, &Tried::default()).is_ok());
    }

    #[test]
    fn a_conversation_stays_with_its_master_and_moves_once_when_that_fails() {
        let upstream = upstream("    affinity: { key: client-ip }\n");
        let (pin, tried) = (Some(42), Tried::default());
        let first = position(&upstream, pin, &tried).unwrap();
        assert!((0..10).all(|_| position(&upstream, pin, &tried) == Ok(first)));
        upstream.masters[first].failed(NOW, Failure::ConnectRefused, None, || true);
        let second = position(&upstream, pin, &tried).unwrap();
        assert_ne!(first, second);
        upstream.masters[first].set_health(Health::Healthy, NOW);
        assert!((0..10).all(|_| position(&upstream, pin, &tried) == Ok(second)));
    }

    #[test]
    fn a_suspicion_does_not_move_a_conversation() {
        let keys = "    affinity: { key: client-ip }\n    health_check: { http: { path: / } }\n";
        let upstream = upstream(keys);
        upstream.masters.iter().for_each(|master| {
            master.set_health(Health::Healthy, NOW);
        });
        let first = position(&upstream, Some(42), &Tried::default()).unwrap();
        upstream.masters[first].watch(NOW + 10_000_000, NOW);
        assert!(upstream.masters[first].admission().suspect());
        assert_eq!(position(&upstream, Some(42), &Tried::default()), Ok(first));
        // What is not pinned goes elsewhere.
        assert!((0..10).all(|_| position(&upstream, None, &Tried::default()) != Ok(first)));
    }
}
