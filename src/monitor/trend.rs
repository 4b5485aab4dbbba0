//! Samples as a plot wants them: so many points of equal length, whatever the pace at which they were kept.

use super::sample::Sample;
use super::series::{Pace, Series};

/// What can be plotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    RequestsPerSecond,
    /// Share of requests that failed, 0 to 1.
    ErrorRatio,
    P50Millis,
    P99Millis,
    InFlight,
    Pending,
    Health,
    Distribution,
}

impl Field {
    pub const ALL: [Self; 8] = [
        Self::RequestsPerSecond,
        Self::ErrorRatio,
        Self::P50Millis,
        Self::P99Millis,
        Self::InFlight,
        Self::Pending,
        Self::Health,
        Self::Distribution,
    ];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::ErrorRatio => "error_ratio",
            Self::P50Millis => "p50_ms",
            Self::P99Millis => "p99_ms",
            Self::InFlight => "in_flight",
            Self::Pending => "pending",
            Self::Health => "health",
            Self::Distribution => "distribution",
        }
    }

    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.word() == word)
    }
}

/// A stretch of time in equal steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    pace: Pace,
    /// Intervals of that pace in a step.
    merged: u64,
    /// Numbers of the first step and of the one after the last.
    first: u64,
    end: u64,
}

impl Grid {
    /// The last `seconds` up to and with `now` (seconds since 1970), in at most `points` steps, from the finest samples that reach so
    /// far back.
    #[must_use]
    pub fn new(seconds: u64, points: u64, now: u64) -> Self {
        let reaches = |pace: &Pace| pace.kept() as u64 * pace.seconds() >= seconds;
        let pace = Pace::ALL.into_iter().find(reaches).unwrap_or(Pace::FiveMinutes);
        let wanted = seconds.div_ceil(pace.seconds()).clamp(1, pace.kept() as u64);
        let merged = wanted.div_ceil(points.max(1));
        let end = now / (pace.seconds() * merged) + 1;
        Self { pace, merged, first: end.saturating_sub(wanted.div_ceil(merged)), end }
    }

    /// Without the steps that begin before `second`.
    #[must_use]
    pub fn from(self, second: u64) -> Self {
        Self { first: self.first.max(second.div_ceil(self.step_seconds())).min(self.end), ..self }
    }

    /// Length of a step in seconds.
    #[must_use]
    pub fn step_seconds(&self) -> u64 {
        self.pace.seconds() * self.merged
    }

    /// When the first step begins, in seconds since 1970.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.first * self.step_seconds()
    }

    /// Number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.end - self.first).unwrap_or(0)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A field of a series, step by step; none where nothing was measured, or nothing happened that the field is about. The last step
    /// goes on: its counts are of what has passed so far.
    #[must_use]
    pub fn values(&self, series: &Series, fields: &[Field]) -> Vec<Vec<Option<f64>>> {
        let mut columns = vec![Vec::with_capacity(self.len()); fields.len()];
        for step in self.first..self.end {
            let merged = self.merge(series, step);
            for (column, field) in columns.iter_mut().zip(fields) {
                column.push(merged.value(*field, self.pace.seconds()));
            }
        }
        columns
    }

    fn merge(&self, series: &Series, step: u64) -> Merged {
        let ring = series.ring(self.pace);
        let open = series.open(self.pace);
        let mut merged = Merged::default();
        for interval in step * self.merged..(step + 1) * self.merged {
            match open {
                Some((number, sample)) if number == interval => merged.add(&sample),
                _ => merged.add(&ring.get(interval)),
            }
        }
        merged
    }
}

/// Samples put together: counts added, medians weighted by requests, of everything else the highest or the mean.
#[derive(Debug, Default)]
struct Merged {
    intervals: u64,
    requests: u64,
    errors: u64,
    p50: (u64, u64),
    p99: Option<u64>,
    in_flight: u64,
    pending: u64,
    health: (u64, u64),
    distribution: (u64, u64),
}

impl Merged {
    fn add(&mut self, sample: &Sample) {
        if !sample.is_there() {
            return;
        }
        self.intervals += 1;
        self.requests += sample.requests();
        self.errors += sample.errors();
        if let Some(micros) = sample.p50_micros() {
            let weight = sample.requests().max(1);
            self.p50 = (self.p50.0.saturating_add(micros.saturating_mul(weight)), self.p50.1.saturating_add(weight));
        }
        self.p99 = self.p99.max(sample.p99_micros());
        self.in_flight = self.in_flight.max(sample.in_flight());
        self.pending = self.pending.max(sample.pending());
        for (mean, score) in [(&mut self.health, sample.health()), (&mut self.distribution, sample.distribution())] {
            if let Some(score) = score {
                *mean = (mean.0 + u64::from(score), mean.1 + 1);
            }
        }
    }

    fn value(&self, field: Field, seconds: u64) -> Option<f64> {
        if self.intervals == 0 {
            return None;
        }
        let ratio = |(sum, count): (u64, u64)| (count > 0).then(|| sum as f64 / count as f64);
        match field {
            Field::RequestsPerSecond => ratio((self.requests, self.intervals * seconds)),
            Field::ErrorRatio => ratio((self.errors.min(self.requests), self.requests)),
            Field::P50Millis => ratio(self.p50).map(|micros| micros / 1000.0),
            Field::P99Millis => self.p99.map(|micros| micros as f64 / 1000.0),
            Field::InFlight => Some(self.in_flight as f64),
            Field::Pending => Some(self.pending as f64),
            Field::Health => ratio(self.health),
            Field::Distribution => ratio(self.distribution),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::sample::{Gauges, Tally};

    const NOW: u64 = 1_800_000_007;

    fn series(seconds: std::ops::RangeInclusive<u64>) -> Series {
        let mut series = Series::default();
        for second in seconds {
            let mut tally = Tally::default();
            tally.count(4, 1, None);
            let gauges = Gauges { in_flight: second % 10, health: Some(50), ..Gauges::default() };
            series.observe(second, &tally, &gauges).for_each(drop);
        }
        series
    }

    #[test]
    fn the_finest_samples_that_reach_back_are_taken_and_put_together() {
        let shape = |seconds, points| {
            let grid = Grid::new(seconds, points, NOW);
            (grid.step_seconds(), grid.len())
        };
        assert_eq!(shape(600, 600), (1, 600));
        assert_eq!(shape(600, 100), (6, 100));
        assert_eq!(shape(601, 600), (10, 61));
        assert_eq!(shape(6 * 3600, 600), (40, 540));
        assert_eq!(shape(30 * 86_400, 1000), (2700, 960));
        assert_eq!(shape(u64::MAX, 600), (4500, 576));
        assert_eq!(shape(0, 0), (1, 1));
    }

    #[test]
    fn the_last_step_holds_the_present_and_gaps_stay_gaps() {
        let series = series(NOW - 3..=NOW);
        let grid = Grid::new(6, 100, NOW);
        assert_eq!((grid.start(), grid.len()), (NOW - 5, 6));
        let columns =
            grid.values(&series, &[Field::RequestsPerSecond, Field::ErrorRatio, Field::P99Millis, Field::Health]);
        let four = |value| [None, None, Some(value), Some(value), Some(value), Some(value)];
        assert_eq!(columns[0], four(4.0));
        assert_eq!(columns[1], four(0.25));
        assert_eq!(columns[2], [None; 6]);
        assert_eq!(columns[3], four(50.0));
        assert_eq!(grid.from(NOW).values(&series, &[Field::InFlight]), [[Some(7.0)]]);
        assert!(grid.from(NOW + 1).is_empty());
    }

    #[test]
    fn what_is_under_way_is_in_the_plot_of_hours() {
        let series = series(NOW - 17..=NOW);
        let grid = Grid::new(1000, 1000, NOW);
        let columns = grid.values(&series, &[Field::RequestsPerSecond, Field::InFlight]);
        let end = columns[0].len();
        // Eight of ten seconds have passed.
        assert_eq!(columns[0][end - 3..], [None, Some(4.0), Some(3.2)]);
        assert_eq!(columns[1][end - 2..], [Some(9.0), Some(7.0)]);
    }

    #[test]
    fn fields_have_words() {
        assert!(Field::ALL.into_iter().all(|field| Field::parse(field.word()) == Some(field)));
        assert_eq!(Field::parse("p100_ms"), None);
    }
}
