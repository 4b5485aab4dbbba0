//! `baton ctl alerts`: what is wrong, and who looks after it.

use clap::Subcommand;

use super::client::Client;
use super::masters::segment;
use super::table::{Table, duration, printable};
use super::{Answer, Failure, page_path, page_text, receivers};
use crate::admin::view::{Acknowledge, AlertRuleView, AlertView, MakeSilence, Page, SilenceView};
use crate::alerts::silence::Matcher;
use crate::clock::unix_millis;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// info, warning or critical
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<String>,
    /// active, acknowledged or silenced
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Of this rule alone
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Of this upstream alone
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// So many
    #[arg(long, value_name = "N", default_value = "50")]
    limit: usize,
    /// Those that follow the page before
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Alerts that ended, the newest first
    History(Filter),
    /// The rules, and how many alerts each has
    Rules,
    /// Who is told of alerts, and how that goes
    Receivers,
    /// Try whether a receiver can be told: it gets a notification that says so
    Test {
        /// Name of the receiver
        #[arg(value_name = "RECEIVER")]
        name: String,
    },
    /// Say that you look after an alert: no reminders, and it does not escalate
    Acknowledge {
        /// As `baton ctl alerts` shows it
        id: String,
        /// What others should know
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Tell nobody of some alerts for a while
    Silence {
        /// Labels that they have, such as alertname=master-failed or upstream=bots; * is any text
        #[arg(required = true, value_name = "LABEL=VALUE")]
        matchers: Vec<String>,
        /// How long, such as 30m or 2h
        #[arg(long = "for", value_name = "TIME")]
        duration: String,
        /// Why, for whoever misses the alert
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Silences, the newest first
    Silences,
    /// End a silence
    Unsilence {
        /// As `baton ctl alerts silences` shows it
        id: String,
    },
}

pub async fn run(client: &Client, args: &Args) -> Result<Answer, Failure> {
    match &args.command {
        None => list(client, "/api/v1/alerts", &args.filter, "no alerts").await,
        Some(Command::History(filter)) => list(client, "/api/v1/alerts/history", filter, "no alert has ended").await,
        Some(Command::Rules) => rules(client).await,
        Some(Command::Receivers) => receivers::list(client).await,
        Some(Command::Test { name }) => receivers::test(client, name).await,
        Some(Command::Acknowledge { id, note }) => {
            let path = format!("/api/v1/alerts/{}/acknowledge", segment(id)?);
            let alert: AlertView = client.post(&path, &Acknowledge { note: note.clone() }).await?;
            let by = alert.acknowledged.as_ref().map_or("", |it| &it.by);
            let text = format!("{} is acknowledged by {by}: {}", alert.rule, alert.summary);
            Answer::new(&alert, printable(&text))
        }
        Some(Command::Silence { matchers, duration, reason }) => {
            let matchers = matchers.iter().map(|text| matcher(text)).collect::<Result<_, _>>()?;
            let asked = MakeSilence { matchers, duration: Some(duration.clone()), until: None, reason: reason.clone() };
            let silence: SilenceView = client.post("/api/v1/alerts/silences", &asked).await?;
            let text = format!("silence {}, which hides {} alerts at present", silence.id, silence.alerts);
            Answer::new(&silence, printable(&text))
        }
        Some(Command::Silences) => silences(client).await,
        Some(Command::Unsilence { id }) => {
            let path = format!("/api/v1/alerts/silences/{}", segment(id)?);
            let silence: SilenceView = client.delete(&path).await?;
            Answer::new(&silence, printable(&format!("silence {} has ended", silence.id)))
        }
    }
}

fn matcher(text: &str) -> Result<Matcher, Failure> {
    let parts = text.split_once('=').filter(|(label, _)| !label.is_empty());
    let (label, value) = parts.ok_or_else(|| Failure::Usage(format!("{} is not LABEL=VALUE", printable(text))))?;
    Ok(Matcher { label: label.to_owned(), value: value.to_owned() })
}

async fn list(client: &Client, path: &str, filter: &Filter, nothing: &str) -> Result<Answer, Failure> {
    let Filter { severity, state, rule, upstream, limit, cursor } = filter;
    let filters = [
        ("severity", severity.as_deref()),
        ("state", state.as_deref()),
        ("rule", rule.as_deref()),
        ("upstream", upstream.as_deref()),
    ];
    let page: Page<AlertView> = client.get(&page_path(path, &filters, *limit, cursor.as_deref())).await?;
    let mut table = Table::new(&["ID", "SEVERITY", "RULE", "SINCE", "STATE", "WHAT"]);
    let now = unix_millis();
    let ago = |from: u64, to: u64| duration(to.saturating_sub(from) as f64 / 1000.0);
    for alert in &page.items {
        let since = match alert.resolved {
            None => format!("{} ago", ago(alert.raised, now)),
            Some(end) => format!("{} ago, for {}", ago(alert.raised, now), ago(alert.raised, end)),
        };
        let state = match &alert.acknowledged {
            Some(it) => format!("{} by {}", alert.state, it.by),
            None => alert.state.clone(),
        };
        let row = [&alert.id, &alert.severity, &alert.rule, &since, &state, &alert.summary];
        table.row(&row.map(Clone::clone));
    }
    let text = page_text(&table, &page, nothing);
    Answer::new(&page, text)
}

async fn rules(client: &Client) -> Result<Answer, Failure> {
    let page: Page<AlertRuleView> = client.get("/api/v1/alerts/rules?limit=1000").await?;
    let mut table = Table::new(&["RULE", "SEVERITY", "WHEN", "OF", ">FOR", ">ALERTS"]);
    for rule in &page.items {
        let space = if rule.unit.is_empty() { "" } else { " " };
        let of = [&rule.upstream, &rule.master, &rule.route].into_iter().flatten().cloned().collect::<Vec<_>>();
        table.row(&[
            rule.name.clone(),
            if rule.enabled { rule.severity.clone() } else { "off".to_owned() },
            format!("{} {} {}{space}{}", rule.signal, rule.comparison, rule.threshold, rule.unit),
            if of.is_empty() { format!("each {}", rule.scope) } else { of.join("/") },
            duration(rule.for_seconds),
            rule.alerts.to_string(),
        ]);
    }
    let text = page_text(&table, &page, "no rules");
    Answer::new(&page, text)
}

async fn silences(client: &Client) -> Result<Answer, Failure> {
    let page: Page<SilenceView> = client.get("/api/v1/alerts/silences?limit=1000").await?;
    let mut table = Table::new(&["ID", "ALERTS WITH", "ENDS", ">HIDES", "BY", "WHY"]);
    let now = unix_millis();
    for silence in &page.items {
        let with: Vec<_> = silence.matchers.iter().map(|it| format!("{}={}", it.label, it.value)).collect();
        let ends = match silence.active {
            true => format!("in {}", duration(silence.until.saturating_sub(now) as f64 / 1000.0)),
            false => "is over".to_owned(),
        };
        let (by, reason) = (silence.by.clone(), silence.reason.clone());
        table.row(&[silence.id.clone(), with.join(" "), ends, silence.alerts.to_string(), by, reason]);
    }
    let text = page_text(&table, &page, "no silences");
    Answer::new(&page, text)
}
