//! Configurations that were in use, each with who brought it, when, why, and what it changed: kept below `state.path`, so that
//! any of them can be used again.
//!
//! **What is held.** A configuration that was brought back, or in which something was set at run time, stays in use, also over a
//! restart, until the file says something else than it did at that moment: whoever went back at night is not sent forward again by
//! a restart, and whoever corrects the file is heard at once.

mod files;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::UnixMillis;

/// Generations that are kept; the oldest go first.
pub const KEPT_MAX: usize = 50;

/// Changes that are kept with a generation.
const CHANGES_MAX: usize = 200;

/// One of them, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub number: u64,
    pub at: UnixMillis,
    /// As in the audit trail: the subject of a token, or `baton`.
    pub who: String,
    /// What led to it: `start`, `signal`, `file`, or the address of who asked.
    pub cause: String,
    pub reason: String,
    /// The generation that was brought back by this one.
    pub back_to: Option<u64>,
    /// What it changed, in words.
    pub changes: Vec<String>,
}

/// A generation with the text that it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    generation: Generation,
    text: String,
}

/// Which configuration is used in the place of the file's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Hash of the text that the file had at that moment.
    instead_of: u64,
    /// The generation that was brought back; none where settings were changed.
    back_to: Option<u64>,
    text: String,
}

/// What stands in the place of what the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// A generation that was brought back.
    Generation(u64),
    /// Settings that were changed at run time.
    Settings,
}

impl Instead {
    /// The generation that was brought back.
    #[must_use]
    pub fn back_to(self) -> Option<u64> {
        match self {
            Self::Generation(number) => Some(number),
            Self::Settings => None,
        }
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generation(number) => write!(f, "generation {number}, which was brought back,"),
            Self::Settings => f.write_str("the configuration with what was set at run time"),
        }
    }
}

impl Held {
    fn instead(&self) -> Instead {
        self.back_to.map_or(Instead::Settings, Instead::Generation)
    }
}

/// The kept ones.
#[derive(Debug)]
pub struct Generations {
    files: files::Files,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The newest last.
    all: Vec<Generation>,
    newest_text: u64,
    held: Option<Held>,
}

impl Generations {
    /// Reads what is there. What cannot be read is left out, and said; nothing depends on it but ways back.
    #[must_use]
    pub fn open(state: &Path) -> Self {
        let files = files::Files::new(state);
        let kept = files.read_all(|why| tracing::warn!("a kept configuration is left out: {why}"));
        let held = files.read_held().unwrap_or_else(|why| {
            tracing::warn!(
                "what was brought back or set at run time is forgotten, the file's configuration is used: {why}"
            );
            None
        });
        let newest_text = kept.last().map_or(0, |kept| xxh3_64(kept.text.as_bytes()));
        let all = kept.into_iter().map(|kept| kept.generation).collect();
        Self { files, known: Mutex::new(Known { all, newest_text, held }) }
    }

    /// The text to use where the file has `text`, and what it is.
    #[must_use]
    pub fn instead_of(&self, text: &str) -> Option<(String, Instead)> {
        let known = self.lock();
        let held = known.held.as_ref().filter(|held| held.instead_of == xxh3_64(text.as_bytes()))?;
        Some((held.text.clone(), held.instead()))
    }

    /// What is held.
    #[must_use]
    pub fn held(&self) -> Option<Instead> {
        self.lock().held.as_ref().map(Held::instead)
    }

    /// Whether just this is held.
    #[must_use]
    pub fn holds(&self, instead: Instead, text: &str) -> bool {
        self.lock().held.as_ref().is_some_and(|held| held.instead() == instead && held.text == text)
    }

    /// The number of a process's first generation, which goes on from those before; and whether it is a new one.
    #[must_use]
    pub fn first(&self, text: &str) -> (u64, bool) {
        let known = self.lock();
        match known.all.last() {
            Some(newest) if known.newest_text == xxh3_64(text.as_bytes()) => (newest.number, false),
            newest => (newest.map_or(0, |newest| newest.number) + 1, true),
        }
    }

    /// Keeps a generation. Blocks for a write; one that fails is told, for the generation is in use all the same.
    pub fn keep(&self, mut generation: Generation, text: &str) {
        generation.changes.truncate(CHANGES_MAX);
        let kept = Kept { generation, text: text.to_owned() };
        if let Err(error) = self.files.write(&kept) {
            tracing::error!("configuration generation {} is not kept: {error}", kept.generation.number);
            return;
        }
        let mut known = self.lock();
        known.newest_text = xxh3_64(text.as_bytes());
        known.all.push(kept.generation);
        while known.all.len() > KEPT_MAX {
            let oldest = known.all.remove(0);
            self.files.remove(oldest.number);
        }
    }

    /// Holds a text in the place of what the file says now. Gives what was held before.
    ///
    /// # Errors
    /// It cannot be written down, and would not outlive this process.
    pub fn hold(&self, instead: Instead, text: &str, file: &str) -> io::Result<Option<Held>> {
        let (instead_of, back_to) = (xxh3_64(file.as_bytes()), instead.back_to());
        let held = Held { instead_of, back_to, text: text.to_owned() };
        self.files.write_held(&held)?;
        Ok(self.lock().held.replace(held))
    }

    /// Holds what was held before [`Generations::hold`], which came to nothing.
    pub fn hold_again(&self, before: Option<Held>) {
        let Some(held) = before else { return self.let_go() };
        if let Err(error) = self.files.write_held(&held) {
            tracing::warn!("the next start may use something else than {}: {error}", held.instead());
        }
        self.lock().held = Some(held);
    }

    /// Goes by the file again.
    pub fn let_go(&self) {
        if self.lock().held.take().is_some()
            && let Err(error) = self.files.remove_held()
        {
            tracing::warn!("what was brought back or set at run time comes back with the next start: {error}");
        }
    }

    /// All of them, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Generation> {
        self.lock().all.iter().rev().cloned().collect()
    }

    /// One of them, and its text. Blocks for a read.
    ///
    /// # Errors
    /// It cannot be read. `None`: there is none, or no more.
    pub fn get(&self, number: u64) -> io::Result<Option<(Generation, String)>> {
        if !self.lock().all.iter().any(|known| known.number == number) {
            return Ok(None);
        }
        self.files.read(number).map(|kept| Some((kept.generation, kept.text)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
