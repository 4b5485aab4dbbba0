//! A connection to a master, and the idle ones that a worker keeps.
//!
//! A pool belongs to one worker and one master and never crosses threads, so taking a connection is popping a vector. The
//! most recently used one goes first: the others get old and leave, and what is left fits the load. Before a
//! connection is used again the kernel's news about it are looked at; that a peer may close it in the same moment is
//! dealt with where the request is sent.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::master::Master;
use crate::clock::Micros;
use crate::config::model::Address;
use crate::http::response::Response;
use crate::net::buffer::{Buffer, BufferStock};
use crate::net::stream::Stream;
use crate::telemetry::hot::{MasterCounters, MasterSlot};
use tokio::net::{TcpStream, UnixStream};

/// An open connection to a master, with what was received on it and the response being read.
#[derive(Debug)]
pub struct Connection {
    pub stream: Stream,
    pub buffer: Buffer,
    pub response: Response,
    /// It has carried an exchange before, so the master may have closed it while it was idle.
    pub reused: bool,
    idle_since: Micros,
}

/// Idle connections of one worker to one master.
#[derive(Debug)]
pub struct Pool {
    pub master: Arc<Master>,
    pub counters: Arc<MasterCounters>,
    #[expect(
        clippy::vec_box,
        reason = "an exchange takes a connection as it lies here; unboxed, it would be copied each time"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
}

impl Connection {
    /// Connects to the master. Cancel-safe.
    ///
    /// A host name has several addresses; they are tried in their order.
    ///
    /// # Errors
    /// The last address's error; [`std::io::ErrorKind::NotFound`] while a host name has no address.
    pub async fn open(master: &Master, stock: &Rc<BufferStock>) -> std::io::Result<Box<Self>> {
        let stream = match master.address() {
            Address::Socket(address) => Stream::tcp(TcpStream::connect(address).await?),
            Address::Unix(path) => Stream::unix(UnixStream::connect(path).await?),
            Address::Name { .. } => {
                let addresses = Arc::clone(&master.addresses());
                let mut outcome = Err(std::io::Error::from(std::io::ErrorKind::NotFound));
                for address in addresses.iter() {
                    outcome = TcpStream::connect(address).await;
                    if outcome.is_ok() {
                        break;
                    }
                }
                Stream::tcp(outcome?)
            }
        };
        let (buffer, response) = (Buffer::new(stock), Response::default());
        Ok(Box::new(Self { stream, buffer, response, reused: false, idle_since: 0 }))
    }
}

impl Pool {
    #[must_use]
    pub fn new(master: Arc<Master>, counters: Arc<MasterCounters>) -> Self {
        Self { master, counters, idle: RefCell::default() }
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

    /// Closes what has been idle for too long or was closed by the master.
    pub fn sweep(&self, now: Micros, idle_timeout: Micros) {
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
