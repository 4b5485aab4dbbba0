//! A connection to a master, and the idle ones that a worker keeps.
//!
//! A pool belongs to one worker and one master and never crosses threads, so taking a connection is popping a vector. The
//! most recently used one goes first: the others get old and leave, and what is left fits the load. Before a
//! connection is used again the kernel's news about it are looked at; that a peer may close it in the same moment is
//! dealt with where the request is sent.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::links::{Lease, Links};
use super::master::Master;
use crate::clock::Micros;
use crate::config::model::{Address, MasterHttp2, MasterProtocol};
use crate::http::response::Response;
use crate::net::buffer::{Buffer, BufferStock};
use crate::net::stream::Stream;
use crate::telemetry::hot::{ConnectOutcome, MasterCounters, MasterSlot};
use crate::tls::client::MasterTls;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

/// How often each worker logs that a master's TLS fails: every request of a wrong configuration meets it.
const COMPLAINT_INTERVAL: Micros = 10_000_000;

/// An open connection to a master, with what was received on it and the response being read.
#[derive(Debug)]
pub struct Connection {
    pub stream: Stream,
    pub buffer: Buffer,
    pub response: Response,
    /// It has carried an exchange before, so the master may have closed it while it was idle.
    pub reused: bool,
    idle_since: Micros,
    /// The place of a stream of HTTP/2.
    pub lease: Option<Lease>,
}

/// What a request goes over.
#[derive(Debug)]
pub enum Opened {
    Own(Box<Connection>),
    Shared(Lease),
}

/// Where making a connection failed.
#[derive(Debug)]
pub enum OpenError {
    Connect(io::Error),
    /// In the TLS handshake; [`crate::tls::client::problem`] has the words.
    Tls(io::Error),
    /// It does not speak HTTP/2.
    Http2,
}

/// Idle connections of one worker to one master.
#[derive(Debug)]
pub struct Pool {
    pub master: Arc<Master>,
    pub counters: Arc<MasterCounters>,
    /// How its connections are made; a change of this is another pool.
    pub tls: Option<Arc<MasterTls>>,
    pub protocol: MasterProtocol,
    pub links: Links,
    speaks_h2: Cell<bool>,
    complained_at: Cell<Micros>,
    #[expect(
        clippy::vec_box,
        reason = "an exchange takes a connection as it lies here; unboxed, it would be copied each time"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
}

impl Connection {
    /// A new one over `stream`.
    #[must_use]
    pub fn over(stream: Stream, stock: &Rc<BufferStock>) -> Box<Self> {
        let (buffer, response) = (Buffer::new(stock), Response::default());
        Box::new(Self { stream, buffer, response, reused: false, idle_since: 0, lease: None })
    }
}

impl Pool {
    /// Connects to the master, handshake included, with `preface` before everything else. Cancel-safe.
    ///
    /// A host name has several addresses; they are tried in their order until one takes the connection.
    async fn connect(&self, preface: &[u8]) -> Result<Stream, OpenError> {
        let master = &self.master;
        let mut stream = match master.address() {
            Address::Socket(address) => TcpStream::connect(address).await.map_err(OpenError::Connect)?,
            Address::Unix(path) => {
                let mut stream = UnixStream::connect(path).await.map_err(OpenError::Connect)?;
                stream.write_all(preface).await.map_err(OpenError::Connect)?;
                return Ok(Stream::unix(stream));
            }
            Address::Name { .. } => {
                let addresses = Arc::clone(&master.addresses());
                let mut outcome = Err(std::io::Error::from(std::io::ErrorKind::NotFound));
                for address in addresses.iter() {
                    outcome = TcpStream::connect(address).await;
                    if outcome.is_ok() {
                        break;
                    }
                }
                outcome.map_err(OpenError::Connect)?
            }
        };
        if !preface.is_empty() {
            stream.write_all(preface).await.map_err(OpenError::Connect)?;
        }
        Ok(match &self.tls {
            None => Stream::tcp(stream),
            Some(tls) => {
                // A handshake is small messages that wait for each other.
                let _ = stream.set_nodelay(true);
                Stream::tls(tls.handshake(stream).await.map_err(OpenError::Tls)?)
            }
        })
    }

    /// Makes a connection of the kind that the master speaks. Cancel-safe.
    ///
    /// # Errors
    /// Where it failed. [`std::io::ErrorKind::NotFound`] while a host name has no address.
    pub async fn open(&self, http2: &MasterHttp2, stock: &Rc<BufferStock>) -> Result<Opened, OpenError> {
        let stream = self.connect(&[]).await?;
        let agreed = stream.is_h2();
        let speaks_h2 = match self.protocol {
            MasterProtocol::Http1 => false,
            MasterProtocol::Http2 if stream.is_tls() && !agreed => return Err(OpenError::Http2),
            MasterProtocol::Http2 => true,
            MasterProtocol::Auto => agreed,
        };
        self.speaks_h2.set(speaks_h2);
        let opened = if speaks_h2 {
            let lease = self.links.open(stream, http2, &self.counters).await;
            Opened::Shared(lease.map_err(|_| OpenError::Http2)?)
        } else {
            Opened::Own(Connection::over(stream, stock))
        };
        self.counters.increment(MasterSlot::Connected(ConnectOutcome::Opened));
        Ok(opened)
    }

    /// Makes a connection whose user speaks for himself. Cancel-safe.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub async fn open_own(&self, stock: &Rc<BufferStock>, preface: &[u8]) -> Result<Box<Connection>, OpenError> {
        let stream = self.connect(preface).await?;
        self.counters.increment(MasterSlot::Connected(ConnectOutcome::Opened));
        Ok(Connection::over(stream, stock))
    }

    /// Whether requests share connections, as far as is known: `auto` finds out with each new connection.
    #[must_use]
    pub fn shares(&self) -> bool {
        self.speaks_h2.get()
    }
}

impl Pool {
    #[must_use]
    pub fn new(
        master: Arc<Master>,
        counters: Arc<MasterCounters>,
        tls: Option<Arc<MasterTls>>,
        protocol: MasterProtocol,
    ) -> Self {
        let speaks_h2 = Cell::new(protocol != MasterProtocol::Http1);
        let (links, complained_at, idle) = (Links::default(), Cell::new(0), RefCell::default());
        Self { master, counters, tls, protocol, links, speaks_h2, complained_at, idle }
    }

    /// Whether a handshake that failed is to be told now; the next ones are not, for [`COMPLAINT_INTERVAL`].
    pub fn may_complain(&self, now: Micros) -> bool {
        let last = self.complained_at.get();
        let may = last == 0 || now.saturating_sub(last) >= COMPLAINT_INTERVAL;
        if may {
            self.complained_at.set(now.max(1));
        }
        may
    }

    /// The most recently used connection that is still good.
    pub fn take(&self, now: Micros, idle_timeout: Micros) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            self.counters.increment(MasterSlot::PoolOut);
            if now.saturating_sub(connection.idle_since) < idle_timeout && !connection.stream.is_disturbed() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is complete, if there is room; nothing may be left in its buffer.
    pub fn put(&self, mut connection: Box<Connection>, now: Micros, max_idle: usize) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < max_idle && connection.buffer.is_empty() {
            connection.buffer.release();
            connection.reused = true;
            connection.idle_since = now;
            idle.push(connection);
            self.counters.increment(MasterSlot::PoolIn);
        }
    }

    /// Closes what has been idle for too long, was closed by the master or is dead.
    pub fn sweep(&self, now: Micros, idle_timeout: Micros, http2: &MasterHttp2) {
        self.links.sweep(now, http2, idle_timeout);
        self.idle.borrow_mut().retain(|connection| {
            let keep = now.saturating_sub(connection.idle_since) < idle_timeout && !connection.stream.is_disturbed();
            if !keep {
                self.counters.increment(MasterSlot::PoolOut);
            }
            keep
        });
    }

    /// Closes all.
    pub fn clear(&self) {
        let closed = std::mem::take(&mut *self.idle.borrow_mut());
        self.counters.add(MasterSlot::PoolOut, closed.len() as u64);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}
