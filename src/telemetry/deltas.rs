//! What the data path has counted since somebody last looked.
//!
//! Whoever looks keeps what it saw: a reading for each series, 1.4 KB. A series in which nothing has happened costs six loads for each
//! worker; its histogram is read only when its counts have moved.

use std::collections::HashMap;
use std::sync::Arc;

use super::Telemetry;
use super::deliveries::Delivered;
use super::histogram::Reading;
use super::hot::{MasterSlot, SeriesReading, TcpEnd, UpstreamSlot};
use super::registry::{OTHER, Registry};

/// Connections that ended because of their master.
const BROKEN: [TcpEnd; 3] = [TcpEnd::MasterReset, TcpEnd::MasterFailed, TcpEnd::Unreachable];

/// One look's memory.
#[derive(Debug, Default)]
pub struct Deltas {
    exchanges: HashMap<Arc<[String; 3]>, SeriesReading>,
    masters: HashMap<Arc<[String; 2]>, Attempts>,
    upstreams: HashMap<Arc<[String; 1]>, u64>,
    deliveries: HashMap<Arc<[String; 2]>, Delivered>,
}

/// What happened between two looks; series without news are left out.
#[derive(Debug, Default)]
pub struct News {
    /// By route, upstream and master.
    pub exchanges: Vec<(Arc<[String; 3]>, Exchanges)>,
    /// By upstream and master: attempts that went on elsewhere, and TCP connections.
    pub attempts: Vec<(Arc<[String; 2]>, Attempts)>,
    /// By upstream: retries that the budget did not allow.
    pub budgets: Vec<(Arc<[String; 1]>, u64)>,
    /// By upstream and master: deliveries of stored messages that ended.
    pub deliveries: Vec<(Arc<[String; 2]>, Delivered)>,
}

/// Exchanges that ended.
#[derive(Debug, Clone, Default)]
pub struct Exchanges {
    pub requests: u64,
    /// Those without an answer or with 5xx.
    pub failures: u64,
    pub duration: Reading,
}

/// What a master did beside the exchanges that ended with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Failed attempts that were followed by another one, at another master mostly.
    pub failed: u64,
    /// TCP connections that ended.
    pub connections: u64,
    /// Those of them that ended because of the master.
    pub broken: u64,
}

impl Deltas {
    /// What is new since the call before; with the first one everything is.
    pub fn look(&mut self, telemetry: &Telemetry) -> News {
        let registry = &telemetry.hot;
        News {
            exchanges: self.exchanges(registry),
            attempts: self.attempts(registry),
            budgets: self.budgets(registry),
            deliveries: self.deliveries(telemetry),
        }
    }

    fn exchanges(&mut self, registry: &Registry) -> Vec<(Arc<[String; 3]>, Exchanges)> {
        let mut news = Vec::new();
        for (labels, cells) in registry.series().into_iter().filter(|(labels, _)| !is_put_together(&**labels)) {
            let mut classes = [0u64; super::hot::CLASSES.len()];
            cells.iter().for_each(|cell| cell.add_classes(&mut classes));
            let before = self.exchanges.get(&labels);
            if before.is_some_and(|before| before.classes == classes) {
                continue;
            }
            let mut now = SeriesReading::default();
            cells.iter().for_each(|cell| now.add(cell));
            let nothing = SeriesReading::default();
            let before = before.unwrap_or(&nothing);
            let exchanges = Exchanges {
                // Cells that were put together elsewhere leave less than there was: that is no traffic.
                requests: now.requests().saturating_sub(before.requests()),
                failures: now.failures().saturating_sub(before.failures()),
                duration: if now.duration.count() < before.duration.count() {
                    Reading::default()
                } else {
                    now.duration.since(&before.duration)
                },
            };
            self.exchanges.insert(labels.clone(), now);
            if exchanges.requests > 0 {
                news.push((labels, exchanges));
            }
        }
        news
    }

    fn attempts(&mut self, registry: &Registry) -> Vec<(Arc<[String; 2]>, Attempts)> {
        let mut news = Vec::new();
        for (labels, cells) in registry.master_counters().into_iter().filter(|(labels, _)| !is_put_together(&**labels))
        {
            let sum = |slot: MasterSlot| cells.iter().map(|cell| cell.get(slot)).sum::<u64>();
            let ended = |end: &TcpEnd| sum(MasterSlot::Ended(*end));
            let now = Attempts {
                failed: sum(MasterSlot::FailedAttempts),
                connections: TcpEnd::ALL.iter().map(ended).sum(),
                broken: BROKEN.iter().map(ended).sum(),
            };
            let before = self.masters.insert(labels.clone(), now).unwrap_or_default();
            let since = Attempts {
                failed: now.failed.saturating_sub(before.failed),
                connections: now.connections.saturating_sub(before.connections),
                broken: now.broken.saturating_sub(before.broken),
            };
            if since != Attempts::default() {
                news.push((labels, since));
            }
        }
        news
    }

    fn budgets(&mut self, registry: &Registry) -> Vec<(Arc<[String; 1]>, u64)> {
        let mut news = Vec::new();
        for (labels, cells) in registry.upstream_counters() {
            let now = cells.iter().map(|cell| cell.get(UpstreamSlot::BudgetExhausted)).sum::<u64>();
            let before = self.upstreams.insert(labels.clone(), now).unwrap_or(0);
            if now > before {
                news.push((labels, now - before));
            }
        }
        news
    }

    fn deliveries(&mut self, telemetry: &Telemetry) -> Vec<(Arc<[String; 2]>, Delivered)> {
        let mut news = Vec::new();
        for (labels, now) in telemetry.deliveries.all() {
            let before = self.deliveries.insert(labels.clone(), now).unwrap_or_default();
            if now.all > before.all {
                news.push((labels, Delivered { all: now.all - before.all, failed: now.failed - before.failed }));
            }
        }
        news
    }
}

/// A row that took over what others had counted when the table was full: nothing in it is news.
fn is_put_together(labels: &[String]) -> bool {
    labels.last().is_some_and(|last| last == OTHER) && labels.first().is_some_and(|first| first != OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_what_came_since_the_one_before_over_all_workers() {
        let telemetry = Telemetry::new().unwrap();
        let registry = &telemetry.hot;
        let (one, two) = (registry.worker(), registry.worker());
        let mut deltas = Deltas::default();
        one.series("r", "u", "a").record(200, 1000);
        two.series("r", "u", "a").record(502, 3000);
        one.master("u", "a").add(MasterSlot::FailedAttempts, 2);
        two.master("u", "a").increment(MasterSlot::Ended(TcpEnd::Complete));
        one.upstream("u").increment(UpstreamSlot::BudgetExhausted);
        let news = deltas.look(&telemetry);
        let [(labels, exchanges)] = news.exchanges.as_slice() else { panic!("{news:?}") };
        assert_eq!(labels.as_slice(), ["r", "u", "a"]);
        assert_eq!((exchanges.requests, exchanges.failures, exchanges.duration.count()), (2, 1, 2));
        assert_eq!(news.attempts[0].1, Attempts { failed: 2, connections: 1, broken: 0 });
        assert_eq!(news.budgets[0].1, 1);

        two.series("r", "u", "a").record(200, 50_000);
        let news = deltas.look(&telemetry);
        assert_eq!((news.exchanges[0].1.requests, news.exchanges[0].1.failures), (1, 0));
        assert_eq!(news.exchanges[0].1.duration.quantile_micros(0.5), Some(50_000));
        assert!(news.attempts.is_empty() && news.budgets.is_empty());
        assert!(deltas.look(&telemetry).exchanges.is_empty());
        let cell = telemetry.deliveries.of("u", "a");
        cell.count(true);
        cell.count(false);
        assert_eq!(deltas.look(&telemetry).deliveries[0].1, Delivered { all: 2, failed: 1 });
        assert!(deltas.look(&telemetry).deliveries.is_empty());
    }

    #[test]
    fn workers_that_come_and_go_are_no_traffic() {
        let telemetry = Telemetry::new().unwrap();
        let registry = &telemetry.hot;
        let mut deltas = Deltas::default();
        for round in 0..5 {
            let worker = registry.worker();
            worker.series("r", "u", "a").record(200, 10);
            drop(worker);
            let news = deltas.look(&telemetry);
            assert_eq!(news.exchanges[0].1.requests, 1, "in round {round}");
        }
    }
}
