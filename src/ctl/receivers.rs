//! `baton ctl alerts receivers` and `test`: who is told of alerts, and whether that works.

use super::client::Client;
use super::masters::segment;
use super::table::{Table, duration, printable};
use super::{Answer, Failure, page_text};
use crate::admin::view::{Page, ReceiverTest, ReceiverView};
use crate::clock::unix_millis;

pub async fn list(client: &Client) -> Result<Answer, Failure> {
    let page: Page<ReceiverView> = client.get("/api/v1/alerts/receivers?limit=1000").await?;
    let headings = ["RECEIVER", "KIND", "WHERE", "FROM", ">TOLD", ">FAILED", ">HELD", ">DROPPED", ">WAIT", "LAST"];
    let mut table = Table::new(&headings);
    let now = unix_millis();
    for it in &page.items {
        let last = it.last.as_ref().map_or("never".to_owned(), |last| {
            let ago = duration(now.saturating_sub(last.at) as f64 / 1000.0);
            last.error.as_ref().map_or(format!("{ago} ago"), |error| format!("{ago} ago: {error}"))
        });
        let numbers = [it.delivered, it.failed, it.held, it.dropped, it.waiting].map(|number| number.to_string());
        let words = [&it.name, &it.kind, &it.place, &it.severity].map(Clone::clone);
        table.row(&[&words[..], &numbers[..], &[last]].concat());
    }
    let text = page_text(&table, &page, "nobody is told of alerts: name receivers under `alerts.receivers`");
    Answer::new(&page, text)
}

/// Fails when the receiver does not take it.
pub async fn test(client: &Client, name: &str) -> Result<Answer, Failure> {
    let path = format!("/api/v1/alerts/receivers/{}/test", segment(name)?);
    let test: ReceiverTest = client.post(&path, &serde_json::json!({})).await?;
    if let Some(error) = &test.error {
        return Err(Failure::Failed(printable(&format!("receiver {name} was not told: {error}"))));
    }
    let took = test.seconds.unwrap_or_default();
    Answer::new(&test, printable(&format!("receiver {name} has taken it, in {took:.2} s")))
}
