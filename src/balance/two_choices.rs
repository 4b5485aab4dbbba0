//! Two members drawn at random, and the better of the two.
//!
//! Two are enough: the longest queue then grows with the logarithm of the logarithm of the number of members, and
//! unlike picking the best of all, workers that decide at the same time do not all run to the same member.

use super::View;
use super::set::Set;

/// Load of a member that has requests in flight and has not answered one yet: worse than every measured load, so that
/// a new member is tried with one request at a time. Finagle's value.
const PENALTY: f64 = (i64::MAX >> 16) as f64;

/// The lower of two loads, where load is the decayed peak latency times the requests in flight and this one, divided
/// by the slow start.
pub fn peak_ewma(members: usize, view: &impl View, random: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let (one, other) = draw(&Set::of(members, usable), random)?;
    let load = |i: usize| {
        let (cost, in_flight) = (view.cost(i), f64::from(view.in_flight(i)));
        let load = if cost <= 0.0 && in_flight > 0.0 { PENALTY + in_flight } else { cost * (in_flight + 1.0) };
        load * 100.0 / f64::from(view.ramp(i).max(1))
    };
    Some(if one == other || load(one) <= load(other) { one } else { other })
}

/// The one with fewer requests in flight. A member in its slow start gives way, in the share of draws that it lacks to
/// 100 %, to the other one.
pub fn least_in_flight(members: usize, view: &impl View, random: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let (one, other) = draw(&Set::of(members, usable), random)?;
    if one == other {
        return Some(one);
    }
    let chance = random.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let gives_way = |i: usize, chance: u64| chance % 100 >= u64::from(view.ramp(i));
    Some(match (gives_way(one, chance), gives_way(other, chance / 100)) {
        (true, false) => other,
        (false, true) => one,
        _ if view.in_flight(one) <= view.in_flight(other) => one,
        _ => other,
    })
}

/// Two different members, or the same one twice when it is alone; every ordered pair is equally likely.
fn draw(set: &Set, random: u64) -> Option<(usize, usize)> {
    let below = |random: u64, limit: usize| (((random & u64::from(u32::MAX)) * limit as u64) >> 32) as usize;
    let one = below(random, set.len());
    let step = if set.len() > 1 { 1 + below(random >> 32, set.len() - 1) } else { 0 };
    let other = (one + step) % set.len().max(1);
    Some((set.nth(one)?, set.nth(other)?))
}
