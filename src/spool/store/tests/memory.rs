//! A disk that can fail at any operation, and that forgets at a crash what was not synced, or some of it.

use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::ids::mix;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    /// What is read.
    now: Vec<u8>,
    /// What is there after a crash, at least.
    synced: Vec<u8>,
    /// What came since, in order.
    pending: Vec<Change>,
    operations: u64,
    /// The operation that fails, and all after it.
    fails_at: Option<u64>,
}

enum Change {
    Length(usize),
    Sector(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length, 0),
            Self::Sector(at, bytes) => {
                let end = at + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Memory {
    /// Fails at the given operation from now on, and at each after it.
    pub fn fail_after(&self, operations: u64) {
        let mut disk = self.disk();
        disk.fails_at = Some(disk.operations + operations);
    }

    pub fn has_failed(&self) -> bool {
        let disk = self.disk();
        disk.fails_at.is_some_and(|at| disk.operations > at)
    }

    /// What a machine finds that lost its power now: all that was synced, and of what came later any part in any order.
    pub fn after_crash(&self, seed: u64) -> Self {
        let disk = self.disk();
        let mut image = disk.synced.clone();
        let mut random = (1..).map(|count| mix(mix(seed) ^ count));
        let mut below = |limit: u64| random.next().is_some_and(|number| number % 4 < limit);
        let keep = mix(seed ^ 0xabcd) % 5;
        let mut kept: Vec<&Change> = disk.pending.iter().filter(|_| below(keep)).collect();
        if below(2) {
            kept.reverse();
        }
        for change in kept {
            change.apply(&mut image);
        }
        Self(Arc::new(Mutex::new(Disk { now: image.clone(), synced: image, ..Disk::default() })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn operate(&self) -> Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.operations += 1;
        if disk.fails_at.is_some_and(|at| disk.operations > at) {
            return Err(Error::new(ErrorKind::StorageFull, "the disk of this test fails"));
        }
        Ok(disk)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> Result<u64> {
        Ok(self.disk().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let disk = self.disk();
        let bytes = disk.now.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(Error::from(ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut disk = self.operate()?;
        disk.now.resize(len as usize, 0);
        disk.pending.push(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut disk = self.operate()?;
        for change in std::mem::take(&mut disk.pending) {
            change.apply(&mut disk.synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut disk = self.operate()?;
        let at = offset as usize;
        if disk.now.len() < at + data.len() {
            disk.now.resize(at + data.len(), 0);
        }
        disk.now[at..at + data.len()].copy_from_slice(data);
        for (index, sector) in data.chunks(SECTOR).enumerate() {
            disk.pending.push(Change::Sector(at + index * SECTOR, sector.to_vec()));
        }
        Ok(())
    }
}
