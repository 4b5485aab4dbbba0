//! What is wrong with a configuration, and how it is said: the place, the key, what was found, the way out.
//!
//! A [`Report`] is made while the text is looked at; [`Source::diagnose`] turns all of them into [`Diagnostics`], which
//! own everything they print. No secret and no control character of the text gets into them.

use std::fmt;
use std::path::{Path, PathBuf};

/// Diagnostics that are kept of one text. Who has more to repair has one cause behind them.
const DIAGNOSTICS_MAX: usize = 100;

/// Characters of a source line that are shown around the place in question.
const LINE_CHARS_MAX: usize = 100;

/// Characters of a found value that are repeated in a message.
const FOUND_CHARS_MAX: usize = 60;

/// Characters of the way to a key; the longest there is has some seventy.
const PATH_CHARS_MAX: usize = 200;

/// Words in a key that make its value one that is never shown.
const SECRET_WORDS: [&str; 8] =
    ["secret", "token", "password", "passwd", "credential", "private", "authorization", "api_key"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// A stretch of the text; lines and columns count characters from 1, and the end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
}

impl Place {
    /// One character.
    pub fn point(line: usize, column: usize) -> Self {
        Self { line, column, end_line: line, end_column: column + 1 }
    }

    /// Its first character.
    pub fn start(self) -> Self {
        Self::point(self.line, self.column)
    }

    /// The columns it takes in one line.
    pub fn columns_in(self, line: usize) -> Option<(usize, usize)> {
        let first = if line == self.line { self.column } else { 1 };
        let end = if line == self.end_line { self.end_column } else { usize::MAX };
        (self.line <= line && line <= self.end_line && first < end).then_some((first, end))
    }
}

/// One finding, before it is tied to its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    severity: Severity,
    message: String,
    place: Place,
    path: String,
    notes: Vec<Note>,
}

/// A line below a diagnostic: `= help: did you mean ...`.
type Note = (&'static str, String);

impl Report {
    pub fn error(message: impl Into<String>, place: Place) -> Self {
        Self { severity: Severity::Error, message: message.into(), place, path: String::new(), notes: Vec::new() }
    }

    pub fn warning(message: impl Into<String>, place: Place) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, place) }
    }

    /// The key in question. Keys are as free as values until they are known, so the way to it is escaped and cut like one.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        self.path = shown(path, PATH_CHARS_MAX);
        self
    }

    /// A way out.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.notes.push(("help", text.into()));
        self
    }

    /// Something to know.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(("note", text.into()));
        self
    }

    /// What the key in question is for.
    #[must_use]
    pub fn meaning(mut self, text: impl Into<String>) -> Self {
        self.notes.push(("meaning", text.into()));
        self
    }

    /// What would have been right.
    #[must_use]
    pub fn allowed(mut self, text: impl Into<String>) -> Self {
        self.notes.push(("allowed", text.into()));
        self
    }
}

/// One finding, ready to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// In lower case, without a full stop.
    pub message: String,
    /// From 1; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// From 1, in characters; 0 when the finding is about the file as a whole.
    pub column: usize,
    /// The key: `upstreams[0].masters[2].weight`; empty when there is none.
    pub path: String,
    /// What would be right and how to get there, each with its label.
    pub notes: Vec<Note>,
    snippet: Option<Snippet>,
}

/// A source line, fit to be shown, and which of its characters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snippet {
    text: String,
    skip: usize,
    length: usize,
}

/// All findings about one text, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    origin: PathBuf,
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostics {
    /// One error about a file as a whole.
    pub fn of_file(origin: &Path, message: String) -> Self {
        let (severity, path, notes) = (Severity::Error, String::new(), Vec::new());
        let diagnostic = Diagnostic { severity, message, line: 0, column: 0, path, notes, snippet: None };
        Self { origin: origin.to_owned(), list: vec![diagnostic], left_out: 0 }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each finding in one line, for a log: the place, the key, what is wrong, the way out. At most `most` of them, and then
    /// one that counts the others.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let origin = self.origin.display();
        let mut lines: Vec<String> = self.list.iter().take(most).map(|finding| finding.line(&self.origin)).collect();
        match self.list.len().saturating_sub(most) + self.left_out {
            0 => {}
            more => lines.push(format!("{origin}: {more} more; `baton check --config {origin}` shows everything")),
        }
        lines
    }

    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}

impl std::error::Error for Diagnostics {}

/// Everything in full, and a line that counts.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin.display();
        for diagnostic in &self.list {
            diagnostic.write(f, &self.origin)?;
            writeln!(f)?;
        }
        if self.left_out > 0 {
            writeln!(f, "{} more are not shown", self.left_out)?;
        }
        let counts: Vec<String> = [(Severity::Error, "error"), (Severity::Warning, "warning")]
            .into_iter()
            .map(|(severity, word)| (self.count(severity), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| plural(count, word))
            .collect();
        if counts.is_empty() {
            write!(f, "{origin} is well")
        } else {
            write!(f, "{} in {origin}", counts.join(" and "))
        }
    }
}

impl Diagnostic {
    fn line(&self, origin: &Path) -> String {
        let mut line = origin.display().to_string();
        if self.line > 0 {
            line.push_str(&format!(":{}:{}", self.line, self.column));
        }
        for part in [&self.path, &self.message] {
            if !part.is_empty() {
                line.push_str(": ");
                line.push_str(part);
            }
        }
        for (label, text) in &self.notes {
            line.push_str(&format!("; {label}: {text}"));
        }
        line
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, origin: &Path) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{word}: {}", self.message)?;
        let width = self.line.to_string().len();
        let origin = origin.display();
        if self.line > 0 {
            writeln!(f, "{:width$}--> {origin}:{}:{}", "", self.line, self.column)?;
        }
        if let Some(Snippet { text, skip, length }) = &self.snippet {
            writeln!(f, "{:width$} |", "")?;
            writeln!(f, "{} | {text}", self.line)?;
            writeln!(f, "{:width$} | {:skip$}{}", "", "", "^".repeat(*length))?;
        }
        if !self.path.is_empty() {
            writeln!(f, "{:width$} = at: {}", "", self.path)?;
        }
        for (label, text) in &self.notes {
            writeln!(f, "{:width$} = {label}: {text}", "")?;
        }
        Ok(())
    }
}

/// A text with what must not be shown of it.
pub struct Source<'a> {
    pub origin: &'a Path,
    pub text: &'a str,
    /// Places of secret values; `None` when the text could not be parsed, so that they are guessed line by line.
    pub secrets: Option<Vec<Place>>,
}

impl Source<'_> {
    pub fn diagnose(&self, mut reports: Vec<Report>) -> Diagnostics {
        reports.sort_by_key(|report| (report.place.line, report.place.column, report.severity));
        // Errors are what the reader needs; a warning never takes the place of one.
        let (mut errors, warnings): (Vec<_>, Vec<_>) =
            reports.into_iter().partition(|report| report.severity == Severity::Error);
        let all = errors.len() + warnings.len();
        errors.extend(warnings);
        errors.truncate(DIAGNOSTICS_MAX);
        errors.sort_by_key(|report| (report.place.line, report.place.column, report.severity));
        let lines: Vec<&str> = self.text.lines().collect();
        let list: Vec<Diagnostic> = errors.into_iter().map(|report| self.tie(report, &lines)).collect();
        Diagnostics { origin: self.origin.to_owned(), left_out: all - list.len(), list }
    }

    fn tie(&self, report: Report, lines: &[&str]) -> Diagnostic {
        let Report { severity, message, place, path, notes } = report;
        let snippet = lines.get(place.line.wrapping_sub(1)).map(|line| self.snippet(line, place));
        Diagnostic { severity, message, line: place.line, column: place.column, path, notes, snippet }
    }

    fn snippet(&self, line: &str, place: Place) -> Snippet {
        // Of a long line, only what is near is looked at: there are many diagnostics, and many secrets.
        let first = place.column.saturating_sub(2 * LINE_CHARS_MAX).max(1);
        let characters: Vec<char> = line.chars().skip(first - 1).take(4 * LINE_CHARS_MAX).collect();
        let part = Part { first, characters };
        let hidden = match &self.secrets {
            Some(places) => places.iter().filter_map(|secret| part.columns(*secret, place.line)).collect(),
            None => guess_secret(line).map(|first| (first, usize::MAX)).into_iter().collect::<Vec<_>>(),
        };
        let shown = part.shown(&hidden);
        let (begin, end) = part.columns(place, place.line).unwrap_or((place.column, place.column + 1));
        let meant = |character: &Shown| character.first < end && begin < character.end;
        let mut skip = shown.iter().position(meant).unwrap_or(shown.len());
        let mut length = shown.iter().filter(|character| meant(character)).count().max(1);
        // A long line is cut on both sides, so that the place stays in view.
        let from = skip.saturating_sub(LINE_CHARS_MAX / 2).min(shown.len().saturating_sub(LINE_CHARS_MAX));
        let to = shown.len().min(from + LINE_CHARS_MAX);
        let mut text: String = shown[from..to].iter().map(|character| character.character).collect();
        skip -= from;
        if from > 0 || first > 1 {
            text.insert(0, '…');
            skip += 1;
        }
        if to < shown.len() || part.characters.len() == 4 * LINE_CHARS_MAX {
            text.push('…');
        }
        length = length.min((text.chars().count() + 1).saturating_sub(skip).max(1));
        Snippet { text: text.trim_end().to_owned(), skip, length }
    }
}

/// A part of a line, from column `first`.
struct Part {
    first: usize,
    characters: Vec<char>,
}

/// A character as it is shown, and the columns of the line that it stands for.
#[derive(Clone, Copy)]
struct Shown {
    character: char,
    first: usize,
    end: usize,
}

impl Part {
    /// The columns that a place takes here, without blanks at its end: those after a quoted value count as its own.
    fn columns(&self, place: Place, line: usize) -> Option<(usize, usize)> {
        let (first, end) = place.columns_in(line)?;
        let limit = self.first + self.characters.len();
        if end <= self.first || limit <= first || limit < end {
            return (end > self.first).then_some((first, end));
        }
        let before = &self.characters[first.max(self.first) - self.first..end - self.first];
        let blanks = before.iter().rev().take_while(|character| **character == ' ').count();
        Some((first, (end - blanks).max(first + 1)))
    }

    /// Its characters, with stars for hidden columns, and control characters escaped.
    fn shown(&self, hidden: &[(usize, usize)]) -> Vec<Shown> {
        let mut shown: Vec<Shown> = Vec::with_capacity(self.characters.len());
        for (first, &character) in (self.first..).zip(&self.characters) {
            let end = first + 1;
            match hidden.iter().find(|(begin, end)| (*begin..*end).contains(&first)) {
                Some(&(begin, end)) if begin == first || shown.is_empty() => {
                    shown.extend([Shown { character: '*', first: begin, end }; 3]);
                }
                Some(_) => {}
                None if character == '\t' => shown.push(Shown { character: ' ', first, end }),
                None if is_unprintable(character) => {
                    shown.extend(character.escape_unicode().map(|character| Shown { character, first, end }));
                }
                None => shown.push(Shown { character, first, end }),
            }
        }
        shown
    }
}

/// The column after `some_secret:` in a line.
pub fn guess_secret(line: &str) -> Option<usize> {
    let mut key = String::new();
    for (column, character) in (1..).zip(line.chars()) {
        if character == ':' && is_secret_key(&key) {
            let blanks = line.chars().skip(column).take_while(|after| *after == ' ').count();
            return Some(column + 1 + blanks);
        }
        if character.is_alphanumeric() || "_-\"' \t".contains(character) { key.push(character) } else { key.clear() }
    }
    None
}

/// Whether values under such a key are kept out of messages.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// A value as messages show it: escaped, cut and in backticks.
pub fn code(text: &str) -> String {
    format!("`{}`", shown(text, FOUND_CHARS_MAX))
}

/// The first `most` characters, escaped.
fn shown(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == most {
            out.push('…');
            break;
        }
        if is_unprintable(character) { out.extend(character.escape_default()) } else { out.push(character) }
    }
    out
}

/// Characters that a terminal obeys, and those that are invisible or turn the direction of a text.
fn is_unprintable(character: char) -> bool {
    let is_format =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    character.is_control() || is_format
}

/// `1 error`, `2 errors`.
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// The known word that was probably meant: at most a third of its letters differ, and case and `-` or `_` count nothing.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No known word is as long; this bounds the work on a hostile text.
    if word.chars().count() > 40 {
        return None;
    }
    let word = normal(word);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &normal(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(3)) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normal(word: &str) -> Vec<char> {
    word.to_ascii_lowercase().replace('_', "-").chars().collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &str, secrets: Option<Vec<Place>>, place: Place) -> String {
        Source { origin: Path::new("a.yaml"), text, secrets }.diagnose(vec![Report::error("wrong", place)]).to_string()
    }

    #[test]
    fn the_place_is_shown_with_a_caret_below_it() {
        let shown = print("a: 1\nb: long\n", Some(vec![]), Place { line: 2, column: 4, end_line: 2, end_column: 8 });
        assert_eq!(shown, "error: wrong\n --> a.yaml:2:4\n  |\n2 | b: long\n  |    ^^^^\n\n1 error in a.yaml");
    }

    #[test]
    fn the_way_to_a_key_is_escaped_and_cut() {
        let at = |path: &str| Report::error("wrong", Place::point(1, 1)).at(path).path;
        assert_eq!(at("listeners[0].a\nb\u{1b}"), "listeners[0].a\\nb\\u{1b}");
        assert_eq!(at(&"a".repeat(PATH_CHARS_MAX + 1)), format!("{}…", "a".repeat(PATH_CHARS_MAX)));
    }

    #[test]
    fn a_secret_is_shown_as_stars_and_the_caret_stays_with_its_word() {
        let secret = Place { line: 1, column: 9, end_line: 1, end_column: 16 };
        let shown = print(
            "secret: hunter2 # x",
            Some(vec![secret]),
            Place { line: 1, column: 19, end_line: 1, end_column: 20 },
        );
        assert!(shown.contains("1 | secret: *** # x\n  |               ^\n"), "{shown}");
        let guessed = print("{ app_secret: \"hunter2", None, Place::point(1, 23));
        assert!(guessed.contains("app_secret: ***\n") && !guessed.contains("hunter2"), "{guessed}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = print(&text, Some(vec![]), Place::point(1, 501));
        let line = shown.lines().find(|line| line.contains('X')).unwrap();
        assert!(line.chars().count() < 120);
        let caret = shown.lines().find(|line| line.contains('^')).unwrap();
        let column = |line: &str, sought: char| line.chars().position(|character| character == sought);
        assert_eq!(column(line, 'X'), column(caret, '^'));
    }

    #[test]
    fn control_characters_never_reach_the_reader() {
        let shown = print("a: \u{1b}[31mred", Some(vec![]), Place::point(1, 1));
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        assert_eq!(code("a\u{7}\n"), "`a\\u{7}\\n`");
        assert_eq!(code("a\u{202e}b"), "`a\\u{202e}b`");
    }

    #[test]
    fn the_nearest_word_is_one_that_differs_little() {
        let known = ["strategy", "masters", "round-robin"];
        assert_eq!(nearest("strateggy", known), Some("strategy"));
        assert_eq!(nearest("Round_Robin", known), Some("round-robin"));
        assert_eq!(nearest("amsters", known), Some("masters"));
        assert_eq!(nearest("weight", known), None);
    }

    #[test]
    fn errors_are_kept_before_warnings_and_their_number_is_bounded() {
        let place = Place::point(1, 1);
        let mut reports = vec![Report::warning("w", place); 150];
        reports.push(Report::error("e", place));
        let diagnostics = Source { origin: Path::new("a"), text: "", secrets: None }.diagnose(reports);
        assert!(diagnostics.has_errors());
        assert_eq!((diagnostics.iter().count(), diagnostics.left_out), (DIAGNOSTICS_MAX, 51));
    }
}
