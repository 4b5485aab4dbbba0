//! `baton ctl failover`, `failback`, `reset` and `failovers`.

use super::client::Client;
use super::masters::segment;
use super::table::{Table, printable};
use super::{Answer, Failure, page_path, page_text};
use crate::admin::view::{
    AskFailback, AskFailover, AskReset, FailoverAnswer, FailoverView, MoveView, Page, StatusView,
};
use crate::clock;

#[derive(Debug, clap::Args)]
pub struct Failover {
    /// Name of the upstream; not needed where only one has `failover`
    upstream: Option<String>,
    /// The master that is to serve [default: the best that stands by]
    #[arg(long, value_name = "MASTER")]
    to: Option<String>,
    /// Of this account alone, and those that share its masters
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub struct Failback {
    /// Name of the upstream; not needed where only one has `failover`
    upstream: Option<String>,
    /// Of this account alone, and those that share its masters
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub struct Reset {
    /// Name of the upstream; not needed where only one has `failover`
    upstream: Option<String>,
    /// This master alone
    #[arg(long, value_name = "MASTER")]
    master: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit trail and the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct History {
    /// Of this upstream alone
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// under-way, stuck, completed or undone
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// So many
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
    /// Those that follow the page before
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

pub async fn failover(client: &Client, args: &Failover) -> Result<Answer, Failure> {
    let Failover { upstream, to: target, account, common: Common { dry_run, reason } } = args;
    let body =
        AskFailover { target: target.clone(), account: account.clone(), dry_run: *dry_run, reason: reason.clone() };
    let path = path(client, upstream.as_deref(), "failover").await?;
    let answer: FailoverAnswer = client.post(&path, &body).await?;
    Answer::new(&answer, moves(&answer))
}

pub async fn failback(client: &Client, args: &Failback) -> Result<Answer, Failure> {
    let Failback { upstream, account, common: Common { dry_run, reason } } = args;
    let body = AskFailback { account: account.clone(), dry_run: *dry_run, reason: reason.clone() };
    let path = path(client, upstream.as_deref(), "failback").await?;
    let answer: FailoverAnswer = client.post(&path, &body).await?;
    Answer::new(&answer, moves(&answer))
}

pub async fn reset(client: &Client, args: &Reset) -> Result<Answer, Failure> {
    let Reset { upstream, master, common: Common { dry_run, reason } } = args;
    let body = AskReset { master: master.clone(), dry_run: *dry_run, reason: reason.clone() };
    let path = path(client, upstream.as_deref(), "reset").await?;
    let answer: FailoverAnswer = client.post(&path, &body).await?;
    let text = match (answer.resets.is_empty(), dry_run) {
        (true, _) => format!("no master of {} has failures to forget", answer.upstream),
        (false, true) => format!("the failures of {} would be forgotten", answer.resets.join(", ")),
        (false, false) => {
            format!(
                "the failures of {} are forgotten; they stand by once probes find them well",
                answer.resets.join(", ")
            )
        }
    };
    Answer::new(&answer, text)
}

pub async fn history(client: &Client, args: &History) -> Result<Answer, Failure> {
    let History { upstream, state, limit, cursor } = args;
    let filters = [("upstream", upstream.as_deref()), ("state", state.as_deref())];
    let path = page_path("/api/v1/failovers", &filters, *limit, cursor.as_deref());
    let page: Page<FailoverView> = client.get(&path).await?;
    let mut table =
        Table::new(&[">EPOCH", "UPSTREAM", "ACCOUNT", "AGO", "FROM", "TO", "STATE", ">MS", ">PINS", "BY", "CAUSE"]);
    let now = clock::unix_millis();
    for it in &page.items {
        let dash = || "-".to_owned();
        table.row(&[
            it.epoch.to_string(),
            it.upstream.clone(),
            if it.account.is_empty() { dash() } else { it.account.clone() },
            super::table::duration(now.saturating_sub(it.began) as f64 / 1000.0),
            it.from.clone().unwrap_or_else(dash),
            it.to.clone().unwrap_or_else(dash),
            it.state.clone(),
            it.duration_ms.map_or_else(dash, |ms| format!("{ms:.1}")),
            it.pins.map_or_else(dash, |pins| pins.to_string()),
            it.by.clone(),
            if it.why.is_empty() { it.cause.clone() } else { format!("{}; {}", it.cause, it.why) },
        ]);
    }
    let text = page_text(&table, &page, "there was no failover");
    Answer::new(&page, text)
}

/// What changes hands, a line each.
fn moves(answer: &FailoverAnswer) -> String {
    let line = |it: &MoveView| {
        let from = it.from.as_deref().unwrap_or("nobody");
        let accounts = if it.accounts.is_empty() { String::new() } else { format!(" ({})", it.accounts.join(", ")) };
        let what = match (answer.dry_run, it.done) {
            (true, _) => "would go",
            (false, true) => "goes over",
            (false, false) => "did not go",
        };
        let how = if it.done { ", conversation by conversation" } else { "" };
        format!(
            "{}{accounts} {what} from {from} to {}{how}: {} pinned conversations\n",
            answer.upstream, it.to, it.pins
        )
    };
    let lines: String = answer.moves.iter().map(line).collect();
    printable_lines(&lines)
}

/// Each line as a terminal can take it.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", printable(line))).collect()
}

async fn path(client: &Client, upstream: Option<&str>, verb: &str) -> Result<String, Failure> {
    let upstream = match upstream {
        Some(upstream) => upstream.to_owned(),
        None => only_upstream(&client.get("/api/v1/status").await?)?,
    };
    Ok(format!("/api/v1/upstreams/{}/{verb}", segment(&upstream)?))
}

/// The one upstream that has `failover`.
fn only_upstream(status: &StatusView) -> Result<String, Failure> {
    let with = status.upstreams.iter().filter(|upstream| upstream.failover.is_some());
    let names: Vec<&str> = with.map(|upstream| &*upstream.name).collect();
    match names[..] {
        [name] => Ok(name.to_owned()),
        [] => Err(Failure::Failed("no upstream has `failover`".to_owned())),
        _ => Err(Failure::Usage(format!("several upstreams have `failover`: name one of {}", names.join(", ")))),
    }
}
