//! `baton ctl events`: what happens, a line each, as it happens.

use std::io::{self, Write};
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;

use super::client::Client;
use super::table::printable;
use super::{Answer, Failure, page_path};
use crate::admin::view::Page;
use crate::clock::Rfc3339;
use crate::events::{Event, Severity};

const PATH: &str = "/api/v1/events";
/// Longest piece of a stream: an event has a few hundred bytes.
const PIECE_BYTES_MAX: usize = 1 << 20;
/// Between two tries to reach a Baton that has gone.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these kinds, with commas between them
    #[arg(long, value_name = "KINDS")]
    kinds: Option<String>,
    /// Begin with those of the last while, at most so many
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    recent: u16,
    /// Do not wait for further ones
    #[arg(long)]
    no_follow: bool,
}

pub async fn run(client: &Client, args: &Args, json: bool) -> Result<Answer, Failure> {
    let nothing = Answer { json: Value::Null, text: String::new() };
    let kinds = ("kinds", args.kinds.as_deref());
    let mut last = None;
    let recent: Page<Event> =
        client.get(&page_path(&format!("{PATH}/recent"), &[kinds], usize::from(args.recent.max(1)), None)).await?;
    for event in recent.items.iter().rev() {
        last = Some(event.id);
        if args.recent > 0 && print(event, json).is_err() {
            return Ok(nothing);
        }
    }
    if args.no_follow {
        return Ok(nothing);
    }
    let mut reached = true;
    loop {
        match follow(client, kinds, &mut last, json).await {
            Ok(Ended::ReaderGone) => return Ok(nothing),
            Ok(Ended::Stream) => reached = true,
            // Baton, or the way to it, comes back; a refusal stays one.
            Err(failure) if reached => {
                let _ = writeln!(io::stderr(), "{failure}; trying again");
                reached = false;
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

enum Ended {
    Stream,
    /// Nobody reads what is printed.
    ReaderGone,
}

/// Prints what one stream brings.
async fn follow(
    client: &Client,
    kinds: (&str, Option<&str>),
    last: &mut Option<u64>,
    json: bool,
) -> Result<Ended, Failure> {
    let after = last.map(|last| last.to_string());
    let path = with_query(&[kinds, ("after", after.as_deref())]);
    let mut body = client.open(&path).await?;
    let mut pending = Vec::new();
    loop {
        let frame = match body.frame().await {
            Some(Ok(frame)) => frame,
            // It ends now and then; that one broke off is no more than that.
            Some(Err(_)) | None => return Ok(Ended::Stream),
        };
        pending.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
            let piece: Vec<u8> = pending.drain(..end + 2).collect();
            let piece = Piece::read(&String::from_utf8_lossy(&piece));
            *last = piece.id.or(*last);
            let printed = match (piece.event.as_deref(), piece.data.as_deref()) {
                (None, Some(data)) => match serde_json::from_str::<Event>(data) {
                    Ok(event) => print(&event, json),
                    // Of a kind that a newer Baton knows.
                    Err(_) => writeln!(io::stdout(), "{}", if json { data.to_owned() } else { printable(data) }),
                },
                (Some("missed"), _) => writeln!(io::stderr(), "some events were missed"),
                _ => Ok(()),
            };
            if printed.is_err() {
                return Ok(Ended::ReaderGone);
            }
        }
        if pending.len() > PIECE_BYTES_MAX {
            return Err(Failure::Failed("what answers is no stream of events".to_owned()));
        }
    }
}

/// The lines of one piece of a stream, as far as they are used here.
#[derive(Debug, Default, PartialEq)]
struct Piece {
    id: Option<u64>,
    event: Option<String>,
    data: Option<String>,
}

impl Piece {
    fn read(text: &str) -> Self {
        let mut piece = Self::default();
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => piece.id = id.parse().ok(),
                Some(("event", event)) => piece.event = Some(event.to_owned()),
                Some(("data", data)) => piece.data = Some(data.to_owned()),
                _ => {}
            }
        }
        piece
    }
}

fn with_query(parameters: &[(&str, Option<&str>)]) -> String {
    let pairs = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
    let query = pairs.collect::<Vec<_>>().join("&");
    if query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{query}") }
}

fn print(event: &Event, json: bool) -> io::Result<()> {
    let mut out = io::stdout();
    if json {
        writeln!(out, "{}", serde_json::json!(event))?;
    } else {
        let severity = match event.severity {
            Severity::Info => "info",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        };
        let (at, kind) = (Rfc3339(event.at), event.kind.word());
        writeln!(out, "{at}  {severity:<8}  {kind:<20}  {}", printable(&event.message))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_stream_is_read_line_by_line() {
        let read = Piece::read("id: 7\nevent: missed\ndata: {\"missed\":2}\n\n");
        let expected = Piece { id: Some(7), event: Some("missed".into()), data: Some("{\"missed\":2}".into()) };
        assert_eq!(read, expected);
        assert_eq!(Piece::read(": alive\nid: 9\n\n"), Piece { id: Some(9), ..Piece::default() });
    }

    #[test]
    fn only_what_is_asked_for_stands_in_the_query() {
        assert_eq!(with_query(&[("kinds", None), ("after", None)]), PATH);
        assert_eq!(with_query(&[("kinds", Some("a,b")), ("after", Some("7"))]), format!("{PATH}?kinds=a,b&after=7"));
    }
}
