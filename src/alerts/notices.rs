//! What a receiver is to be told, and when: the difference between what there is and what it knows.
//!
//! It goes by states and not by events. An alert remembers what each receiver was told about it, so what could not be told before a silence
//! ended, a receiver answered or a process was restarted is told then, and nothing is told twice. What waits is bounded, as alerts are.
//!
//! * Alerts of one group that come together are one notification.
//! * Beyond its rate a receiver gets nothing for a while, and then all of it in one.
//! * What could not be delivered is tried again later, as long as the alert goes on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::alert::{Alert, Told};
use super::allowance::Allowance;
use super::book::Book;
use super::filter::Filter;
use crate::clock::{UnixMillis, millis};
use crate::config::model::Receiver;
use crate::events::Severity;

/// Alerts that wait to be told to one receiver. Beyond it those are left out that matter less, the oldest first.
pub const WAITING_MAX: usize = 500;
/// Alerts that a notification names; of further ones it says how many there are.
pub const NAMED_MAX: usize = 50;
/// Until what could not be delivered is tried again.
pub const AGAIN_AFTER: Duration = Duration::from_secs(300);

/// Why an alert is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Raised,
    Escalated,
    /// It goes on, and nobody looks after it.
    Reminder,
    Resolved,
}

impl Why {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Escalated => "escalated",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
        }
    }
}

/// What a receiver is told at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The labels that its alerts have in common; empty where several groups are told in one.
    pub group: BTreeMap<String, String>,
    /// What matters most comes first; up to [`NAMED_MAX`].
    pub alerts: Vec<(Why, Alert)>,
    /// Further ones.
    pub more: u64,
    /// How many of all these had to wait for room.
    pub held: u64,
    /// Until then there is no room for a further one.
    pub full_until: Option<UnixMillis>,
    /// Whether it only tries whether the receiver can be told.
    pub test: bool,
    /// What the receiver knows once it has been told.
    knows: Vec<(u64, Severity, bool)>,
}

impl Notice {
    /// One that tries whether a receiver can be told.
    #[must_use]
    pub fn test(alert: Alert) -> Self {
        let alerts = vec![(Why::Raised, alert)];
        Self { group: BTreeMap::new(), alerts, more: 0, held: 0, full_until: None, test: true, knows: Vec::new() }
    }

    /// Whether all of its alerts have ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.alerts.iter().all(|(why, _)| *why == Why::Resolved)
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.alerts.iter().map(|(_, alert)| alert.severity).max().unwrap_or(Severity::Info)
    }

    /// How many alerts it is about.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.alerts.len() as u64 + self.more
    }
}

/// What comes of a look.
#[derive(Debug, Default, PartialEq)]
pub struct Look {
    pub notice: Option<Notice>,
    /// When it is worth looking again, if nothing happens before.
    pub next: Option<UnixMillis>,
    /// Alerts that found no room just now and wait for it.
    pub held: u64,
    /// Alerts that are left out.
    pub dropped: u64,
}

/// One receiver's.
#[derive(Debug)]
pub struct Notices {
    name: String,
    filter: Filter,
    group_by: Vec<String>,
    group_wait: u64,
    repeat: u64,
    resolved: bool,
    allowance: Allowance,
    /// By the alert's number.
    waiting: BTreeMap<u64, Waiting>,
    /// What could not be delivered, and until when it rests.
    resting: BTreeMap<u64, UnixMillis>,
}

#[derive(Debug)]
struct Waiting {
    since: UnixMillis,
    severity: Severity,
    group: Vec<String>,
    held: bool,
}

impl Notices {
    #[must_use]
    pub fn new(receiver: &Receiver) -> Self {
        Self {
            name: receiver.name.clone(),
            filter: Filter::new(receiver),
            group_by: receiver.group_by.clone(),
            group_wait: millis(receiver.group_wait),
            repeat: millis(receiver.repeat),
            resolved: receiver.resolved,
            allowance: Allowance::new(receiver.rate),
            waiting: BTreeMap::new(),
            resting: BTreeMap::new(),
        }
    }

    /// Alerts that wait to be told.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is to be told now. A notice that is given is to be followed by [`Self::delivered`] or [`Self::failed`].
    pub fn look(&mut self, now: UnixMillis, book: &mut Book) -> Look {
        let mut look = Look::default();
        self.gather(now, book, &mut look);
        let mut ready: BTreeMap<&[String], (Severity, UnixMillis)> = BTreeMap::new();
        for waiting in self.waiting.values() {
            let (severity, since) = ready.entry(&waiting.group).or_insert((waiting.severity, waiting.since));
            (*severity, *since) = ((*severity).max(waiting.severity), (*since).min(waiting.since));
        }
        let at = |since: UnixMillis| since.saturating_add(self.group_wait);
        look.next = ready.values().map(|(_, since)| at(*since)).filter(|at| *at > now).min();
        ready.retain(|_, (_, since)| at(*since) <= now);
        let first = ready.iter().min_by_key(|(_, (severity, since))| (Reverse(*severity), *since));
        let Some((first, _)) = first else { return look };
        let (first, all): (Vec<String>, BTreeSet<Vec<String>>) =
            (first.to_vec(), ready.keys().map(|group| group.to_vec()).collect());
        if let Some(room_at) = self.allowance.full_until(now) {
            for waiting in self.waiting.values_mut().filter(|it| !it.held && all.contains(&it.group)) {
                waiting.held = true;
                look.held += 1;
            }
            look.next = Some(room_at);
            return look;
        }
        let held = self.waiting.values().any(|waiting| waiting.held);
        let told = |it: &Waiting| if held { it.held || all.contains(&it.group) } else { it.group == first };
        let numbers: BTreeSet<u64> =
            self.waiting.iter().filter(|(_, waiting)| told(waiting)).map(|(number, _)| *number).collect();
        self.allowance.spend(now);
        let mut notice = self.notice(book, &numbers, now);
        notice.held = numbers.iter().filter(|number| self.waiting.get(number).is_some_and(|it| it.held)).count() as u64;
        if !held {
            let labels = self.group_by.iter().cloned().zip(first).filter(|(_, value)| !value.is_empty());
            notice.group = labels.collect();
        }
        look.notice = Some(notice);
        look
    }

    /// Brings what waits up to date with the book.
    fn gather(&mut self, now: UnixMillis, book: &mut Book, look: &mut Look) {
        let due: Vec<(u64, Waiting)> =
            book.open().chain(book.ended()).filter_map(|it| self.due(it, book, now)).collect();
        let numbers: BTreeSet<u64> = due.iter().map(|(number, _)| *number).collect();
        let gone: Vec<u64> = self.waiting.keys().filter(|number| !numbers.contains(number)).copied().collect();
        for number in gone {
            self.waiting.remove(&number);
            // The history is full: nobody knows of it any more.
            if !book.open().chain(book.ended()).any(|alert| alert.number == number) {
                look.dropped += 1;
            }
        }
        self.resting.retain(|number, _| numbers.contains(number));
        for (number, new) in due {
            if self.resting.get(&number).is_some_and(|until| *until > now && *until <= now + millis(AGAIN_AFTER)) {
                continue;
            }
            self.resting.remove(&number);
            if let Some(known) = self.waiting.get_mut(&number) {
                known.severity = new.severity;
                // Also when the clock was set back.
                known.since = known.since.min(now);
                continue;
            }
            self.waiting.insert(number, new);
        }
        while self.waiting.len() > WAITING_MAX {
            let matter = |(number, it): &(&u64, &Waiting)| (it.severity == Severity::Critical, **number);
            let Some(number) = self.waiting.iter().min_by_key(matter).map(|(number, _)| *number) else { break };
            self.waiting.remove(&number);
            look.dropped += 1;
            for (number, severity, resolved) in knows(book, &BTreeSet::from([number])) {
                book.tell(number, &self.name, Told { at: now, severity, resolved });
            }
        }
    }

    /// Whether an alert is to be told.
    fn due(&self, alert: &Alert, book: &Book, now: UnixMillis) -> Option<(u64, Waiting)> {
        self.why(alert, now)?;
        if book.silenced(alert, now).is_some() {
            return None;
        }
        let group = self.group_by.iter().map(|label| alert.label(label).unwrap_or_default().to_owned()).collect();
        Some((alert.number, Waiting { since: now, severity: alert.severity, group, held: false }))
    }

    fn why(&self, alert: &Alert, now: UnixMillis) -> Option<Why> {
        let over = alert.resolved.is_some();
        match alert.told.get(&self.name) {
            None if !self.filter.fits(alert) => None,
            None if over => {
                let begun = self.waiting.contains_key(&alert.number) || self.resting.contains_key(&alert.number);
                begun.then_some(Why::Resolved)
            }
            None if alert.escalated.is_some() => Some(Why::Escalated),
            None => Some(Why::Raised),
            Some(told) if over => (self.resolved && !told.resolved).then_some(Why::Resolved),
            Some(told) if told.severity < alert.severity => Some(Why::Escalated),
            Some(told) => {
                let due = self.repeat > 0
                    && alert.acknowledged.is_none()
                    && now >= told.at.saturating_add(self.repeat)
                    && self.filter.fits(alert);
                due.then_some(Why::Reminder)
            }
        }
    }

    fn notice(&self, book: &Book, numbers: &BTreeSet<u64>, now: UnixMillis) -> Notice {
        let mut all: Vec<&Alert> =
            book.open().chain(book.ended()).filter(|alert| numbers.contains(&alert.number)).collect();
        all.sort_by_key(|alert| (Reverse(alert.severity), alert.resolved.is_some(), alert.number));
        let named = all.iter().take(NAMED_MAX).filter_map(|alert| Some((self.why(alert, now)?, (*alert).clone())));
        Notice {
            group: BTreeMap::new(),
            alerts: named.collect(),
            more: all.len().saturating_sub(NAMED_MAX) as u64,
            held: 0,
            full_until: self.allowance.full_until(now),
            test: false,
            knows: knows(book, numbers),
        }
    }

    /// The receiver has been told.
    pub fn delivered(&mut self, now: UnixMillis, book: &mut Book, notice: &Notice) {
        for (number, severity, resolved) in &notice.knows {
            self.waiting.remove(number);
            self.resting.remove(number);
            book.tell(*number, &self.name, Told { at: now, severity: *severity, resolved: *resolved });
        }
    }

    /// Every attempt to tell it has failed. What goes on is tried again later; what has ended is given up.
    pub fn failed(&mut self, now: UnixMillis, book: &mut Book, notice: &Notice) {
        for (number, severity, resolved) in &notice.knows {
            self.waiting.remove(number);
            if *resolved {
                self.resting.remove(number);
                book.tell(*number, &self.name, Told { at: now, severity: *severity, resolved: true });
            } else {
                self.resting.insert(*number, now.saturating_add(millis(AGAIN_AFTER)));
            }
        }
    }
}

fn knows(book: &Book, numbers: &BTreeSet<u64>) -> Vec<(u64, Severity, bool)> {
    let all = book.open().chain(book.ended()).filter(|alert| numbers.contains(&alert.number));
    all.map(|alert| (alert.number, alert.severity, alert.resolved.is_some())).collect()
}

#[cfg(test)]
pub mod kit;
#[cfg(test)]
mod tests;
