//! Failover: somebody to take over, and nothing that gets around it.

use std::collections::BTreeMap;

use super::super::file;
use super::super::model::{Failover, Recovery};
use super::super::shape::At;
use super::super::units::{WhenAllDown, show_time};
use super::Checker;
use crate::balance::accounts::EVERY;

/// `None` in the outer place when something is wrong, in the inner one when nothing was given.
pub fn check(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) -> Option<Option<Failover>> {
    let Some(rules) = upstream.failover.get()? else { return Some(None) };
    check_standbys(checker, upstream);
    if upstream.all_down.get() == Some(&WhenAllDown::Panic) {
        let message = "`all_down: panic` sends requests to masters that failover has taken them from";
        let report = checker.error(upstream.all_down.node, message);
        checker.push(report.help("leave it out: with `failover` requests wait for the next master"));
        return None;
    }
    let recovery = rules.recovery.get()?;
    let (deadline, connect) = (rules.deadline.get()?.0, upstream.connect_timeout.get()?.0);
    if deadline < connect && checker.is_given(rules.deadline.node) {
        let (deadline, connect) = (show_time(deadline), show_time(connect));
        let message = format!("a `deadline` of {deadline} is shorter than the `connect_timeout` of {connect}");
        checker.push(checker.warning(rules.deadline.node, message));
    }
    Some(Some(Failover {
        mode: *rules.mode.get()?,
        deadline,
        failback: *rules.failback.get()?,
        stable_after: rules.stable_after.get()?.0,
        recovery: Recovery { timeout: recovery.timeout.get()?.0, max_attempts: recovery.max_attempts.get()?.u32() },
    }))
}

/// Warns of what only one master serves.
fn check_standbys(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) {
    let masters = || upstream.masters.get().into_iter().flatten().filter_map(At::get);
    let node = upstream.failover.node;
    if masters().count() == 1 {
        checker.push(checker.warning(node, "there is one master, and none to take over from it"));
        return;
    }
    let accounts = |master: &file::Master| -> Vec<String> {
        let accounts = master.accounts.get().into_iter().flatten().filter_map(At::get);
        accounts.map(|account| account.0.clone()).collect()
    };
    let everywhere = masters().filter(|master| accounts(master).iter().any(|name| name == EVERY)).count();
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for master in masters() {
        let names = accounts(master);
        if !names.iter().any(|name| name == EVERY) {
            names.into_iter().for_each(|name| *served.entry(name).or_default() += 1);
        }
    }
    let alone: Vec<String> =
        served.into_iter().filter(|(_, count)| count + everywhere < 2).map(|(name, _)| name).collect();
    if let [first, rest @ ..] = &alone[..] {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        checker.push(
            checker
                .warning(node, format!("account {first}{more} is served by one master, and none to take over from it")),
        );
    }
}
