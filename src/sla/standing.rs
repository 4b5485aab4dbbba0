//! Whether somebody was there to answer: the second of a master, an upstream, a route.

use crate::upstream::admission::{Admission, Health, OperatorState, Role, Tier};

/// How a second counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody was there.
    Up,
    /// Nobody was.
    Down,
    /// Announced work.
    Excluded,
    /// Not known yet: the first probes are not back.
    Unknown,
}

/// A master's: whether it could serve, be it its turn or not. One in `maintenance` is left out.
#[must_use]
pub fn of_master(admission: Admission) -> Standing {
    if admission.operator() == OperatorState::Maintenance {
        return Standing::Excluded;
    }
    if admission.role() == Role::Fenced {
        return Standing::Down;
    }
    let able = admission.with_operator(OperatorState::Ready).with_role(Role::Active, admission.epoch());
    match able.tier() {
        Tier::Out if able.health() == Health::Unknown && !able.dead() => Standing::Unknown,
        Tier::Out => Standing::Down,
        Tier::Full | Tier::Reserved | Tier::Doubtful => Standing::Up,
    }
}

/// An upstream's: whether any of its masters takes requests. One whose masters are all in `maintenance` is left out.
#[must_use]
pub fn of_upstream(masters: &[Admission]) -> Standing {
    let mut all = masters.iter().map(|master| of_master(*master)).peekable();
    if all.peek().is_none() {
        return Standing::Unknown;
    }
    if masters.iter().any(|master| master.tier() != Tier::Out) {
        return Standing::Up;
    }
    if all.clone().all(|standing| standing == Standing::Excluded) {
        Standing::Excluded
    } else if all.any(|standing| standing == Standing::Unknown) {
        Standing::Unknown
    } else {
        Standing::Down
    }
}

/// A route's: that of the best of its upstreams. One that can store its requests is up also without a master; so is one that asks no
/// master.
#[must_use]
pub fn of_route(upstreams: &[Standing], stores: bool) -> Standing {
    let any = |standing: Standing| upstreams.contains(&standing);
    if upstreams.is_empty() || stores || any(Standing::Up) {
        Standing::Up
    } else if any(Standing::Down) {
        Standing::Down
    } else if any(Standing::Unknown) {
        Standing::Unknown
    } else {
        Standing::Excluded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Admission = Admission::new(Health::Healthy);
    const FAILED: Admission = Admission::new(Health::Failed);

    #[test]
    fn a_master_that_waits_or_drains_is_up_and_one_in_maintenance_does_not_count() {
        let standby = WELL.with_role(Role::Standby, 1);
        let drained = WELL.with_operator(OperatorState::Drain);
        let all = [WELL, standby, drained, Admission::new(Health::Degraded)];
        assert!(all.iter().all(|master| of_master(*master) == Standing::Up));
        assert_eq!(of_master(FAILED.with_operator(OperatorState::Maintenance)), Standing::Excluded);
        assert_eq!(of_master(WELL.with_role(Role::Fenced, 1)), Standing::Down);
        assert_eq!(of_master(WELL.with_dead(true)), Standing::Down);
        assert_eq!(of_master(Admission::new(Health::Unknown)), Standing::Unknown);
    }

    #[test]
    fn an_upstream_is_down_when_nobody_takes_requests_and_not_everybody_is_in_maintenance() {
        let parked = WELL.with_operator(OperatorState::Maintenance);
        assert_eq!(of_upstream(&[WELL, FAILED]), Standing::Up);
        assert_eq!(of_upstream(&[FAILED, FAILED]), Standing::Down);
        assert_eq!(of_upstream(&[parked, FAILED]), Standing::Down);
        assert_eq!(of_upstream(&[parked, parked]), Standing::Excluded);
        assert_eq!(of_upstream(&[Admission::new(Health::Unknown), FAILED]), Standing::Unknown);
        assert_eq!(of_upstream(&[]), Standing::Unknown);
        assert_eq!(of_upstream(&[WELL.with_role(Role::Standby, 0), FAILED]), Standing::Down);
    }

    #[test]
    fn a_route_is_as_its_best_upstream_unless_it_can_store() {
        use Standing::{Down, Excluded, Unknown, Up};
        assert_eq!(of_route(&[Down, Up], false), Up);
        assert_eq!(of_route(&[Down, Excluded], false), Down);
        assert_eq!(of_route(&[Excluded, Excluded], false), Excluded);
        assert_eq!(of_route(&[Unknown], false), Unknown);
        assert_eq!((of_route(&[Down], true), of_route(&[], false)), (Up, Up));
    }
}
