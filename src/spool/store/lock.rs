//! One process for each thing in a state directory.
//!
//! The lock is the kernel's, on an open file, so it goes with the process however that ends. The file says who has it, for
//! people; it stays when the lock goes, because removing it could let two processes lock two files of one name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Of the store of messages.
pub const SPOOL: &str = "spool.lock";

/// Held as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why it could not be taken.
#[derive(Debug)]
pub enum Busy {
    /// Somebody has it; with the process id when that is known.
    Held(Option<u32>),
    Io(io::Error),
}

impl From<io::Error> for Busy {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Lock {
    /// Takes the lock of this name in a directory, without waiting.
    pub fn take(directory: &Path, name: &str) -> Result<Self, Busy> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(name))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Busy::Held(holder(&mut file))),
            Err(error) => return Err(Busy::Io(error.into())),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
