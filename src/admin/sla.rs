//! What was promised, and how it was kept: now, and in a month.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::AdminState;
use super::problem::Problem;
use super::query::{Parameters, wrong};
use super::sla_report::{csv, html, policy};
use super::view::{
    BudgetView, BurnView, Figures, Promise, ReportDay, ReportItem, SlaItem, SlaQuery, SlaReport, SlaReportQuery,
    SlaView, WindowView,
};
use crate::clock;
use crate::config::model::Sla;
use crate::monitor::series::Key;
use crate::sla::ledger::Ledger;
use crate::sla::month::{Month, date};
use crate::sla::slot::Slot;
use crate::sla::{burn, maintenance, report};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::names;

const DAY: u64 = 86_400;
/// How far back is told of everything.
const WINDOWS: [u64; 4] = [3600, DAY, 7 * DAY, 30 * DAY];

pub async fn show(State(state): State<Arc<AdminState>>, Parameters(query): Parameters<SlaQuery>) -> Json<SlaView> {
    let promises: HashMap<Key, Sla> = state.source.promises().into_iter().collect();
    let (at, masters) = (clock::unix_millis(), query.masters.unwrap_or(true));
    let ledger = state.sla.lock();
    let present = state.monitor.lock();
    let is_there = |key: &Key| present.present(key).is_some();
    let wanted = |key: &&Key| is_there(key) && (masters || !matches!(key, Key::Master(..)));
    let items = ledger.keys().filter(wanted).map(|key| item(&ledger, key, promises.get(key), at / 1000)).collect();
    Json(SlaView { at, items })
}

fn item(ledger: &Ledger, key: &Key, sla: Option<&Sla>, now: u64) -> SlaItem {
    let window = |seconds| WindowView { seconds, figures: figures(&ledger.last(key, now, seconds)) };
    SlaItem {
        name: key.to_string(),
        promise: sla.map(|sla| Promise {
            objective_percent: sla.objective.percent(),
            by: sla.by.name().to_owned(),
            period_seconds: sla.period.as_secs(),
            maintenance: maintenance::any(&sla.maintenance, now),
        }),
        windows: WINDOWS.map(window).into(),
        budget: sla.map(|sla| {
            let budget = budget(ledger, key, sla, now);
            BudgetView {
                allowed: (budget.allowed * 10.0).round() / 10.0,
                spent: budget.spent,
                remaining_percent: budget.remaining.map(|share| percent(share, 2)),
            }
        }),
        burn: sla.iter().flat_map(|sla| burn::burns(ledger, key, sla, now)).map(|burn| burn_view(&burn)).collect(),
    }
}

fn budget(ledger: &Ledger, key: &Key, sla: &Sla, now: u64) -> burn::Budget {
    let period = sla.period.as_secs();
    burn::budget(&whole_days(ledger, key, sla, now), sla.by, sla.objective, period)
}

/// The period's days, with the one under way as the last.
fn whole_days(ledger: &Ledger, key: &Key, sla: &Sla, now: u64) -> Slot {
    let end = now / DAY + 1;
    ledger.sum(key, crate::sla::ledger::Span::Day, end.saturating_sub(sla.period.as_secs() / DAY)..end)
}

fn burn_view(burn: &burn::Burn) -> BurnView {
    let short = |rate: Option<f64>| rate.map(|rate| (rate * 100.0).round() / 100.0);
    BurnView {
        rule: burn.rule.name.to_owned(),
        page: burn.rule.page,
        long_seconds: burn.rule.long,
        short_seconds: burn.rule.short,
        threshold: (burn.threshold * 100.0).round() / 100.0,
        long: short(burn.long),
        short: short(burn.short),
        burning: burn.burning(),
    }
}

fn figures(slot: &Slot) -> Figures {
    Figures {
        requests: slot.requests,
        failed: slot.failed,
        availability_percent: slot.by_request().map(|share| percent(share, 4)),
        up_seconds: slot.up.into(),
        down_seconds: slot.down.into(),
        maintenance_seconds: slot.excluded.into(),
        uptime_percent: slot.by_time().map(|share| percent(share, 4)),
    }
}

/// In percent with so many digits, rounded down: what is not whole must not look it. A share next to a digit counts as that one, since
/// most have no exact number.
fn percent(share: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (share * 100.0 * factor + 1e-6).floor() / factor
}

/// `GET /api/v1/sla/report`.
pub async fn report(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<SlaReportQuery>,
) -> Result<Response, Problem> {
    let today = clock::unix_millis() / 1000 / DAY;
    let month = match &query.month {
        None => Month::of(today),
        Some(text) => Month::parse(text).ok_or_else(|| wrong("month: a year and a month, such as 2026-11"))?,
    };
    let format = query.format.as_deref().unwrap_or("json");
    if !["json", "csv", "html"].contains(&format) {
        return Err(wrong("format: json, csv or html"));
    }
    let promises: HashMap<Key, Sla> = state.source.promises().into_iter().collect();
    let lines = report::lines(&state.sla.lock(), month, |key| promises.get(key).cloned());
    let report = SlaReport {
        month: month.to_string(),
        complete: month.days().end <= today,
        items: lines.iter().map(report_item).collect(),
    };
    Ok(match format {
        "csv" => file(&report, "csv", "text/csv; charset=utf-8", csv(&report)),
        "html" => {
            let mut page = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html(&report)).into_response();
            page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy());
            page
        }
        _ => Json(report).into_response(),
    })
}

fn file(report: &SlaReport, extension: &str, kind: &'static str, content: String) -> Response {
    let mut response = ([(header::CONTENT_TYPE, kind)], content).into_response();
    let disposition = format!("attachment; filename=\"sla-{}.{extension}\"", report.month);
    if let Ok(value) = HeaderValue::try_from(disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn report_item(line: &report::Line) -> ReportItem {
    ReportItem {
        name: line.key.to_string(),
        objective_percent: line.sla.as_ref().map(|sla| sla.objective.percent()),
        by: line.sla.as_ref().map(|sla| sla.by.name().to_owned()),
        met: line.met,
        total: figures(&line.total),
        days: line.days.iter().map(|(day, slot)| ReportDay { date: date(*day), figures: figures(slot) }).collect(),
    }
}

/// Writes the gauges of what is promised.
pub fn write(state: &AdminState, out: &mut Exposition) {
    let now = clock::unix_millis() / 1000;
    let promises = state.source.promises();
    let ledger = state.sla.lock();
    let labels = |key: &Key| match key {
        Key::Route(name) => [name.to_string(), String::new()],
        Key::Upstream(name) => [String::new(), name.to_string()],
        Key::System | Key::Master(..) => [String::new(), String::new()],
    };
    let mut each = |metric, value: &dyn Fn(&Key, &Sla) -> Option<f64>| {
        let mut family = out.family(metric);
        for (key, sla) in &promises {
            if let Some(value) = value(key, sla) {
                let [route, upstream] = labels(key);
                family.float(&[&route, &upstream], value);
            }
        }
    };
    each(&names::SLA_OBJECTIVE, &|_, sla| Some(sla.objective.percent() / 100.0));
    each(&names::SLA_AVAILABILITY, &|key, sla| {
        let (bad, all) = burn::bad(&whole_days(&ledger, key, sla, now), sla.by);
        (all > 0).then(|| 1.0 - bad as f64 / all as f64)
    });
    each(&names::SLA_BUDGET, &|key, sla| budget(&ledger, key, sla, now).remaining);
    each(&names::SLA_MAINTENANCE, &|_, sla| Some(u8::from(maintenance::any(&sla.maintenance, now)).into()));
    let mut family = out.family(&names::SLA_BURN_RATE);
    for (key, sla) in &promises {
        let [route, upstream] = labels(key);
        for (window, seconds) in BURN_WINDOWS {
            if let Some(rate) = burn::rate_of(&ledger, key, sla, now, seconds) {
                family.float(&[&route, &upstream, window], rate);
            }
        }
    }
}

/// Those of [`burn::RULES`].
const BURN_WINDOWS: [(&str, u64); 5] = [("5m", 300), ("30m", 1800), ("1h", 3600), ("6h", 6 * 3600), ("3d", 3 * DAY)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_of_a_rule_has_a_series() {
        for rule in &burn::RULES {
            assert!([rule.long, rule.short].iter().all(|seconds| BURN_WINDOWS.iter().any(|(_, it)| it == seconds)));
        }
    }

    #[test]
    fn what_is_not_whole_does_not_look_it() {
        assert_eq!((percent(0.999_999_99, 4), percent(1.0, 4), percent(0.999, 4)), (99.9999, 100.0, 99.9));
        assert_eq!(percent(-0.5, 2), -50.0);
    }
}
