//! `baton ctl spool`: what is stored and waits for its delivery.

use clap::Subcommand;

use super::client::Client;
use super::table::{Table, duration, printable, size};
use super::{Answer, Failure, page_path};
use crate::admin::view::{Page, PendingView, SpoolSummary};
use crate::clock::unix_millis;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List messages that wait, the oldest first
    List {
        /// At most so many, up to 1000
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Go on where the list before ended
        #[arg(long)]
        cursor: Option<String>,
    },
}

pub async fn run(client: &Client, args: &Args) -> Result<Answer, Failure> {
    match &args.command {
        None => {
            let summary: SpoolSummary = client.get("/api/v1/spool").await?;
            Answer::new(&summary, text(&summary))
        }
        Some(Command::List { limit, cursor }) => {
            let page: Page<PendingView> =
                client.get(&page_path("/api/v1/spool/messages", &[], *limit, cursor.as_deref())).await?;
            Answer::new(&page, list(&page))
        }
    }
}

fn text(spool: &SpoolSummary) -> String {
    let mut text = format!(
        "pending       {} messages, {}{}\ndead letters  {}, {}\non disk       {}\nremembered    {} ids\n\
         since start   {} stored, {} duplicates\n",
        spool.pending,
        size(spool.pending_bytes),
        if spool.pending > 0 { format!(", the oldest for {}", duration(spool.oldest_seconds)) } else { String::new() },
        spool.dead_letters,
        size(spool.dead_letter_bytes),
        size(spool.disk_bytes),
        spool.remembered,
        spool.stored,
        spool.duplicates,
    );
    if spool.damaged > 0 {
        text.push_str(&format!("damaged       {} messages cannot be read; they are kept\n", spool.damaged));
    }
    if let Some(full) = &spool.full {
        text.push_str(&format!("FULL          webhooks are answered 503: the limit is {}\n", printable(full)));
    }
    if let Some(failed) = &spool.failed {
        text.push_str(&format!("FAILED        nothing is accepted any more: {}\n", printable(failed)));
    }
    text
}

fn list(page: &Page<PendingView>) -> String {
    let now = unix_millis();
    let mut table =
        Table::new(&[">ID", "UPSTREAM", "ACCOUNT", "CONVERSATION", "EVENT", ">AGE", ">ATTEMPTS", ">NEXT IN", "LAST"]);
    for pending in &page.items {
        let message = pending.message.as_ref();
        let last = pending.history.last().map(|last| format!("{}: {}", last.master, last.ending));
        table.row(&[
            pending.id.to_string(),
            pending.upstream.clone(),
            message.and_then(|message| message.account.clone()).unwrap_or_default(),
            message.map_or_else(String::new, |message| message.conversation.clone()),
            message.map_or_else(|| "cannot be read".to_owned(), |message| message.event.clone()),
            duration(now.saturating_sub(pending.accepted) as f64 / 1000.0),
            pending.attempts.to_string(),
            duration(pending.due.saturating_sub(now) as f64 / 1000.0),
            last.unwrap_or_default(),
        ]);
    }
    super::page_text(&table, page, "nothing waits")
}
