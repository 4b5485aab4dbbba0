//! What an Alertmanager is told, and when: each change, and again and again all that goes on, since it takes an alert of which it hears
//! nothing for one that has ended.

use std::time::Duration;

use super::alert::{Alert, Told};
use super::book::Book;
use super::filter::Filter;
use crate::clock::{UnixMillis, millis};
use crate::config::model::Receiver;
use crate::events::Severity;

/// Between two times that it is told all that goes on.
pub const EVERY: Duration = Duration::from_secs(60);
/// When it is to take an alert of which it hears nothing more for ended: three times may fail.
pub const ENDS_AFTER: Duration = Duration::from_secs(240);

/// Everything that it is told at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Alerts that go on.
    pub firing: Vec<Alert>,
    /// Those that have ended, as it knows them, with when.
    pub ended: Vec<(Alert, UnixMillis)>,
    /// What it knows once it has been told.
    knows: Vec<(u64, Severity, bool)>,
}

/// One Alertmanager's.
#[derive(Debug)]
pub struct Refresh {
    name: String,
    filter: Filter,
    wait: u64,
    /// Since when there is something new.
    new_since: Option<UnixMillis>,
    /// When it was last told, or could not be.
    last: Option<UnixMillis>,
    waiting: usize,
}

impl Refresh {
    /// Nothing is known of what it was told before; so it is told all at the first look.
    #[must_use]
    pub fn new(receiver: &Receiver) -> Self {
        Self {
            name: receiver.name.clone(),
            filter: Filter::new(receiver),
            wait: millis(receiver.group_wait),
            new_since: None,
            last: None,
            waiting: 0,
        }
    }

    /// Changes that it was not told.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// What it is to be told now, or else when it is worth looking again. A batch that is given is to be followed by [`Self::delivered`] or
    /// [`Self::failed`].
    pub fn look(&mut self, now: UnixMillis, book: &Book) -> (Option<Batch>, Option<UnixMillis>) {
        let mut batch = Batch::default();
        let mut news = 0;
        for alert in book.open() {
            let told = alert.told.get(&self.name).filter(|told| !told.resolved);
            let silenced = book.silenced(alert, now).is_some();
            if silenced || !self.filter.fits(alert) {
                // Here it is over until the silence is.
                if let Some(told) = told {
                    news += 1;
                    batch.ended.push((of_severity(alert, told.severity), now));
                    batch.knows.push((alert.number, told.severity, true));
                }
                continue;
            }
            if let Some(told) = told.filter(|told| told.severity != alert.severity) {
                // The severity is one of its labels, by which it knows alerts apart.
                batch.ended.push((of_severity(alert, told.severity), now));
            }
            if told.is_none_or(|told| told.severity != alert.severity) {
                news += 1;
                batch.knows.push((alert.number, alert.severity, false));
            }
            batch.firing.push(alert.clone());
        }
        for alert in book.ended() {
            if let Some(told) = alert.told.get(&self.name).filter(|told| !told.resolved) {
                news += 1;
                batch.ended.push((of_severity(alert, told.severity), alert.resolved.unwrap_or(now)));
                batch.knows.push((alert.number, told.severity, true));
            }
        }
        self.waiting = news;
        if news == 0 {
            self.new_since = None;
        }
        let since = (news > 0).then(|| self.new_since.map_or(now, |since| since.min(now)));
        self.new_since = since;
        let again = match self.last.map(|last| last.min(now)) {
            Some(last) => last.saturating_add(millis(EVERY)),
            None => now,
        };
        let due = match since.map(|since| since.saturating_add(self.wait)) {
            // What has failed is not tried again with each look.
            Some(due) if self.last.is_none_or(|last| last <= since.unwrap_or(now)) => due.min(again),
            _ => again,
        };
        let empty = batch.firing.is_empty() && batch.ended.is_empty();
        if empty || due > now { (None, (!empty).then_some(due)) } else { (Some(batch), None) }
    }

    /// It has been told.
    pub fn delivered(&mut self, now: UnixMillis, book: &mut Book, batch: &Batch) {
        (self.last, self.new_since) = (Some(now), None);
        for (number, severity, resolved) in &batch.knows {
            book.tell(*number, &self.name, Told { at: now, severity: *severity, resolved: *resolved });
        }
    }

    /// Every attempt to tell it has failed.
    pub fn failed(&mut self, now: UnixMillis) {
        self.last = Some(now);
    }
}

fn of_severity(alert: &Alert, severity: Severity) -> Alert {
    Alert { severity, ..alert.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::notices::kit::{NOW, World, receiver};
    use super::*;

    fn look(refresh: &mut Refresh, world: &World, millis: u64) -> Option<Batch> {
        refresh.look(NOW + millis, &world.book).0
    }

    fn names(batch: &Batch) -> (Vec<&str>, Vec<&str>) {
        (
            batch.firing.iter().filter_map(|alert| alert.upstream.as_deref()).collect(),
            batch.ended.iter().filter_map(|(alert, _)| alert.upstream.as_deref()).collect(),
        )
    }

    #[test]
    fn it_is_told_each_change_and_each_minute_all_that_goes_on() {
        let mut world = World::default();
        let mut refresh = Refresh::new(&receiver("am"));
        assert_eq!(look(&mut refresh, &world, 0), None);
        world.look(0, &[("a", 50.0)]);
        let batch = look(&mut refresh, &world, 0).expect("the first time at once");
        assert_eq!(names(&batch), (vec!["a"], vec![]));
        refresh.delivered(NOW, &mut world.book, &batch);
        world.look(10, &[("a", 50.0), ("b", 50.0)]);
        assert_eq!(look(&mut refresh, &world, 10_000), None);
        let batch = look(&mut refresh, &world, 10_500).expect("the change");
        assert_eq!(names(&batch), (vec!["a", "b"], vec![]));
        refresh.delivered(NOW + 10_500, &mut world.book, &batch);
        assert_eq!(look(&mut refresh, &world, 70_499), None);
        let batch = look(&mut refresh, &world, 70_500).expect("a minute later");
        assert_eq!(names(&batch), (vec!["a", "b"], vec![]));
        refresh.delivered(NOW + 70_500, &mut world.book, &batch);
        world.look(71, &[("b", 50.0)]);
        assert_eq!(look(&mut refresh, &world, 71_000), None);
        let batch = look(&mut refresh, &world, 71_500).expect("the end");
        assert_eq!(names(&batch), (vec!["b"], vec!["a"]));
        assert_eq!(batch.ended[0].1, NOW + 71_000);
        refresh.delivered(NOW + 71_500, &mut world.book, &batch);
        assert_eq!(names(&look(&mut refresh, &world, 131_500).unwrap()), (vec!["b"], vec![]));
    }

    #[test]
    fn what_fails_is_tried_again_in_a_minute_and_a_silence_ends_it_there() {
        let mut world = World::default();
        let mut refresh = Refresh::new(&receiver("am"));
        world.look(0, &[("a", 50.0)]);
        assert!(look(&mut refresh, &world, 0).is_some());
        refresh.failed(NOW + 2000);
        assert_eq!(look(&mut refresh, &world, 61_999), None);
        let batch = look(&mut refresh, &world, 62_000).unwrap();
        refresh.delivered(NOW + 62_000, &mut world.book, &batch);
        let silence = world.silence("a", 63, 10);
        look(&mut refresh, &world, 63_000);
        let batch = look(&mut refresh, &world, 63_500).unwrap();
        assert_eq!(names(&batch), (vec![], vec!["a"]));
        refresh.delivered(NOW + 63_500, &mut world.book, &batch);
        assert_eq!(look(&mut refresh, &world, 72_000), None);
        world.book.unsilence(&silence, NOW + 72_000).unwrap();
        look(&mut refresh, &world, 72_000);
        assert_eq!(names(&look(&mut refresh, &world, 72_500).unwrap()), (vec!["a"], vec![]));
    }

    #[test]
    fn an_alert_that_escalates_ends_as_what_it_was() {
        let mut world = World::default();
        world.escalate_after(30);
        let mut refresh = Refresh::new(&receiver("am"));
        world.look(0, &[("a", 50.0)]);
        let batch = look(&mut refresh, &world, 0).unwrap();
        refresh.delivered(NOW, &mut world.book, &batch);
        world.look(30, &[("a", 50.0)]);
        look(&mut refresh, &world, 30_000);
        let batch = look(&mut refresh, &world, 30_500).unwrap();
        assert_eq!((batch.firing[0].severity, batch.ended[0].0.severity), (Severity::Critical, Severity::Warning));
        refresh.delivered(NOW + 30_500, &mut world.book, &batch);
        world.look(31, &[]);
        look(&mut refresh, &world, 31_000);
        let batch = look(&mut refresh, &world, 31_500).unwrap();
        assert_eq!(batch.ended[0].0.severity, Severity::Critical);
    }
}
