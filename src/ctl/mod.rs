//! `baton ctl`: asks a running Baton, and has it do things, through its admin API.
//!
//! Each group of commands is a file that turns an answer into text for people; `--json` prints the answer as it came.

mod alerts;
pub mod audit;
mod backup;
mod client;
mod config;
mod dead_letters;
mod events;
mod failovers;
mod masters;
mod receivers;
mod settings;
mod sla;
mod spool;
mod status;
mod table;
mod watch;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use client::{Client, Target};
use table::{Table, printable};

use crate::admin::view::{OperatorState, Page};

/// Where the admin API is, unless it is said.
const DEFAULT_ADMIN: &str = "http://127.0.0.1:9900";

const ENVIRONMENT: &str = "\
BATON_ADMIN and BATON_TOKEN stand for --admin and --token; a token in the environment does not show in the list of processes.
Exit codes: 0 well, 1 failed at run time, 2 wrong usage.";

#[derive(Debug, clap::Args)]
#[command(after_help = ENVIRONMENT)]
pub struct Args {
    /// The admin API: http://HOST:PORT or unix:PATH [default: BATON_ADMIN, else http://127.0.0.1:9900]
    #[arg(long, global = true, value_name = "URL")]
    admin: Option<String>,
    /// A token that `baton token` made [default: BATON_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", hide_default_value = true)]
    token: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show upstreams and masters
    Status(status::Args),
    /// No new conversations for a master; those it has go on
    Drain(masters::Args),
    /// Take a master into use again
    Ready(masters::Args),
    /// Nothing for a master any more, and no probes
    Maintenance(masters::Args),
    /// Pick the masters of an upstream in another way, until the file changes
    Strategy(settings::Strategy),
    /// Give a master another part of the load, until the file changes
    Weight(settings::Weight),
    /// Prefer a master more or less, until the file changes
    Priority(settings::Priority),
    /// Let another master of an upstream serve
    Failover(failovers::Failover),
    /// Let the master serve that the configuration prefers
    Failback(failovers::Failback),
    /// Forget the failures of masters that were given up
    Reset(failovers::Reset),
    /// What failovers there were, the newest first
    Failovers(failovers::History),
    /// Show what was promised and how it was kept
    Sla(sla::Args),
    /// Show what is stored and not yet delivered
    Spool(spool::Args),
    /// Messages that were given up
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// What is wrong, and who looks after it
    Alerts(alerts::Args),
    /// Show who changed what
    Audit(audit::Args),
    /// Follow what happens
    Events(events::Args),
    /// The configuration in use, and putting another one into use
    #[command(subcommand)]
    Config(config::Command),
    /// Configurations that were in use, and what they changed
    Generations(config::Generations),
    /// Use an earlier configuration again, until the file changes
    Rollback(config::Rollback),
    /// Copy everything that is stored to a file, while Baton runs
    Backup(backup::Args),
}

/// Why a command came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// It was asked for in a wrong way.
    Usage(String),
    /// Nobody answered, or the answer was no.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(line) | Self::Failed(line) => f.write_str(line),
        }
    }
}

/// What a command prints: the value as JSON, or the text.
pub struct Answer {
    json: serde_json::Value,
    text: String,
}

impl Answer {
    fn new(value: &impl Serialize, text: String) -> Result<Self, Failure> {
        let json = serde_json::to_value(value);
        Ok(Self { json: json.map_err(|error| Failure::Failed(format!("cannot write JSON: {error}")))?, text })
    }
}

/// Does what the command line says and prints the answer to standard output, what went wrong to standard error.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    let json = args.json;
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot make an event loop: {error}")))
        .and_then(|runtime| runtime.block_on(run(args)));
    answer(done, json)
}

/// Prints what came of a command, as text or JSON, and gives the exit code.
#[must_use]
pub fn answer(done: Result<Answer, Failure>, json: bool) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    // A reader that has gone away wants to hear no more.
    match done {
        Ok(answer) => {
            let text = if json { format!("{:#}", answer.json) } else { answer.text };
            // What was printed as it came leaves nothing to say.
            if !text.is_empty() && !answer.json.is_null() {
                let _ = writeln!(out, "{}", text.trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = if json {
                writeln!(err, "{}", serde_json::json!({ "error": failure.to_string() }))
            } else {
                writeln!(err, "error: {failure}")
            };
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

async fn run(args: Args) -> Result<Answer, Failure> {
    let from_environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let admin = args.admin.or_else(|| from_environment("BATON_ADMIN")).unwrap_or_else(|| DEFAULT_ADMIN.to_owned());
    let target: Target = admin.parse().map_err(Failure::Usage)?;
    let client = Client::new(target, args.token.or_else(|| from_environment("BATON_TOKEN")))?;
    let json = args.json;
    match args.command {
        Command::Status(args) if args.watch => watch::run(&client, json).await,
        Command::Status(_) => status::run(&client).await,
        Command::Drain(args) => masters::run(&client, &args, OperatorState::Drain).await,
        Command::Ready(args) => masters::run(&client, &args, OperatorState::Ready).await,
        Command::Maintenance(args) => masters::run(&client, &args, OperatorState::Maintenance).await,
        Command::Strategy(args) => settings::strategy(&client, &args).await,
        Command::Weight(args) => settings::weight(&client, &args).await,
        Command::Priority(args) => settings::priority(&client, &args).await,
        Command::Failover(args) => failovers::failover(&client, &args).await,
        Command::Failback(args) => failovers::failback(&client, &args).await,
        Command::Reset(args) => failovers::reset(&client, &args).await,
        Command::Failovers(args) => failovers::history(&client, &args).await,
        Command::Sla(args) => sla::run(&client, &args).await,
        Command::Spool(args) => spool::run(&client, &args).await,
        Command::DeadLetters(command) => dead_letters::run(&client, &command).await,
        Command::Alerts(args) => alerts::run(&client, &args).await,
        Command::Audit(args) => audit::run(&client, &args).await,
        Command::Events(args) => events::run(&client, &args, json).await,
        Command::Config(command) => config::run(&client, &command).await,
        Command::Generations(args) => config::generations(&client, &args).await,
        Command::Rollback(args) => config::rollback(&client, &args).await,
        Command::Backup(args) => backup::run(&client, &args).await,
    }
}

/// The path of one page of a list.
fn page_path(path: &str, filters: &[(&str, Option<&str>)], limit: usize, cursor: Option<&str>) -> String {
    let mut path = format!("{path}?limit={limit}");
    for (name, value) in filters.iter().copied().chain([("cursor", cursor)]) {
        let Some(value) = value else { continue };
        path.push_str(&format!("&{name}="));
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    path
}

/// A page as text, with how to get the next one.
fn page_text<T>(table: &Table, page: &Page<T>, nothing: &str) -> String {
    let mut text = if page.items.is_empty() { format!("{nothing}\n") } else { table.text() };
    if let Some(next) = &page.next {
        text.push_str(&format!("there is more: --cursor {}\n", printable(next)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_one_parameter_whatever_is_in_it() {
        let filters = [("upstream", Some("bots")), ("account", Some("a&b=%c")), ("reason", None)];
        let path = page_path("/x", &filters, 7, Some("17-4"));
        assert_eq!(path, "/x?limit=7&upstream=bots&account=a%26b%3D%25c&cursor=17-4");
    }
}
