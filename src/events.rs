//! The event bus: what happens to the proxy, told to whoever listens, and kept for a while.
//!
//! Publishing never waits for a reader. The newest [`HISTORY`] events are held in a ring that every reader goes through at
//! its own pace; one that falls behind further than that is told how many it has missed. Nothing here is on the path of a
//! request.
//!
//! Numbers of events grow over restarts too, as long as the clock is not set back: the first one of a process is the time
//! of its start in microseconds. So a reader that comes back after a restart is not given an event twice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::clock::{UnixMillis, unix_millis};

/// Events that are kept.
pub const HISTORY: usize = 1024;
/// Longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 1000;
/// Largest detail as JSON, in bytes; a larger one is left out.
const DETAIL_BYTES_MAX: usize = 8 * 1024;

macro_rules! kinds {
    ($($kind:ident $word:literal)*) => {
        /// What has happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $(#[doc = $word] #[serde(rename = $word)] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// As the API and configurations write it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$kind => $word),* }
            }
        }
    };
}

kinds! {
    ProcessStarted "process-started"
    ProcessStopping "process-stopping"
    MasterHealth "master-health"
    MasterEjected "master-ejected"
    MasterReturned "master-returned"
    CircuitOpened "circuit-opened"
    CircuitHalfOpen "circuit-half-open"
    CircuitClosed "circuit-closed"
    UpstreamDown "upstream-down"
    UpstreamUp "upstream-up"
    FailoverBegun "failover-begun"
    FailoverCompleted "failover-completed"
    FailoverUndone "failover-undone"
    FailoverStuck "failover-stuck"
    MasterRecovery "master-recovery"
    StateNotKept "state-not-kept"
    StateRestored "state-restored"
    OperatorState "operator-state"
    ConfigApplied "config-applied"
    ConfigRejected "config-rejected"
    UpgradeCompleted "upgrade-completed"
    UpgradeFailed "upgrade-failed"
    SpoolOpened "spool-opened"
    SpoolFull "spool-full"
    SpoolRoom "spool-room"
    SpoolFailed "spool-failed"
    DeadLetters "dead-letters"
    AuditFailed "audit-failed"
    AuditDamaged "audit-damaged"
    CertificateIssued "certificate-issued"
    CertificateFailed "certificate-failed"
    CertificateExpiring "certificate-expiring"
    AlertRaised "alert-raised"
    AlertEscalated "alert-escalated"
    AlertAcknowledged "alert-acknowledged"
    AlertResolved "alert-resolved"
}

impl Kind {
    /// The kind that is written so.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|kind| kind.word() == word).copied()
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// Each with the word that the API and configurations use for it.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Info, "info"), (Self::Warning, "warning"), (Self::Critical, "critical")];
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Larger than that of every event before; below 2^53.
    pub id: u64,
    #[schema(value_type = u64)]
    pub at: UnixMillis,
    #[schema(schema_with = kind_schema)]
    pub kind: Kind,
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// One line for people.
    pub message: String,
    /// The same for programs; what is in it depends on the kind.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

fn kind_schema() -> Object {
    let words = Kind::ALL.iter().map(|kind| kind.word());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

impl Event {
    /// Without a number and a time: [`Bus::publish`] gives it both. Control characters in the message become spaces.
    #[must_use]
    pub fn new(kind: Kind, severity: Severity, message: impl AsRef<str>) -> Self {
        let message = message.as_ref().chars().take(MESSAGE_CHARS_MAX);
        Self {
            id: 0,
            at: 0,
            kind,
            severity,
            upstream: None,
            master: None,
            route: None,
            message: message.map(|character| if character.is_control() { ' ' } else { character }).collect(),
            detail: Value::Null,
        }
    }

    #[must_use]
    pub fn upstream(self, name: impl Into<String>) -> Self {
        Self { upstream: Some(name.into()), ..self }
    }

    #[must_use]
    pub fn master(self, name: impl Into<String>) -> Self {
        Self { master: Some(name.into()), ..self }
    }

    #[must_use]
    pub fn route(self, name: impl Into<String>) -> Self {
        Self { route: Some(name.into()), ..self }
    }

    /// Nothing secret goes here: whoever may read sees it.
    #[must_use]
    pub fn detail(self, detail: Value) -> Self {
        let bytes = detail.to_string().len();
        let detail = if bytes > DETAIL_BYTES_MAX { json!({ "left_out_bytes": bytes }) } else { detail };
        Self { detail, ..self }
    }
}

/// Where events are told. Cheap to share; lives as long as the process.
#[derive(Debug)]
pub struct Bus {
    ring: Mutex<Ring>,
    /// Number of the newest event; told to readers that wait.
    newest: watch::Sender<Newest>,
    /// By [`Kind::ALL`].
    counts: Vec<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    id: u64,
    closed: bool,
}

/// The newest events, with numbers in a row.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    next: u64,
    /// Number of the first event of this process.
    first: u64,
}

/// What a reader is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Event(Arc<Event>),
    /// So many events came that it did not get, or an unknown number from before this process.
    Missed(Option<u64>),
    /// There will be no further ones.
    Closed,
}

impl Default for Bus {
    fn default() -> Self {
        Self::starting_at(unix_millis().saturating_mul(1000))
    }
}

impl Bus {
    fn starting_at(first: u64) -> Self {
        let newest = Newest { id: first.saturating_sub(1), closed: false };
        Self {
            ring: Mutex::new(Ring { events: VecDeque::with_capacity(HISTORY), next: first, first }),
            newest: watch::Sender::new(newest),
            counts: Kind::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Tells an event and gives its number. Never waits, but for others that publish in this moment.
    pub fn publish(&self, event: Event) -> u64 {
        let now = unix_millis();
        if let Some(count) = Kind::ALL.iter().position(|kind| *kind == event.kind).and_then(|at| self.counts.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let id = self.ring.lock().unwrap_or_else(PoisonError::into_inner).push(event, now);
        // Of two that publish at once either may come first here.
        self.newest.send_modify(|newest| newest.id = newest.id.max(id));
        id
    }

    /// A reader of all that comes after this number; of all that is to come, without one.
    pub fn read(self: &Arc<Self>, after: Option<u64>) -> Reader {
        let newest = self.newest.subscribe();
        let after = after.unwrap_or_else(|| newest.borrow().id);
        Reader { bus: Arc::clone(self), newest, after }
    }

    /// The newest kept events that `wanted` lets through, the newest first, at most `limit`, older than `before` if it is
    /// given; and whether there are older ones among the kept.
    pub fn recent(
        &self,
        limit: usize,
        before: Option<u64>,
        wanted: impl Fn(&Event) -> bool,
    ) -> (Vec<Arc<Event>>, bool) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let older = |event: &&Arc<Event>| before.is_none_or(|before| event.id < before);
        let mut found: Vec<_> =
            ring.events.iter().rev().filter(older).filter(|event| wanted(event)).take(limit + 1).cloned().collect();
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }

    /// Ends every reader once it has read what is there.
    pub fn close(&self) {
        self.newest.send_modify(|newest| newest.closed = true);
    }

    /// How many events of each kind there were since the process started.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> {
        Kind::ALL.iter().zip(&self.counts).map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
    }
}

impl Ring {
    fn push(&mut self, mut event: Event, now: UnixMillis) -> u64 {
        let id = self.next;
        self.next += 1;
        (event.id, event.at) = (id, now);
        if self.events.len() >= HISTORY {
            self.events.pop_front();
        }
        self.events.push_back(Arc::new(event));
        id
    }

    /// What comes after this number; `None` when nothing does yet.
    fn after(&self, id: u64) -> Option<Next> {
        let oldest = self.events.front()?.id;
        let wanted = id.saturating_add(1);
        if wanted >= self.next {
            // A number that is still to come is one of a process with another clock.
            return (wanted > self.next).then_some(Next::Missed(None));
        }
        if wanted < oldest {
            // Numbers from before this process are times, and count nothing.
            return Some(Next::Missed((wanted >= self.first).then(|| oldest - wanted)));
        }
        let event = usize::try_from(wanted - oldest).ok().and_then(|index| self.events.get(index))?;
        Some(Next::Event(event.clone()))
    }
}

/// Goes through the events of a [`Bus`] in their order.
#[derive(Debug)]
pub struct Reader {
    bus: Arc<Bus>,
    newest: watch::Receiver<Newest>,
    after: u64,
}

impl Reader {
    /// Number of the last event that was given, or passed over.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The next event, as soon as there is one. Cancel-safe.
    pub async fn next(&mut self) -> Next {
        loop {
            let closed = self.newest.borrow_and_update().closed;
            if let Some(next) = self.take() {
                return next;
            }
            if closed || self.newest.changed().await.is_err() {
                return Next::Closed;
            }
        }
    }

    fn take(&mut self) -> Option<Next> {
        let ring = self.bus.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ring.after(self.after)?;
        self.after = match &next {
            Next::Event(event) => event.id,
            // On from the oldest that is left.
            _ => ring.events.front().map_or(ring.next, |oldest| oldest.id) - 1,
        };
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(number: usize) -> Event {
        Event::new(Kind::MasterHealth, Severity::Info, number.to_string())
    }

    fn message(next: Next) -> String {
        match next {
            Next::Event(event) => event.message.clone(),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_reader_gets_every_event_once_and_in_order() {
        let bus: Arc<Bus> = Arc::default();
        bus.publish(event(0));
        let mut reader = bus.read(None);
        let numbers: Vec<u64> = (1..4).map(|number| bus.publish(event(number))).collect();
        for (number, id) in numbers.iter().enumerate() {
            let Next::Event(event) = reader.next().await else { panic!() };
            assert_eq!((event.id, &*event.message), (*id, &*(number + 1).to_string()));
        }
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), reader.next()).await;
        assert!(waiting.is_err());
        let last = bus.publish(event(4));
        assert_eq!(message(reader.next().await), "4");
        assert_eq!(reader.position(), last);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_missed_and_goes_on_with_the_oldest_left() {
        let bus: Arc<Bus> = Arc::default();
        let mut reader = bus.read(None);
        (0..HISTORY + 7).for_each(|number| _ = bus.publish(event(number)));
        assert_eq!(reader.next().await, Next::Missed(Some(7)));
        for number in 7..HISTORY + 7 {
            assert_eq!(message(reader.next().await), number.to_string());
        }
    }

    #[tokio::test]
    async fn who_comes_back_goes_on_where_it_was_and_after_a_restart_learns_that_something_is_missing() {
        let before = Arc::new(Bus::starting_at(1_000_000));
        let seen = before.publish(event(0));
        before.publish(event(1));
        assert_eq!(message(before.read(Some(seen)).next().await), "1");
        let after = Arc::new(Bus::starting_at(2_000_000));
        after.publish(event(2));
        let mut reader = after.read(Some(seen));
        assert_eq!(reader.next().await, Next::Missed(None));
        assert_eq!(message(reader.next().await), "2");
        // A clock that was set back.
        let mut reader = after.read(Some(9_000_000));
        assert_eq!(reader.next().await, Next::Missed(None));
        assert_eq!(message(reader.next().await), "2");
    }

    #[tokio::test]
    async fn a_closed_bus_ends_its_readers_after_what_is_there() {
        let bus: Arc<Bus> = Arc::default();
        let mut reader = bus.read(None);
        bus.publish(event(0));
        bus.close();
        assert_eq!(message(reader.next().await), "0");
        assert_eq!(reader.next().await, Next::Closed);
    }

    #[test]
    fn the_history_is_read_backwards_in_pages() {
        let bus: Arc<Bus> = Arc::default();
        (0..10).for_each(|number| _ = bus.publish(event(number)));
        let even = |event: &Event| event.message.parse::<usize>().unwrap().is_multiple_of(2);
        let (page, more) = bus.recent(3, None, even);
        assert_eq!(page.iter().map(|event| &*event.message).collect::<Vec<_>>(), ["8", "6", "4"]);
        assert!(more);
        let (page, more) = bus.recent(3, page.last().map(|event| event.id), even);
        assert_eq!(page.iter().map(|event| &*event.message).collect::<Vec<_>>(), ["2", "0"]);
        assert!(!more);
    }

    #[test]
    fn what_is_told_is_one_line_of_bounded_length() {
        let long = Event::new(Kind::ConfigRejected, Severity::Warning, format!("a\nb{}", "x".repeat(5000)))
            .detail(json!({ "text": "y".repeat(10_000) }));
        assert!(long.message.starts_with("a b") && long.message.chars().count() == MESSAGE_CHARS_MAX);
        assert_eq!(long.detail["left_out_bytes"], 10_011);
    }

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.word()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
        assert_eq!(Kind::of("nothing"), None);
    }

    proptest! {
        /// Whatever it has read and however many came meanwhile, what a reader is given and what it is told it missed is
        /// everything, once.
        #[test]
        fn given_and_missed_add_up(rounds in prop::collection::vec((0..3000_usize, 0..3000_usize), 1..6)) {
            let bus = Arc::new(Bus::starting_at(5));
            let mut reader = bus.read(None);
            let (mut published, mut accounted, mut last) = (0, 0, 4);
            for (publish, read) in rounds {
                (0..publish).for_each(|number| _ = bus.publish(event(number)));
                published += publish as u64;
                for _ in 0..read {
                    match reader.take() {
                        Some(Next::Event(event)) => {
                            prop_assert!(event.id > last);
                            last = event.id;
                            accounted += 1;
                        }
                        Some(Next::Missed(Some(missed))) => accounted += missed,
                        Some(other) => prop_assert!(false, "{other:?}"),
                        None => break,
                    }
                }
                prop_assert_eq!(accounted, reader.position() - 4);
            }
            while let Some(next) = reader.take() {
                accounted += match next { Next::Missed(Some(missed)) => missed, _ => 1 };
            }
            prop_assert_eq!(accounted, published);
        }
    }
}
