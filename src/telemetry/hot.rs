//! What the data path counts: cells that one worker writes and everyone may read.
//!
//! A worker owns its cells and changes them with a relaxed load and a relaxed store: no lock, no read-modify-write
//! instruction, no cache line that two workers write. It gets them from [`super::registry::WorkerMetrics`] when it takes
//! up a new snapshot and keeps the `Arc`s beside the snapshot's entries; a request then only adds.
//!
//! Readers add up the workers. What they read was true a moment ago, and no counter ever shrinks.

use std::marker::PhantomData;

use super::histogram::{Histogram, Reading, add};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Status classes by index; 0 stands for an exchange without an answer.
pub const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// One worker's exchanges of one route, upstream and master: how many by status class, and how long they took.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Series {
    classes: [AtomicU64; CLASSES.len()],
    duration: Histogram,
}

impl Series {
    /// Counts one finished exchange. `code` is the status that was sent, 499 when the client left before its answer.
    pub fn record(&self, code: u16, duration_micros: u64) {
        let class = usize::from(code / 100);
        if let Some(cell) = self.classes.get(class).or(self.classes.first()) {
            add(cell, 1);
        }
        self.duration.record(duration_micros);
    }

    /// Adds the present counts by status class, without looking at durations.
    pub(super) fn add_classes(&self, classes: &mut [u64; CLASSES.len()]) {
        for (total, cell) in classes.iter_mut().zip(&self.classes) {
            *total = total.wrapping_add(cell.load(Ordering::Relaxed));
        }
    }
}

/// [`Series`] of several workers added up.
#[derive(Debug, Clone, Default)]
pub struct SeriesReading {
    /// In the order of [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    pub duration: Reading,
}

impl SeriesReading {
    /// Adds one worker's present values.
    pub fn add(&mut self, series: &Series) {
        for (total, cell) in self.classes.iter_mut().zip(&series.classes) {
            *total = total.wrapping_add(cell.load(Ordering::Relaxed));
        }
        self.duration.add(&series.duration);
    }

    /// Exchanges of every class.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Exchanges that ended without an answer or with 5xx.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let [none, .., server_error] = self.classes;
        none + server_error
    }
}

/// An enumeration whose values are positions in [`Counters`].
pub trait Slot: Copy {
    fn index(self) -> usize;
}

/// One worker's counters of one listener, upstream or master.
#[derive(Debug)]
#[repr(align(64))]
pub struct Counters<S, const N: usize> {
    cells: [AtomicU64; N],
    slot: PhantomData<fn(S)>,
}

/// Counters of a listener.
pub type ListenerCounters = Counters<ListenerSlot, { ListenerSlot::COUNT }>;
/// Counters of a route.
pub type RouteCounters = Counters<RouteSlot, { RouteSlot::COUNT }>;
/// Counters of an upstream.
pub type UpstreamCounters = Counters<UpstreamSlot, { UpstreamSlot::COUNT }>;
/// Counters of a master.
pub type MasterCounters = Counters<MasterSlot, { MasterSlot::COUNT }>;

impl<S, const N: usize> Default for Counters<S, N> {
    fn default() -> Self {
        Self { cells: std::array::from_fn(|_| AtomicU64::new(0)), slot: PhantomData }
    }
}

impl<S: Slot, const N: usize> Counters<S, N> {
    /// Adds one. Only the owner may write.
    pub fn increment(&self, slot: S) {
        self.add(slot, 1);
    }

    /// Adds `amount`. Only the owner may write.
    pub fn add(&self, slot: S, amount: u64) {
        if let Some(cell) = self.cells.get(slot.index()) {
            add(cell, amount);
        }
    }

    /// The present value.
    #[must_use]
    pub fn get(&self, slot: S) -> u64 {
        self.cells.get(slot.index()).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// Cells that can be added up, and that can take over what other cells have counted.
pub(super) trait Cells: Default {
    /// Adds what `other` has counted. The caller must be the only writer of `self`.
    fn absorb(&self, other: &Self);
}

impl Cells for Series {
    fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.classes.iter().zip(&other.classes) {
            add(mine, theirs.load(Ordering::Relaxed));
        }
        self.duration.absorb(&other.duration);
    }
}

impl<S, const N: usize> Cells for Counters<S, N> {
    fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.cells.iter().zip(&other.cells) {
            add(mine, theirs.load(Ordering::Relaxed));
        }
    }
}

/// Defines an enumeration of label values.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, by index.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The label value.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// Why Baton itself turned a request or a connection away.
    Refusal {
        /// Not HTTP, or ambiguous about where it ends.
        Malformed = "malformed",
        /// A path that two programs could read differently.
        Path = "path",
        HeaderTooLarge = "header-too-large",
        BodyTooLarge = "body-too-large",
        HeaderTimeout = "header-timeout",
        BodyTimeout = "body-timeout",
        /// A method, version or expectation that Baton does not serve.
        Unsupported = "unsupported",
        NoRoute = "no-route",
        /// The client's network is not let in, by the listener or by the route.
        AccessDenied = "access-denied",
        /// The client has as many connections open as one client may have.
        ClientConnections = "client-connections",
        /// The client has made more requests than the route's rate limit allows.
        RateLimited = "rate-limited",
        /// The worker has as much in progress as it takes on at once.
        Overloaded = "overloaded",
        /// A webhook whose signature is missing or wrong.
        BadSignature = "bad-signature",
        /// A handshake of Meta's with another token.
        BadVerifyToken = "bad-verify-token",
        /// There was no room to store it.
        SpoolFull = "spool-full",
        /// It could not be stored.
        SpoolFailed = "spool-failed",
        /// No master may take it.
        NoMaster = "no-master",
        /// Every master that may take it is full, and so is its queue.
        QueueFull = "queue-full",
        QueueTimeout = "queue-timeout",
        /// The handshake failed.
        Tls = "tls",
        /// A trusted sender did not begin with a PROXY header.
        ProxyHeader = "proxy-header",
        /// What came is no ClientHello, where the name in it decides.
        ClientHello = "client-hello",
        TlsTimeout = "tls-timeout",
        /// Too many handshakes were under way, and this was the oldest.
        TlsOverload = "tls-overload",
        /// None was issued yet.
        NoCertificate = "no-certificate",
        ClientCertificateMissing = "client-certificate-missing",
        /// Signed by nobody known, or not fit for a client.
        ClientCertificateInvalid = "client-certificate-invalid",
        /// Over, or not begun.
        ClientCertificateExpired = "client-certificate-expired",
        ClientCertificateRevoked = "client-certificate-revoked",
        ClientNameNotAllowed = "client-name-not-allowed",
        /// HTTP/2 that breaks the protocol; a stream or the connection was ended.
        ProtocolError = "protocol-error",
        /// More resets, pings or the like over HTTP/2 than anybody has reason to send; the connection was ended.
        Flood = "flood",
    }
}

words! {
    /// How a TLS session began.
    Handshake {
        Full = "full",
        /// From a ticket or a remembered session.
        Resumed = "resumed",
    }
}

words! {
    /// What ended the attempt that a retry follows.
    RetryReason {
        /// No connection came about.
        Connect = "connect",
        /// The connection broke before an answer began.
        Reset = "reset",
        /// No answer within the time of one try.
        Timeout = "timeout",
        /// A status listed under `on_status`.
        Status = "status",
        /// The master was given up while the request waited for it.
        Abandoned = "abandoned",
        /// An HTTP/2 master turned it away unprocessed.
        Refused = "refused",
    }
}

words! {
    /// What became of a request that a mirror was to get.
    MirrorOutcome {
        Answered = "answered",
        /// No master of the mirror answered.
        Failed = "failed",
        /// Left out: enough copies were under way.
        Busy = "busy",
        /// Left out: the body was too large, or its length not known.
        BodyTooLarge = "body-too-large",
    }
}

words! {
    /// How a connection attempt to a master ended.
    ConnectOutcome {
        Opened = "opened",
        Refused = "refused",
        Timeout = "timeout",
        /// The TLS handshake failed.
        Tls = "tls",
        /// Anything else: no route, a name that does not resolve, no socket left.
        Error = "error",
    }
}

words! {
    /// How a TCP connection that had a master ended.
    TcpEnd {
        /// Both sides had ended.
        Complete = "complete",
        ClientReset = "client-reset",
        MasterReset = "master-reset",
        /// No byte either way for `limits.tunnel_timeout`.
        Idle = "idle",
        /// It had been open for `limits.lifetime`.
        Lifetime = "lifetime",
        /// The master was given up, and its connections were to be closed.
        MasterFailed = "master-failed",
        /// No connection to the master came about, and it was the last that was tried.
        Unreachable = "unreachable",
        /// Baton stopped.
        Stopped = "stopped",
    }
}

/// What is counted for each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerSlot {
    /// Connections accepted.
    Accepted,
    /// Connections closed again: open ones are the difference.
    Closed,
    /// Upgraded connections begun.
    TunnelsOpened,
    /// Tunnels ended.
    TunnelsClosed,
    /// TLS handshakes begun.
    HandshakesBegun,
    /// TLS handshakes that came to an end, good or bad: those under way are the difference.
    HandshakesEnded,
    Handshake(Handshake),
    Refused(Refusal),
}

impl ListenerSlot {
    const HANDSHAKE: usize = 6;
    const REFUSED: usize = Self::HANDSHAKE + Handshake::ALL.len();
    pub const COUNT: usize = Self::REFUSED + Refusal::ALL.len();
}

impl Slot for ListenerSlot {
    fn index(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::Closed => 1,
            Self::TunnelsOpened => 2,
            Self::TunnelsClosed => 3,
            Self::HandshakesBegun => 4,
            Self::HandshakesEnded => 5,
            Self::Handshake(kind) => Self::HANDSHAKE + kind as usize,
            Self::Refused(reason) => Self::REFUSED + reason as usize,
        }
    }
}

words! {
    /// Why a route's own rules turned a request away.
    RouteRefusal {
        AccessDenied = "access-denied",
        RateLimited = "rate-limited",
        BadSignature = "bad-signature",
        BadVerifyToken = "bad-verify-token",
    }
}

words! {
    /// What became of an answer that was to be compressed.
    CompressionOutcome {
        Zstd = "zstd",
        Br = "br",
        Gzip = "gzip",
        /// It went on as it was: enough were being compressed.
        Busy = "busy",
    }
}

words! {
    /// What a webhook had in it, update by update.
    Webhook {
        Message = "message",
        Own = "own",
        Status = "status",
        Event = "event",
        /// Left out, as the route says.
        Ignored = "ignored",
        /// A body that could not be read, which went on as it was.
        Undecodable = "undecodable",
    }
}

/// What is counted for each route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteSlot {
    /// Bytes of compressed answers, before and after.
    CompressionIn,
    CompressionOut,
    Compression(CompressionOutcome),
    Refused(RouteRefusal),
    Webhook(Webhook),
}

impl RouteSlot {
    const COMPRESSION: usize = 2;
    const REFUSED: usize = Self::COMPRESSION + CompressionOutcome::ALL.len();
    const WEBHOOK: usize = Self::REFUSED + RouteRefusal::ALL.len();
    pub const COUNT: usize = Self::WEBHOOK + Webhook::ALL.len();
}

impl Slot for RouteSlot {
    fn index(self) -> usize {
        match self {
            Self::CompressionIn => 0,
            Self::CompressionOut => 1,
            Self::Compression(outcome) => Self::COMPRESSION + outcome as usize,
            Self::Refused(reason) => Self::REFUSED + reason as usize,
            Self::Webhook(what) => Self::WEBHOOK + what as usize,
        }
    }
}

/// What is counted for each upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamSlot {
    /// Retries the budget did not allow.
    BudgetExhausted,
    /// Exchanges that waited for a master to take over.
    Held,
    /// Answers of masters that were fenced meanwhile.
    LateAnswers,
    Retried(RetryReason),
    Mirrored(MirrorOutcome),
}

impl UpstreamSlot {
    const RETRIED: usize = 3;
    const MIRRORED: usize = Self::RETRIED + RetryReason::ALL.len();
    pub const COUNT: usize = Self::MIRRORED + MirrorOutcome::ALL.len();
}

impl Slot for UpstreamSlot {
    fn index(self) -> usize {
        match self {
            Self::BudgetExhausted => 0,
            Self::Held => 1,
            Self::LateAnswers => 2,
            Self::Retried(reason) => Self::RETRIED + reason as usize,
            Self::Mirrored(outcome) => Self::MIRRORED + outcome as usize,
        }
    }
}

/// What is counted for each master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterSlot {
    /// Attempts that failed here and were followed by another one; the last attempt of an exchange is in its [`Series`].
    FailedAttempts,
    /// Requests sent again because a pooled connection had been closed.
    StaleReplays,
    /// Connections put into the pool.
    PoolIn,
    /// Connections taken from the pool or closed in it: idle ones are the difference.
    PoolOut,
    /// Bytes of TCP connections.
    BytesToMaster,
    BytesToClient,
    /// HTTP/2 connections and their streams, begun and ended: open ones are the difference.
    LinkOpened,
    LinkClosed,
    StreamOpened,
    StreamClosed,
    Connected(ConnectOutcome),
    /// TCP connections ended.
    Ended(TcpEnd),
}

impl MasterSlot {
    const CONNECTED: usize = 10;
    const ENDED: usize = Self::CONNECTED + ConnectOutcome::ALL.len();
    pub const COUNT: usize = Self::ENDED + TcpEnd::ALL.len();
}

impl Slot for MasterSlot {
    fn index(self) -> usize {
        match self {
            Self::FailedAttempts => 0,
            Self::StaleReplays => 1,
            Self::PoolIn => 2,
            Self::PoolOut => 3,
            Self::BytesToMaster => 4,
            Self::BytesToClient => 5,
            Self::LinkOpened => 6,
            Self::LinkClosed => 7,
            Self::StreamOpened => 8,
            Self::StreamClosed => 9,
            Self::Connected(outcome) => Self::CONNECTED + outcome as usize,
            Self::Ended(end) => Self::ENDED + end as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_status_is_counted_in_its_class_and_an_odd_one_as_none() {
        let series = Series::default();
        for code in [101, 200, 204, 302, 404, 503, 0, 99, 600, u16::MAX] {
            series.record(code, 1000);
        }
        let mut reading = SeriesReading::default();
        reading.add(&series);
        assert_eq!(reading.classes, [4, 1, 2, 1, 1, 1]);
        assert_eq!((reading.requests(), reading.failures(), reading.duration.count()), (10, 5, 10));
    }

    fn every_slot_has_its_own_cell<S: Slot, const N: usize>(slots: &[S]) {
        let counters = Counters::<S, N>::default();
        assert_eq!(slots.len(), N);
        for (count, slot) in (1..).zip(slots) {
            counters.add(*slot, count);
        }
        let values: HashSet<u64> = slots.iter().map(|slot| counters.get(*slot)).collect();
        assert_eq!(values, (1..=N as u64).collect());
    }

    #[test]
    fn no_two_counters_share_a_cell() {
        use {ListenerSlot as L, MasterSlot as M, RouteSlot as R, UpstreamSlot as U};
        let webhooks = Webhook::ALL.iter().map(|what| R::Webhook(*what));
        let compressions = CompressionOutcome::ALL.iter().map(|outcome| R::Compression(*outcome));
        let refused = RouteRefusal::ALL.iter().map(|reason| R::Refused(*reason));
        let single = [R::CompressionIn, R::CompressionOut];
        let routes: Vec<R> = single.into_iter().chain(compressions).chain(refused).chain(webhooks).collect();
        every_slot_has_its_own_cell::<R, { R::COUNT }>(&routes);

        let refused = Refusal::ALL.iter().map(|reason| L::Refused(*reason));
        let handshakes = Handshake::ALL.iter().map(|kind| L::Handshake(*kind));
        let single =
            [L::Accepted, L::Closed, L::TunnelsOpened, L::TunnelsClosed, L::HandshakesBegun, L::HandshakesEnded];
        let listener: Vec<L> = single.into_iter().chain(handshakes).chain(refused).collect();
        every_slot_has_its_own_cell::<L, { L::COUNT }>(&listener);

        let retried = RetryReason::ALL.iter().map(|reason| U::Retried(*reason));
        let mirrored = MirrorOutcome::ALL.iter().map(|outcome| U::Mirrored(*outcome));
        let single = [U::BudgetExhausted, U::Held, U::LateAnswers];
        let upstream: Vec<U> = single.into_iter().chain(retried).chain(mirrored).collect();
        every_slot_has_its_own_cell::<U, { U::COUNT }>(&upstream);

        let connected = ConnectOutcome::ALL.iter().map(|outcome| M::Connected(*outcome));
        let ended = TcpEnd::ALL.iter().map(|end| M::Ended(*end));
        let single = [
            M::FailedAttempts,
            M::StaleReplays,
            M::PoolIn,
            M::PoolOut,
            M::BytesToMaster,
            M::BytesToClient,
            M::LinkOpened,
            M::LinkClosed,
            M::StreamOpened,
            M::StreamClosed,
        ];
        let master: Vec<M> = single.into_iter().chain(connected).chain(ended).collect();
        every_slot_has_its_own_cell::<M, { M::COUNT }>(&master);
    }

    #[test]
    fn one_series_takes_at_most_two_kilobytes() {
        assert!(size_of::<Series>() <= 2048, "{}", size_of::<Series>());
    }
}
