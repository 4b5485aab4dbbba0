//! What follows when a master's operator state is set, in sentences. Pure.

use super::view::{FailoverStatus, MasterView, OperatorState, UpstreamView};

/// Masters that a sentence names.
const NAMED_MAX: usize = 5;

/// What setting the state of one of its masters leads to, as the upstream stands.
#[must_use]
pub fn effects(upstream: &UpstreamView, master: &MasterView, to: OperatorState) -> Vec<String> {
    if master.operator_state == to {
        return vec![format!("nothing: it is in {} already", to.word())];
    }
    let others = upstream.masters.iter().filter(|it| it.name != master.name && it.usable);
    let others: Vec<&str> = others.map(|it| &*it.name).collect();
    let mut effects = Vec::new();
    if to != OperatorState::Ready && master.in_flight > 0 {
        effects.push(format!("what is in flight may finish: {}", master.in_flight));
    }
    match (&upstream.failover, to) {
        (Some(failover), _) => owned(failover, master, to, &mut effects),
        (None, OperatorState::Ready) => {}
        (None, OperatorState::Drain) if others.is_empty() => {
            effects.push("no other master is in rotation: it goes on getting everything".to_owned());
        }
        (None, OperatorState::Drain) => {
            effects.push("the conversations that it has stay with it".to_owned());
            effects.push(format!("new conversations go to {}", named(&others)));
        }
        (None, OperatorState::Maintenance) if others.is_empty() => {
            effects.push("no other master is in rotation: requests are not answered by anybody".to_owned());
        }
        (None, OperatorState::Maintenance) => {
            effects.push(format!("everything goes to {}, the conversations that it has too", named(&others)));
        }
    }
    match to {
        OperatorState::Ready => {
            effects.push("it is used once a probe has found it well, where it is probed".to_owned());
        }
        OperatorState::Maintenance => effects.push("it is not probed any more".to_owned()),
        OperatorState::Drain => {}
    }
    if to == OperatorState::Maintenance && master.pending > 0 && upstream.failover.is_none() {
        effects.push(format!("stored messages that only it may get wait: {}", master.pending));
    }
    effects
}

/// Where one master serves at a time.
fn owned(failover: &FailoverStatus, master: &MasterView, to: OperatorState, effects: &mut Vec<String>) {
    let serves: Vec<_> = failover.groups.iter().filter(|it| it.active.as_deref() == Some(&*master.name)).collect();
    let orphans = failover.groups.iter().filter(|it| it.active.is_none()).count();
    match to {
        OperatorState::Ready if orphans > 0 => {
            effects.push("it takes over what nobody serves at present, where it may".to_owned());
        }
        OperatorState::Ready => effects.push("it stands by; who serves goes on serving".to_owned()),
        OperatorState::Drain if serves.is_empty() => {
            effects.push("a failover takes it only where no other master can take over".to_owned());
        }
        OperatorState::Drain => {
            effects.push("it goes on serving: of the active master a drain takes nothing; `failover` does".to_owned());
        }
        OperatorState::Maintenance if serves.is_empty() => {
            effects.push("no failover takes it; who serves goes on serving".to_owned());
        }
        OperatorState::Maintenance => {
            let lost = serves.iter().filter(|it| it.standbys == 0).count();
            if lost < serves.len() {
                effects.push("another master takes over, with its conversations and stored messages".to_owned());
            }
            if lost > 0 {
                effects.push(format!("nobody can take over, so nobody serves: {}", accounts(&serves)));
            }
        }
    }
}

fn accounts(groups: &[&super::view::OwnedView]) -> String {
    let lost = groups.iter().filter(|it| it.standbys == 0);
    let names: Vec<&str> = lost.flat_map(|it| &it.accounts).map(|account| &**account).collect();
    if names.is_empty() { "the whole upstream".to_owned() } else { format!("accounts {}", named(&names)) }
}

fn named(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::OwnedView;

    fn master(name: &str, usable: bool) -> MasterView {
        serde_json::from_value(serde_json::json!({
            "name": name, "address": "127.0.0.1:1", "resolved": [], "health": "healthy", "operator_state": "ready",
            "role": "standby", "recovery": null, "circuit": "closed", "usable": usable, "ejected": false, "suspect": false,
            "dead": false, "priority": 0, "weight": 1, "in_flight": 3, "queued": 0, "requests": 0, "failures": 0,
            "latency_ms": 0.0, "latency_p99_ms": 0.0, "pending": 0,
        }))
        .unwrap()
    }

    fn upstream(others: &[(&str, bool)], failover: Option<Vec<OwnedView>>) -> UpstreamView {
        let masters = [("a", true)].iter().chain(others).map(|(name, usable)| master(name, *usable)).collect();
        let failover = failover.map(|groups| FailoverStatus { mode: "active-standby".into(), groups });
        let (name, strategy) = ("bots".into(), "round-robin".into());
        UpstreamView { name, strategy, active: None, epoch: 0, standing: None, failover, masters }
    }

    fn group(active: Option<&str>, standbys: u64, accounts: &[&str]) -> OwnedView {
        let accounts = accounts.iter().map(|it| (*it).to_owned()).collect();
        let (state, cause, active) = ("steady".to_owned(), String::new(), active.map(str::to_owned));
        OwnedView { accounts, active, leaving: None, state, cause, standbys, held: false, kept: None }
    }

    fn said(upstream: &UpstreamView, to: OperatorState) -> String {
        effects(upstream, &upstream.masters[0], to).join("; ")
    }

    #[test]
    fn who_takes_over_is_named_and_so_is_that_nobody_does() {
        let three = upstream(&[("b", true), ("c", false), ("d", true)], None);
        assert!(said(&three, OperatorState::Drain).contains("may finish: 3; the conversations that it has stay"));
        assert!(said(&three, OperatorState::Drain).ends_with("new conversations go to b, d"));
        assert!(said(&three, OperatorState::Maintenance).contains("everything goes to b, d"));
        let alone = upstream(&[("c", false)], None);
        assert!(said(&alone, OperatorState::Drain).contains("goes on getting everything"));
        assert!(said(&alone, OperatorState::Maintenance).contains("not answered by anybody"));
        assert_eq!(said(&alone, OperatorState::Ready), "nothing: it is in ready already");
    }

    #[test]
    fn of_an_active_master_maintenance_is_a_failover_and_a_drain_changes_nothing() {
        let served = upstream(&[("b", true)], Some(vec![group(Some("a"), 1, &[])]));
        assert!(said(&served, OperatorState::Drain).contains("goes on serving"));
        assert!(said(&served, OperatorState::Maintenance).contains("another master takes over"));
        let groups = vec![group(Some("a"), 1, &["1"]), group(Some("a"), 0, &["2", "3"])];
        let lost = said(&upstream(&[("b", true)], Some(groups)), OperatorState::Maintenance);
        assert!(lost.contains("another master takes over") && lost.contains("nobody serves: accounts 2, 3"), "{lost}");
        let stands_by = upstream(&[("b", true)], Some(vec![group(Some("b"), 1, &[])]));
        assert!(said(&stands_by, OperatorState::Maintenance).contains("no failover takes it"));
    }
}
