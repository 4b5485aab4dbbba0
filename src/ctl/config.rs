//! `baton ctl config`, `generations` and `rollback`.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::client::Client;
use super::table::{Table, duration, printable};
use super::{Answer, Failure, page_path, page_text};
use crate::admin::view::{
    AskConfig, AskReload, ConfigAnswer, ConfigView, DiffView, Finding, GenerationText, GenerationView, Page, Validation,
};
use crate::clock;
use crate::config;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the configuration in use, without secrets
    Show,
    /// Say what is wrong with a file, or what it would change; it is judged by the running Baton
    Validate {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Read the configuration file again
    Reload(Reload),
}

#[derive(Debug, clap::Args)]
pub struct Reload {
    /// Go by the file, also where something was brought back or set at run time
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Change {
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the audit trail and the generation
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Generations {
    /// Show this one, without secrets
    number: Option<u64>,
    /// Show what changes from the generation in use, or the one of --from, to this one
    #[arg(long, requires = "number")]
    diff: bool,
    /// The generation to start from
    #[arg(long, value_name = "N", requires = "diff")]
    from: Option<u64>,
    /// So many
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
    /// Those that follow the page before
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// The generation to use again
    number: u64,
    #[command(flatten)]
    change: Change,
}

pub async fn run(client: &Client, command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::Show => {
            let shown: ConfigView = client.get("/api/v1/config").await?;
            let held = match shown.rolled_back_to {
                Some(number) => format!(", brought back from generation {number} until the file changes"),
                None if shown.set_at_run_time => ", with what was set at run time until the file changes".to_owned(),
                None => String::new(),
            };
            let text = format!("# {}, generation {}{held}\n{}", printable(&shown.path), shown.generation, shown.text);
            Answer::new(&shown, text)
        }
        Command::Validate { file } => {
            let text = config::read(file).map_err(|why| Failure::Failed(why.to_string()))?;
            let found: Validation = client.post_text("/api/v1/config/validate", text).await?;
            let mut lines = findings(&found.findings);
            if !found.valid {
                return Err(Failure::Failed(format!("{} is refused\n{lines}", file.display())));
            }
            lines.push_str(&changes(&found.changes, "it would change nothing", "it would change"));
            Answer::new(&found, lines)
        }
        Command::Reload(Reload { discard, change: Change { dry_run, reason } }) => {
            let asked = AskReload { discard: *discard, dry_run: *dry_run, reason: reason.clone() };
            changed(client, "/api/v1/config/reload", &asked, *dry_run).await
        }
    }
}

pub async fn generations(client: &Client, args: &Generations) -> Result<Answer, Failure> {
    let Generations { number, diff, from, limit, cursor } = args;
    match number {
        None => {
            let path = page_path("/api/v1/generations", &[], *limit, cursor.as_deref());
            let page: Page<GenerationView> = client.get(&path).await?;
            Answer::new(&page, listed(&page))
        }
        Some(number) if *diff => {
            let with = from.map_or_else(String::new, |from| format!("?with={from}"));
            let found: DiffView = client.get(&format!("/api/v1/generations/{number}/diff{with}")).await?;
            let title = format!("from generation {} to {}", found.from, found.to);
            let text = changes(&found.changes, &format!("{title} nothing changes"), &title);
            Answer::new(&found, text)
        }
        Some(number) => {
            let found: GenerationText = client.get(&format!("/api/v1/generations/{number}")).await?;
            let text = found.text.clone();
            Answer::new(&found, text)
        }
    }
}

pub async fn rollback(client: &Client, args: &Rollback) -> Result<Answer, Failure> {
    let Change { dry_run, reason } = args.change.clone();
    let path = format!("/api/v1/generations/{}/rollback", args.number);
    changed(client, &path, &AskConfig { dry_run, reason }, dry_run).await
}

/// Asks for another configuration, and says what that changed or would.
pub async fn changed(client: &Client, path: &str, asked: &impl Serialize, dry_run: bool) -> Result<Answer, Failure> {
    let answer: ConfigAnswer = client.post(path, asked).await?;
    let mut text = findings(&answer.warnings);
    let done = format!("generation {} is in use; it changed", answer.generation);
    let (nothing, some) =
        if dry_run { ("nothing would change", "it would change") } else { ("nothing has changed", &*done) };
    text.push_str(&changes(&answer.changes, nothing, some));
    Answer::new(&answer, text)
}

fn listed(page: &Page<GenerationView>) -> String {
    let mut table = Table::new(&[">GENERATION", "IN USE", "AGO", "WHO", "FROM", ">CHANGES", "WHAT"]);
    let now = clock::unix_millis();
    for it in &page.items {
        let back = it.back_to.map(|number| format!("back to {number}"));
        let what: Vec<&str> = [
            back.as_deref(),
            Some(&*it.reason).filter(|reason| !reason.is_empty()),
            it.changes.first().map(|line| &**line),
        ]
        .into_iter()
        .flatten()
        .collect();
        table.row(&[
            it.number.to_string(),
            if it.in_use { "yes".to_owned() } else { String::new() },
            duration(now.saturating_sub(it.at) as f64 / 1000.0),
            it.who.clone(),
            it.cause.clone(),
            it.changes.len().to_string(),
            what.join("; "),
        ]);
    }
    page_text(&table, page, "no generation is kept: state.path cannot be written, or Baton has just started")
}

fn findings(findings: &[Finding]) -> String {
    let line = |it: &Finding| {
        let place = if it.line > 0 { format!(" in line {}", it.line) } else { String::new() };
        let key = if it.key.is_empty() { String::new() } else { format!("{}: ", it.key) };
        let notes: String = it.notes.iter().map(|(label, text)| format!("; {label}: {text}")).collect();
        format!("{}{place}: {}\n", it.severity, printable(&format!("{key}{}{notes}", it.message)))
    };
    findings.iter().map(line).collect()
}

fn changes(changes: &[String], nothing: &str, some: &str) -> String {
    if changes.is_empty() {
        return format!("{nothing}\n");
    }
    changes.iter().fold(format!("{some}:\n"), |text, change| text + "  " + &printable(change) + "\n")
}
