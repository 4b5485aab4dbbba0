//! The files: one for each generation, and one for what is held. Configurations have secrets in them, so nobody else reads
//! these; each is written beside its place and moved there, so none is ever half written.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Held, Kept};
use crate::config::TEXT_BYTES_MAX;

/// Name of the directory below `state.path`.
const DIRECTORY: &str = "generations";
const HELD: &str = "held.json";

/// The largest file that is read: a text, escaped, and what is kept with it.
const FILE_BYTES_MAX: u64 = 8 * TEXT_BYTES_MAX as u64;

#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join(DIRECTORY) }
    }

    /// All of them, by number.
    pub fn read_all(&self, mut left_out: impl FnMut(String)) -> Vec<Kept> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let number = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_suffix(".json")?.parse::<u64>().ok()
        };
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        let mut all = Vec::new();
        for number in numbers {
            match self.read(number) {
                Ok(kept) => all.push(kept),
                Err(error) => left_out(format!("{}: {error}", self.path(number).display())),
            }
        }
        all
    }

    pub fn read(&self, number: u64) -> io::Result<Kept> {
        let kept: Kept = read(&self.path(number))?;
        if kept.generation.number == number { Ok(kept) } else { Err(io::Error::other("it is another one's")) }
    }

    pub fn write(&self, kept: &Kept) -> io::Result<()> {
        self.put(&self.path(kept.generation.number), kept)
    }

    pub fn remove(&self, number: u64) {
        let path = self.path(number);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("{}: a configuration that is kept no more stays: {error}", path.display());
        }
    }

    pub fn read_held(&self) -> Result<Option<Held>, String> {
        let path = self.directory.join(HELD);
        match read(&path) {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    pub fn write_held(&self, held: &Held) -> io::Result<()> {
        self.put(&self.directory.join(HELD), held)
    }

    pub fn remove_held(&self) -> io::Result<()> {
        fs::remove_file(self.directory.join(HELD))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.json"))
    }

    fn put(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(&self.directory)?.sync_all()
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}
