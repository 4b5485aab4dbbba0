//! What the demo prints, for a reader who has never seen a load balancer: an explanation, one line a second, and a
//! sentence for everything that happens. Text in, text out; nothing here touches a process or a socket.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::demo::settings::MASTERS;
use crate::demo::status::Status;
use crate::sample::tally::{Tally, milliseconds};

/// The heading comes again after so many lines, about one screen.
const HEADING_EVERY: u32 = 20;
/// Columns of a master: its share and, when it is not healthy, its health.
const MASTER_WIDTH: usize = 16;

/// Colour, for a terminal only.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    pub color: bool,
}

/// What the introduction names.
pub struct Scene<'a> {
    pub rate: u32,
    pub proxy: (SocketAddr, i32),
    pub admin: SocketAddr,
    /// Name, address and process of each master.
    pub masters: Vec<(&'a str, SocketAddr, i32)>,
    pub config: &'a Path,
    pub log: &'a Path,
    pub script: bool,
}

impl Screen {
    #[must_use]
    pub fn introduction(self, scene: &Scene<'_>) -> String {
        let (proxy, proxy_pid) = scene.proxy;
        let (admin, config, log) = (scene.admin, scene.config.display(), scene.log.display());
        let mut text = format!(
            "\n{}\nA WhatsApp gateway sends {} webhooks a second through Baton to three bots, its \"masters\".\n\n",
            self.bold("Baton demo"),
            scene.rate
        );
        let middle = [proxy.to_string(), format!("process {proxy_pid}"), String::new()];
        for (row, ((name, address, pid), middle)) in scene.masters.iter().zip(&middle).enumerate() {
            let (left, arrow) = if row == 0 { ("gateway  ──▶  Baton", "──▶") } else { ("", "   ") };
            let _ = writeln!(text, "  {left:<20}{middle:<18}{arrow}  {name:<10}{address:<18}process {pid}");
        }
        text.push_str("\nLook, in a second terminal:\n");
        let looks = [
            (format!("curl http://{admin}/api/v1/status"), "what Baton knows about the masters".to_owned()),
            (format!("curl http://{admin}/metrics"), "the same for Prometheus".to_owned()),
            (format!("tail -f {log}"), "what Baton says".to_owned()),
        ];
        list(&mut text, &looks);
        if scene.script {
            text.push_str("\nThe script now breaks things by itself and says what it does.\n");
        } else if let [(dies, _, dies_pid), (hangs, _, hangs_pid), ..] = scene.masters[..] {
            text.push_str("\nTry, in a second terminal:\n");
            let tries = [
                (format!("kill -9 {dies_pid}"), format!("{dies} dies; the demo starts it again ten seconds later")),
                (format!("kill -STOP {hangs_pid}"), format!("{hangs} hangs; kill -CONT {hangs_pid} lets it go on")),
                (format!("edit {config}"), "a weight, the strategy, ...; saving is enough".to_owned()),
                (format!("kill -HUP {proxy_pid}"), "takes the file over at once".to_owned()),
            ];
            list(&mut text, &tries);
        }
        text.push_str(
            "\nCtrl-C ends everything and leaves nothing behind.\n\n\
             Each line is one second: webhooks answered, each master's share of them (and its health unless healthy),\n\
             webhooks failed, the slowest answer, and the longest pause between two answers.\n",
        );
        text
    }

    /// The line of one second, after the heading where one is due. `second` counts from 1.
    #[must_use]
    pub fn second(self, second: u32, window: &Tally, status: Option<&Status>) -> String {
        let mut text = String::new();
        if (second - 1).is_multiple_of(HEADING_EVERY) {
            text.push_str(&self.heading());
        }
        let _ = write!(text, "{:>3}:{:02}{:>12}   ", second / 60, second % 60, window.succeeded);
        for (index, name) in MASTERS.iter().enumerate() {
            let share = share(window, name);
            let health =
                status.and_then(|status| status.health[index].as_deref()).filter(|health| *health != "healthy");
            let cell = health.map_or_else(|| share.clone(), |health| format!("{share} {health}"));
            let padded = format!("{cell:<MASTER_WIDTH$}");
            text.push_str(&if health.is_some() { self.yellow(&padded) } else { padded });
        }
        let failed = format!("{:>6}", window.failed);
        text.push_str(&if window.failed > 0 { self.red(&failed) } else { failed });
        let (slowest, pause) = (window.latency.max(), window.largest_gap);
        let _ = writeln!(text, "{:>11}{:>11}", milliseconds(slowest), milliseconds(pause));
        text
    }

    fn heading(self) -> String {
        let names: String = MASTERS.iter().map(|name| format!("{name:<MASTER_WIDTH$}")).collect();
        let heading = format!("\n  time  webhooks/s   {names}failed    slowest      pause");
        format!("{}\n", self.bold(&heading))
    }

    /// What the script says, apart from the lines before and after it.
    #[must_use]
    pub fn narration(self, sentences: &str) -> String {
        format!("\n{}\n", self.event(sentences))
    }

    /// A sentence between the lines.
    #[must_use]
    pub fn event(self, sentence: &str) -> String {
        let mut text = String::new();
        for line in sentence.lines() {
            let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "        {}", self.cyan(line)) };
        }
        text
    }

    /// What changed between two readings of the status, as sentences.
    #[must_use]
    pub fn changes(before: Option<&Status>, now: Option<&Status>) -> Vec<String> {
        let (Some(before), Some(now)) = (before, now) else {
            return match (before, now) {
                (Some(_), None) => vec!["the status of Baton cannot be read at the moment".into()],
                _ => Vec::new(),
            };
        };
        let mut sentences = Vec::new();
        if before.generation != now.generation {
            sentences.push(format!("configuration generation {} is in force", now.generation));
        }
        match &now.config_error {
            Some(error) if before.config_error != now.config_error => {
                sentences.push(format!("the edited configuration is refused, the one before stays in use:\n{error}"));
            }
            None if before.config_error.is_some() => sentences.push("the configuration is right again".into()),
            _ => {}
        }
        for ((name, old), new) in MASTERS.iter().zip(&before.health).zip(&now.health) {
            if old != new {
                let word = |health: &Option<String>| health.clone().unwrap_or_else(|| "not configured".into());
                sentences.push(format!("health of {name}: was {}, is {}", word(old), word(new)));
            }
        }
        sentences
    }

    #[must_use]
    pub fn summary(self, tally: &Tally, elapsed: Duration) -> String {
        let failed = match tally.failed {
            0 => "not one of them failed".to_owned(),
            1 => self.red("1 failed"),
            failed => self.red(&format!("{failed} failed")),
        };
        let reasons: String = tally
            .by_status
            .iter()
            .filter(|(status, _)| !(200..=299).contains(*status))
            .map(|(status, count)| format!("  {count} answered with status {status}\n"))
            .chain(tally.unanswered.iter().map(|(reason, count)| format!("  {count} without an answer: {reason}\n")))
            .collect();
        format!(
            "\n{}\n{} webhooks in {:.0} s, {failed}; {} connections were closed.\n{reasons}\
             Answers took {} in the middle, {} at the 99th percentile, {} at most; the longest pause was {}.\n",
            self.bold("Summary"),
            tally.total(),
            elapsed.as_secs_f64(),
            tally.connections_closed,
            milliseconds(tally.latency.quantile(0.5)),
            milliseconds(tally.latency.quantile(0.99)),
            milliseconds(tally.latency.max()),
            milliseconds(tally.largest_gap),
        )
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// Commands with what they do, in two columns.
fn list(text: &mut String, entries: &[(String, String)]) {
    let width = entries.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, meaning) in entries {
        let _ = writeln!(text, "  {command:<width$}   {meaning}");
    }
}

fn share(window: &Tally, name: &str) -> String {
    let answered = window.by_master.get(name).copied().unwrap_or(0);
    let percent = (answered * 100 + window.succeeded / 2).checked_div(window.succeeded).unwrap_or(0);
    format!("{percent} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Screen = Screen { color: false };

    fn status(generation: u64, health: [&str; 3]) -> Status {
        Status { generation, config_error: None, health: health.map(|word| Some(word.to_owned())) }
    }

    fn window() -> Tally {
        let by_master = [("dubai-1".to_owned(), 134), ("dubai-2".to_owned(), 266)].into();
        Tally { succeeded: 400, by_master, ..Tally::default() }
    }

    #[test]
    fn a_second_shows_shares_and_names_a_master_that_is_not_healthy() {
        let line = PLAIN.second(62, &window(), Some(&status(1, ["healthy", "healthy", "failed"])));
        assert_eq!(
            line,
            "  1:02         400   34 %            67 %            0 % failed           0     0.0 ms     0.0 ms\n"
        );
    }

    #[test]
    fn the_heading_stands_over_its_columns() {
        let text = PLAIN.second(1, &window(), None);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        for (name, share) in [("dubai-1", "34 %"), ("dubai-2", "67 %")] {
            assert_eq!(lines[0].find(name), lines[1].find(share), "{text}");
        }
        assert_eq!(lines[0].chars().count(), lines[1].chars().count(), "{text}");
    }

    #[test]
    fn only_what_changed_is_told() {
        let before = status(1, ["healthy", "healthy", "healthy"]);
        let now = status(2, ["healthy", "failed", "healthy"]);
        assert_eq!(
            Screen::changes(Some(&before), Some(&now)),
            ["configuration generation 2 is in force", "health of dubai-2: was healthy, is failed"]
        );
        assert!(Screen::changes(Some(&now), Some(&now)).is_empty());
        let refused = Status { config_error: Some("unknown key".into()), ..now.clone() };
        assert!(Screen::changes(Some(&now), Some(&refused))[0].ends_with("unknown key"));
        assert_eq!(Screen::changes(Some(&refused), Some(&now)), ["the configuration is right again"]);
        assert!(Screen::changes(None, Some(&now)).is_empty());
    }

    #[test]
    fn colours_never_move_a_column() {
        let status = status(1, ["failed", "healthy", "unknown"]);
        let plain = PLAIN.second(1, &window(), Some(&status));
        let colored = Screen { color: true }.second(1, &window(), Some(&status));
        let mut stripped = colored;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[33m"] {
            stripped = stripped.replace(code, "");
        }
        assert_eq!(plain, stripped);
    }
}
