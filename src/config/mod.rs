//! The configuration file: its shape, its meaning, and what is wrong with it.
//!
//! A text goes through `tree` (YAML with places, variables put in), `shape` (keys and types, declared in `file`) and
//! `validate` (what only makes sense together), and becomes a [`model::Config`]. All errors of all three are reported at
//! once; see [`Diagnostics`].

mod diagnostic;
mod diff;
mod edit;
mod file;
mod foreign;
pub mod model;
mod redact;
mod schema;
mod shape;
mod substitute;
mod tree;
mod units;
mod validate;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diagnostic::Source;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use diff::diff;
pub use edit::{CannotEdit, Edit, edit};
use model::Config;
pub use redact::redact;
pub use schema::{reference, schema};
use shape::Decoder;
use substitute::Resolver;
pub use substitute::{Lookup, System};
use tree::Tree;
pub use units::{show_size, show_time};

/// Largest text that is looked at. A master takes a few hundred bytes, so this is room for thousands.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// A configuration that is right, and what else is known about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// As it was read.
    pub text: String,
    /// What is allowed and yet probably not meant.
    pub warnings: Diagnostics,
    /// Hash of the text and of every variable and file it names, certificates included. Equal hashes: nothing changed.
    pub hash: u64,
    /// Files it names that were read, in order; the configuration file itself is not among them.
    pub files: Vec<PathBuf>,
}

/// Reads and checks a file; variables are those of this process, and relative paths start at the working directory.
/// Blocks while it reads.
///
/// # Errors
/// All that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    parse(&read(path)?, path, &System)
}

/// The text of a file. Blocks while it reads; of one that is too large, so much that [`parse`] refuses it.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn read(path: &Path) -> Result<String, Diagnostics> {
    let cannot_read = |reason: &dyn std::fmt::Display| {
        Diagnostics::of_file(path, format!("cannot read {}: {reason}", diagnostic::code(&path.to_string_lossy())))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        cannot_read(&format!("line {line} is not UTF-8"))
    })
}

/// A duration above zero as a configuration has it: `30d`.
///
/// # Errors
/// How to write one.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    <units::Time as shape::Scalar>::parse(text).map(|time| time.0)
}

/// Checks a text. `origin` is the name it has in messages, `lookup` where variables and files come from.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(text: &str, origin: &Path, lookup: &dyn Lookup) -> Result<Loaded, Diagnostics> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Diagnostics::of_file(origin, format!("it is larger than {TEXT_BYTES_MAX} bytes")));
    }
    let whole = text;
    // Some editors begin a file with a mark of its encoding.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut resolver = Resolver::new(lookup, text);
    let mut reports = Vec::new();
    let Some(tree) = Tree::parse(text, &mut resolver, &mut reports) else {
        return Err(Source { origin, text, secrets: None }.diagnose(reports));
    };
    let mut decoder = Decoder { tree, reports };
    let file = decoder.at(decoder.tree.root());
    let config = validate::check(&file, &mut decoder, &mut resolver);
    let source = Source { origin, text, secrets: Some(decoder.tree.secrets()) };
    let diagnostics = source.diagnose(decoder.reports);
    let (hash, files) = resolver.finish();
    match config {
        Some(config) if !diagnostics.has_errors() => {
            Ok(Loaded { config, text: whole.to_owned(), warnings: diagnostics, hash, files })
        }
        _ => Err(diagnostics),
    }
}
