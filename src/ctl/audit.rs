//! `baton ctl audit`: who changed what.

use std::time::Duration;

use super::client::Client;
use super::table::{Table, printable};
use super::{Answer, Failure, page_path};
use crate::admin::view::{AuditRecord, AuditVerification, Page};
use crate::clock::{Rfc3339, millis, unix_millis};
use crate::config::parse_time;

const PATH: &str = "/api/v1/audit";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check that nothing was changed, removed or added
    #[arg(long, conflicts_with_all = ["export", "who", "action", "target", "outcome", "since", "until", "cursor"])]
    verify: bool,
    /// Print every record that is kept as it stands on disk, one JSON object a line
    #[arg(long, conflicts_with_all = ["who", "action", "target", "outcome", "since", "until", "cursor"])]
    export: bool,
    /// By this name
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Of this kind, such as operator-state or config.reload
    #[arg(long)]
    action: Option<String>,
    /// With this in what it was done to
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// That ended so
    #[arg(long, value_parser = ["done", "refused", "failed"])]
    outcome: Option<String>,
    /// No longer ago than this: 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Duration>,
    /// Longer ago than this
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Duration>,
    /// At most so many, up to 1000
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Go on where the list before ended
    #[arg(long)]
    cursor: Option<String>,
}

pub async fn run(client: &Client, args: &Args) -> Result<Answer, Failure> {
    if args.verify {
        let found: AuditVerification = client.get(&format!("{PATH}/verify")).await?;
        return verified(&found);
    }
    if args.export {
        client.copy(&format!("{PATH}/export"), &mut std::io::stdout()).await?;
        return Ok(Answer { json: serde_json::Value::Null, text: String::new() });
    }
    let now = unix_millis();
    let ago = |time: Option<Duration>| time.map(|time| now.saturating_sub(millis(time)).to_string());
    let (since, until) = (ago(args.since), ago(args.until));
    let filters = [
        ("who", args.who.as_deref()),
        ("action", args.action.as_deref()),
        ("target", args.target.as_deref()),
        ("outcome", args.outcome.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
    ];
    let page: Page<AuditRecord> = client.get(&page_path(PATH, &filters, args.limit, args.cursor.as_deref())).await?;
    Answer::new(&page, list(&page))
}

/// What a look at a whole trail found; a trail that is not whole is a failure.
///
/// # Errors
/// All that was found.
pub fn verified(found: &AuditVerification) -> Result<Answer, Failure> {
    let range = match (found.first, found.last) {
        (Some(first), Some(last)) => format!("{} records, {first} to {last}", found.records),
        _ => "no records".to_owned(),
    };
    if found.intact {
        let hash = found.newest_hash.as_deref().unwrap_or("none");
        return Answer::new(found, format!("the audit trail is whole: {range}\nnewest hash: {}\n", printable(hash)));
    }
    let mut text = format!("the audit trail is not what was written ({range}):");
    for finding in &found.findings {
        text.push_str(&format!("\n{} line {}: {}", printable(&finding.file), finding.line, printable(&finding.fault)));
    }
    Err(Failure::Failed(text))
}

fn list(page: &Page<AuditRecord>) -> String {
    let mut table =
        Table::new(&[">SEQ", "AT", "WHO", "FROM", "ACTION", "TARGET", "OUTCOME", "BEFORE", "AFTER", "REASON"]);
    for AuditRecord { record, intact } in &page.items {
        let outcome =
            if record.why.is_empty() { record.outcome.clone() } else { format!("{}: {}", record.outcome, record.why) };
        let value = |value: &serde_json::Value| match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        table.row(&[
            if *intact { record.seq.to_string() } else { format!("CHANGED {}", record.seq) },
            Rfc3339(record.at).to_string(),
            record.who.clone(),
            record.from.clone(),
            record.action.clone(),
            record.target.clone(),
            outcome,
            value(&record.before),
            value(&record.after),
            record.reason.clone(),
        ]);
    }
    super::page_text(&table, page, "no records")
}
