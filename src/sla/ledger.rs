//! What happened to everything: minutes, hours and days of it, without a clock or a disk.
//!
//! | slots | kept | for |
//! |---|---|---|
//! | minutes | 6 h | the windows up to 6 h |
//! | hours | 3 days | those of 24 h and 3 days |
//! | days | 400 | periods and months |
//!
//! An hour is the sum of its minutes and a day that of its hours, so minutes and hours on disk also give back what was under way. One
//! series takes up to 27 KB: 0.5 MB for ten masters in three upstreams, 57 MB for 2000 masters in a hundred.

use std::collections::BTreeMap;

use super::slot::Slot;
use super::standing::Standing;
use crate::monitor::ring::Ring;
use crate::monitor::series::Key;

/// Series at once: more than two thousand masters in a hundred upstreams have. What is beyond is left out and counted.
pub const SERIES_MAX: usize = 4096;

/// Seconds between two observations that are believed to have been like the second; what is longer was not measured.
const GAP_MAX: u64 = 5;

/// Length of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Minute,
    Hour,
    Day,
}

impl Span {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// Slots kept of it, beside the one under way.
    #[must_use]
    pub const fn kept(self) -> usize {
        match self {
            Self::Minute => 360,
            Self::Hour => 72,
            Self::Day => 400,
        }
    }
}

/// What was seen of something since the observation before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub key: Key,
    pub requests: u64,
    /// Those of them without an answer or with 5xx.
    pub failed: u64,
    pub standing: Standing,
}

/// A slot that has come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub key: Key,
    pub span: Span,
    /// Number of the slot: seconds since 1970 over its length.
    pub number: u64,
    pub slot: Slot,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    series: BTreeMap<Key, Series>,
    last: Option<u64>,
    left_out: u64,
}

#[derive(Debug)]
struct Series {
    kept: [Ring<Slot>; 3],
    /// The minute, hour and day under way.
    open: [Option<(u64, Slot)>; 3],
}

impl Default for Series {
    fn default() -> Self {
        Self { kept: Span::ALL.map(|span| Ring::new(span.kept(), Slot::EMPTY)), open: [None; 3] }
    }
}

impl Ledger {
    /// Takes in what was seen at `second` (since 1970); gives the slots that have ended, to be kept.
    pub fn observe(&mut self, second: u64, seen: impl IntoIterator<Item = Seen>) -> Vec<Closed> {
        let passed = self.last.map_or(0, |last| second.saturating_sub(last));
        let passed = if passed > GAP_MAX { 0 } else { passed as u32 };
        self.last = Some(second);
        let mut closed = Vec::new();
        for seen in seen {
            if !self.series.contains_key(&seen.key) && self.series.len() >= SERIES_MAX {
                self.left_out += 1;
                continue;
            }
            self.series.entry(seen.key.clone()).or_default().add(second, &slot(&seen, passed), &seen.key, &mut closed);
        }
        // What is seen no more has its last slots ended by time.
        for (key, series) in &mut self.series {
            series.end(second, key, &mut closed);
        }
        closed
    }

    /// Ends the minute under way, for a process that ends. The next one puts the rest to it.
    pub fn finish(&mut self) -> Vec<Closed> {
        let mut closed = Vec::new();
        for (key, series) in &mut self.series {
            if let Some((number, slot)) = series.open[0].take() {
                closed.push(Closed { key: key.clone(), span: Span::Minute, number, slot });
            }
        }
        closed
    }

    /// Takes in what a process before this one has kept, in the order of time and days before hours before minutes.
    pub fn restore(&mut self, kept: &Closed) {
        if self.series.contains_key(&kept.key) || self.series.len() < SERIES_MAX {
            let series = self.series.entry(kept.key.clone()).or_default();
            series.kept[kept.span as usize].push(kept.number, kept.slot);
        }
    }

    /// Puts together what was under way when that process ended; `now` in seconds since 1970. Gives the slots that ended since then, to
    /// be kept.
    pub fn restored(&mut self, now: u64) -> Vec<Closed> {
        let mut closed = Vec::new();
        for (key, series) in &mut self.series {
            series.resume(now, key, &mut closed);
        }
        closed
    }

    /// The last `seconds` up to and with `now` (since 1970), in the finest slots that reach so far back. The slot under way counts as
    /// well, so it is up to one slot more.
    #[must_use]
    pub fn last(&self, key: &Key, now: u64, seconds: u64) -> Slot {
        let reaches = |span: &Span| span.kept() as u64 * span.seconds() >= seconds;
        let span = Span::ALL.into_iter().find(reaches).unwrap_or(Span::Day);
        let end = now / span.seconds();
        self.sum(key, span, end.saturating_sub(seconds / span.seconds())..end + 1)
    }

    /// The sum of these slots.
    #[must_use]
    pub fn sum(&self, key: &Key, span: Span, numbers: std::ops::Range<u64>) -> Slot {
        let mut sum = Slot::EMPTY;
        if let Some(series) = self.series.get(key) {
            numbers.for_each(|number| sum.add(&series.get(span, number)));
        }
        sum
    }

    /// One slot; empty where nothing was measured.
    #[must_use]
    pub fn get(&self, key: &Key, span: Span, number: u64) -> Slot {
        self.series.get(key).map_or(Slot::EMPTY, |series| series.get(span, number))
    }

    /// Everything of which something is kept.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.series.keys()
    }

    /// Observations for which there was no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn slot(seen: &Seen, passed: u32) -> Slot {
    let mut slot = Slot::EMPTY;
    match seen.standing {
        Standing::Up => slot.up = passed,
        Standing::Down => slot.down = passed,
        Standing::Excluded => {
            slot.excluded = passed;
            return slot;
        }
        Standing::Unknown => {}
    }
    Slot { requests: seen.requests, failed: seen.failed.min(seen.requests), ..slot }
}

impl Series {
    fn add(&mut self, second: u64, slot: &Slot, key: &Key, closed: &mut Vec<Closed>) {
        self.end(second, key, closed);
        for span in Span::ALL {
            let (_, open) = self.open[span as usize].get_or_insert((second / span.seconds(), Slot::EMPTY));
            open.add(slot);
            *open = open.within(span.seconds() as u32);
        }
    }

    /// Ends the slots that `second` is no longer in.
    fn end(&mut self, second: u64, key: &Key, closed: &mut Vec<Closed>) {
        for span in Span::ALL {
            let now = second / span.seconds();
            if let Some((number, slot)) = self.open[span as usize].take_if(|(number, _)| *number != now) {
                let mut whole = self.earlier(span, number);
                whole.add(&slot);
                self.kept[span as usize].push(number, whole.within(span.seconds() as u32));
                if slot != Slot::EMPTY {
                    closed.push(Closed { key: key.clone(), span, number, slot });
                }
            }
        }
    }

    fn resume(&mut self, now: u64, key: &Key, closed: &mut Vec<Closed>) {
        for (part, whole) in [(Span::Minute, Span::Hour), (Span::Hour, Span::Day)] {
            let parts = whole.seconds() / part.seconds();
            let current = now / whole.seconds();
            // What has ended and is not known as a whole comes after everything that is.
            let known = self.kept[whole as usize].end();
            let first = (self.kept[part as usize].first() / parts).max(known).min(current);
            for number in first..=current {
                let mut sum = Slot::EMPTY;
                (number * parts..(number + 1) * parts).for_each(|at| sum.add(&self.get(part, at)));
                if sum == Slot::EMPTY {
                } else if number == current {
                    self.open[whole as usize] = Some((number, sum));
                } else {
                    self.kept[whole as usize].push(number, sum);
                    closed.push(Closed { key: key.clone(), span: whole, number, slot: sum });
                }
            }
        }
    }

    fn get(&self, span: Span, number: u64) -> Slot {
        match self.open[span as usize] {
            Some((open, mut slot)) if open == number => {
                slot.add(&self.earlier(span, number));
                slot
            }
            _ => self.kept[span as usize].get(number),
        }
    }

    /// The part of the minute under way that a process before this one has kept. Hours and days under way hold such parts themselves.
    fn earlier(&self, span: Span, number: u64) -> Slot {
        if span == Span::Minute { self.kept[span as usize].get(number) } else { Slot::EMPTY }
    }
}

impl Closed {
    /// Puts together what two processes have kept of the same slot.
    pub fn merge(&mut self, other: &Slot) {
        match self.span {
            // Who ended within a minute has kept its part of it.
            Span::Minute => self.slot.add(other),
            // The later one has taken in what the earlier one had kept; who knows more is believed.
            Span::Hour | Span::Day if other.measured() >= self.slot.measured() => self.slot = *other,
            Span::Hour | Span::Day => {}
        }
        self.slot = self.slot.within(self.span.seconds() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight of 25 November 2026.
    const DAY: u64 = 20_782 * 86_400;

    fn key() -> Key {
        Key::Route("webhooks".into())
    }

    fn seen(requests: u64, failed: u64, standing: Standing) -> [Seen; 1] {
        [Seen { key: key(), requests, failed, standing }]
    }

    /// A second at a time, one request each.
    fn run(ledger: &mut Ledger, seconds: std::ops::Range<u64>, standing: Standing) -> Vec<Closed> {
        seconds.flat_map(|second| ledger.observe(second, seen(1, 0, standing))).collect()
    }

    #[test]
    fn seconds_and_requests_add_up_in_every_span() {
        let mut ledger = Ledger::default();
        let closed = run(&mut ledger, DAY..DAY + 7201, Standing::Up);
        let count = |span: Span| closed.iter().filter(|closed| closed.span == span).count();
        assert_eq!(Span::ALL.map(count), [120, 2, 0]);
        for seconds in [6 * 3600, 86_400, 30 * 86_400] {
            let slot = ledger.last(&key(), DAY + 7200, seconds);
            assert_eq!((slot.requests, slot.up, slot.down), (7201, 7200, 0), "{seconds}");
        }
        // Five minutes and the one under way.
        assert_eq!(ledger.last(&key(), DAY + 7200, 300).requests, 301);
    }

    #[test]
    fn nothing_of_maintenance_counts() {
        let mut ledger = Ledger::default();
        run(&mut ledger, DAY..DAY + 10, Standing::Up);
        for second in DAY + 10..DAY + 20 {
            ledger.observe(second, seen(5, 5, Standing::Excluded));
        }
        let slot = ledger.get(&key(), Span::Day, DAY / 86_400);
        assert_eq!((slot.requests, slot.failed, slot.up, slot.excluded), (10, 0, 9, 10));
    }

    #[test]
    fn what_was_not_looked_at_is_neither_up_nor_down() {
        let mut ledger = Ledger::default();
        for second in [0, 2, 2, 60, 61, 30] {
            ledger.observe(DAY + second, seen(1, 1, Standing::Down));
        }
        let slot = ledger.get(&key(), Span::Hour, DAY / 3600);
        assert_eq!((slot.requests, slot.failed, slot.down), (6, 6, 3));
    }

    #[test]
    fn another_process_goes_on_where_one_ended() {
        // Ends at 10:50:30, after a whole day and more; the next one starts at 11:05.
        let (start, end) = (DAY - 13 * 3600, DAY + 10 * 3600 + 50 * 60 + 30);
        let (mut one, mut whole) = (Ledger::default(), Ledger::default());
        let mut kept = run(&mut one, start..end, Standing::Up);
        kept.extend(one.finish());
        run(&mut whole, start..end, Standing::Up);
        kept.sort_by_key(|closed| (std::cmp::Reverse(closed.span), closed.number));
        let mut next = Ledger::default();
        kept.iter().for_each(|closed| next.restore(closed));
        let now = end + 15 * 60;
        let closed = next.restored(now);
        // The hour that nobody saw end.
        assert_eq!(
            closed.iter().map(|closed| (closed.span, closed.number)).collect::<Vec<_>>(),
            [(Span::Hour, DAY / 3600 + 10)]
        );
        for seconds in [3600, 6 * 3600, 3 * 86_400, 30 * 86_400] {
            assert_eq!(next.last(&key(), now, seconds), whole.last(&key(), now, seconds), "{seconds}");
        }
        for second in now..now + 3600 {
            next.observe(second, seen(1, 0, Standing::Up));
            whole.observe(second, seen(1, 0, Standing::Up));
        }
        let day = DAY / 86_400;
        assert_eq!(next.get(&key(), Span::Day, day), whole.get(&key(), Span::Day, day));
    }

    #[test]
    fn a_restart_within_a_minute_loses_none_of_it() {
        let mut one = Ledger::default();
        run(&mut one, DAY..DAY + 20, Standing::Up);
        let mut kept = one.finish();
        let mut next = Ledger::default();
        next.restore(&kept[0]);
        assert_eq!(next.restored(DAY + 30), []);
        run(&mut next, DAY + 30..DAY + 40, Standing::Up);
        assert_eq!(next.get(&key(), Span::Day, DAY / 86_400).requests, 30);
        // What the second one keeps holds the first one's part.
        let second = next.finish();
        assert_eq!((second[0].slot.requests, second[0].slot.up), (10, 9));
        kept[0].merge(&second[0].slot);
        assert_eq!((kept[0].slot.requests, kept[0].slot.up), (30, 28));
    }

    #[test]
    fn what_is_gone_has_its_last_slots_kept_and_there_is_a_limit() {
        let mut ledger = Ledger::default();
        run(&mut ledger, DAY..DAY + 5, Standing::Up);
        let closed = ledger.observe(DAY + 60, []);
        assert_eq!(closed.len(), 1);
        let many = (0..SERIES_MAX + 3).map(|index| Seen {
            key: Key::Route(format!("r{index}").into()),
            requests: 1,
            failed: 0,
            standing: Standing::Up,
        });
        ledger.observe(DAY + 61, many);
        assert_eq!((ledger.keys().count(), ledger.left_out()), (SERIES_MAX, 4));
    }
}
