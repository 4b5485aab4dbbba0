//! The directory `acme` in the state directory: account keys, and each certificate in one file with its key.
//!
//! Files are for their owner alone and replaced in one step, so that a crash leaves the old one or the new one. A certificate
//! is found by what it was ordered for: another directory or other domains are another file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::config::model::Acme;

/// An account or a chain takes a few kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where the files of one order are.
#[derive(Debug, Clone)]
pub struct Store {
    pub account: PathBuf,
    pub certificate: PathBuf,
}

impl Store {
    /// For an order, below the state directory.
    #[must_use]
    pub fn new(state: &Path, acme: &Acme) -> Self {
        let directory = state.join("acme");
        let mut contents = acme.directory.clone();
        // Another external account is another account here, too.
        let bound = acme.eab.as_ref().map(|eab| format!("{contents}\n{}", eab.kid));
        let account = xxh3_128(bound.as_ref().unwrap_or(&contents).as_bytes());
        let account = format!("{account:032x}.account.json");
        for domain in &acme.domains {
            contents.push('\n');
            contents.push_str(domain);
        }
        let certificate = format!("{:032x}.pem", xxh3_128(contents.as_bytes()));
        Self { account: directory.join(account), certificate: directory.join(certificate) }
    }
}

/// The contents of a file; `None` when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Puts a file in its place, making its directory if need be. When this has returned, it outlives a crash.
///
/// # Errors
/// When it cannot be written; the old one is then untouched.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let new = path.with_extension("new");
    // One left by a crash may have another mode.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_for_its_owner_alone_and_replaced_whole() {
        let directory = std::env::temp_dir().join(format!("baton-acme-{}", std::process::id()));
        let path = directory.join("acme/a.pem");
        assert_eq!(read(&path).unwrap(), None);
        for text in ["one", "two"] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path.with_extension("new"), "left by a crash").unwrap();
            write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(text));
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
