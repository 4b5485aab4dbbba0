//! Strategies: what each needs, and what it does not read.

use super::super::file::{self, File};
use super::super::model::StrategyKind;
use super::super::shape::At;
use super::{Checker, delivery};

pub fn check(checker: &mut Checker<'_, '_>, upstream: &file::Upstream, file: &File) {
    let Some(&strategy) = upstream.strategy.get() else { return };
    let masters = upstream.masters.get().map_or(&[][..], Vec::as_slice);
    check_numbers(checker, upstream, masters.len());
    warn_of_unread_keys(checker, upstream, masters, strategy);
    match strategy {
        StrategyKind::Geo => check_geo(checker, upstream, masters, file),
        StrategyKind::ConsistentHash if matches!(upstream.affinity.get(), Some(None)) => {
            let report = checker.warning(upstream.strategy.node, "`consistent-hash` has no key, so masters take turns");
            checker
                .push(report.help("say what to hash: `affinity: { key: client-ip }`, `header:NAME` or `cookie:NAME`"));
        }
        _ => {}
    }
}

fn check_numbers(checker: &mut Checker<'_, '_>, upstream: &file::Upstream, masters: usize) {
    if let Some(number) = upstream.masters_that_suffice.given()
        && masters > 0
        && number.usize() > masters
    {
        let message = format!("`masters_that_suffice` is {}, and there are only {masters}", number.0);
        checker.push(checker.error(upstream.masters_that_suffice.node, message));
    }
    if let Some(factor) = upstream.hash_balance_factor.get()
        && (1..100).contains(&factor.0)
    {
        let message = format!("a bound of {} % of the mean load leaves requests without a master", factor.0);
        let report = checker.error(upstream.hash_balance_factor.node, message);
        checker.push(report.help("it is at least 100, or 0 for no bound"));
    }
}

/// Keys that are given and that the strategy does not read: either the key or the strategy is not what was meant.
fn warn_of_unread_keys(
    checker: &mut Checker<'_, '_>,
    upstream: &file::Upstream,
    masters: &[At<file::Master>],
    strategy: StrategyKind,
) {
    let mut unread = Vec::new();
    let own = [
        (upstream.masters_that_suffice.given().is_some(), upstream.masters_that_suffice.node, StrategyKind::Priority),
        (
            checker.is_given(upstream.hash_balance_factor.node),
            upstream.hash_balance_factor.node,
            StrategyKind::ConsistentHash,
        ),
        (checker.is_given(upstream.geo.node), upstream.geo.node, StrategyKind::Geo),
    ];
    unread.extend(own.iter().filter(|(given, _, reader)| *given && *reader != strategy).map(|(_, node, _)| *node));
    for master in masters.iter().filter_map(At::get) {
        if !reads_weight(strategy) && master.weight.get().is_some_and(|weight| weight.0 != 1) {
            unread.push(master.weight.node);
        }
        let reads_priority = strategy == StrategyKind::Priority || matches!(upstream.failover.get(), Some(Some(_)));
        if !reads_priority && master.priority.get().is_some_and(|priority| priority.0 != 0) {
            unread.push(master.priority.node);
        }
    }
    for node in unread {
        checker.push(checker.warning(node, format!("`strategy: {}` does not read this", strategy.name())));
    }
}

fn reads_weight(strategy: StrategyKind) -> bool {
    match strategy {
        StrategyKind::WeightedRoundRobin
        | StrategyKind::Priority
        | StrategyKind::LeastLoaded
        | StrategyKind::IpHash
        | StrategyKind::ConsistentHash => true,
        StrategyKind::RoundRobin | StrategyKind::PeakEwma | StrategyKind::Random | StrategyKind::Geo => false,
    }
}

fn check_geo(checker: &mut Checker<'_, '_>, upstream: &file::Upstream, masters: &[At<file::Master>], file: &File) {
    let Some(geo) = upstream.geo.get() else { return };
    let (Some(country), Some(location)) = (geo.country_header.get(), geo.location_header.get()) else { return };
    if country.is_none() && location.is_none() && delivery::is_led_to(file, upstream) == Some(false) {
        let report = checker.error(upstream.strategy.node, "`geo` needs to learn where a requester is");
        checker.push(report.help("add `geo: { country_header: cf-ipcountry }` or `geo: { location_header: NAME }`; `whatsapp` in a route tells the country, too"));
    }
    for master in masters.iter().filter_map(At::get) {
        if let (Some(None), Some(None)) = (master.country.get(), master.location.get()) {
            let report = checker.warning(master.name.node, "`geo` does not know where this master is");
            checker.push(report.help("give it a `country` or a `location`"));
        }
    }
}
