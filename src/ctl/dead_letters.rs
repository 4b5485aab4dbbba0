//! `baton ctl dead-letters`: messages that were given up.

use std::time::Duration;

use clap::Subcommand;

use super::client::Client;
use super::table::{Table, duration, printable, size};
use super::{Answer, Failure, page_path};
use crate::admin::view::{Changed, DeadLetterView, Page, WhichDeadLetters};
use crate::clock::unix_millis;
use crate::config::parse_time;

const PATH: &str = "/api/v1/dead-letters";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List them, the latest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many, up to 1000
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Go on where the list before ended
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one with its attempts
    Show {
        /// Its number in the list
        id: u64,
    },
    /// Put them in line again
    Replay(Which),
    /// Remove them for good
    Discard(Which),
}

/// Those for which all of this holds
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Of this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Of this WhatsApp account
    #[arg(long)]
    account: Option<String>,
    /// Given up for this reason
    #[arg(long, value_parser = ["attempts", "masters", "expired"])]
    reason: Option<String>,
    /// Given up longer ago than this: 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    older_than: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// The number of one in the list
    #[arg(conflicts_with_all = ["upstream", "account", "reason", "older_than", "all"])]
    id: Option<u64>,
    #[command(flatten)]
    filter: Filter,
    /// All of them; needs --yes
    #[arg(long, requires = "yes", conflicts_with_all = ["upstream", "account", "reason", "older_than"])]
    all: bool,
    /// Confirms --all
    #[arg(long)]
    yes: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

pub async fn run(client: &Client, command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::List { filter, limit, cursor } => {
            let seconds = filter.older_than.map(|time| time.as_secs().to_string());
            let parameters = [
                ("upstream", filter.upstream.as_deref()),
                ("account", filter.account.as_deref()),
                ("reason", filter.reason.as_deref()),
                ("older_than_seconds", seconds.as_deref()),
            ];
            let page: Page<DeadLetterView> =
                client.get(&page_path(PATH, &parameters, *limit, cursor.as_deref())).await?;
            Answer::new(&page, list(&page))
        }
        Command::Show { id } => {
            let letter: DeadLetterView = client.get(&format!("{PATH}/{id}")).await?;
            Answer::new(&letter, show(&letter))
        }
        Command::Replay(which) => {
            let changed: Changed = client.post(&format!("{PATH}/replay"), &which.body()?).await?;
            Answer::new(&changed, format!("{} in line again", changed.count))
        }
        Command::Discard(which) => {
            let changed: Changed = client.post(&format!("{PATH}/discard"), &which.body()?).await?;
            Answer::new(&changed, format!("{} removed", changed.count))
        }
    }
}

impl Which {
    fn body(&self) -> Result<WhichDeadLetters, Failure> {
        let Self { id, filter, all, yes: _, comment } = self;
        let Filter { upstream, account, reason, older_than } = filter;
        let body = WhichDeadLetters {
            id: *id,
            upstream: upstream.clone(),
            account: account.clone(),
            reason: reason.clone(),
            older_than_seconds: older_than.map(|time| time.as_secs()),
            all: *all,
            comment: None,
        };
        if body == WhichDeadLetters::default() {
            let line = "say which: an ID, a filter (--upstream, --account, --reason, --older-than), or --all --yes";
            return Err(Failure::Usage(line.to_owned()));
        }
        Ok(WhichDeadLetters { comment: comment.clone(), ..body })
    }
}

fn list(page: &Page<DeadLetterView>) -> String {
    let now = unix_millis();
    let mut table = Table::new(&[
        ">ID",
        "UPSTREAM",
        "ACCOUNT",
        "CONVERSATION",
        "EVENT",
        "REASON",
        ">ATTEMPTS",
        ">DIED AGO",
        ">SIZE",
    ]);
    for letter in &page.items {
        table.row(&[
            letter.id.to_string(),
            letter.upstream.clone(),
            letter.message.account.clone().unwrap_or_default(),
            letter.message.conversation.clone(),
            letter.message.event.clone(),
            letter.reason.clone(),
            letter.attempts.to_string(),
            duration(now.saturating_sub(letter.died) as f64 / 1000.0),
            size(letter.bytes.into()),
        ]);
    }
    super::page_text(&table, page, "no dead letters")
}

fn show(letter: &DeadLetterView) -> String {
    let now = unix_millis();
    let ago = |at: u64| duration(now.saturating_sub(at) as f64 / 1000.0);
    let message = &letter.message;
    let mut text = format!(
        "id            {}\nupstream      {}\nroute         {}\naccount       {}\nconversation  {}\nmessage id    {}\n\
         event         {}\nreason        {}\naccepted      {} ago\ndied          {} ago\nsize          {}\n\
         attempts      {}, {} of them broken off\n",
        letter.id,
        printable(&letter.upstream),
        printable(&message.route),
        printable(message.account.as_deref().unwrap_or("none")),
        printable(&message.conversation),
        printable(&message.message_id),
        printable(&message.event),
        printable(&letter.reason),
        ago(letter.accepted),
        ago(letter.died),
        size(letter.bytes.into()),
        letter.attempts,
        letter.breaks,
    );
    let mut table = Table::new(&[">AGO", "MASTER", "ENDED"]);
    for attempt in &letter.history {
        table.row(&[ago(attempt.at), attempt.master.clone(), attempt.ending.clone()]);
    }
    text.push('\n');
    text.push_str(&table.text());
    text
}
