//! The book on disk, so that a restart ends neither alerts nor silences and forgets nothing of what was.
//!
//! One file, written anew beside the old one and put in its place, so that there is always a whole one: up to 1.2 MB, and only when
//! something has changed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::book::Kept;

/// In the state directory.
const FILE: &str = "alerts.json";
/// A file is read up to here.
const BYTES_MAX: u64 = 16 << 20;

/// Where it is kept.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    /// Whether the last write failed: that is told once.
    failing: bool,
}

impl Files {
    /// A file in a state directory; nothing is made yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { path: state.join(FILE), failing: false }
    }

    /// What a process before this one has kept. What cannot be read is told and put aside.
    #[must_use]
    pub fn load(&self) -> Kept {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Kept::default(),
            Err(error) => tracing::warn!("earlier alerts are not known: {}: {error}", self.path.display()),
            Ok(_) => match serde_json::from_slice(&bytes) {
                Ok(kept) => return kept,
                Err(error) => {
                    let aside = self.path.with_extension("json.damaged");
                    let put = fs::rename(&self.path, &aside);
                    tracing::warn!(
                        "earlier alerts are not known: {}: {error}{}",
                        self.path.display(),
                        put.map_or(String::new(), |()| format!("; it is {} now", aside.display()))
                    );
                }
            },
        }
        Kept::default()
    }

    /// Writes it down; false when that failed, which is told once.
    pub fn keep(&mut self, kept: &Kept) -> bool {
        match self.write(kept) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!("alerts are not kept: {}: {error}", self.path.display());
            }
            Err(_) => {}
        }
        !self.failing
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
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
        let directory = std::env::temp_dir().join(format!("baton-alerts-{}", crate::ids::random_u64()));
        let mut files = Files::new(&directory);
        assert_eq!(files.load().last, 0);
        assert!(files.keep(&Kept { last: 7, ..Kept::default() }));
        assert_eq!(files.load().last, 7);
        fs::write(directory.join(FILE), "{\"last\":").unwrap();
        assert_eq!(files.load().last, 0);
        assert!(directory.join("alerts.json.damaged").exists());
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "").unwrap();
        assert!(!files.keep(&Kept::default()));
        fs::remove_file(&directory).unwrap();
    }
}
