//! The control plane's own log: one line for each event, on standard error.
//!
//! JSON for machines, text for a terminal. In both, nothing inside an event can end its line or steer a terminal. The
//! data path does not log: standard error may be a pipe that nobody empties, and a write to it waits.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::escape::is_printable;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line of text.
    Human,
    /// A JSON object.
    Json,
}

impl Format {
    /// Text when someone is looking at standard error, JSON when something else collects it.
    #[must_use]
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() { Self::Human } else { Self::Json }
    }
}

/// Changes the level while the program runs.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<Targets, Registry>);

/// Why the log could not be set up or changed.
#[derive(Debug)]
pub enum LogError {
    /// Not one of `error`, `warn`, `info`, `debug`, `trace`.
    UnknownLevel(String),
    /// Something has set up a log for this process already.
    AlreadySet,
    /// The log has been taken down.
    Gone,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLevel(level) => {
                write!(f, "logging.level is {level:?}; it must be one of error, warn, info, debug, trace")
            }
            Self::AlreadySet => f.write_str("this process has a log already; set it up once"),
            Self::Gone => f.write_str("the log has been taken down; its level cannot change any more"),
        }
    }
}

impl std::error::Error for LogError {}

/// Sends this process's events to standard error from now on.
pub fn init(level: &str, format: Format) -> Result<LogLevel, LogError> {
    let (subscriber, handle) = subscriber(level, format, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
    Ok(handle)
}

impl LogLevel {
    /// Applies a level from the configuration.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        self.0.reload(targets(level)?).map_err(|_| LogError::Gone)
    }
}

fn subscriber<W>(
    level: &str,
    format: Format,
    writer: W,
) -> Result<(impl tracing::Subscriber + use<W>, LogLevel), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let layer = match format {
        Format::Json => layer.json().flatten_event(true).boxed(),
        Format::Human => layer.fmt_fields(debug_fn(write_field).delimited(" ")).boxed(),
    };
    Ok((tracing_subscriber::registry().with(filter).with(layer), LogLevel(handle)))
}

/// Baton's own events at `level`; those of libraries from warnings up, unless fewer are wanted.
fn targets(level: &str) -> Result<Targets, LogError> {
    let level = match level {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        other => return Err(LogError::UnknownLevel(other.to_owned())),
    };
    // The crate warns about each client that breaks the protocol, which is counted and no trouble of whoever reads the log.
    Ok(Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("h2", LevelFilter::ERROR)
        .with_target("baton", level))
}

/// A field as text: the message as it is, others as `name=value`, with whatever is not printable written out.
fn write_field(writer: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    write!(Printable(writer), "{value:?}")
}

/// Passes printable text on and writes the rest as escapes.
struct Printable<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if is_printable(character) {
                self.0.write_char(character)?;
            } else {
                write!(self.0, "{}", character.escape_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the events that `run` causes look like.
    fn logged(level: &str, format: Format, run: impl FnOnce(&LogLevel)) -> Vec<String> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, handle) = subscriber(level, format, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || run(&handle));
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    const NASTY: &str = "a\n2026-11-21T00:00:00Z ERROR forged\u{1b}[2J\u{202e}";

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for format in [Format::Human, Format::Json] {
            let lines = logged("info", format, |_| tracing::info!(host = %NASTY, path = ?NASTY, "{NASTY}"));
            let [line] = lines.as_slice() else { panic!("{format:?}: {lines:?}") };
            assert!(!line.chars().any(|c| c.is_control()), "{line}");
        }
    }

    #[test]
    fn text_shows_the_message_and_the_fields_as_they_are() {
        let lines = logged("info", Format::Human, |_| tracing::info!(master = "dubai-1", tries = 3, "master failed"));
        assert!(lines[0].ends_with("master failed master=\"dubai-1\" tries=3"), "{lines:?}");
        assert!(lines[0].contains(" INFO "), "{lines:?}");
    }

    #[test]
    fn json_has_the_fields_beside_the_message() {
        let lines = logged("info", Format::Json, |_| tracing::warn!(master = "dubai-1", tries = 3, "master failed"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["master"], &line["tries"]),
            (&"WARN".into(), &"master failed".into(), &"dubai-1".into(), &3.into())
        );
    }

    #[test]
    fn the_level_changes_while_the_program_runs() {
        let lines = logged("warn", Format::Human, |level| {
            tracing::info!("one");
            level.set("info").unwrap();
            tracing::info!("two");
            level.set("error").unwrap();
            tracing::warn!("three");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].ends_with("two"));
    }

    #[test]
    fn libraries_are_heard_from_warnings_up_only() {
        let lines = logged("trace", Format::Human, |_| {
            tracing::info!(target: "hyper", "noise");
            tracing::warn!(target: "hyper", "news");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let lines = logged("error", Format::Human, |_| tracing::warn!(target: "hyper", "news"));
        assert!(lines.is_empty(), "{lines:?}");
    }

    #[test]
    fn an_unknown_level_is_named() {
        let error = targets("loud").unwrap_err();
        assert_eq!(error.to_string(), "logging.level is \"loud\"; it must be one of error, warn, info, debug, trace");
    }
}
