//! Keys about alerts.

use super::super::model::{Comparison, Signal};
use super::super::shape::{List, shape};
use super::super::units::{
    Bool, BuiltinName, LabelName, Name, NameOrAll, Number, SeverityWord, Text, Time, TimeOrZero,
};
use super::receivers::Receiver;

shape! {
    /// Alerts: what is wrong, since when, and how much it matters. Rules are looked at each second.
    struct Alerts {
        /// Whether there are alerts at all.
        enabled: Bool = "true",
        /// Changes to the rules that Baton comes with; `docs/alerts.md` lists them.
        builtin: List<BuiltinRule> = "[]",
        /// Further rules.
        rules: List<AlertRule> = "[]",
        /// What happens to an alert that nobody acknowledges. Left out, nothing.
        escalation: Option<Escalation>,
        /// Who is told of alerts.
        receivers: List<Receiver> = "[]",
    }

    /// Changes to a rule that Baton comes with. What is left out stays as it is.
    struct BuiltinRule {
        /// Which one.
        name: BuiltinName,
        /// `false` switches it off.
        enabled: Bool = "true",
        /// Another threshold, in the unit of its signal.
        threshold: Option<Number>,
        /// Where the alert ends. With another `threshold` and without this, there.
        clear: Option<Number>,
        /// How long it must be so before there is an alert.
        r#for: Option<TimeOrZero>,
        /// How long it must be over before the alert ends.
        keep_firing_for: Option<TimeOrZero>,
        /// How much it matters.
        severity: Option<SeverityWord>,
    }

    /// A rule: an alert for each upstream, master or route whose signal compares so with the threshold.
    struct AlertRule {
        /// What it is called, unique among rules, those that Baton comes with included.
        name: Name,
        /// What is measured; `docs/alerts.md` says of each what it is.
        signal: Signal,
        /// Only of this upstream. `*` is each one.
        upstream: Option<NameOrAll>,
        /// Only of this master. `*` is each one.
        master: Option<NameOrAll>,
        /// Only of this route. `*` is each one.
        route: Option<NameOrAll>,
        /// How the signal compares with the threshold when something is wrong.
        comparison: Comparison = "above",
        /// In the unit of the signal.
        threshold: Number,
        /// The alert ends when the comparison with this does not hold any more: `threshold: 5, clear: 2` begins above 5 and ends at
        /// 2. Left out, the threshold.
        clear: Option<Number>,
        /// How long it must be so before there is an alert.
        r#for: TimeOrZero = "0s",
        /// How long it must be over before the alert ends.
        keep_firing_for: TimeOrZero = "0s",
        /// How much it matters.
        severity: SeverityWord = "warning",
        /// Labels of its alerts, to group, silence and choose receivers by.
        labels: List<AlertLabel> = "[]",
        /// What people read. Left out, a sentence about the signal and its value.
        summary: Option<Text>,
    }

    /// A label of alerts.
    struct AlertLabel {
        /// Its name.
        name: LabelName,
        /// Its value.
        value: Text,
    }

    /// What happens to an alert that nobody acknowledges, and no silence hides.
    struct Escalation {
        /// How long after it was raised.
        after: Time = "15m",
        /// What it becomes at least.
        severity: SeverityWord = "critical",
        /// Only alerts that matter so much, or more.
        from: SeverityWord = "warning",
    }
}
