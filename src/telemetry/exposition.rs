//! Writes the Prometheus text format, version 0.0.4.
//!
//! The text stands in memory until the scrape is answered; its size is bounded by the caps on series.

use std::fmt::Write;

use super::names::Metric;

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Text of one scrape under construction. Samples follow their family's header: call [`Exposition::family`] once for
/// each metric, then every sample of it.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The finished text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    /// Adds text that is already in the format, ending in a newline.
    pub fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Opens a family.
    pub fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let Metric { name, kind, help, .. } = metric;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
        Family { text: &mut self.text, metric }
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    metric: &'static Metric,
}

impl Family<'_> {
    /// One integer sample; `values` belong to the metric's labels in order.
    pub fn integer(&mut self, values: &[&str], value: u64) {
        self.series("", values, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// One sample with a fraction.
    pub fn float(&mut self, values: &[&str], value: f64) {
        self.series("", values, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// One histogram: cumulative counts with their bounds as Prometheus writes them, all of them, and the sum.
    pub fn histogram(&mut self, values: &[&str], buckets: &[(&str, u64)], count: u64, sum: f64) {
        for (bound, cumulative) in buckets {
            self.series("_bucket", values, Some(bound));
            let _ = writeln!(self.text, " {cumulative}");
        }
        self.series("_bucket", values, Some("+Inf"));
        let _ = writeln!(self.text, " {count}");
        self.series("_sum", values, None);
        let _ = writeln!(self.text, " {sum}");
        self.series("_count", values, None);
        let _ = writeln!(self.text, " {count}");
    }

    fn series(&mut self, suffix: &str, values: &[&str], bound: Option<&str>) {
        debug_assert_eq!(values.len(), self.metric.labels.len(), "{}", self.metric.name);
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let labels = self.metric.labels.iter().copied().zip(values.iter().copied()).chain(bound.map(|b| ("le", b)));
        let mut open = false;
        for (label, value) in labels {
            self.text.push_str(if open { "," } else { "{" });
            open = true;
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape_label(self.text, value);
            self.text.push('"');
        }
        if open {
            self.text.push('}');
        }
    }
}

/// Backslash, quote and newline are what the format reserves.
fn escape_label(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names;

    #[test]
    fn a_family_has_its_header_once_and_its_samples_below() {
        let mut exposition = Exposition::new();
        let mut family = exposition.family(&names::CONNECTIONS);
        family.integer(&["a"], 1);
        family.integer(&["b"], 2);
        exposition.family(&names::WORKERS).integer(&[], 4);
        assert_eq!(
            exposition.finish(),
            "# HELP baton_connections Open downstream connections.\n\
             # TYPE baton_connections gauge\n\
             baton_connections{listener=\"a\"} 1\n\
             baton_connections{listener=\"b\"} 2\n\
             # HELP baton_workers Worker threads.\n\
             # TYPE baton_workers gauge\n\
             baton_workers 4\n"
        );
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut exposition = Exposition::new();
        exposition.family(&names::CONNECTIONS).integer(&["a\"} 9\nbaton_evil 1\\"], 1);
        let text = exposition.finish();
        assert!(text.ends_with("baton_connections{listener=\"a\\\"} 9\\nbaton_evil 1\\\\\"} 1\n"), "{text}");
    }

    #[test]
    fn a_histogram_ends_with_infinity_sum_and_count() {
        let mut exposition = Exposition::new();
        exposition.family(&names::REQUEST_DURATION).histogram(&["r", "u"], &[("0.1", 3)], 5, 1.5);
        let text = exposition.finish();
        let samples: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                "baton_request_duration_seconds_bucket{route=\"r\",upstream=\"u\",le=\"0.1\"} 3",
                "baton_request_duration_seconds_bucket{route=\"r\",upstream=\"u\",le=\"+Inf\"} 5",
                "baton_request_duration_seconds_sum{route=\"r\",upstream=\"u\"} 1.5",
                "baton_request_duration_seconds_count{route=\"r\",upstream=\"u\"} 5",
            ]
        );
    }
}
