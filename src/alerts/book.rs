//! The rules at work: which alerts there are, from when to when, who has acknowledged or silenced them, and what was before.
//!
//! An alert is raised when its rule has held for as long as the rule says, and ends when it has not held for as long as the rule says, with
//! the threshold for its end: two thresholds and two times keep a value that swings from raising an alert with each swing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::{Acknowledged, Alert, Told};
use super::facts::{Fact, Facts};
use super::silence::{MATCHERS_MAX, Matcher, Silence};
use super::subject::Subject;
use crate::clock::{UnixMillis, millis};
use crate::config::model::{self, AlertRule, Escalation};
use crate::events::Severity;

/// Alerts at once. With more, nobody reads them; further ones are counted.
pub const OPEN_MAX: usize = 1000;
/// Alerts that ended and are remembered.
pub const HISTORY_MAX: usize = 1000;
/// Silences at once.
pub const SILENCES_MAX: usize = 200;
/// Things that a rule holds for and that have no alert yet.
const MARKS_MAX: usize = 10_000;
/// How long a silence that is over is shown.
const OVER_SHOWN: u64 = 24 * 3_600_000;

/// Everything about alerts.
#[derive(Debug, Default)]
pub struct Book {
    /// Those that are looked at.
    rules: Vec<(Arc<str>, AlertRule)>,
    all_rules: Vec<AlertRule>,
    escalation: Option<Escalation>,
    marks: HashMap<(Arc<str>, Subject), Mark>,
    /// Those that go on, by number.
    open: BTreeMap<u64, Alert>,
    /// Those that ended, the newest last.
    ended: VecDeque<Alert>,
    silences: Vec<Silence>,
    /// Not smaller than any number so far.
    last: u64,
    looks: u64,
    left_out: u64,
    changed: bool,
}

/// Something that a rule holds for, or did until just now.
#[derive(Debug)]
struct Mark {
    /// Since when it holds, as far as it has not been over in between.
    since: UnixMillis,
    /// Since when it does not hold any more.
    well: Option<UnixMillis>,
    /// Number of the alert about it.
    alert: Option<u64>,
    /// The last look that it was measured in.
    look: u64,
}

/// What has become of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub what: What,
    pub alert: Alert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Raised,
    Escalated,
    Resolved,
}

/// What outlives the process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    pub last: u64,
    pub open: Vec<Alert>,
    pub ended: Vec<Alert>,
    pub silences: Vec<Silence>,
}

/// Why something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such alert, or silence.
    Unknown,
    /// In a sentence.
    Wrong(String),
}

impl Book {
    /// Goes by these rules from now on. Alerts of rules that are gone end with the next look.
    pub fn configure(&mut self, alerts: &model::Alerts) {
        let used = alerts.rules.iter().filter(|rule| alerts.enabled && rule.enabled);
        self.rules = used.map(|rule| (Arc::from(&*rule.name), rule.clone())).collect();
        let all = alerts.rules.iter().cloned();
        self.all_rules = all.map(|rule| AlertRule { enabled: alerts.enabled && rule.enabled, ..rule }).collect();
        self.escalation.clone_from(&alerts.escalation);
        let known = |name: &str| alerts.receivers.iter().any(|receiver| receiver.name == name);
        for alert in self.open.values_mut().chain(&mut self.ended) {
            alert.told.retain(|name, _| known(name));
        }
    }

    /// Looks at what is, and gives what has become of alerts.
    pub fn look(&mut self, now: UnixMillis, facts: &Facts) -> Vec<Change> {
        self.looks += 1;
        let mut changes = Vec::new();
        let rules = std::mem::take(&mut self.rules);
        for (name, rule) in &rules {
            for fact in facts.of(rule.signal, rule.scope).iter().filter(|fact| fact.subject.is_in(&rule.only)) {
                self.judge(name, rule, fact, now, &mut changes);
            }
        }
        self.pass_over(&rules, now, &mut changes);
        self.rules = rules;
        self.escalate(now, &mut changes);
        let (before, silences) = (self.silences.len(), &mut self.silences);
        silences.retain(|silence| silence.until.saturating_add(OVER_SHOWN) > now);
        self.changed |= !changes.is_empty() || before != self.silences.len();
        changes
    }

    fn judge(&mut self, name: &Arc<str>, rule: &AlertRule, fact: &Fact, now: UnixMillis, changes: &mut Vec<Change>) {
        let holds = rule.comparison.holds(fact.value, rule.threshold);
        let key = (name.clone(), fact.subject.clone());
        let Some(mark) = self.marks.get_mut(&key) else {
            if holds && self.marks.len() < MARKS_MAX {
                let mut mark = Mark { since: now, well: None, alert: None, look: self.looks };
                if rule.hold.is_zero() {
                    mark.alert = self.raise(rule, fact, now, changes);
                }
                self.marks.insert(key, mark);
            }
            return;
        };
        mark.look = self.looks;
        mark.since = mark.since.min(now);
        let Some(number) = mark.alert else {
            if !holds {
                self.marks.remove(&key);
            } else if now - mark.since >= millis(rule.hold) {
                let alert = self.raise(rule, fact, now, changes);
                if let Some(mark) = self.marks.get_mut(&key) {
                    mark.alert = alert;
                }
            }
            return;
        };
        if let Some(alert) = self.open.get_mut(&number) {
            describe(alert, rule, holds.then_some(fact));
        }
        if rule.comparison.holds(fact.value, rule.clear) {
            mark.well = None;
        } else if over(mark, now, rule) {
            self.marks.remove(&key);
            self.resolve(number, now, changes);
        }
    }

    /// Whatever was not measured in this look is well, or gone.
    fn pass_over(&mut self, rules: &[(Arc<str>, AlertRule)], now: UnixMillis, changes: &mut Vec<Change>) {
        let rule_of = |name: &str| rules.iter().find(|(known, _)| **known == *name).map(|(_, rule)| rule);
        let mut ended = Vec::new();
        let look = self.looks;
        self.marks.retain(|(name, _), mark| {
            if mark.look == look {
                return true;
            }
            let stays = mark.alert.is_some() && rule_of(name).is_some_and(|rule| !over(mark, now, rule));
            if !stays {
                ended.extend(mark.alert);
            }
            stays
        });
        for number in ended {
            self.resolve(number, now, changes);
        }
    }

    fn raise(&mut self, rule: &AlertRule, fact: &Fact, now: UnixMillis, changes: &mut Vec<Change>) -> Option<u64> {
        if self.open.len() >= OPEN_MAX {
            self.left_out += 1;
            return None;
        }
        self.last = now.max(self.last + 1);
        let mut alert = Alert::new(rule, &fact.subject, self.last, now);
        describe(&mut alert, rule, Some(fact));
        changes.push(Change { what: What::Raised, alert: alert.clone() });
        self.open.insert(self.last, alert);
        Some(self.last)
    }

    fn resolve(&mut self, number: u64, now: UnixMillis, changes: &mut Vec<Change>) {
        let Some(mut alert) = self.open.remove(&number) else { return };
        alert.resolved = Some(now);
        changes.push(Change { what: What::Resolved, alert: alert.clone() });
        if self.ended.len() >= HISTORY_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(alert);
    }

    fn escalate(&mut self, now: UnixMillis, changes: &mut Vec<Change>) {
        let Some(escalation) = &self.escalation else { return };
        let after = millis(escalation.after);
        for alert in self.open.values_mut() {
            let due = alert.escalated.is_none()
                && alert.acknowledged.is_none()
                && alert.severity >= escalation.from
                && now.saturating_sub(alert.raised) >= after
                && !self.silences.iter().any(|silence| silence.hides(alert, now));
            if due {
                alert.escalated = Some(now);
                alert.severity = alert.severity.max(escalation.severity);
                changes.push(Change { what: What::Escalated, alert: alert.clone() });
            }
        }
    }

    /// Somebody looks after an alert: it does not escalate, and nobody is reminded of it.
    ///
    /// # Errors
    /// There is no such alert, or it has ended.
    pub fn acknowledge(&mut self, id: &str, by: &str, note: &str, now: UnixMillis) -> Result<Alert, Refused> {
        let alert = self.open.values_mut().find(|alert| alert.id == id).ok_or(Refused::Unknown)?;
        alert.acknowledged = Some(Acknowledged { by: by.to_owned(), at: now, note: note.to_owned() });
        self.changed = true;
        Ok(alert.clone())
    }

    /// Hides alerts from now on.
    ///
    /// # Errors
    /// It says nothing about which, ends before it begins, or there are too many.
    pub fn silence(
        &mut self,
        matchers: Vec<Matcher>,
        until: UnixMillis,
        by: &str,
        reason: &str,
        now: UnixMillis,
    ) -> Result<Silence, Refused> {
        if matchers.is_empty() || matchers.len() > MATCHERS_MAX {
            return Err(Refused::Wrong(format!("matchers: from 1 to {MATCHERS_MAX}")));
        }
        if until <= now {
            return Err(Refused::Wrong("a silence ends later than now".to_owned()));
        }
        if self.silences.iter().filter(|silence| silence.is_active(now)).count() >= SILENCES_MAX {
            return Err(Refused::Wrong(format!("there are {SILENCES_MAX} silences: end some first")));
        }
        if self.silences.len() >= SILENCES_MAX {
            self.silences.retain(|silence| silence.is_active(now));
        }
        self.last = now.max(self.last + 1);
        let id = format!("{:x}", self.last);
        let silence = Silence { id, matchers, from: now, until, by: by.to_owned(), reason: reason.to_owned() };
        self.silences.push(silence.clone());
        self.changed = true;
        Ok(silence)
    }

    /// Ends a silence and gives it as it was.
    ///
    /// # Errors
    /// There is none with this id, or it is over.
    pub fn unsilence(&mut self, id: &str, now: UnixMillis) -> Result<Silence, Refused> {
        let known = self.silences.iter_mut().find(|silence| silence.id == id && silence.until > now);
        let silence = known.ok_or(Refused::Unknown)?;
        let before = silence.clone();
        silence.until = now;
        self.changed = true;
        Ok(before)
    }

    /// Notes what a receiver knows of an alert.
    pub fn tell(&mut self, number: u64, receiver: &str, told: Told) {
        let alert = match self.open.get_mut(&number) {
            Some(open) => Some(open),
            None => self.ended.iter_mut().rev().find(|alert| alert.number == number),
        };
        if let Some(alert) = alert {
            alert.told.insert(receiver.to_owned(), told);
            self.changed = true;
        }
    }

    /// Every rule, those that are switched off included.
    #[must_use]
    pub fn rules(&self) -> &[AlertRule] {
        &self.all_rules
    }

    /// Alerts that go on, the oldest first.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = &Alert> {
        self.open.values()
    }

    /// Alerts that ended, the oldest first.
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Alert> {
        self.ended.iter()
    }

    /// Silences, those that are over for less than a day included.
    #[must_use]
    pub fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// The silence that hides an alert.
    #[must_use]
    pub fn silenced(&self, alert: &Alert, now: UnixMillis) -> Option<&Silence> {
        self.silences.iter().find(|silence| silence.hides(alert, now))
    }

    /// Alerts for which there was no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// What is to outlive the process, if it has changed since the last time.
    pub fn to_keep(&mut self) -> Option<Kept> {
        std::mem::take(&mut self.changed).then(|| Kept {
            last: self.last,
            open: self.open.values().cloned().collect(),
            ended: self.ended.iter().cloned().collect(),
            silences: self.silences.clone(),
        })
    }

    /// Says that the last attempt to keep it came to nothing.
    pub fn not_kept(&mut self) {
        self.changed = true;
    }

    /// Takes in what a process before this one has kept; call it before the first look.
    pub fn restore(&mut self, kept: Kept) {
        let Kept { last, open, ended, silences } = kept;
        self.last = self.last.max(last);
        self.silences = silences.into_iter().take(SILENCES_MAX).collect();
        self.ended = ended.into_iter().rev().take(HISTORY_MAX).rev().collect();
        for alert in open.into_iter().take(OPEN_MAX) {
            let mark = Mark { since: alert.raised, well: None, alert: Some(alert.number), look: 0 };
            self.last = self.last.max(alert.number);
            self.marks.insert((alert.rule.as_str().into(), alert.subject()), mark);
            self.open.insert(alert.number, alert);
        }
    }
}

/// Whether it has been well for long enough.
fn over(mark: &mut Mark, now: UnixMillis, rule: &AlertRule) -> bool {
    let since = mark.well.map_or(now, |since| since.min(now));
    mark.well = Some(since);
    now - since >= millis(rule.keep)
}

/// Brings an alert up to date with its rule, and with the value that it is about.
fn describe(alert: &mut Alert, rule: &AlertRule, fact: Option<&Fact>) {
    if alert.escalated.is_none() {
        alert.severity = rule.severity;
    } else {
        alert.severity = alert.severity.max(rule.severity);
    }
    let Some(fact) = fact else { return };
    alert.threshold = rule.threshold;
    if alert.value == fact.value && !alert.summary.is_empty() && fact.cause.is_empty() {
        return;
    }
    alert.value = fact.value;
    let sentence = rule.summary.clone();
    let sentence = sentence.unwrap_or_else(|| rule.signal.sentence(&fact.subject.to_string(), fact.value));
    alert.summary = if fact.cause.is_empty() { sentence } else { format!("{sentence}: {}", fact.cause) };
}

/// How many alerts go on, by severity and by whether anybody has to act: `active`, `acknowledged` or `silenced`.
#[must_use]
pub fn counts(book: &Book, now: UnixMillis) -> BTreeMap<(Severity, &'static str), u64> {
    let states = ["active", "acknowledged", "silenced"];
    let mut counts: BTreeMap<_, _> =
        Severity::ALL.iter().flat_map(|(severity, _)| states.map(|state| ((*severity, state), 0))).collect();
    for alert in book.open() {
        *counts.entry((alert.severity, state(book, alert, now))).or_default() += 1;
    }
    counts
}

/// `active`, `acknowledged`, `silenced` or `resolved`.
#[must_use]
pub fn state(book: &Book, alert: &Alert, now: UnixMillis) -> &'static str {
    if alert.resolved.is_some() {
        "resolved"
    } else if book.silenced(alert, now).is_some() {
        "silenced"
    } else if alert.acknowledged.is_some() {
        "acknowledged"
    } else {
        "active"
    }
}

#[cfg(test)]
mod tests;
