//! A small document in the state directory, so that a restart forgets nothing of it.
//!
//! One file, written anew beside the old one and put in its place, so that there is always a whole one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file is read up to here.
const BYTES_MAX: u64 = 16 << 20;

/// Where it is kept. For the owner alone.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// What it is, in the plural, as messages say it.
    what: &'static str,
    /// Whether the last write failed: that is told once.
    failing: bool,
}

impl StateFile {
    /// `name` ends in `.json`; nothing is made yet.
    #[must_use]
    pub fn new(state: &Path, name: &str, what: &'static str) -> Self {
        Self { path: state.join(name), what, failing: false }
    }

    /// What a process before this one has kept; the default if nothing. What cannot be read is told and put aside. Blocks.
    #[must_use]
    pub fn load<T: DeserializeOwned + Default>(&self) -> T {
        let (what, path) = (self.what, self.path.display());
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
            Err(error) => tracing::warn!("earlier {what} are not known: {path}: {error}"),
            Ok(_) => match serde_json::from_slice(&bytes) {
                Ok(kept) => return kept,
                Err(error) => {
                    let aside = self.path.with_extension("json.damaged");
                    let put = fs::rename(&self.path, &aside);
                    let put = put.map_or(String::new(), |()| format!("; it is {} now", aside.display()));
                    tracing::warn!("earlier {what} are not known: {path}: {error}{put}");
                }
            },
        }
        T::default()
    }

    /// Writes it down; false when that failed, which is told once. Blocks.
    pub fn keep(&mut self, kept: &impl Serialize) -> bool {
        match self.write(kept) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!("{} are not kept: {}: {error}", self.what, self.path.display());
            }
            Err(_) => {}
        }
        !self.failing
    }

    fn write(&self, kept: &impl Serialize) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let beside = self.path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_all()?;
        fs::rename(beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_put_aside() {
        let directory = std::env::temp_dir().join(format!("baton-state-file-{}", crate::ids::random_u64()));
        let mut file = StateFile::new(&directory, "words.json", "words");
        assert_eq!(file.load::<Vec<String>>(), Vec::<String>::new());
        assert!(file.keep(&["one", "two"]));
        assert_eq!(file.load::<Vec<String>>(), ["one", "two"]);
        fs::write(directory.join("words.json"), "[\"one").unwrap();
        assert_eq!(file.load::<Vec<String>>(), Vec::<String>::new());
        assert!(directory.join("words.json.damaged").exists());
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "").unwrap();
        assert!(!file.keep(&["one"]));
        fs::remove_file(&directory).unwrap();
    }
}
