//! Everything that is kept about one master, upstream, route or the whole: rings of three paces, and what is under way in each.
//!
//! A series takes up to 114 KB when its rings are full (600 + 2160 + 8640 samples of ten bytes) and 7 KB beside them: 1.8 MB for ten
//! masters in three upstreams, 266 MB for 2000 masters in a hundred after a month.

use std::fmt;
use std::sync::Arc;

use super::ring::Ring;
use super::sample::{Gauges, Sample, Tally};

/// What a series is about. As text `system`, `upstream/bots`, `route/webhooks`, `master/bots/dubai-1`: names have no `/` in them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    System,
    Upstream(Arc<str>),
    Route(Arc<str>),
    Master(Arc<str>, Arc<str>),
}

impl Key {
    /// The key of such a text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let key = match (parts.next()?, parts.next(), parts.next()) {
            ("system", None, None) => Self::System,
            ("upstream", Some(name), None) => Self::Upstream(name.into()),
            ("route", Some(name), None) => Self::Route(name.into()),
            ("master", Some(upstream), Some(name)) => Self::Master(upstream.into(), name.into()),
            _ => return None,
        };
        parts.next().is_none().then_some(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Upstream(name) => write!(f, "upstream/{name}"),
            Self::Route(name) => write!(f, "route/{name}"),
            Self::Master(upstream, name) => write!(f, "master/{upstream}/{name}"),
        }
    }
}

/// A pace at which samples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    Second,
    TenSeconds,
    FiveMinutes,
}

impl Pace {
    pub const ALL: [Self; 3] = [Self::Second, Self::TenSeconds, Self::FiveMinutes];

    /// Length of an interval in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::TenSeconds => 10,
            Self::FiveMinutes => 300,
        }
    }

    /// Intervals kept: ten minutes, six hours, thirty days.
    #[must_use]
    pub const fn kept(self) -> usize {
        match self {
            Self::Second => 600,
            Self::TenSeconds => 2160,
            Self::FiveMinutes => 8640,
        }
    }
}

/// Samples of one thing.
#[derive(Debug)]
pub struct Series {
    seconds: Ring<Sample>,
    /// The second under way.
    second: Option<(u64, Tally)>,
    coarse: [Coarse; 2],
    /// When it was last observed, in seconds since 1970.
    seen: u64,
}

/// A ring of a pace slower than the observations, with the interval that is under way.
#[derive(Debug)]
struct Coarse {
    pace: Pace,
    ring: Ring<Sample>,
    /// Its number and what was measured of it so far.
    open: Option<(u64, Tally)>,
    /// The one before it, if it was the one right before.
    previous: Option<Tally>,
}

/// An interval that has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    pub pace: Pace,
    pub interval: u64,
    pub sample: Sample,
}

impl Default for Series {
    fn default() -> Self {
        let coarse =
            |pace: Pace| Coarse { pace, ring: Ring::new(pace.kept(), Sample::ABSENT), open: None, previous: None };
        Self {
            seconds: Ring::new(Pace::Second.kept(), Sample::ABSENT),
            second: None,
            coarse: [coarse(Pace::TenSeconds), coarse(Pace::FiveMinutes)],
            seen: 0,
        }
    }
}

impl Series {
    /// Takes in what was measured since the observation before, which may have been in the same second (since 1970); gives the longer
    /// intervals that have ended.
    pub fn observe(&mut self, second: u64, tally: &Tally, gauges: &Gauges) -> impl Iterator<Item = Closed> {
        self.seen = second;
        self.second.take_if(|(open, _)| *open != second);
        let (_, open) = self.second.get_or_insert_with(|| (second, Tally::default()));
        open.take_in(tally, gauges);
        self.seconds.push(second, open.sample());
        self.coarse.each_mut().map(|coarse| coarse.observe(second, tally, gauges)).into_iter().flatten()
    }

    /// When it was last observed, in seconds since 1970.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes in what a process before this one has kept.
    pub fn restore(&mut self, closed: &Closed) {
        self.seen = self.seen.max((closed.interval + 1) * closed.pace.seconds());
        match self.coarse.iter_mut().find(|coarse| coarse.pace == closed.pace) {
            Some(coarse) => coarse.ring.push(closed.interval, closed.sample),
            None => self.seconds.push(closed.interval, closed.sample),
        }
    }

    /// Samples of a pace.
    #[must_use]
    pub fn ring(&self, pace: Pace) -> &Ring<Sample> {
        let coarse = self.coarse.iter().find(|coarse| coarse.pace == pace);
        coarse.map_or(&self.seconds, |coarse| &coarse.ring)
    }

    /// What is known of the interval of a pace that is under way, with its number.
    #[must_use]
    pub fn open(&self, pace: Pace) -> Option<(u64, Sample)> {
        let coarse = self.coarse.iter().find(|coarse| coarse.pace == pace)?;
        coarse.open.as_ref().map(|(interval, tally)| (*interval, tally.sample()))
    }

    /// Requests and errors of the last seconds.
    #[must_use]
    pub fn sums(&self, seconds: usize) -> (u64, u64) {
        let samples = self.seconds.last(seconds);
        samples.fold((0, 0), |(requests, errors), sample| (requests + sample.requests(), errors + sample.errors()))
    }

    /// A quantile of the durations, in microseconds, over this and the ten-second interval before.
    #[must_use]
    pub fn quantile_micros(&self, q: f64) -> Option<u64> {
        let [tens, _] = &self.coarse;
        let (_, open) = tens.open.as_ref()?;
        match &tens.previous {
            None => open.duration.quantile_micros(q),
            Some(previous) => {
                let mut both = open.duration.clone();
                both.add_reading(&previous.duration);
                both.quantile_micros(q)
            }
        }
    }
}

impl Coarse {
    fn observe(&mut self, second: u64, tally: &Tally, gauges: &Gauges) -> Option<Closed> {
        let interval = second / self.pace.seconds();
        let ended = self.open.take_if(|(open, _)| *open != interval);
        let closed = ended.map(|(ended, tally)| {
            let closed = Closed { pace: self.pace, interval: ended, sample: tally.sample() };
            self.ring.push(ended, closed.sample);
            self.previous = (ended + 1 == interval).then_some(tally);
            closed
        });
        let (_, open) = self.open.get_or_insert_with(|| (interval, Tally::default()));
        open.take_in(tally, gauges);
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::histogram::{Histogram, Reading};

    fn tally(requests: u64, errors: u64, micros: u64) -> Tally {
        let (histogram, mut reading, mut tally) = (Histogram::default(), Reading::default(), Tally::default());
        (0..requests).for_each(|_| histogram.record(micros));
        reading.add(&histogram);
        tally.count(requests, errors, Some(&reading));
        tally
    }

    #[test]
    fn longer_intervals_hold_what_the_seconds_in_them_held() {
        let (mut series, mut closed) = (Series::default(), Vec::new());
        for second in 3000..3621 {
            let well = Gauges { health: Some(if second < 3300 { 100 } else { 50 }), ..Gauges::default() };
            closed.extend(series.observe(second, &tally(2, 1, 1000), &well));
        }
        let tens: Vec<_> = closed.iter().filter(|closed| closed.pace == Pace::TenSeconds).collect();
        assert_eq!(tens.len(), 62);
        assert!(tens.iter().all(|closed| (closed.sample.requests(), closed.sample.errors()) == (20, 10)));
        let long: Vec<_> = closed.iter().filter(|closed| closed.pace == Pace::FiveMinutes).collect();
        assert_eq!(long.iter().map(|closed| closed.interval).collect::<Vec<_>>(), [10, 11]);
        assert_eq!((long[0].sample.requests(), long[0].sample.health()), (600, Some(100)));
        assert_eq!(long[1].sample.health(), Some(50));
        assert_eq!(series.ring(Pace::FiveMinutes).get(11), long[1].sample);
        assert_eq!(
            series.open(Pace::FiveMinutes).map(|(interval, sample)| (interval, sample.requests())),
            Some((12, 42))
        );
        assert_eq!(series.sums(10), (20, 10));
        assert_eq!(series.ring(Pace::Second).last(usize::MAX).count(), 600);
    }

    #[test]
    fn two_observations_in_a_second_are_one_sample() {
        let mut series = Series::default();
        for (requests, health) in [(3, 100), (2, 0)] {
            series
                .observe(50, &tally(requests, 0, 100), &Gauges { health: Some(health), ..Gauges::default() })
                .for_each(drop);
        }
        let sample = series.ring(Pace::Second).get(50);
        assert_eq!((sample.requests(), sample.health()), (5, Some(50)));
    }

    #[test]
    fn a_quantile_is_of_the_last_ten_to_twenty_seconds() {
        let mut series = Series::default();
        let mut step = |second, micros| {
            series.observe(second, &tally(5, 0, micros), &Gauges::default()).for_each(drop);
            series.quantile_micros(0.99)
        };
        assert_eq!(step(100, 9000), Some(9000));
        assert_eq!(step(110, 1000), Some(9000));
        assert_eq!(step(120, 1000), Some(1000));
        // Nothing was measured in between, so what came before is no longer the present.
        assert_eq!(step(500, 400), Some(400));
    }

    #[test]
    fn what_was_kept_before_goes_on_where_it_ended() {
        let mut series = Series::default();
        let sample = tally(7, 0, 100).sample();
        series.restore(&Closed { pace: Pace::TenSeconds, interval: 10, sample });
        series.observe(130, &tally(1, 0, 100), &Gauges::default()).for_each(drop);
        series.observe(140, &tally(1, 0, 100), &Gauges::default()).for_each(drop);
        let ring = series.ring(Pace::TenSeconds);
        let counts: Vec<_> =
            (10..14).map(|at| ring.get(at)).map(|sample| (sample.is_there(), sample.requests())).collect();
        assert_eq!(counts, [(true, 7), (false, 0), (false, 0), (true, 1)]);
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        for text in ["system", "upstream/bots", "route/a.b", "master/bots/dubai-1"] {
            assert_eq!(Key::parse(text).map(|key| key.to_string()).as_deref(), Some(text));
        }
        for text in ["", "systems", "upstream", "master/bots", "master/a/b/c", "system/x", "listener/a"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
