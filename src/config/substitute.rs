//! `${NAME}` and `${file:PATH}`: values that come from the environment and from files.
//!
//! Secrets then need not stand in the configuration. What was put in is counted into the content hash, so that a changed
//! secret is a changed configuration, and is never shown.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::diagnostic::code;

/// A file put into a value; secrets and keys are shorter than this.
const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// A certificate chain or a key.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What all variables and files together may put in: a text that names a large file many times stays small.
const TOTAL_BYTES_MAX: usize = 1024 * 1024;

/// Errors that one value may have. Who has more to repair has one cause behind them.
const MISSING_MAX: usize = 10;

/// Where a configuration takes what its text only names. Tests give their own.
pub trait Lookup {
    /// An environment variable. `None` when it is not set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The first `limit` bytes of a file.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
}

/// The environment and the files of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Lookup for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Looks values up, and remembers what was looked up.
pub struct Resolver<'a> {
    lookup: &'a dyn Lookup,
    hash: Xxh3,
    files: BTreeSet<PathBuf>,
    /// Bytes put in so far.
    total: usize,
}

/// A text in which values were put.
#[derive(Debug, PartialEq, Eq)]
pub struct Substituted {
    pub text: String,
    /// Holds what a variable or a file gave, rather than escaped braces only.
    pub looked_up: bool,
}

/// Why something could not be put in.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    pub message: String,
    pub help: Option<String>,
}

impl<'a> Resolver<'a> {
    /// `text` is the configuration itself: the first part of the hash.
    pub fn new(lookup: &'a dyn Lookup, text: &str) -> Self {
        let mut resolver = Self { lookup, hash: Xxh3::new(), files: BTreeSet::new(), total: 0 };
        resolver.count(text.as_bytes());
        resolver
    }

    /// Hash of the text and of all that was looked up, and the files that were read.
    pub fn finish(self) -> (u64, Vec<PathBuf>) {
        (self.hash.digest(), self.files.into_iter().collect())
    }

    /// Reads a file that the configuration names.
    ///
    /// # Errors
    /// As [`Lookup::read`]; also when the file is larger than any certificate.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_up_to(path, FILE_BYTES_MAX)
    }

    fn read_up_to(&mut self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.files.insert(path.to_owned());
        let bytes = self.lookup.read(path, limit + 1)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
        }
        self.count(&bytes);
        Ok(bytes)
    }

    /// Puts values into `text`: `Ok(None)` when there is nothing to do.
    ///
    /// # Errors
    /// All that is missing in this text.
    pub fn substitute(&mut self, text: &str) -> Result<Option<Substituted>, Vec<Missing>> {
        if !text.contains("${") {
            return Ok(None);
        }
        let mut out = String::with_capacity(text.len());
        let mut missing = Vec::new();
        let mut looked_up = false;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            if missing.len() == MISSING_MAX {
                rest = "";
                break;
            }
            let Some(end) = after.find('}') else {
                missing.push(Missing {
                    message: "`${` without a `}`".into(),
                    help: Some("write `$${` for the two characters themselves".into()),
                });
                rest = "";
                break;
            };
            looked_up = true;
            match self.value(&after[..end]) {
                Ok(value) => out.push_str(&value),
                Err(error) => missing.push(error),
            }
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        if missing.is_empty() { Ok(Some(Substituted { text: out, looked_up })) } else { Err(missing) }
    }

    fn value(&mut self, name: &str) -> Result<String, Missing> {
        let value = self.look_up(name)?;
        self.total += value.len();
        if self.total > TOTAL_BYTES_MAX {
            let message = format!("variables and files put in more than {TOTAL_BYTES_MAX} bytes");
            return Err(Missing { message, help: None });
        }
        Ok(value)
    }

    fn look_up(&mut self, name: &str) -> Result<String, Missing> {
        if let Some(path) = name.strip_prefix("file:") {
            return self.file_value(path);
        }
        if !is_variable_name(name) {
            return Err(Missing {
                message: format!("{} is not the name of an environment variable", code(name)),
                help: Some("write `${NAME}`, `${file:/path}`, or `$${` for the two characters themselves".into()),
            });
        }
        let Some(value) = self.lookup.variable(name) else {
            return Err(Missing {
                message: format!("the environment variable {} is not set", code(name)),
                help: Some(format!("set it: export {name}=...")),
            });
        };
        self.count(value.as_bytes());
        Ok(value)
    }

    fn file_value(&mut self, path: &str) -> Result<String, Missing> {
        let unreadable =
            |reason: String| Missing { message: format!("cannot read {}: {reason}", code(path)), help: None };
        let bytes = self.read_up_to(Path::new(path), VALUE_BYTES_MAX).map_err(|error| unreadable(error.to_string()))?;
        let mut value = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".into()))?;
        // Editors and `echo` end a file with a newline that is no part of the secret.
        if value.ends_with('\n') {
            value.pop();
            if value.ends_with('\r') {
                value.pop();
            }
        }
        Ok(value)
    }

    /// The length goes first, so that moving a byte from one value to the next changes the hash.
    fn count(&mut self, bytes: &[u8]) {
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake;

    impl Lookup for Fake {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "PORT").then(|| "9001".into())
        }

        fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
            match path.to_str() {
                Some("/run/secrets/token") => Ok(b"s3cret\r\n".to_vec()),
                _ => Err(io::Error::from(io::ErrorKind::NotFound)),
            }
        }
    }

    fn substitute(text: &str) -> Result<Option<String>, Vec<Missing>> {
        Ok(Resolver::new(&Fake, "").substitute(text)?.map(|substituted| substituted.text))
    }

    #[test]
    fn variables_and_files_are_put_in_and_a_last_newline_is_not() {
        assert_eq!(substitute("127.0.0.1:${PORT}"), Ok(Some("127.0.0.1:9001".into())));
        assert_eq!(substitute("<${file:/run/secrets/token}>"), Ok(Some("<s3cret>".into())));
    }

    #[test]
    fn a_doubled_dollar_keeps_the_braces_and_a_single_one_is_itself() {
        assert_eq!(substitute("$${PORT} ${PORT}"), Ok(Some("${PORT} 9001".into())));
        assert_eq!(substitute("costs 5$ {PORT}"), Ok(None));
    }

    #[test]
    fn everything_missing_is_named_at_once() {
        let errors = substitute("${A} ${B:-x} ${file:/none} ${").unwrap_err();
        assert_eq!(errors.len(), 4);
        assert!(errors[0].message.contains("`A` is not set"), "{errors:?}");
        assert!(errors[2].message.contains("cannot read `/none`"), "{errors:?}");
    }

    #[test]
    fn what_is_put_in_and_what_is_reported_are_bounded() {
        assert_eq!(substitute(&"${A}".repeat(1000)).unwrap_err().len(), MISSING_MAX);
        let errors = substitute(&"${PORT}".repeat(TOTAL_BYTES_MAX / 4 + 1)).unwrap_err();
        assert!(errors[0].message.contains("more than 1048576 bytes"), "{errors:?}");
    }

    #[test]
    fn the_hash_follows_what_was_put_in() {
        let hash = |texts: &[&str]| {
            let mut resolver = Resolver::new(&Fake, "same");
            for text in texts {
                resolver.substitute(text).unwrap();
            }
            resolver.finish().0
        };
        assert_eq!(hash(&["${PORT}"]), hash(&["${PORT}"]));
        assert_ne!(hash(&["${PORT}"]), hash(&["${file:/run/secrets/token}"]));
        assert_ne!(hash(&["${PORT}"]), hash(&[]));
    }
}
