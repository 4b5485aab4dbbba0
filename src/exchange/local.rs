//! What one worker thread has at hand for its exchanges; nothing in here is shared with another thread except by atomics.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::load::Load;
use crate::clock::{self, Micros};
use crate::ids::{self, RequestIds};
use crate::net::buffer::BufferStock;
use crate::net::pipes::Pipes;
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
    pub pipes: Rc<Pipes>,
    pub watch: Rc<Watch<Pool>>,
    pub ids: RequestIds,
    pub load: Rc<Load>,
    pub metrics: WorkerMetrics,
    published: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    generation: RefCell<Rc<Generation>>,
    random: Cell<u64>,
    /// Copies of requests under way to mirrors.
    pub copies: Cell<usize>,
    /// Memory of the encodings of answers under way.
    pub encodings_bytes: Cell<usize>,
}

/// A snapshot with this worker's pools and cells beside it. An exchange holds on to the one it began with.
#[derive(Debug)]
pub struct Generation {
    pub snapshot: Arc<Snapshot>,
    /// In the order of the snapshot's upstreams.
    pub upstreams: Vec<LocalUpstream>,
    /// By route; then the upstreams that it leads to.
    series: Vec<Vec<Arm>>,
    unrouted: Arc<Series>,
    /// By route; only those that have rules of their own are counted.
    guarded: Vec<Option<Arc<RouteCounters>>>,
}

/// How far a request came: positions of its route, of its upstream, and of the master in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Led {
    pub route: Option<usize>,
    pub upstream: Option<usize>,
    pub master: Option<usize>,
}

/// What is counted for one route and one upstream that it leads to.
#[derive(Debug)]
struct Arm {
    /// `None` for a route that leads to none.
    upstream: Option<usize>,
    /// `none` first, then the upstream's masters in their order.
    cells: Vec<OnceCell<Arc<Series>>>,
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
            pipes: Rc::default(),
            watch: Rc::default(),
            ids: RequestIds::default(),
            load: Rc::default(),
            metrics,
            published: RefCell::new(Cache::new(published.clone())),
            generation: RefCell::new(Rc::new(generation)),
            random: Cell::new(ids::random_u64()),
            copies: Cell::new(0),
            encodings_bytes: Cell::new(0),
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
                pool.sweep(now, idle_timeout, &upstream.shared.settings.http2);
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
                let (name, protocol) = (&upstream.settings.name, upstream.settings.protocol);
                let masters = upstream.settings.masters.iter().zip(&upstream.masters);
                let pool = |((settings, master), tls): ((&crate::config::model::Master, &Arc<Master>), &_)| {
                    let counters = metrics.master(name, &settings.name);
                    known(master)
                        .filter(|pool| {
                            Arc::ptr_eq(&pool.counters, &counters) && (&pool.tls, pool.protocol) == (tls, protocol)
                        })
                        .unwrap_or_else(|| Rc::new(Pool::new(master.clone(), counters, tls.clone(), protocol)))
                };
                let pools = masters.zip(&upstream.tls).map(pool).collect();
                LocalUpstream { shared: upstream.clone(), counters: metrics.upstream(name), pools }
            })
            .collect();
        let cells = |route: &crate::config::model::Route| {
            let arm = |upstream: Option<usize>| {
                let masters = upstream.and_then(|it| upstreams.get(it)).map_or(0, |upstream| upstream.pools.len());
                Arm { upstream, cells: std::iter::repeat_with(OnceCell::new).take(masters + 1).collect() }
            };
            let mut arms: Vec<Arm> = route.to.upstreams().map(Some).map(arm).collect();
            if arms.is_empty() {
                arms.push(arm(None));
            }
            arms
        };
        let series = snapshot.config.routes.iter().map(cells).collect();
        let counted = |(route, guard): (&crate::config::model::Route, &Option<_>)| {
            (guard.is_some() || route.whatsapp.is_some() || route.passage.compression.is_some())
                .then(|| metrics.route(&route.name))
        };
        let guarded = snapshot.config.routes.iter().zip(&snapshot.guards).map(counted).collect();
        Self { series, unrouted: metrics.series(NONE, NONE, NONE), guarded, upstreams, snapshot }
    }

    /// What is counted for a route that has rules of its own.
    #[must_use]
    pub fn guarded(&self, route: usize) -> Option<&RouteCounters> {
        self.guarded.get(route)?.as_deref()
    }

    /// The cells that an exchange of this route, upstream and master is counted in. One that came to no upstream is
    /// counted at the first of its route.
    pub fn series(&self, metrics: &WorkerMetrics, led: Led) -> &Arc<Series> {
        let arm = led.route.and_then(|route| {
            let arms = self.series.get(route)?;
            arms.iter().find(|arm| arm.upstream == led.upstream).or(arms.first())
        });
        let cell = arm.and_then(|arm| arm.cells.get(led.master.map_or(0, |master| master + 1)));
        let (Some(route), Some(arm), Some(cell)) = (led.route, arm, cell) else { return &self.unrouted };
        cell.get_or_init(|| {
            let config = &self.snapshot.config;
            let upstream = arm.upstream.and_then(|upstream| config.upstreams.get(upstream));
            let master = upstream.zip(led.master).map_or(NONE, |(upstream, master)| &upstream.masters[master].name);
            metrics.series(&config.routes[route].name, upstream.map_or(NONE, |upstream| &upstream.name), master)
        })
    }

    /// Where a request of this route came to, or would have come to first.
    #[must_use]
    pub fn upstream_of(&self, led: Led) -> Option<&crate::config::model::Upstream> {
        let config = &self.snapshot.config;
        let upstream = led.upstream.or_else(|| config.routes.get(led.route?)?.to.upstreams().next());
        config.upstreams.get(upstream?)
    }
}
