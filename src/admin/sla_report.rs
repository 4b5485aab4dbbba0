//! A month's report for a spreadsheet, and for paper.

use std::fmt::Write as _;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::view::{Figures, ReportItem, SlaReport};

/// One line for each day of each thing and one for its month, with a heading (RFC 4180). Names have no comma in them.
pub fn csv(report: &SlaReport) -> String {
    let mut text = String::from(
        "name,day,objective_percent,by,met,requests,failed,availability_percent,up_seconds,down_seconds,maintenance_seconds,uptime_percent\r\n",
    );
    for item in &report.items {
        line(&mut text, item, &report.month, item.met, &item.total);
        for day in &item.days {
            line(&mut text, item, &day.date, None, &day.figures);
        }
    }
    text
}

fn line(text: &mut String, item: &ReportItem, day: &str, met: Option<bool>, figures: &Figures) {
    let met = met.map_or("", |met| if met { "yes" } else { "no" });
    let cells = [
        item.name.clone(),
        day.to_owned(),
        number(item.objective_percent),
        item.by.clone().unwrap_or_default(),
        met.to_owned(),
        figures.requests.to_string(),
        figures.failed.to_string(),
        number(figures.availability_percent),
        figures.up_seconds.to_string(),
        figures.down_seconds.to_string(),
        figures.maintenance_seconds.to_string(),
        number(figures.uptime_percent),
    ];
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#111;background:#fff}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{padding:.2rem .6rem;border-bottom:1px solid #ccc;text-align:right}\
th:first-child,td:first-child{text-align:left}h2{margin:1.5rem 0 0;font-size:1.1rem}section{break-inside:avoid}.soft{color:#555}\
@page{margin:15mm}@media print{body{margin:0;max-width:none}}";

/// What the page may do: nothing but look as [`STYLE`] says.
pub fn policy() -> HeaderValue {
    let hash = STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// A page to be printed, or kept: it needs nothing but itself.
pub fn html(report: &SlaReport) -> String {
    let month = escaped(&report.month);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Service level report {month}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Service level report {month}</h1>\n",
    );
    let state = if report.complete { "The month is over." } else { "The month is not over yet." };
    page.push_str(&format!(
        "<p class=\"soft\">{state} Days are those of UTC. Maintenance, and time in which Baton did not run, are left out.</p>\n"
    ));
    let (promised, others): (Vec<_>, Vec<_>) = report.items.iter().partition(|item| item.objective_percent.is_some());
    if report.items.is_empty() {
        page.push_str("<p>Nothing was measured in this month.</p>\n");
    }
    if !promised.is_empty() {
        page.push_str("<h2>Objectives</h2>\n");
        summary(&mut page, &promised);
    }
    if !others.is_empty() {
        page.push_str("<h2>Without an objective</h2>\n");
        summary(&mut page, &others);
    }
    for item in promised {
        let _ = write!(
            page,
            "<section>\n<h2>{}, day by day</h2>\n<table>\n<tr><th>Day</th>{FIGURES}</tr>\n",
            escaped(&item.name)
        );
        for day in &item.days {
            let _ = writeln!(page, "<tr><td>{}</td>{}</tr>", escaped(&day.date), cells(&day.figures));
        }
        page.push_str("</table>\n</section>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

const FIGURES: &str =
    "<th>Requests</th><th>Failed</th><th>Availability</th><th>Down</th><th>Maintenance</th><th>Uptime</th>";

fn summary(page: &mut String, items: &[&ReportItem]) {
    let _ = writeln!(page, "<table>\n<tr><th>Name</th><th>Objective</th><th>Met</th>{FIGURES}</tr>");
    for item in items {
        let objective = match (item.objective_percent, &item.by) {
            (Some(percent), Some(by)) => format!("{percent} % of {}", escaped(by)),
            _ => "–".to_owned(),
        };
        let met = item.met.map_or("–", |met| if met { "yes" } else { "NO" });
        let (name, cells) = (escaped(&item.name), cells(&item.total));
        let _ = writeln!(page, "<tr><td>{name}</td><td>{objective}</td><td>{met}</td>{cells}</tr>");
    }
    page.push_str("</table>\n");
}

fn cells(figures: &Figures) -> String {
    let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value} %"));
    let seconds = |seconds: u64| match seconds {
        0 => "–".to_owned(),
        1..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    };
    [
        figures.requests.to_string(),
        figures.failed.to_string(),
        percent(figures.availability_percent),
        seconds(figures.down_seconds),
        seconds(figures.maintenance_seconds),
        percent(figures.uptime_percent),
    ]
    .map(|cell| format!("<td>{cell}</td>"))
    .concat()
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::ReportDay;

    fn report() -> SlaReport {
        let figures = Figures {
            requests: 1000,
            failed: 2,
            availability_percent: Some(99.8),
            up_seconds: 86_000,
            down_seconds: 90,
            maintenance_seconds: 7_260,
            uptime_percent: Some(99.8954),
        };
        let days = vec![ReportDay { date: "2026-11-25".to_owned(), figures: figures.clone() }];
        let item = ReportItem {
            name: "upstream/<b>bots</b>".to_owned(),
            objective_percent: Some(99.9),
            by: Some("requests".to_owned()),
            met: Some(false),
            total: figures,
            days,
        };
        SlaReport { month: "2026-11".to_owned(), complete: false, items: vec![item] }
    }

    #[test]
    fn a_spreadsheet_has_the_month_and_each_day() {
        let text = csv(&SlaReport {
            items: vec![ReportItem { name: "route/a".to_owned(), ..report().items.remove(0) }],
            ..report()
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "route/a,2026-11,99.9,requests,no,1000,2,99.8,86000,90,7260,99.8954");
        assert_eq!(lines[2], "route/a,2026-11-25,99.9,requests,,1000,2,99.8,86000,90,7260,99.8954");
        let columns = |line: &str| line.split(',').count();
        assert!(lines.iter().all(|line| columns(line) == columns(lines[0])));
    }

    #[test]
    fn a_page_says_it_in_figures_and_no_name_is_markup() {
        let page = html(&report());
        assert!(page.contains("<td>99.9 % of requests</td><td>NO</td><td>1000</td><td>2</td>"), "{page}");
        assert!(page.contains("<td>1 min 30 s</td><td>2 h 01 min</td>") && page.contains("not over yet"));
        assert!(page.contains("&lt;b&gt;bots") && !page.contains("<b>"));
        assert!(html(&SlaReport { items: Vec::new(), ..report() }).contains("Nothing was measured"));
    }

    #[test]
    fn the_policy_lets_the_pages_own_style_in_and_nothing_else() {
        let policy = policy();
        assert!(policy.to_str().unwrap().starts_with("default-src 'none'; style-src 'sha256-"));
    }
}
