//! Rules of alerts: names that exist, signals that are measured there, thresholds that an alert can leave again.

use super::super::diagnostic::code;
use super::super::file::{self, File};
use super::super::model::{AlertRule, Alerts, BUILTIN, Comparison, Escalation, Only, Scope, Signal};
use super::super::shape::At;
use super::super::tree::NodeId;
use super::super::units::{Name, NameOrAll, Number};
use super::{Checker, receivers};

pub fn check(checker: &mut Checker<'_, '_>, at: &At<file::Alerts>, file: &File) -> Option<Alerts> {
    let alerts = at.get()?;
    let changes = alerts.builtin.get()?;
    let names = changes.iter().filter_map(At::get).map(|change| &change.name);
    checker.unique("rule", names.filter_map(|name| Some((name.get()?, name.node))));
    checker.unique_names(&alerts.rules, |rule| &rule.name);
    let changed = checker.each_of(&alerts.builtin, "rule", false, builtin);
    let own = checker.each_of(&alerts.rules, "rule", false, |checker, rule| self::rule(checker, rule, file));
    let escalation = match alerts.escalation.get()? {
        None => None,
        Some(it) => {
            Some(Escalation { after: it.after.get()?.0, severity: it.severity.get()?.0, from: it.from.get()?.0 })
        }
    };
    let receivers = receivers::check(checker, &alerts.receivers);
    let changed = changed?;
    let built = BUILTIN.iter().map(|it| {
        let change = changed.iter().find(|change| change.name == it.name);
        change.cloned().unwrap_or_else(|| it.rule())
    });
    let mut rules: Vec<AlertRule> = built.collect();
    rules.extend(own?);
    Some(Alerts { enabled: alerts.enabled.get()?.0, rules, escalation, receivers: receivers? })
}

fn builtin(checker: &mut Checker<'_, '_>, at: &At<file::BuiltinRule>) -> Option<AlertRule> {
    let change = at.get()?;
    let name = change.name.get()?;
    let mut rule = BUILTIN.iter().find(|it| it.name == name.0)?.rule();
    rule.enabled = change.enabled.get()?.0;
    let threshold = change.threshold.get()?;
    if let Some(Number(threshold)) = threshold {
        (rule.threshold, rule.clear) = (*threshold, *threshold);
    }
    if let Some(Number(clear)) = change.clear.get()? {
        rule.clear = *clear;
    }
    if let Some(time) = change.r#for.get()? {
        rule.hold = time.0;
    }
    if let Some(time) = change.keep_firing_for.get()? {
        rule.keep = time.0;
    }
    if let Some(severity) = change.severity.get()? {
        rule.severity = severity.0;
    }
    leaves(checker, change.clear.node, rule.comparison, rule.threshold, rule.clear)?;
    Some(rule)
}

fn rule(checker: &mut Checker<'_, '_>, at: &At<file::AlertRule>, file: &File) -> Option<AlertRule> {
    let rule = at.get()?;
    let name = rule.name.get()?;
    if BUILTIN.iter().any(|it| it.name == name.0) {
        let report = checker.error(rule.name.node, format!("{} is a rule that Baton comes with", code(&name.0)));
        checker.push(report.help("change it under `alerts.builtin`, or give this one another name"));
    }
    let signal = *rule.signal.get()?;
    let (upstream, master, route) = (rule.upstream.get()?, rule.master.get()?, rule.route.get()?);
    let scope = match (upstream, master, route) {
        (None, None, None) => signal.scopes().first().copied(),
        (None, None, Some(_)) => among(signal, &[Scope::Route]),
        (_, Some(_), None) => among(signal, &[Scope::Master]),
        (Some(_), None, None) => among(signal, &[Scope::Upstream, Scope::Master]),
        (_, _, Some(_)) => {
            let report = checker.error(rule.route.node, "a rule looks at routes, or at upstreams and masters");
            checker.push(report.help("make two rules of it"));
            return None;
        }
    };
    let Some(scope) = scope else {
        let measured = signal.scopes().iter().map(|scope| scope.word()).collect::<Vec<_>>().join(", ");
        let report = checker.error(rule.signal.node, format!("{} is not measured of that", code(signal.word())));
        checker.push(report.help(format!("it is measured of: {measured}")));
        return None;
    };
    let named = (wanted(upstream), wanted(master), wanted(route));
    exists(checker, file, rule, named);
    let threshold = rule.threshold.get()?.0;
    let clear = rule.clear.get()?.as_ref().map_or(threshold, |clear| clear.0);
    let comparison = *rule.comparison.get()?;
    leaves(checker, rule.clear.node, comparison, threshold, clear)?;
    let labels = rule.labels.get()?;
    let names = labels.iter().filter_map(At::get).map(|label| &label.name);
    checker.unique("label", names.filter_map(|name| Some((name.get()?, name.node))));
    let label = |label: &At<file::AlertLabel>| {
        let label = label.get()?;
        Some((label.name.get()?.0.clone(), label.value.get()?.0.clone()))
    };
    let labels: Vec<_> = labels.iter().map(label).collect();
    Some(AlertRule {
        name: name.0.clone(),
        builtin: false,
        enabled: true,
        signal,
        scope,
        only: Only {
            upstream: named.0.map(str::to_owned),
            master: named.1.map(str::to_owned),
            route: named.2.map(str::to_owned),
        },
        comparison,
        threshold,
        clear,
        hold: rule.r#for.get()?.0,
        keep: rule.keep_firing_for.get()?.0,
        severity: rule.severity.get()?.0,
        labels: labels.into_iter().collect::<Option<_>>()?,
        summary: rule.summary.get()?.as_ref().map(|text| text.0.clone()),
    })
}

fn among(signal: Signal, scopes: &[Scope]) -> Option<Scope> {
    scopes.iter().find(|scope| signal.scopes().contains(scope)).copied()
}

fn wanted(name: &Option<NameOrAll>) -> Option<&str> {
    match name {
        Some(NameOrAll::Name(name)) => Some(name),
        Some(NameOrAll::All) | None => None,
    }
}

/// Reports names that nothing has.
fn exists(
    checker: &mut Checker<'_, '_>,
    file: &File,
    rule: &file::AlertRule,
    (upstream, master, route): (Option<&str>, Option<&str>, Option<&str>),
) {
    let same = |name: &At<Name>, wanted: &str| name.get().is_some_and(|name| name.0 == wanted);
    let upstreams = || file.upstreams.get().into_iter().flatten().filter_map(At::get);
    if let Some(wanted) = upstream
        && !upstreams().any(|it| same(&it.name, wanted))
    {
        missing(checker, rule.upstream.node, "upstream", wanted);
        return;
    }
    if let Some(wanted) = master {
        let mut masters = upstreams()
            .filter(|it| upstream.is_none_or(|name| same(&it.name, name)))
            .flat_map(|it| it.masters.get().into_iter().flatten().filter_map(At::get));
        if !masters.any(|it| same(&it.name, wanted)) {
            missing(checker, rule.master.node, "master", wanted);
        }
    }
    let mut routes = file.routes.get().into_iter().flatten().filter_map(At::get);
    if let Some(wanted) = route
        && !routes.any(|it| same(&it.name, wanted))
    {
        missing(checker, rule.route.node, "route", wanted);
    }
}

fn missing(checker: &mut Checker<'_, '_>, node: NodeId, word: &str, name: &str) {
    let report = checker.error(node, format!("there is no {word} {}", code(name)));
    checker.push(report.help(format!("name one of the configuration, or write \"*\" for each {word}")));
}

/// An alert that begins where it ends would come and go with every look; one that ends beyond where it begins, for ever.
fn leaves(
    checker: &mut Checker<'_, '_>,
    node: NodeId,
    comparison: Comparison,
    threshold: f64,
    clear: f64,
) -> Option<()> {
    let fits = if comparison.upwards() { clear <= threshold } else { clear >= threshold };
    if fits {
        return Some(());
    }
    let (side, word) = if comparison.upwards() { ("above", "at most") } else { ("below", "at least") };
    let report = checker.error(node, format!("`clear` is {side} the threshold {threshold}"));
    checker.push(report.help(format!("write {word} {threshold}: the alert ends there")));
    None
}
