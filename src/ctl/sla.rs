//! `baton ctl sla`: what was promised and how it was kept, as a table, or a month's report.

use super::client::Client;
use super::table::{Table, duration};
use super::{Answer, Failure};
use crate::admin::view::{SlaItem, SlaReport, SlaView};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A month, such as 2026-11, instead of the present state
    #[arg(long, value_name = "MONTH", value_parser = month)]
    month: Option<String>,
    /// Masters as well
    #[arg(long)]
    masters: bool,
}

fn month(text: &str) -> Result<String, String> {
    crate::sla::month::Month::parse(text)
        .map(|month| month.to_string())
        .ok_or_else(|| "a year and a month: 2026-11".to_owned())
}

pub async fn run(client: &Client, args: &Args) -> Result<Answer, Failure> {
    match &args.month {
        None => {
            let view: SlaView = client.get(&format!("/api/v1/sla?masters={}", args.masters)).await?;
            Answer::new(&view, present(&view))
        }
        Some(month) => {
            let mut report: SlaReport = client.get(&format!("/api/v1/sla/report?month={month}")).await?;
            report.items.retain(|item| args.masters || !item.name.starts_with("master/"));
            Answer::new(&report, of_month(&report))
        }
    }
}

fn present(view: &SlaView) -> String {
    let mut table =
        Table::new(&["NAME", "OBJECTIVE", ">1 H", ">24 H", ">30 D", ">UPTIME 30 D", ">BUDGET LEFT", "BURNING"]);
    for item in &view.items {
        let figures = |seconds: u64| item.windows.iter().find(|window| window.seconds == seconds).map(|it| &it.figures);
        let available = |seconds| percent(figures(seconds).and_then(|figures| figures.availability_percent));
        table.row(&[
            item.name.clone(),
            objective(item),
            available(3600),
            available(86_400),
            available(30 * 86_400),
            percent(figures(30 * 86_400).and_then(|figures| figures.uptime_percent)),
            percent(item.budget.as_ref().and_then(|budget| budget.remaining_percent)),
            burning(item),
        ]);
    }
    if view.items.is_empty() { "Nothing was measured yet.\n".to_owned() } else { table.text() }
}

fn objective(item: &SlaItem) -> String {
    let Some(promise) = &item.promise else { return "-".to_owned() };
    let note = if promise.maintenance { ", maintenance" } else { "" };
    format!("{}% of {} in {}{note}", promise.objective_percent, promise.by, period(promise.period_seconds))
}

fn period(seconds: u64) -> String {
    if seconds.is_multiple_of(86_400) { format!("{}d", seconds / 86_400) } else { duration(seconds as f64) }
}

fn burning(item: &SlaItem) -> String {
    let rules = item.burn.iter().filter(|burn| burn.burning);
    let words: Vec<String> =
        rules.map(|burn| format!("{} ({:.1}x)", burn.rule, burn.long.unwrap_or_default())).collect();
    if words.is_empty() { "no".to_owned() } else { words.join(", ") }
}

fn of_month(report: &SlaReport) -> String {
    let mut table =
        Table::new(&["NAME", "OBJECTIVE", "MET", ">REQUESTS", ">FAILED", ">AVAILABILITY", ">DOWN", ">UPTIME"]);
    for item in &report.items {
        let objective = match (item.objective_percent, &item.by) {
            (Some(percent), Some(by)) => format!("{percent}% of {by}"),
            _ => "-".to_owned(),
        };
        table.row(&[
            item.name.clone(),
            objective,
            item.met.map_or("-", |met| if met { "yes" } else { "NO" }).to_owned(),
            item.total.requests.to_string(),
            item.total.failed.to_string(),
            percent(item.total.availability_percent),
            duration(item.total.down_seconds as f64),
            percent(item.total.uptime_percent),
        ]);
    }
    let state = if report.complete { "" } else { ", not over yet" };
    if report.items.is_empty() {
        format!("Nothing was measured in {}.\n", report.month)
    } else {
        format!("{}{state}\n\n{}", report.month, table.text())
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value}%"))
}
