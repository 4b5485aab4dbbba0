//! Who owns which cells: the one place that knows every worker's.
//!
//! Cold by design: a worker comes here when it takes up a new snapshot, a scrape when it reads. Both hold the lock only
//! to look things up or to copy a list of `Arc`s, never while adding up.
//!
//! Series of a master that left stay: a count that disappears and comes back reads as a reset to Prometheus. When a table
//! is full, cells that no worker holds any more are added to a series whose last label is `other`, so that sums over
//! a route or an upstream never shrink; if that frees nothing, new series are counted under `other` alone.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError};

use super::hot::{
    Cells, ListenerCounters, ListenerSlot, MasterCounters, MasterSlot, RouteCounters, Series, SeriesReading, TcpEnd,
    UpstreamCounters,
};
use crate::sync::Mutex;

/// Series of each kind, over all workers. 2000 are about 3 MB for each worker and about 1 MB of text to scrape.
pub const SERIES_MAX: usize = 2000;

/// Label value of what the cap has put together.
pub const OTHER: &str = "other";

/// Label value where there is no such thing: a request without a route has no upstream, one refused has no master.
pub const NONE: &str = "none";

/// Cells that no worker owns; written under the lock only.
const NOBODY: u64 = 0;

/// Every worker's cells.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    workers: u64,
    series: Table<3, Series>,
    listeners: Table<1, ListenerCounters>,
    routes: Table<1, RouteCounters>,
    upstreams: Table<1, UpstreamCounters>,
    masters: Table<2, MasterCounters>,
}

/// One worker's way to its cells. It belongs to one thread: the cells it hands out have a single writer, which is
/// whoever owns this.
#[derive(Debug)]
pub struct WorkerMetrics {
    registry: Arc<Registry>,
    worker: u64,
    /// Not `Sync`.
    thread: PhantomData<std::cell::Cell<()>>,
}

/// One master over all routes and workers, since the process started.
#[derive(Debug, Clone, Default)]
pub struct MasterTotals {
    /// Exchanges and TCP connections that ended here, and attempts that went on elsewhere.
    pub requests: u64,
    /// Those without an answer or with 5xx, connections that the master broke off or did not take, and attempts that
    /// went on elsewhere.
    pub failures: u64,
    /// Durations of the exchanges that ended here.
    pub duration: super::histogram::Reading,
}

/// What is open on a listener, over all workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenConnections {
    /// Tunnels included.
    pub connections: u64,
    pub tunnels: u64,
}

impl Default for Registry {
    fn default() -> Self {
        Self::with_limit(SERIES_MAX)
    }
}

impl Registry {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                workers: NOBODY,
                series: Table::new(limit),
                listeners: Table::new(limit),
                routes: Table::new(limit),
                upstreams: Table::new(limit),
                masters: Table::new(limit),
            }),
        }
    }

    /// Cells for a new worker. What ended workers have counted is kept, their memory is not.
    #[must_use]
    pub fn worker(self: &Arc<Self>) -> WorkerMetrics {
        let worker = self.with(|inner| {
            inner.series.settle();
            inner.listeners.settle();
            inner.routes.settle();
            inner.upstreams.settle();
            inner.masters.settle();
            inner.workers += 1;
            inner.workers
        });
        WorkerMetrics { registry: Arc::clone(self), worker, thread: PhantomData }
    }

    /// Totals by upstream and master.
    #[must_use]
    pub fn masters(&self) -> HashMap<(String, String), MasterTotals> {
        let mut totals: HashMap<(String, String), MasterTotals> = HashMap::new();
        for (labels, cells) in self.series() {
            let [_, upstream, master] = &*labels;
            let total = totals.entry((upstream.clone(), master.clone())).or_default();
            for cell in cells {
                let mut reading = SeriesReading::default();
                reading.add(&cell);
                total.requests += reading.requests();
                total.failures += reading.failures();
                total.duration.add_reading(&reading.duration);
            }
        }
        for (labels, cells) in self.master_counters() {
            let [upstream, master] = &*labels;
            let total = totals.entry((upstream.clone(), master.clone())).or_default();
            let failed: u64 = cells.iter().map(|cell| cell.get(MasterSlot::FailedAttempts)).sum();
            let ended = |end: &TcpEnd| cells.iter().map(|cell| cell.get(MasterSlot::Ended(*end))).sum::<u64>();
            let broken = [TcpEnd::MasterReset, TcpEnd::MasterFailed, TcpEnd::Unreachable];
            total.requests += failed + TcpEnd::ALL.iter().map(ended).sum::<u64>();
            total.failures += failed + broken.iter().map(ended).sum::<u64>();
        }
        totals
    }

    /// Open connections and tunnels by listener.
    #[must_use]
    pub fn open_connections(&self) -> HashMap<String, OpenConnections> {
        use ListenerSlot::{Accepted, Closed, TunnelsClosed, TunnelsOpened};
        let listener = |(labels, cells): (Arc<[String; 1]>, Vec<Arc<ListenerCounters>>)| {
            let sum = |slot| cells.iter().map(|cell| cell.get(slot)).sum::<u64>();
            // What ended is read first, so that workers that go on counting cannot make a difference negative.
            let (closed, tunnels_closed) = (sum(Closed), sum(TunnelsClosed));
            let [name] = &*labels;
            let open = OpenConnections {
                connections: sum(Accepted).saturating_sub(closed),
                tunnels: sum(TunnelsOpened).saturating_sub(tunnels_closed),
            };
            (name.clone(), open)
        };
        self.listener_counters().into_iter().map(listener).collect()
    }

    pub(super) fn series(&self) -> Rows<3, Series> {
        self.with(|inner| inner.series.rows())
    }

    pub(super) fn listener_counters(&self) -> Rows<1, ListenerCounters> {
        self.with(|inner| inner.listeners.rows())
    }

    pub(super) fn route_counters(&self) -> Rows<1, RouteCounters> {
        self.with(|inner| inner.routes.rows())
    }

    pub(super) fn upstream_counters(&self) -> Rows<1, UpstreamCounters> {
        self.with(|inner| inner.upstreams.rows())
    }

    pub(super) fn master_counters(&self) -> Rows<2, MasterCounters> {
        self.with(|inner| inner.masters.rows())
    }

    fn with<R>(&self, run: impl FnOnce(&mut Inner) -> R) -> R {
        // Nothing that runs under the lock leaves a table half changed.
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl WorkerMetrics {
    /// The cells of a route, an upstream and a master; [`NONE`] stands for what an exchange never had.
    #[must_use]
    pub fn series(&self, route: &str, upstream: &str, master: &str) -> Arc<Series> {
        self.registry.with(|inner| inner.series.cells(self.worker, [route, upstream, master]))
    }

    #[must_use]
    pub fn listener(&self, listener: &str) -> Arc<ListenerCounters> {
        self.registry.with(|inner| inner.listeners.cells(self.worker, [listener]))
    }

    #[must_use]
    pub fn route(&self, route: &str) -> Arc<RouteCounters> {
        self.registry.with(|inner| inner.routes.cells(self.worker, [route]))
    }

    #[must_use]
    pub fn upstream(&self, upstream: &str) -> Arc<UpstreamCounters> {
        self.registry.with(|inner| inner.upstreams.cells(self.worker, [upstream]))
    }

    #[must_use]
    pub fn master(&self, upstream: &str, master: &str) -> Arc<MasterCounters> {
        self.registry.with(|inner| inner.masters.cells(self.worker, [upstream, master]))
    }
}

/// Label values of a row and the cells of each worker that has some.
pub(super) type Rows<const L: usize, T> = Vec<(Arc<[String; L]>, Vec<Arc<T>>)>;

/// The cells of one row with the worker that owns them.
type Row<T> = Vec<(u64, Arc<T>)>;

#[derive(Debug)]
struct Table<const L: usize, T> {
    rows: BTreeMap<Arc<[String; L]>, Row<T>>,
    limit: usize,
}

impl<const L: usize, T: Cells> Table<L, T> {
    fn new(limit: usize) -> Self {
        Self { rows: BTreeMap::new(), limit }
    }

    /// The cells of `worker` under these labels, or under [`OTHER`] when the table is full.
    fn cells(&mut self, worker: u64, labels: [&str; L]) -> Arc<T> {
        let mut labels = labels.map(str::to_owned);
        if !self.rows.contains_key(&labels) {
            if self.rows.len() >= self.limit {
                self.sweep();
            }
            if self.rows.len() >= self.limit {
                labels = std::array::from_fn(|_| OTHER.to_owned());
            }
        }
        let row = self.rows.entry(Arc::new(labels)).or_default();
        if let Some((_, cells)) = row.iter().find(|(owner, _)| *owner == worker) {
            return Arc::clone(cells);
        }
        let cells = Arc::new(T::default());
        row.push((worker, Arc::clone(&cells)));
        cells
    }

    fn rows(&self) -> Rows<L, T> {
        let cells = |row: &Row<T>| row.iter().map(|(_, cells)| Arc::clone(cells)).collect();
        self.rows.iter().map(|(labels, row)| (Arc::clone(labels), cells(row))).collect()
    }

    /// Adds up cells that nobody holds any more, row by row. The sum goes into new cells: a reader that copied the list
    /// before has either the old ones or, after that, the sum, and so never counts anything twice.
    fn settle(&mut self) {
        for row in self.rows.values_mut() {
            // The table alone hands out cells, so nobody can begin to write to unheld ones; taking them out of their
            // `Arc` also makes everything visible that their last holder wrote.
            let sum = T::default();
            let mut held = Vec::with_capacity(row.len());
            let mut settled = false;
            for (owner, cells) in row.drain(..) {
                match Arc::try_unwrap(cells) {
                    Ok(cells) => {
                        sum.absorb(&cells);
                        settled = true;
                    }
                    Err(cells) => held.push((owner, cells)),
                }
            }
            if settled {
                held.push((NOBODY, Arc::new(sum)));
            }
            *row = held;
        }
    }

    /// Moves rows that no worker holds to the row of the same labels with [`OTHER`] as the last one.
    fn sweep(&mut self) {
        self.settle();
        let unheld: Vec<_> = self
            .rows
            .iter()
            .filter(|(labels, row)| {
                labels.last().is_some_and(|last| last != OTHER) && row.iter().all(|(owner, _)| *owner == NOBODY)
            })
            .map(|(labels, _)| Arc::clone(labels))
            .collect();
        for labels in unheld {
            let row = self.rows.remove(&labels).unwrap_or_default();
            let mut other = <[String; L]>::clone(&labels);
            if let Some(last) = other.last_mut() {
                OTHER.clone_into(last);
            }
            self.rows.entry(Arc::new(other)).or_default().extend(row);
        }
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::super::hot::UpstreamSlot;
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn requests<const L: usize>(rows: &Rows<L, Series>) -> Vec<(String, u64)> {
        let count = |cells: &Vec<Arc<Series>>| {
            let mut reading = SeriesReading::default();
            cells.iter().for_each(|cell| reading.add(cell));
            reading.requests()
        };
        rows.iter().map(|(labels, cells)| (labels.join(" "), count(cells))).collect()
    }

    #[test]
    fn a_scrape_adds_up_the_workers() {
        let registry = Registry::new();
        let (one, two) = (registry.worker(), registry.worker());
        one.listener("gateway").increment(ListenerSlot::Accepted);
        two.listener("gateway").add(ListenerSlot::Accepted, 2);
        let rows = registry.listener_counters();
        let [(labels, cells)] = rows.as_slice() else { panic!("one row, got {rows:?}") };
        assert_eq!(labels.as_slice(), ["gateway"]);
        assert_eq!(cells.iter().map(|cell| cell.get(ListenerSlot::Accepted)).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn open_connections_are_added_up_over_the_workers_that_accepted_and_closed_them() {
        let registry = Registry::new();
        let (one, two) = (registry.worker(), registry.worker());
        one.listener("gateway").add(ListenerSlot::Accepted, 5);
        two.listener("gateway").add(ListenerSlot::Closed, 2);
        two.listener("gateway").add(ListenerSlot::TunnelsOpened, 1);
        let open = registry.open_connections();
        assert_eq!(open["gateway"], OpenConnections { connections: 3, tunnels: 1 });
    }

    #[test]
    fn a_worker_gets_the_same_cells_each_time_and_no_other_worker_does() {
        let registry = Registry::new();
        let (one, two) = (registry.worker(), registry.worker());
        assert!(Arc::ptr_eq(&one.upstream("bots"), &one.upstream("bots")));
        assert!(!Arc::ptr_eq(&one.upstream("bots"), &two.upstream("bots")));
        assert!(!Arc::ptr_eq(&one.master("bots", "a"), &one.master("bots", "b")));
    }

    #[test]
    fn counts_of_ended_workers_stay_without_their_cells() {
        let registry = Registry::new();
        for _ in 0..10 {
            let worker = registry.worker();
            worker.upstream("bots").increment(UpstreamSlot::BudgetExhausted);
        }
        let _last = registry.worker();
        let rows = registry.upstream_counters();
        let [(_, cells)] = rows.as_slice() else { panic!("one row, got {rows:?}") };
        assert_eq!(cells.iter().map(|cell| cell.get(UpstreamSlot::BudgetExhausted)).collect::<Vec<_>>(), [10]);
    }

    #[test]
    fn a_full_table_puts_masters_that_left_together_under_other() {
        let registry = Arc::new(Registry::with_limit(3));
        let worker = registry.worker();
        let kept = worker.series("r", "u", "a");
        kept.record(200, 10);
        worker.series("r", "u", "b").record(200, 10);
        worker.series("r", "u", "c").record(200, 10);
        let new = worker.series("r", "u", "d");
        new.record(200, 10);
        kept.record(200, 10);
        let expected = [("r u a", 2), ("r u d", 1), ("r u other", 2)].map(|(labels, n)| (labels.to_owned(), n));
        assert_eq!(requests(&registry.series()), expected);
    }

    #[test]
    fn a_table_full_of_series_in_use_counts_new_ones_under_other() {
        let registry = Arc::new(Registry::with_limit(2));
        let worker = registry.worker();
        let held = [worker.series("r", "u", "a"), worker.series("r", "u", "b")];
        let late = [worker.series("r", "u", "c"), worker.series("s", "v", "d")];
        assert!(Arc::ptr_eq(&late[0], &late[1]));
        held.iter().chain(&late).for_each(|series| series.record(200, 10));
        let expected = [("other other other", 2), ("r u a", 1), ("r u b", 1)].map(|(labels, n)| (labels.to_owned(), n));
        assert_eq!(requests(&registry.series()), expected);
    }

    #[test]
    fn a_reader_that_holds_cells_neither_loses_nor_doubles_their_counts() {
        let registry = Arc::new(Registry::with_limit(2));
        let worker = registry.worker();
        worker.series("r", "u", "a").record(200, 10);
        worker.series("r", "u", "b").record(200, 10);
        let before = registry.series();
        let _c = worker.series("r", "u", "c");
        let sum = |rows: &Rows<3, Series>| requests(rows).iter().map(|(_, n)| n).sum::<u64>();
        assert_eq!((sum(&before), sum(&registry.series())), (2, 2));
        drop(before);
        drop(registry.worker());
        assert_eq!(sum(&registry.series()), 2);
    }

    #[test]
    fn totals_of_a_master_include_attempts_that_went_on_elsewhere() {
        let registry = Registry::new();
        let (one, two) = (registry.worker(), registry.worker());
        one.series("r", "u", "a").record(200, 1000);
        two.series("s", "u", "a").record(502, 3000);
        two.master("u", "a").add(MasterSlot::FailedAttempts, 2);
        let totals = registry.masters();
        let total = &totals[&("u".to_owned(), "a".to_owned())];
        assert_eq!((total.requests, total.failures), (4, 3));
        assert_eq!(total.duration.mean_micros(), Some(2000.0));
    }

    #[test]
    fn no_count_ever_goes_down_while_workers_write_come_and_go() {
        const WORKERS: usize = 3;
        const ROUNDS: usize = 40;
        const RECORDS: u64 = 500;
        let registry = Arc::new(Registry::with_limit(4));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut last, mut scrapes) = ((0, 0, 0.0), 0u64);
                loop {
                    let stopping = stop.load(Ordering::Acquire);
                    let mut total = SeriesReading::default();
                    for (_, cells) in registry.series() {
                        cells.iter().for_each(|cell| total.add(cell));
                    }
                    let now = (total.requests(), total.duration.count(), total.duration.sum_seconds());
                    assert!(now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2, "{now:?} after {last:?}");
                    (last, scrapes) = (now, scrapes + 1);
                    if stopping {
                        return (last, scrapes);
                    }
                }
            });
            let writers: Vec<_> = (0..WORKERS)
                .map(|_| {
                    scope.spawn(|| {
                        for round in 0..ROUNDS {
                            let worker = registry.worker();
                            let master = format!("m{}", round % 7);
                            let series = worker.series("r", "u", &master);
                            (0..RECORDS).for_each(|_| series.record(200, 100));
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            stop.store(true, Ordering::Release);
            let ((requests, durations, _), scrapes) = reader.join().unwrap();
            let expected = (WORKERS * ROUNDS) as u64 * RECORDS;
            assert_eq!((requests, durations), (expected, expected), "after {scrapes} scrapes");
        });
    }
}
