//! Serves the admin API: one thread, one runtime, bounded in every direction.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use super::access::Peer;
use super::{AdminState, router};

/// Connections at once: a handful of scrapers, dashboards and people. Further ones wait in the kernel's queue.
pub(super) const CONNECTIONS_MAX: u32 = 64;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the start of a connection, or the end of the request before, to the end of the next request's headers.
    pub(super) header: Duration,
    /// Age at which a connection may finish what it does and is then closed: a client that stops reading cannot hold its
    /// place.
    pub(super) age: Duration,
    /// What finishing may take.
    pub(super) finish: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { header: Duration::from_secs(10), age: Duration::from_secs(300), finish: Duration::from_secs(5) }
    }
}

/// Request line and headers together.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Wait after an accept failed, so that being out of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The running admin listener. Dropping it stops it without waiting.
#[derive(Debug)]
#[must_use]
pub struct Admin {
    stop: Option<watch::Sender<()>>,
    ended: Receiver<()>,
}

/// Serves on a thread of its own from now on.
pub fn start(listener: Listener, state: Arc<AdminState>) -> io::Result<Admin> {
    start_with(listener, state, Patience::default())
}

pub(super) fn start_with(listener: Listener, state: Arc<AdminState>, patience: Patience) -> io::Result<Admin> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _context = runtime.enter();
        Bound::new(listener)?
    };
    let (stop, stopping) = watch::channel(());
    let (end, ended) = sync_channel(1);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(serve(listener, router(state), stopping, patience));
        // Nobody may be waiting for it.
        let _ = end.try_send(());
    })?;
    Ok(Admin { stop: Some(stop), ended })
}

impl Admin {
    /// Stops accepting and lets requests under way finish. Says whether they did within the time.
    pub fn stop(mut self, within: Duration) -> bool {
        self.stop.take();
        self.ended.recv_timeout(within).is_ok()
    }
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// Needs the context of the runtime.
    fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Self::Tcp)
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener).map(Self::Unix)
            }
        }
    }

    /// Cancel-safe.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, peer)| (Box::new(stream) as _, Peer::Tcp(peer)))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (Box::new(stream) as _, Peer::Unix)),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Runs until the other end of `stopping` is dropped, and then until every connection has finished.
async fn serve(listener: Bound, router: Router, mut stopping: watch::Receiver<()>, patience: Patience) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            _ = stopping.changed() => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, stopping) = (router.clone().layer(Extension(peer)), stopping.clone());
        tokio::spawn(async move {
            attend(stream, router, stopping, patience).await;
            drop(place);
        });
    }
    drop(listener);
    // Every connection gives its place back within the time to finish.
    let _ = places.acquire_many(CONNECTIONS_MAX).await;
}

async fn attend(stream: Box<dyn Stream>, router: Router, mut stopping: watch::Receiver<()>, patience: Patience) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // What goes wrong on a connection concerns its client alone, so results are not looked at.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.changed() => {}
        () = tokio::time::sleep(patience.age) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(patience.finish, connection).await;
}
