//! `baton ctl status --watch`: the status each second, for as long as somebody looks.
//!
//! On a terminal it has a screen of its own, which is given back however it ends; elsewhere it is plain text, one picture after the
//! other, and with `--json` a document a line.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::client::Client;
use super::status::{read, text};
use super::{Answer, Failure};
use crate::clock::{Rfc3339, unix_millis};

/// Between two pictures.
const PACE: Duration = Duration::from_secs(1);
/// Columns that all of a master takes, with names of usual length.
const WIDE: usize = 130;
/// Where the terminal does not say how large it is.
const SIZE: (usize, usize) = (80, 24);

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Shows it until Ctrl-C, or until nobody reads any more.
///
/// # Errors
/// Nobody answers at first. Later that is part of the picture.
pub async fn run(client: &Client, json: bool) -> Result<Answer, Failure> {
    let caught = |kind| signal(kind).map_err(|error| Failure::Failed(format!("cannot wait for signals: {error}")));
    let (mut interrupt, mut terminate) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    let mut resized = caught(SignalKind::window_change())?;
    let mut status = read(client).await?;
    let mut lost = None;
    let screen = (!json && io::stdout().is_terminal()).then(Screen::enter);
    let mut pace = tokio::time::interval(PACE);
    pace.tick().await;
    loop {
        let picture = |width: usize| {
            let lost: String = lost.iter().map(|why| format!("Baton does not answer: {why}\n")).collect();
            format!("{}\n{lost}{}", Rfc3339(unix_millis()), text(&status.1, width < WIDE))
        };
        let shown = match &screen {
            Some(screen) => screen.show(&picture),
            None if json => writeln!(io::stdout(), "{}", status.0),
            None => writeln!(io::stdout(), "{}", picture(usize::MAX)),
        };
        // Whoever read it has gone.
        if shown.and_then(|()| io::stdout().flush()).is_err() {
            break;
        }
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = resized.recv() => continue,
            _ = pace.tick() => {}
        }
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            read = read(client) => match read {
                Ok(read) => (status, lost) = (read, None),
                Err(failure) => lost = Some(failure.to_string()),
            },
        }
    }
    drop(screen);
    Ok(Answer { json: serde_json::Value::Null, text: String::new() })
}

/// The terminal's second screen, left when it is dropped.
struct Screen {
    colours: bool,
}

impl Screen {
    fn enter() -> Self {
        let _ = write!(io::stdout(), "{ENTER}");
        // https://no-color.org
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { colours }
    }

    fn show(&self, picture: &dyn Fn(usize) -> String) -> io::Result<()> {
        let (columns, rows) = rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)))
            .filter(|(columns, rows)| *columns > 0 && *rows > 0)
            .unwrap_or(SIZE);
        write!(io::stdout(), "{}", frame(&picture(columns), columns, rows, self.colours))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write!(io::stdout(), "{LEAVE}").and_then(|()| io::stdout().flush());
    }
}

/// What draws a text over the one before: no line wraps, and none is left over.
fn frame(text: &str, columns: usize, rows: usize, colours: bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut drawn = String::from("\x1b[H");
    for (index, line) in lines.iter().take(rows).enumerate() {
        let hidden = lines.len() - index;
        let line = if index + 1 == rows && hidden > 1 {
            cut(&format!("and {hidden} lines more"), columns)
        } else {
            cut(line, columns)
        };
        if index > 0 {
            drawn.push_str("\r\n");
        }
        drawn.push_str(&if colours { painted(&line) } else { line });
        drawn.push_str("\x1b[K");
    }
    drawn.push_str("\x1b[J");
    drawn
}

fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    line.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// With words of states in their colours; the words say the same without.
fn painted(line: &str) -> String {
    let paint = |word: &str| {
        let colour = match word {
            "failed" | "open" | "fenced" | "FULL," | "FAILED," | "nobody" => 31,
            "degraded" | "half-open" | "drain" | "maintenance" | "unknown" | "ejected" | "silent" => 33,
            "healthy" => 32,
            _ => return word.to_owned(),
        };
        format!("\x1b[{colour}m{word}\x1b[0m")
    };
    line.split(' ').map(paint).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_and_no_picture_higher_than_the_terminal() {
        let text = "a line that is long\nb\nc\nd\n";
        assert_eq!(frame(text, 8, 10, false), "\x1b[Ha line …\x1b[K\r\nb\x1b[K\r\nc\x1b[K\r\nd\x1b[K\x1b[J");
        assert_eq!(frame(text, 40, 2, false), "\x1b[Ha line that is long\x1b[K\r\nand 3 lines more\x1b[K\x1b[J");
        assert_eq!(frame("", 0, 0, false), "\x1b[H\x1b[J");
    }

    #[test]
    fn colours_are_beside_the_words_and_only_where_wanted() {
        assert_eq!(frame("a  failed", 20, 5, true), "\x1b[Ha  \x1b[31mfailed\x1b[0m\x1b[K\x1b[J");
        assert!(!frame("a  failed", 20, 5, false).contains("\x1b[31m"));
    }
}
