//! A worker: one thread with its own event loop, connections, pools and counters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_local;

use crate::clock;
use crate::exchange::local::{Generation, Local};
use crate::limits::gate::Seat;
use crate::listener::accept::{Accepted, LANE_DEPTH, Lane, Socket};
use crate::listener::proxy_protocol::Ends;
use crate::listener::receive;
use crate::net::stream::Stream;
use crate::net::watch::SWEEP_INTERVAL;
use crate::proxy::http::connection::Connection;
use crate::proxy::http::entrance::{Entrance, Peer};
use crate::proxy::http::shared::Shared;
use crate::proxy::linger::DRAIN_GRACE;
use crate::proxy::tcp;
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::WorkerLog;
use crate::telemetry::hot::{ListenerSlot, Refusal};
use crate::telemetry::registry::WorkerMetrics;
use crate::tls::server::Gate;

/// Sweeps between two flushes of the access log: a line is at most a quarter of a second behind.
const SWEEPS_PER_FLUSH: u32 = 10;

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Answer what is in flight, close what is idle, then end. An idle connection may wait for one more request for this
    /// long: to close on one that is under way loses it.
    Draining(Duration),
    /// End now.
    Stopped,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    pub lane: Lane,
    pub thread: JoinHandle<()>,
}

/// What a worker gets from outside.
#[derive(Debug)]
pub struct Supplies {
    pub published: Arc<ArcSwap<Snapshot>>,
    pub metrics: WorkerMetrics,
    pub log: WorkerLog,
    pub phase: watch::Receiver<Phase>,
}

/// Starts worker number `index`.
///
/// # Errors
/// When its thread or event loop cannot be made.
pub fn start(index: usize, supplies: Supplies) -> io::Result<Worker> {
    let (sender, incoming) = mpsc::channel(LANE_DEPTH);
    let lane = Lane { sender, load: Arc::default() };
    let load = lane.load.clone();
    let (report, reported) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        // A local event loop has to be made on the thread that runs it.
        match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
            Ok(runtime) => {
                // The channel holds one report, and this is the only one.
                let _ = report.try_send(Ok(()));
                runtime.block_on(run(supplies, incoming, load));
            }
            Err(error) => {
                let _ = report.try_send(Err(error));
            }
        }
    })?;
    reported.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended before it began")))?;
    Ok(Worker { lane, thread })
}

async fn run(supplies: Supplies, mut incoming: mpsc::Receiver<Accepted>, load: Arc<AtomicUsize>) {
    let Supplies { published, metrics, log, mut phase } = supplies;
    let local = Rc::new(Local::new(&published, metrics));
    let shared = Rc::new(Shared::new(local.clone(), log));
    let crew =
        Rc::new(Crew { shared, load, open: Cell::new(0), emptied: Notify::new(), entrances: RefCell::default() });
    spawn_local(sweep(crew.shared.clone()));
    loop {
        let draining = *phase.borrow_and_update();
        match draining {
            Phase::Stopped => break,
            Phase::Draining(grace) => local.watch.drain(clock::micros(grace)),
            Phase::Serving => {}
        }
        tokio::select! {
            biased;
            changed = phase.changed() => if changed.is_err() { break },
            accepted = incoming.recv() => match accepted {
                Some(accepted) => crew.take(accepted),
                None => break,
            },
            () = crew.empty(), if matches!(draining, Phase::Draining(_)) && incoming.is_empty() => break,
        }
    }
    crew.shared.log.flush();
}

/// Looks after deadlines, silent masters, idle connections and the access log, for as long as the worker lives.
async fn sweep(shared: Rc<Shared>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut sweeps, interval) = (0, clock::micros(SWEEP_INTERVAL));
    let mut due = clock::now();
    loop {
        ticks.tick().await;
        let now = clock::now();
        shared.local.load.looked(now.saturating_sub(due));
        due = now + interval;
        // Of a worker that was kept from running, what has come meanwhile is read before its time is over.
        tokio::task::yield_now().await;
        shared.local.sweep(now);
        sweeps += 1;
        if sweeps % SWEEPS_PER_FLUSH == 0 {
            shared.log.flush();
        }
    }
}

/// The worker's connections.
struct Crew {
    shared: Rc<Shared>,
    load: Arc<AtomicUsize>,
    open: Cell<usize>,
    emptied: Notify,
    entrances: RefCell<HashMap<Arc<str>, Rc<Entrance>>>,
}

/// Counts a connection as open until dropped.
struct OpenConnection {
    crew: Rc<Crew>,
    entrance: Rc<Entrance>,
}

impl Crew {
    /// Waits until no connection is open, and none is on its way from a listener that has just closed.
    async fn empty(&self) {
        tokio::time::sleep(DRAIN_GRACE).await;
        while self.open.get() > 0 {
            self.emptied.notified().await;
        }
    }

    fn take(self: &Rc<Self>, accepted: Accepted) {
        let entrance = self.entrance(&accepted.listener);
        entrance.counters.increment(ListenerSlot::Accepted);
        self.open.set(self.open.get() + 1);
        let open = OpenConnection { crew: self.clone(), entrance: entrance.clone() };
        let shared = self.shared.clone();
        spawn_local(async move {
            let _open = open;
            let Accepted { socket, peer, tls, place, seat, .. } = accepted;
            let (_place, _seat) = (place, seat);
            let generation = shared.local.generation();
            let Some(told) = told(&generation, &entrance, socket, peer).await else { return };
            let Told { socket, peer, ends, seat: _told_seat } = told;
            let stream = match (socket, tls) {
                (Open::Tcp(socket), None) => Some(Stream::tcp(socket)),
                (Open::Tcp(socket), Some(gate)) => handshake(socket, &gate, &entrance).await,
                (Open::Unix(socket), _) => Some(Stream::unix(socket)),
            };
            let Some(stream) = stream else { return };
            drop(generation);
            if entrance.is_tcp(&shared.local.generation()) {
                return tcp::connection::serve(shared, entrance, stream, Peer::new(peer), ends).await;
            }
            let mut parts = Some((shared, entrance, stream, Peer::new(peer)));
            let connection = std::future::poll_fn(|cx| {
                let Some((shared, entrance, stream, peer)) = parts.take() else { return std::task::Poll::Pending };
                std::task::Poll::Ready(Connection::new(cx, shared, entrance, stream, peer))
            });
            connection.await.run().await;
        });
    }

    fn entrance(&self, listener: &Arc<str>) -> Rc<Entrance> {
        let mut entrances = self.entrances.borrow_mut();
        let entrance = entrances
            .entry(listener.clone())
            .or_insert_with(|| Rc::new(Entrance::new(listener, self.shared.local.metrics.listener(listener))));
        entrance.clone()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.entrance.counters.increment(ListenerSlot::Closed);
        self.crew.load.fetch_sub(1, Ordering::Relaxed);
        self.crew.open.set(self.crew.open.get() - 1);
        if self.crew.open.get() == 0 {
            self.crew.emptied.notify_one();
        }
    }
}

/// A connection on the worker's own event loop.
enum Open {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection, and whose it is.
struct Told {
    socket: Open,
    peer: Option<IpAddr>,
    /// What a balancer says they are.
    ends: Option<Ends>,
    /// The client's place under its limit, where the accepting thread could not know the client.
    seat: Option<Seat>,
}

/// Takes a connection up, and its PROXY header where there has to be one. `None` when it was turned away, which is counted.
async fn told(generation: &Generation, entrance: &Entrance, socket: Socket, peer: Option<IpAddr>) -> Option<Told> {
    let socket = match socket {
        Socket::Tcp(socket) => Open::Tcp(TcpStream::from_std(socket).ok()?),
        Socket::Unix(socket) => Open::Unix(UnixStream::from_std(socket).ok()?),
    };
    let snapshot = &generation.snapshot;
    if !snapshot.expects_header(&entrance.name, peer) {
        return Some(Told { socket, peer, ends: None, seat: None });
    }
    let within = snapshot.config.listeners[entrance.position(generation)?].limits.header_timeout;
    let told = match &socket {
        Open::Tcp(socket) => receive::header(socket, within).await,
        Open::Unix(socket) => receive::header(socket, within).await,
    };
    let admitted = told.ok_or(Refusal::ProxyHeader).and_then(|ends| {
        let peer = ends.map_or(peer, |ends| Some(ends.source.ip()));
        Ok((ends, peer, snapshot.gate(&entrance.name).map_or(Ok(None), |gate| gate.enter(peer))?))
    });
    match admitted {
        Ok((ends, peer, seat)) => Some(Told { socket, peer, ends, seat }),
        Err(refusal) => {
            entrance.counters.increment(ListenerSlot::Refused(refusal));
            None
        }
    }
}

/// `None` when the client was turned away, which is counted, or was an ACME server that has seen what it came for.
async fn handshake(socket: TcpStream, gate: &Gate, entrance: &Entrance) -> Option<Stream> {
    match entrance.handshakes.accept(socket, gate, &entrance.counters).await {
        Ok(stream) => stream.map(Stream::tls),
        Err(reason) => {
            entrance.counters.increment(ListenerSlot::Refused(reason));
            None
        }
    }
}
