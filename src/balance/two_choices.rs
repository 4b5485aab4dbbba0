//! Two members drawn at random, and the better of the two.
//!
//! Two are enough: the longest queue then grows with the logarithm of the logarithm of the number of members, and
//! unlike picking the best of all, workers that decide at the same time do not all run to the same member.

use super::rotation::below;
use super::set::Set;
use super::{Candidates, View};

/// Load of a member that has requests in flight and has not answered one yet: worse than every measured load, so that
/// a new member is tried with one request at a time. Finagle's value.
const PENALTY: f64 = (i64::MAX >> 16) as f64;

/// Draws over all members before the candidates are counted out and drawn from. With half of the members usable, less
/// than one pick in 25 gets there.
const MAX_DRAWS: usize = 8;

/// The lower of two loads, where load is the decayed peak latency times the requests in flight and this one, divided
/// by the slow start.
pub fn peak_ewma<V: View>(members: usize, candidates: &Candidates<'_, V>, mut random: u64) -> Option<usize> {
    let (one, other) = draw(members, candidates, &mut random)?;
    let view = candidates.view;
    let load = |i: usize| {
        let (cost, in_flight) = (view.cost(i), f64::from(view.in_flight(i)));
        let load = if cost <= 0.0 && in_flight > 0.0 { PENALTY + in_flight } else { cost * (in_flight + 1.0) };
        load * 100.0 / f64::from(view.ramp(i).max(1))
    };
    Some(if one == other || load(one) <= load(other) { one } else { other })
}

/// The one with fewer requests in flight. A member in its slow start gives way, in the share of draws that it lacks to
/// 100 %, to the other one.
pub fn least_in_flight<V: View>(members: usize, candidates: &Candidates<'_, V>, mut random: u64) -> Option<usize> {
    let (one, other) = draw(members, candidates, &mut random)?;
    let view = candidates.view;
    let mut gives_way = |i: usize| {
        let ramp = view.ramp(i);
        ramp < 100 && below(&mut random, 100) >= u64::from(ramp)
    };
    Some(match (gives_way(one), gives_way(other)) {
        (true, false) => other,
        (false, true) => one,
        _ if view.in_flight(one) <= view.in_flight(other) => one,
        _ => other,
    })
}

/// Two different candidates, or the same one twice when it is alone; every ordered pair is equally likely.
fn draw<V: View>(members: usize, candidates: &Candidates<'_, V>, random: &mut u64) -> Option<(usize, usize)> {
    let mut first = None;
    for _ in 0..MAX_DRAWS {
        let i = below(random, members as u64) as usize;
        if first != Some(i) && i < members && candidates.contain(i) {
            match first {
                None => first = Some(i),
                Some(first) => return Some((first, i)),
            }
        }
    }
    let set = Set::of(members, |i| candidates.contain(i));
    let one = below(random, set.len() as u64) as usize;
    let step = if set.len() > 1 { 1 + below(random, set.len() as u64 - 1) as usize } else { 0 };
    Some((set.nth(one)?, set.nth((one + step) % set.len())?))
}
