//! Room on the disk.
//!
//! Nothing is accepted while the file system has less free than `min_free`, so that there is always room for what takes
//! messages away again: a deletion writes pages, too. Where others fill the disk all the same, a reserve file goes.
//!
//! The spool's file does not shrink as it empties: its pages are used again. So what the file has beyond what it needs
//! counts as free; without that a spool that filled its disk once would refuse for ever.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// The reserve file's name in the state directory.
const RESERVE_NAME: &str = "spool.reserve";

/// Its bytes: some thousand commits of deletions.
const RESERVE: u64 = 16 << 20;

/// Free bytes below which the reserve is given up.
const DESPERATE: u64 = 8 << 20;

/// The file system below a state directory.
#[derive(Debug)]
pub struct Disk {
    directory: File,
    database: PathBuf,
    reserve: PathBuf,
}

/// What [`Disk::look`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the file takes.
    pub used: u64,
    /// Free bytes for others than root.
    pub free: u64,
}

impl Room {
    /// Whether messages must be kept out of a file that needs so many bytes. The last free bytes are for what takes messages
    /// away, whatever the file has free inside: that can be in pieces too small for the next message.
    #[must_use]
    pub fn is_full(&self, needed: u64, min_free: u64) -> bool {
        self.free < min_free.min(DESPERATE) || self.free.saturating_add(self.used.saturating_sub(needed)) < min_free
    }
}

impl Disk {
    pub fn new(state: &Path, database: &Path) -> io::Result<Self> {
        Ok(Self { directory: File::open(state)?, database: database.to_owned(), reserve: state.join(RESERVE_NAME) })
    }

    /// How much there is at present; gives the reserve up, or makes it, as there is room.
    pub fn look(&self, min_free: u64) -> io::Result<Room> {
        let room = self.measure()?;
        if room.free < DESPERATE {
            match std::fs::remove_file(&self.reserve) {
                Ok(()) => {
                    tracing::warn!("the disk below state.path is full; the spool's reserve of 16 MiB was given up");
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        } else if room.free > min_free.saturating_add(2 * RESERVE) && !self.reserve.exists() {
            self.make_reserve()?;
        }
        Ok(room)
    }

    fn measure(&self) -> io::Result<Room> {
        let system = fstatvfs(&self.directory)?;
        let used = std::fs::metadata(&self.database).map_or(0, |file| file.blocks() * 512);
        Ok(Room { used, free: system.f_bavail.saturating_mul(system.f_frsize) })
    }

    fn make_reserve(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.reserve)?;
        match fallocate(&file, FallocateFlags::empty(), 0, RESERVE) {
            // A file system that cannot promise room has no reserve; the limit above it still holds.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => other.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_disk_with_less_than_its_minimum_is_full() {
        let room = Room { used: 0, free: GIB };
        assert!(!room.is_full(0, GIB));
        assert!(room.is_full(0, GIB + 1));
    }

    #[test]
    fn what_an_emptied_file_still_takes_counts_as_free() {
        let room = Room { used: 10 * GIB, free: DESPERATE };
        assert!(!room.is_full(0, GIB));
        assert!(!room.is_full(9 * GIB + DESPERATE, GIB));
        assert!(room.is_full(9 * GIB + DESPERATE + 1, GIB));
    }

    #[test]
    fn the_last_bytes_of_a_disk_are_not_for_messages() {
        let room = Room { used: 10 * GIB, free: DESPERATE - 1 };
        assert!(room.is_full(0, GIB));
        assert!(!room.is_full(0, 0), "unless nothing is to be left to others");
    }
}
