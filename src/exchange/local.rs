//! What one worker thread has at hand for its exchanges; nothing in here is shared with another thread except by atomics.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::load::Load;
use crate::clock::{self, Micros};
use crate::ids::{self, RequestIds};
use crate::net::buffer::BufferStock;
use crate::net::watch::Watch;
use crate::snapshot::{Snapshot, Upstream};
use crate::telemetry::hot::{RouteCounters, Series, UpstreamCounters};
use crate::telemetry::registry::{NONE, WorkerMetrics};
use crate::upstream::connection::Pool;
use crate::upstream::master::Master;

/// One worker's belongings.
#[derive(Debug)]
pub struct Local {
    pub stock: Rc<BufferStock>,
    pub watch: Rc<Watch<Pool>>,
    pub ids: RequestIds,
    pub load: Rc<Load>,
    pub metrics: WorkerMetrics,
    published: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    generation: RefCell<Rc<Generation>>,
    random: Cell<u64>,
}

/// A snapshot with this worker's pools and cells beside it. An exchange holds on to the one it began with.
#[derive(Debug)]
pub struct Generation {
    pub snapshot: Arc<Snapshot>,
    /// In the order of the snapshot's upstreams.
    pub upstreams: Vec<LocalUpstream>,
    /// By route; then `none` first and the upstream's masters in their order.
    series: Vec<Vec<OnceCell<Arc<Series>>>>,
    unrouted: Arc<Series>,
    /// By route; only those that have rules of their own are counted.
    guarded: Vec<Option<Arc<RouteCounters>>>,
}

/// An upstream as this worker uses it.
#[derive(Debug)]
pub struct LocalUpstream {
    pub shared: Arc<Upstream>,
    pub counters: Arc<UpstreamCounters>,
    /// In the order of the upstream's masters.
    pub pools: Vec<Rc<Pool>>,
}

impl Local {
    #[must_use]
    pub fn new(published: &Arc<ArcSwap<Snapshot>>, metrics: WorkerMetrics) -> Self {
        let generation = Generation::build(published.load_full(), None, &metrics);
        Self {
            stock: Rc::default(),
            watch: Rc::default(),
            ids: RequestIds::default(),
            load: Rc::default(),
            metrics,
            published: RefCell::new(Cache::new(published.clone())),
            generation: RefCell::new(Rc::new(generation)),
            random: Cell::new(ids::random_u64()),
        }
    }

    /// The present generation. Costs a comparison when nothing was published since the last call.
    pub fn generation(&self) -> Rc<Generation> {
        let mut published = self.published.borrow_mut();
        let newest = published.load();
        let mut current = self.generation.borrow_mut();
        if !Arc::ptr_eq(newest, &current.snapshot) {
            *current = Rc::new(Generation::build(newest.clone(), Some(&current), &self.metrics));
        }
        current.clone()
    }

    /// A random number, uniform over all of `u64`; not for secrets.
    pub fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): a Weyl sequence through a bijection.
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        ids::mix(next)
    }

    /// Ends waits whose time is over, suspects silent masters, and closes connections that have been idle too long.
    pub fn sweep(&self, now: Micros) {
        let generation = self.generation();
        self.watch.sweep(now, |pool, since| {
            pool.master.watch(now, since);
            pool.master.admission().abandoned()
        });
        for upstream in &generation.upstreams {
            let idle_timeout = clock::micros(upstream.shared.settings.pool.idle_timeout);
            for pool in &upstream.pools {
                pool.sweep(now, idle_timeout);
            }
        }
    }
}

impl Generation {
    fn build(snapshot: Arc<Snapshot>, previous: Option<&Self>, metrics: &WorkerMetrics) -> Self {
        let known = |master: &Arc<Master>| {
            let mut pools = previous?.upstreams.iter().flat_map(|upstream| &upstream.pools);
            pools.find(|pool| Arc::ptr_eq(&pool.master, master)).cloned()
        };
        let upstreams: Vec<LocalUpstream> = snapshot
            .upstreams
            .iter()
            .map(|upstream| {
                let name = &upstream.settings.name;
                let masters = upstream.settings.masters.iter().zip(&upstream.masters);
                let pool = |((settings, master), tls): ((&crate::config::model::Master, &Arc<Master>), &_)| {
                    let counters = metrics.master(name, &settings.name);
                    known(master)
                        .filter(|pool| Arc::ptr_eq(&pool.counters, &counters) && pool.tls == *tls)
                        .unwrap_or_else(|| Rc::new(Pool::new(master.clone(), counters, tls.clone())))
                };
                let pools = masters.zip(&upstream.tls).map(pool).collect();
                LocalUpstream { shared: upstream.clone(), counters: metrics.upstream(name), pools }
            })
            .collect();
        let cells = |route: &crate::config::model::Route| {
            let masters = upstreams.get(route.upstream).map_or(0, |upstream| upstream.pools.len());
            std::iter::repeat_with(OnceCell::new).take(masters + 1).collect()
        };
        let series = snapshot.config.routes.iter().map(cells).collect();
        let counted = |(route, guard): (&crate::config::model::Route, &Option<_>)| {
            guard.as_ref().map(|_| metrics.route(&route.name))
        };
        let guarded = snapshot.config.routes.iter().zip(&snapshot.guards).map(counted).collect();
        Self { series, unrouted: metrics.series(NONE, NONE, NONE), guarded, upstreams, snapshot }
    }

    /// What is counted for a route that has rules of its own.
    #[must_use]
    pub fn guarded(&self, route: usize) -> Option<&RouteCounters> {
        self.guarded.get(route)?.as_deref()
    }

    /// The cells that an exchange of this route with this master is counted in.
    pub fn series(&self, metrics: &WorkerMetrics, route: Option<usize>, master: Option<usize>) -> &Arc<Series> {
        let cell = route.and_then(|route| self.series.get(route)?.get(master.map_or(0, |master| master + 1)));
        let (Some(route), Some(cell)) = (route, cell) else { return &self.unrouted };
        cell.get_or_init(|| {
            let route = &self.snapshot.config.routes[route];
            let upstream = &self.snapshot.config.upstreams[route.upstream];
            let master = master.map_or(NONE, |master| &upstream.masters[master].name);
            metrics.series(&route.name, &upstream.name, master)
        })
    }
}
