//! Series of what happens seldom: reloads, probes, ejections.
//!
//! They go through the `metrics` facade into a recorder of our own rather than the global one, so that a test or a second
//! instance has its own numbers. Take a handle once and keep it: taking it hashes, locks and looks up.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::names::{self, Kind, Metric};
use super::registry::{OTHER, SERIES_MAX};

/// Bounds of every cold histogram, in seconds: from a probe on loopback to a failover.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

const METADATA: Metadata<'static> = Metadata::new("baton", Level::INFO, None);

/// The recorder of this process.
#[derive(Debug)]
pub struct Cold {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Which series there are, to hold the cap.
    keys: Mutex<HashSet<Key>>,
}

impl Cold {
    /// An empty recorder. Whoever makes one calls [`Cold::upkeep`] every few seconds.
    pub fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new().set_buckets(&BOUNDS)?.build_recorder();
        for metric in names::ALL {
            let name = KeyName::from_const_str(metric.name);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, metric.help.into()),
                Kind::Gauge => recorder.describe_gauge(name, None, metric.help.into()),
                Kind::Histogram => recorder.describe_histogram(name, None, metric.help.into()),
            }
        }
        let handle = recorder.handle();
        Ok(Self { recorder, handle, keys: Mutex::default() })
    }

    /// A counter; `values` belong to the metric's labels in order. It shows as 0 from now on.
    pub fn counter(&self, metric: &'static Metric, values: &[&str]) -> Counter {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.recorder.register_counter(&self.key(metric, values), &METADATA)
    }

    /// A gauge.
    pub fn gauge(&self, metric: &'static Metric, values: &[&str]) -> Gauge {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        self.recorder.register_gauge(&self.key(metric, values), &METADATA)
    }

    /// A histogram of seconds.
    pub fn histogram(&self, metric: &'static Metric, values: &[&str]) -> Histogram {
        debug_assert_eq!(metric.kind, Kind::Histogram, "{}", metric.name);
        self.recorder.register_histogram(&self.key(metric, values), &METADATA)
    }

    /// Empties the raw samples of histograms into their buckets. Without it, and without scrapes, they pile up.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Every cold series as text.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    fn key(&self, metric: &'static Metric, values: &[&str]) -> Key {
        debug_assert_eq!(values.len(), metric.labels.len(), "{}", metric.name);
        let key = |value: &dyn Fn(usize) -> String| {
            let labels = metric.labels.iter().enumerate().map(|(index, label)| Label::new(*label, value(index)));
            Key::from_parts(metric.name, labels.collect::<Vec<_>>())
        };
        let exact = key(&|index| values.get(index).copied().unwrap_or_default().to_owned());
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.contains(&exact) || keys.len() < SERIES_MAX {
            keys.insert(exact.clone());
            exact
        } else {
            key(&|_| OTHER.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|l| l == line)
    }

    #[test]
    fn a_counter_shows_with_its_help_and_labels_from_the_start() {
        let cold = Cold::new().unwrap();
        let rejected = cold.counter(&names::CONFIG_RELOADS, &["rejected"]);
        assert!(has(&cold.render(), "baton_config_reloads_total{outcome=\"rejected\"} 0"), "{}", cold.render());
        rejected.increment(2);
        cold.counter(&names::CONFIG_RELOADS, &["rejected"]).increment(1);
        let text = cold.render();
        assert!(has(&text, "baton_config_reloads_total{outcome=\"rejected\"} 3"), "{text}");
        assert!(has(&text, &format!("# HELP baton_config_reloads_total {}", names::CONFIG_RELOADS.help)), "{text}");
        assert!(has(&text, "# TYPE baton_config_reloads_total counter"), "{text}");
    }

    #[test]
    fn a_histogram_has_buckets_and_survives_upkeep() {
        let cold = Cold::new().unwrap();
        let probes = cold.histogram(&names::HEALTH_PROBE_DURATION, &["bots", "a"]);
        probes.record(0.004);
        cold.upkeep();
        probes.record(0.2);
        let text = cold.render();
        for line in [
            "# TYPE baton_health_probe_duration_seconds histogram",
            "baton_health_probe_duration_seconds_bucket{upstream=\"bots\",master=\"a\",le=\"0.005\"} 1",
            "baton_health_probe_duration_seconds_bucket{upstream=\"bots\",master=\"a\",le=\"+Inf\"} 2",
        ] {
            assert!(has(&text, line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn series_beyond_the_cap_are_counted_together() {
        let cold = Cold::new().unwrap();
        for n in 0..SERIES_MAX {
            cold.counter(&names::HEALTH_PROBES, &["bots", &n.to_string(), "healthy"]).increment(1);
        }
        cold.counter(&names::HEALTH_PROBES, &["bots", "x", "healthy"]).increment(1);
        cold.counter(&names::HEALTH_PROBES, &["bots", "y", "healthy"]).increment(1);
        cold.counter(&names::HEALTH_PROBES, &["bots", "7", "healthy"]).increment(1);
        let text = cold.render();
        for line in [
            "baton_health_probes_total{upstream=\"other\",master=\"other\",outcome=\"other\"} 2",
            "baton_health_probes_total{upstream=\"bots\",master=\"7\",outcome=\"healthy\"} 2",
        ] {
            assert!(has(&text, line), "{line} is missing");
        }
    }
}
