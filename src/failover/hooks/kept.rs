//! The newest state of a group of accounts, below `hooks` in `state.path`: a file for each group, replaced as a whole.
//!
//! What cannot be read is reported and passed over, as if there were none: a master then begins without, which is no worse than
//! without hooks. Where the disk takes nothing, the newest one stays in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::sealed::{self, Key, Label};
use super::signature::sha256;
use crate::config::model::Hooks;

/// The directory's name below `state.path`.
pub const NAME: &str = "hooks";

/// Bytes that are read of a file at most: no configuration allows larger states.
const READ_MAX: u64 = (256 << 20) + sealed::OVERHEAD_MAX as u64;

/// A state with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub label: Label,
    pub body: Bytes,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// What is known of the newest state, without the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub label: Label,
    pub bytes: u64,
    pub sha256: String,
}

/// Where a group's newest state is.
#[derive(Debug)]
pub struct Kept {
    directory: PathBuf,
    upstream: String,
    account: String,
    key: Option<Key>,
    known: Option<Known>,
    /// What the disk did not take.
    unwritten: Option<State>,
    loaded: bool,
}

impl State {
    #[must_use]
    pub fn new(label: Label, body: Bytes) -> Self {
        let sha256 = sha256(&body);
        Self { label, body, sha256 }
    }

    fn known(&self) -> Known {
        Known { label: self.label.clone(), bytes: self.body.len() as u64, sha256: self.sha256.clone() }
    }
}

impl Known {
    /// Whether this is the same state of the same master, at whatever time it gave it.
    fn is(&self, state: &State) -> bool {
        let Label { master, epoch, .. } = &state.label;
        self.sha256 == state.sha256 && (&self.label.master, &self.label.epoch) == (master, epoch)
    }
}

impl Kept {
    /// Of this group; nothing is read yet.
    ///
    /// # Errors
    /// The configured key is none.
    pub fn new(state: &Path, upstream: &str, account: &str, hooks: &Hooks) -> Result<Self, String> {
        let key = hooks.key.as_ref().map(|key| Key::of(key.as_ref())).transpose()?;
        let (upstream, account) = (upstream.to_owned(), account.to_owned());
        let directory = state.join(NAME);
        Ok(Self { directory, upstream, account, key, known: None, unwritten: None, loaded: false })
    }

    /// The newest state, if there is one.
    pub fn newest(&mut self) -> Option<State> {
        if let Some(state) = &self.unwritten {
            return Some(state.clone());
        }
        let state = match self.read() {
            Ok(state) => state,
            Err(problem) => {
                tracing::error!("{}: {problem}; the state that was kept there is passed over", self.path().display());
                None
            }
        };
        self.loaded = true;
        let known = self.known.take();
        let state = state.map(|state| match known {
            // It was given again since.
            Some(known) if known.is(&state) => State { label: known.label, ..state },
            _ => state,
        });
        self.known = state.as_ref().map(State::known);
        state
    }

    /// What is known of it.
    pub fn known(&mut self) -> Option<Known> {
        if !self.loaded {
            let _ = self.newest();
        }
        self.known.clone()
    }

    /// Keeps a newer state in the place of the one before.
    ///
    /// # Errors
    /// The disk did not take it. It is kept in memory.
    pub fn put(&mut self, state: State) -> Result<(), String> {
        self.loaded = true;
        let is_written = self.unwritten.is_none() && self.known.as_ref().is_some_and(|known| known.is(&state));
        self.known = Some(state.known());
        if is_written {
            return Ok(());
        }
        self.unwritten = None;
        let written = self.write(&state).map_err(|error| format!("{}: {error}", self.path().display()));
        if written.is_err() {
            self.unwritten = Some(state);
        }
        written
    }

    fn path(&self) -> PathBuf {
        let name = xxh3_64(format!("{}\n{}", self.upstream, self.account).as_bytes());
        self.directory.join(format!("{name:016x}.state"))
    }

    fn read(&self) -> Result<Option<State>, String> {
        let mut bytes = Vec::new();
        let file = match File::open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| error.to_string())?,
        };
        file.take(READ_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        let (label, body) = sealed::open(&bytes, self.key.as_ref()).map_err(|damage| damage.to_string())?;
        if (&label.upstream, &label.account) != (&self.upstream, &self.account) {
            return Err("it is of another upstream, or of another account".to_owned());
        }
        Ok(Some(State::new(label, body)))
    }

    fn write(&self, state: &State) -> io::Result<()> {
        // Without randomness nothing must be encrypted.
        let mut nonce = [0; 12];
        rand::fill(&mut nonce).map_err(|_| io::Error::other("the system gives no randomness"))?;
        let bytes = sealed::seal(&state.label, &state.body, self.key.as_ref(), || nonce).map_err(io::Error::other)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let path = self.path();
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        // So that its name is as durable as its content.
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::config::model::Secret;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("baton-kept-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn hooks(key: Option<&str>) -> Hooks {
        Hooks {
            export: Some("/state".into()),
            import: Some("/state".into()),
            activate: None,
            deactivate: None,
            timeout: Duration::from_secs(2),
            interval: Duration::from_secs(10),
            max_bytes: 1 << 20,
            secret: None,
            key: key.map(|key| Secret(key.into())),
        }
    }

    fn kept(directory: &Directory, account: &str, key: Option<&str>) -> Kept {
        Kept::new(&directory.0, "bots", account, &hooks(key)).unwrap()
    }

    fn state(account: &str, epoch: u32, body: &'static [u8]) -> State {
        let label = Label { upstream: "bots".into(), account: account.into(), master: "a".into(), epoch, taken: 5 };
        State::new(label, Bytes::from_static(body))
    }

    #[test]
    fn the_newest_state_is_found_after_a_restart() {
        for key in [None, Some("a key")] {
            let directory = Directory::new("restart");
            let mut before = kept(&directory, "1", key);
            assert_eq!((before.newest(), before.known()), (None, None));
            before.put(state("1", 1, b"old")).unwrap();
            before.put(state("1", 2, b"new")).unwrap();
            let mut after = kept(&directory, "1", key);
            assert_eq!(after.known().unwrap().bytes, 3);
            assert_eq!(after.newest(), Some(state("1", 2, b"new")));
            assert_eq!(kept(&directory, "2", key).newest(), None, "another account has its own");
            let mode = std::fs::metadata(after.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_torn_or_foreign_file_is_passed_over_and_replaced_by_the_next_state() {
        let directory = Directory::new("torn");
        let mut kept = kept(&directory, "1", None);
        kept.put(state("1", 1, b"state")).unwrap();
        let whole = std::fs::read(kept.path()).unwrap();
        for bytes in [&whole[..whole.len() - 1], b"", b"something else"] {
            std::fs::write(kept.path(), bytes).unwrap();
            assert_eq!(kept.newest(), None);
        }
        kept.put(state("1", 2, b"next")).unwrap();
        assert_eq!(kept.newest(), Some(state("1", 2, b"next")));
    }

    #[test]
    fn a_state_of_another_account_is_not_taken_for_this_ones() {
        let directory = Directory::new("moved");
        let mut one = kept(&directory, "1", None);
        one.put(state("1", 1, b"state")).unwrap();
        let mut two = kept(&directory, "2", None);
        std::fs::copy(one.path(), two.path()).unwrap();
        assert_eq!(two.newest(), None);
    }

    #[test]
    fn what_the_disk_does_not_take_stays_in_memory() {
        let directory = Directory::new("full");
        std::fs::write(directory.0.join(NAME), b"a file where a directory has to be").unwrap();
        let mut kept = kept(&directory, "1", None);
        let problem = kept.put(state("1", 1, b"state")).unwrap_err();
        assert!(problem.contains(NAME), "{problem}");
        assert_eq!(kept.newest(), Some(state("1", 1, b"state")));
    }
}
