//! HTTP/2 connections ("links") of one worker to one master, shared by its requests.
//!
//! A link takes as many streams as the master allows and the configuration says; a further link is made when all are full, by
//! one request while the others wait for it. A link that the master is closing (GOAWAY) takes no more and ends with its last
//! stream; one without streams is closed when idle for too long; one that has gone silent under its streams is asked for a sign
//! of life and given up without one.
//!
//! The first request waits for the master's SETTINGS: until then nothing has been sent that a master could act upon, so whoever
//! accepts and says nothing, or speaks something else, has cost nobody a request.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};

use crate::clock::{self, Micros};
use crate::config::model::MasterHttp2;
use crate::net::stream::Stream;
use crate::telemetry::hot::{MasterCounters, MasterSlot};

/// What a master may send on one stream before it is read: what a slow client costs.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Of a head that a master sends, as HTTP/2 counts it. The same as for HTTP/1.1.
const HEADER_LIST_MAX: u32 = 64 * 1024;

/// Of a body handed to a link and not yet sent, for each stream.
const SEND_BUFFER_MAX: usize = 64 * 1024;

/// Streams that were given up and may still get frames; beyond it the oldest are forgotten.
const RESETS_REMEMBERED: usize = 1000;
const RESETS_REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// The links.
#[derive(Debug, Default)]
pub struct Links {
    all: RefCell<Vec<Rc<Link>>>,
    opening: Cell<bool>,
    /// Rung when a link was made, or could not be, or has room again.
    news: Notify,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    sender: SendRequest<Bytes>,
    ping: RefCell<Option<PingPong>>,
    driver: AbortHandle,
    state: Rc<State>,
    counters: Arc<MasterCounters>,
    streams: Cell<usize>,
    /// It has carried a stream before, so the master may have closed it while it was idle.
    used: Cell<bool>,
    /// Its end has been charged to the master.
    charged: Cell<bool>,
    idle_since: Cell<Micros>,
    pinged_at: Cell<Option<Micros>>,
}

/// What the task that drives a connection shares with it.
#[derive(Debug, Default)]
struct State {
    /// When the master was last heard; 0 before that.
    heard: Cell<Micros>,
    closed: Cell<bool>,
    /// Rung at the first byte and at the end.
    news: Notify,
}

/// A stream's place on a link; dropping it makes room.
#[derive(Debug)]
pub struct Lease {
    link: Rc<Link>,
    /// The link was idle, and not new, when this was taken.
    pub reused: bool,
}

/// The turn of the one request that makes a link; dropping it lets another one try.
#[derive(Debug)]
pub struct Opening<'a>(&'a Links);

/// What is to be done about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    Nothing,
    Ping,
    GiveUp,
    Close,
}

/// What is known about a link when [`Care`] is decided.
#[derive(Debug, Clone, Copy)]
struct Signs {
    streams: usize,
    heard: Micros,
    pinged_at: Option<Micros>,
    idle_since: Micros,
}

impl Signs {
    fn care(self, now: Micros, rules: &MasterHttp2, idle_timeout: Micros) -> Care {
        if self.streams == 0 {
            return if now.saturating_sub(self.idle_since) >= idle_timeout { Care::Close } else { Care::Nothing };
        }
        match self.pinged_at.filter(|pinged| *pinged > self.heard) {
            Some(pinged) if now.saturating_sub(pinged) >= clock::micros(rules.ping_timeout) => Care::GiveUp,
            Some(_) => Care::Nothing,
            None if now.saturating_sub(self.heard) >= clock::micros(rules.ping_after) => Care::Ping,
            None => Care::Nothing,
        }
    }
}

impl Links {
    /// A place on the fullest link that has room: the others get idle and leave.
    pub fn lease(&self, max_streams: usize) -> Option<Lease> {
        let all = self.all.borrow();
        let best = all.iter().filter(|link| link.has_room(max_streams)).max_by_key(|link| link.streams.get())?;
        Some(Lease::new(best))
    }

    /// Whether it is this request's turn to make a link.
    pub fn begin(&self) -> Option<Opening<'_>> {
        (!self.opening.replace(true)).then(|| Opening(self))
    }

    /// Makes a link of a connection, and takes the first place on it. Cancel-safe.
    ///
    /// # Errors
    /// When the other side does not begin with SETTINGS.
    pub async fn open(&self, stream: Stream, rules: &MasterHttp2, counters: &Arc<MasterCounters>) -> io::Result<Lease> {
        let link = Link::open(stream, rules, counters).await?;
        let lease = Lease::new(&link);
        self.all.borrow_mut().push(link);
        Ok(lease)
    }

    /// Waits until [`Links::lease`] or [`Links::begin`] may have another answer. Cancel-safe.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Looks after all links: closes those that are idle, and finds out those that are dead.
    pub fn sweep(&self, now: Micros, rules: &MasterHttp2, idle_timeout: Micros) {
        // A link is removed by leaving the list; its last stream, or nobody, holds it then.
        self.all.borrow_mut().retain(|link| {
            if link.state.closed.get() {
                return false;
            }
            match link.signs().care(now, rules, idle_timeout) {
                Care::Nothing => {}
                Care::Ping => link.ping(now),
                Care::GiveUp => link.driver.abort(),
                Care::Close => return false,
            }
            true
        });
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.news.notify_waiters();
    }
}

impl Link {
    async fn open(stream: Stream, rules: &MasterHttp2, counters: &Arc<MasterCounters>) -> io::Result<Rc<Self>> {
        let state = Rc::new(State::default());
        let io = LinkIo { stream, state: state.clone() };
        let streams = u32::try_from(rules.max_streams).unwrap_or(u32::MAX);
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            // Room for all: a client that does not read holds up its own stream only.
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams).min(i32::MAX as u32))
            .max_header_list_size(HEADER_LIST_MAX)
            .max_send_buffer_size(SEND_BUFFER_MAX)
            .max_concurrent_reset_streams(RESETS_REMEMBERED)
            .reset_stream_duration(RESETS_REMEMBERED_FOR)
            .handshake::<_, Bytes>(io);
        let (sender, mut connection) = handshake.await.map_err(io::Error::other)?;
        let ping = RefCell::new(connection.ping_pong());
        counters.increment(MasterSlot::LinkOpened);
        let end = End { state: state.clone(), counters: counters.clone() };
        let driver = spawn_local(async move {
            let _end = end;
            // Each stream is told by itself.
            let _ = connection.await;
        });
        let link = Self {
            sender,
            ping,
            driver: driver.abort_handle(),
            state: state.clone(),
            counters: counters.clone(),
            streams: Cell::new(0),
            used: Cell::new(false),
            charged: Cell::new(false),
            idle_since: Cell::new(clock::now()),
            pinged_at: Cell::new(None),
        };
        while state.heard.get() == 0 && !state.closed.get() {
            state.news.notified().await;
        }
        if state.closed.get() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(Rc::new(link)) }
    }

    /// Whether it takes another stream.
    fn has_room(&self, max_streams: usize) -> bool {
        if self.state.closed.get() || self.streams.get() >= max_streams.min(self.sender.current_max_send_streams()) {
            return false;
        }
        // The crate says here whether the master has said goodbye.
        let mut sender = self.sender.clone();
        !matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    fn signs(&self) -> Signs {
        Signs {
            streams: self.streams.get(),
            heard: self.state.heard.get(),
            pinged_at: self.pinged_at.get(),
            idle_since: self.idle_since.get(),
        }
    }

    fn ping(&self, now: Micros) {
        if let Some(ping) = &mut *self.ping.borrow_mut() {
            // The answer to the last one must be taken before another one can be sent.
            let _ = ping.poll_pong(&mut Context::from_waker(Waker::noop()));
            if ping.send_ping(Ping::opaque()).is_ok() {
                self.pinged_at.set(Some(now));
            }
        }
    }
}

impl Lease {
    fn new(link: &Rc<Link>) -> Self {
        let reused = link.used.replace(true) && link.streams.get() == 0;
        if link.streams.get() == 0 {
            // From here on the silence of the master counts.
            link.state.heard.set(clock::now());
        }
        link.streams.set(link.streams.get() + 1);
        link.counters.increment(MasterSlot::StreamOpened);
        Self { link: link.clone(), reused }
    }

    /// What requests are sent with.
    #[must_use]
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.link.sender.clone()
    }

    /// Whether the master is to be charged with the end of this stream: with that of the whole connection it is once, for all
    /// of its streams.
    #[must_use]
    pub fn may_charge(&self) -> bool {
        !self.link.state.closed.get() || !self.link.charged.replace(true)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let link = &self.link;
        link.streams.set(link.streams.get() - 1);
        link.idle_since.set(clock::now());
        link.counters.increment(MasterSlot::StreamClosed);
    }
}

/// Tells of the end of a connection, however it ends.
struct End {
    state: Rc<State>,
    counters: Arc<MasterCounters>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.state.closed.set(true);
        self.state.news.notify_waiters();
        self.counters.increment(MasterSlot::LinkClosed);
    }
}

/// The connection as the `h2` crate reads and writes it.
struct LinkIo {
    stream: Stream,
    state: Rc<State>,
}

impl AsyncRead for LinkIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(self.stream.poll_read_buf(cx, into))?;
        if into.filled().len() > before && self.state.heard.replace(clock::now()) == 0 {
            self.state.news.notify_waiters();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LinkIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn rules() -> MasterHttp2 {
        MasterHttp2 { max_streams: 100, ping_after: Duration::from_secs(10), ping_timeout: Duration::from_secs(5) }
    }

    fn care(signs: Signs, now: Micros) -> Care {
        signs.care(now, &rules(), 4 * SECOND)
    }

    #[test]
    fn silence_under_streams_is_asked_about_once_and_then_ends_the_link() {
        let quiet = Signs { streams: 1, heard: SECOND, pinged_at: None, idle_since: 0 };
        assert_eq!(care(quiet, 10 * SECOND), Care::Nothing);
        assert_eq!(care(quiet, 11 * SECOND), Care::Ping);
        let asked = Signs { pinged_at: Some(11 * SECOND), ..quiet };
        assert_eq!(care(asked, 15 * SECOND), Care::Nothing);
        assert_eq!(care(asked, 16 * SECOND), Care::GiveUp);
    }

    #[test]
    fn any_byte_answers_the_question() {
        let heard = Signs { streams: 3, heard: 12 * SECOND, pinged_at: Some(11 * SECOND), idle_since: 0 };
        assert_eq!(care(heard, 17 * SECOND), Care::Nothing);
        assert_eq!(care(heard, 22 * SECOND), Care::Ping);
    }

    #[test]
    fn a_link_without_streams_is_left_alone_until_it_has_been_idle_for_long() {
        let idle = Signs { streams: 0, heard: 0, pinged_at: None, idle_since: 100 * SECOND };
        assert_eq!(care(idle, 103 * SECOND), Care::Nothing);
        assert_eq!(care(idle, 104 * SECOND), Care::Close);
    }
}
