//! One thread accepts for all listeners and hands each connection to the worker with the fewest.
//!
//! Gateways keep a handful of connections open for days. With a socket for each worker (`SO_REUSEPORT`) the kernel deals them
//! out by hash, and four connections on two workers end up three to one or four to none as often as not; counted, they are
//! two and two. The price is one hand-over for each connection, not for each request.
//!
//! Whom the listener's gate does not let in is turned away here, before a worker or TLS has spent anything on it.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, watch};

use super::bind::{Bound, Hold, SocketFile};
use crate::limits::gate::Seat;
use crate::snapshot::Snapshot;
use crate::sync::Mutex;
use crate::telemetry::hot::{ListenerCounters, ListenerSlot};
use crate::telemetry::registry::WorkerMetrics;
use crate::tls::server::Gate;

/// Connections that may wait for a worker to take them up.
pub const LANE_DEPTH: usize = 1024;

/// Wait after an accept failed, so that being out of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to a worker.
#[derive(Debug)]
pub struct Accepted {
    pub socket: Socket,
    /// `None` for a Unix socket.
    pub peer: Option<IpAddr>,
    /// The listener's name.
    pub listener: Arc<str>,
    pub tls: Option<Arc<Gate>>,
    /// Its place under the listener's connection limit.
    pub place: OwnedSemaphorePermit,
    /// Its place under its client's connection limit, where there is one.
    pub seat: Option<Seat>,
}

/// An accepted, non-blocking socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Closes it so that nothing of it stays in the kernel: of those turned away there may be many.
    fn reset(self) {
        if let Self::Tcp(socket) = &self {
            // Should that fail, it is closed the usual way.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// The way to one worker.
#[derive(Debug, Clone)]
pub struct Lane {
    pub sender: mpsc::Sender<Accepted>,
    /// Connections the worker has or is about to get. The acceptor adds, the worker subtracts.
    pub load: Arc<AtomicUsize>,
}

/// All listeners that are open. Dropping it closes them.
#[derive(Debug)]
pub struct Acceptor {
    runtime: Handle,
    lanes: Arc<[Lane]>,
    /// Where the gates are.
    published: Arc<ArcSwap<Snapshot>>,
    /// For connections that no worker gets to see; written by the accepting thread.
    metrics: Mutex<WorkerMetrics>,
    /// Changed by reloads, read by the admin listener.
    open: DashMap<String, Open>,
    /// Dropped with the acceptor, which ends its thread.
    _alive: watch::Sender<()>,
}

#[derive(Debug)]
struct Open {
    address: String,
    tls: Arc<ArcSwapOption<Gate>>,
    places: Arc<Semaphore>,
    limit: usize,
    /// To pass the socket on by.
    hold: Hold,
    /// Dropped with this, which closes the socket. True: without fetching what waits in the kernel.
    stop: watch::Sender<bool>,
}

impl Acceptor {
    /// Starts the accepting thread.
    ///
    /// # Errors
    /// When the thread or its event loop cannot be made.
    pub fn start(lanes: Vec<Lane>, published: Arc<ArcSwap<Snapshot>>, metrics: WorkerMetrics) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, mut ended) = watch::channel(());
        std::thread::Builder::new().name("accept".to_owned()).spawn(move || {
            // An error says that the acceptor was dropped.
            runtime.block_on(async { while ended.changed().await.is_ok() {} });
        })?;
        let metrics = Mutex::new(metrics);
        Ok(Self { runtime: handle, lanes: lanes.into(), published, metrics, open: DashMap::new(), _alive: alive })
    }

    /// Accepts from `bound` under this name from now on, up to `limit` connections at once.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn open(&self, name: &str, bound: Bound, tls: Option<Arc<Gate>>, limit: usize) -> io::Result<()> {
        let (stop, stopping) = watch::channel(false);
        let hold = bound.hold()?;
        let tls = Arc::new(ArcSwapOption::new(tls));
        let places = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let address = bound.address();
        let listening = Listening {
            name: Arc::from(name),
            tls: tls.clone(),
            places: places.clone(),
            lanes: self.lanes.clone(),
            published: self.published.clone(),
            counters: self.metrics.lock().unwrap_or_else(PoisonError::into_inner).listener(name),
            stopping,
        };
        let _context = self.runtime.enter();
        let door = match bound {
            Bound::Tcp(listener) => Door::Tcp(TcpListener::from_std(listener)?),
            Bound::Unix(listener, file) => Door::Unix(UnixListener::from_std(listener)?, file),
        };
        self.runtime.spawn(listening.run(door));
        self.open.insert(name.to_owned(), Open { address, tls, places, limit, hold, stop });
        Ok(())
    }

    /// Changes what a reload may change about an open listener; its socket and connections stay.
    pub fn change(&self, name: &str, tls: Option<Arc<Gate>>, limit: usize) {
        let Some(mut open) = self.open.get_mut(name) else { return };
        open.tls.store(tls);
        let limit = limit.min(Semaphore::MAX_PERMITS);
        if limit > open.limit {
            open.places.add_permits(limit - open.limit);
        } else {
            // Places in use are taken away as they come free.
            let (places, surplus) = (open.places.clone(), open.limit - limit);
            let surplus = surplus - places.forget_permits(surplus);
            if let Ok(surplus @ 1..) = u32::try_from(surplus) {
                self.runtime.spawn(async move { places.acquire_many(surplus).await.map(SemaphorePermit::forget) });
            }
        }
        open.limit = limit;
    }

    /// Closes a listener after dealing out what the kernel has accepted for it; its connections stay.
    pub fn close(&self, name: &str) {
        self.open.remove(name);
    }

    /// Shows the sockets that are open, with the names of their listeners.
    pub fn each(&self, mut show: impl FnMut(&str, &Hold)) {
        self.open.iter().for_each(|open| show(open.key(), &open.hold));
    }

    /// Leaves a listener to another process that has its socket too: what waits in the kernel is left to that one, as is
    /// the file of a Unix socket. Connections stay.
    pub fn leave(&self, name: &str) {
        if let Some((_, open)) = self.open.remove(name) {
            open.hold.passed_on();
            open.stop.send_replace(true);
        }
    }

    /// Closes all.
    pub fn close_all(&self) {
        self.open.clear();
    }

    /// The address as bound of a listener, and its gate when it takes TLS.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<(String, Option<Arc<Gate>>)> {
        self.open.get(name).map(|open| (open.address.clone(), open.tls.load_full()))
    }
}

struct Listening {
    name: Arc<str>,
    tls: Arc<ArcSwapOption<Gate>>,
    places: Arc<Semaphore>,
    lanes: Arc<[Lane]>,
    published: Arc<ArcSwap<Snapshot>>,
    counters: Arc<ListenerCounters>,
    stopping: watch::Receiver<bool>,
}

/// A listening socket on the acceptor's event loop.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "dropping it removes the file")] SocketFile),
}

impl Door {
    /// Cancel-safe.
    async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream.into_std()?), Some(peer.ip())))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream.into_std()?), None))
            }
        }
    }
}

impl Listening {
    async fn run(mut self, door: Door) {
        let mut turn = 0;
        loop {
            let place = tokio::select! {
                _ = self.stopping.changed() => break,
                place = self.places.clone().acquire_owned() => place,
            };
            let Ok(place) = place else { break };
            let accepted = tokio::select! {
                biased;
                accepted = door.accept() => accepted,
                _ = self.stopping.changed() => break,
            };
            match accepted {
                Ok(accepted) => self.deal(accepted, place, &mut turn).await,
                // The client left while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(listener = &*self.name, %error, "cannot accept; the limit on open files may be reached");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if *self.stopping.borrow() {
            return;
        }
        // Closing the socket resets what the kernel has accepted and nobody has fetched.
        while let Ok(place) = self.places.clone().try_acquire_owned() {
            let now = tokio::time::timeout(Duration::ZERO, door.accept()).await;
            let Ok(Ok(accepted)) = now else { break };
            self.deal(accepted, place, &mut turn).await;
        }
    }

    /// To the worker with the fewest connections; among equals in turn.
    async fn deal(&self, (socket, peer): (Socket, Option<IpAddr>), place: OwnedSemaphorePermit, turn: &mut usize) {
        let snapshot = self.published.load();
        // Whose connection a balancer passes on is known once its header has been read.
        let gate = snapshot.gate(&self.name).filter(|_| !snapshot.expects_header(&self.name, peer));
        let seat = match gate.map_or(Ok(None), |gate| gate.enter(peer)) {
            Ok(seat) => seat,
            Err(refusal) => {
                self.counters.increment(ListenerSlot::Refused(refusal));
                return socket.reset();
            }
        };
        *turn = turn.wrapping_add(1);
        let count = self.lanes.len();
        let lanes = (0..count).filter_map(|offset| self.lanes.get((*turn + offset) % count));
        let Some(lane) = lanes.min_by_key(|lane| lane.load.load(Ordering::Relaxed)) else { return };
        lane.load.fetch_add(1, Ordering::Relaxed);
        let tls = self.tls.load_full();
        let accepted = Accepted { socket, peer, listener: self.name.clone(), tls, place, seat };
        if lane.sender.send(accepted).await.is_err() {
            lane.load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
