//! The file in which failovers are written down: `failover.journal` below `state.path`.
//!
//! A line for each [`Record`]: sixteen digits of its checksum, a blank, and the record as JSON. Lines are only ever added, and are on disk
//! when [`Journal::sync`] has said so. A crash can leave the last line torn: it is cut off, for nobody was told that it is there.
//! Any other line that its checksum does not fit is passed over and counted.
//!
//! When the file has become large, it is put aside as `failover.journal.old` and a new one begun with what the old one adds up to
//! ([`super::record::Past::condense`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::record::Record;
use crate::spool::store::lock::{Busy, Lock};

/// The file's name below `state.path`.
pub const NAME: &str = "failover.journal";
const OLD: &str = "failover.journal.old";
const NEW: &str = "failover.journal.new";
const LOCK: &str = "failover.lock";

/// Bytes after which the journal is condensed: thousands of failovers.
const LARGE: u64 = 4 << 20;

/// Bytes that are read of a file at most: one that is larger is not this program's.
const READ_MAX: u64 = 256 << 20;

/// Digits of a checksum.
const DIGITS: usize = 16;

/// The file, open for adding to it. One process has it at a time.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    file: File,
    bytes: u64,
    /// Something was written that is not known to be on disk.
    dirty: bool,
    /// The last line may be torn, so that the next one has to begin a line of its own.
    torn: bool,
    _lock: Lock,
}

/// What was in the file.
#[derive(Debug)]
pub struct Opened {
    pub journal: Journal,
    pub records: Vec<Record>,
    /// Lines that could not be read, a torn last one aside.
    pub damaged: usize,
}

/// Whether there is a journal in this state directory.
#[must_use]
pub fn is_there(state: &Path) -> bool {
    state.join(NAME).exists()
}

impl Journal {
    /// Opens the journal of a state directory, and makes it if there is none.
    ///
    /// # Errors
    /// One line: another process has it, or the disk says no.
    pub fn open(state: &Path) -> Result<Opened, String> {
        let path = state.join(NAME);
        let problem = |error: io::Error| format!("{}: {error}", path.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(problem)?;
        let lock = Lock::take(state, LOCK).map_err(|busy| match busy {
            Busy::Held(Some(process)) => format!("{}: process {process} has it", path.display()),
            Busy::Held(None) => format!("{}: another process has it", path.display()),
            Busy::Io(error) => problem(error),
        })?;
        let mut file = options().open(&path).map_err(problem)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(READ_MAX).read_to_end(&mut bytes).map_err(problem)?;
        let Lines { records, damaged, whole } = Lines::read(&bytes);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(problem)?;
        }
        sync_directory(state).map_err(problem)?;
        let journal = Self {
            directory: state.to_owned(),
            file,
            bytes: whole as u64,
            dirty: whole < bytes.len(),
            torn: false,
            _lock: lock,
        };
        Ok(Opened { journal, records, damaged })
    }

    /// Adds a record, which is on disk after the next [`Journal::sync`].
    ///
    /// # Errors
    /// It may be there all the same, or a part of it, which nobody will take for a record.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = if self.torn { vec![b'\n'] } else { Vec::new() };
        write_line(record, &mut line)?;
        self.dirty = true;
        self.torn = true;
        self.file.write_all(&line)?;
        self.torn = false;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Waits until everything that was added is on disk.
    ///
    /// # Errors
    /// Nobody knows what is.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Whether it has become so large that it should be condensed.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.bytes > LARGE
    }

    /// The records as they are on disk now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn records(&self) -> io::Result<Vec<Record>> {
        Ok(Lines::read(&std::fs::read(self.directory.join(NAME))?).records)
    }

    /// Begins a new file with these records and puts the old one aside.
    ///
    /// # Errors
    /// The old one stays in use.
    pub fn begin_anew(&mut self, records: &[Record]) -> io::Result<()> {
        let (path, new) = (self.directory.join(NAME), self.directory.join(NEW));
        let mut bytes = Vec::new();
        records.iter().try_for_each(|record| write_line(record, &mut bytes))?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        // A link and not a move: at no moment is there no journal.
        let old = self.directory.join(OLD);
        match std::fs::remove_file(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::hard_link(&path, &old)?,
        }
        std::fs::rename(&new, &path)?;
        sync_directory(&self.directory)?;
        self.file = options().open(&path)?;
        (self.bytes, self.dirty, self.torn) = (bytes.len() as u64, false, false);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options
}

/// So that a file's name is as durable as its content.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn write_line(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_string(record)?;
    writeln!(out, "{:016x} {json}", xxh3_64(json.as_bytes()))
}

/// What bytes of a journal say.
struct Lines {
    records: Vec<Record>,
    damaged: usize,
    /// Bytes up to the end of the last line that is one.
    whole: usize,
}

impl Lines {
    fn read(bytes: &[u8]) -> Self {
        let (mut records, mut damaged, mut unsure, mut whole, mut at) = (Vec::new(), 0, 0, 0, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            match read_line(line) {
                Some(record) => {
                    records.push(record);
                    // What cannot be read in front of something that can is damage, and not the torn end.
                    damaged += std::mem::take(&mut unsure);
                    whole = at;
                }
                None if line == b"\n" => {}
                None => unsure += 1,
            }
        }
        Self { records, damaged, whole }
    }
}

fn read_line(line: &[u8]) -> Option<Record> {
    let (digits, rest) = line.strip_suffix(b"\n")?.split_at_checked(DIGITS)?;
    let json = rest.strip_prefix(b" ")?;
    let checksum = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    if checksum != xxh3_64(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failover::record::What;

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            let path =
                std::env::temp_dir().join(format!("baton-journal-{:032x}", u128::from(crate::ids::random_u64())));
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn record(number: u32) -> Record {
        let what = What::Fenced { master: format!("m{number}"), epoch: number };
        Record { at: u64::from(number), upstream: "bots".into(), what }
    }

    fn written(directory: &Directory, numbers: std::ops::Range<u32>) -> Journal {
        let mut journal = Journal::open(&directory.0).unwrap().journal;
        numbers.for_each(|number| journal.append(&record(number)).unwrap());
        journal.sync().unwrap();
        journal
    }

    #[test]
    fn what_was_written_is_read_again_and_added_to() {
        let directory = Directory::new();
        assert!(!is_there(&directory.0));
        drop(written(&directory, 0..3));
        drop(written(&directory, 3..5));
        let opened = Journal::open(&directory.0).unwrap();
        assert_eq!((opened.records, opened.damaged), ((0..5).map(record).collect(), 0));
        assert!(is_there(&directory.0));
    }

    #[test]
    fn one_process_has_it_at_a_time() {
        let directory = Directory::new();
        let journal = written(&directory, 0..1);
        let error = Journal::open(&directory.0).unwrap_err();
        assert!(error.contains(&format!("process {} has it", std::process::id())), "{error}");
        drop(journal);
        assert!(Journal::open(&directory.0).is_ok());
    }

    #[test]
    fn a_torn_end_is_cut_off_wherever_it_was_torn() {
        let directory = Directory::new();
        drop(written(&directory, 0..2));
        let path = directory.0.join(NAME);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in first..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let opened = Journal::open(&directory.0).unwrap();
            assert_eq!((opened.records, opened.damaged), (vec![record(0)], 0), "{length} of {}", whole.len());
            drop(opened.journal);
            drop(written(&directory, 7..8));
            assert_eq!(Journal::open(&directory.0).unwrap().records, [record(0), record(7)]);
        }
    }

    #[test]
    fn a_damaged_line_is_passed_over_and_counted() {
        let directory = Directory::new();
        drop(written(&directory, 0..3));
        let path = directory.0.join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        let second = bytes.len() / 2;
        bytes[second] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let opened = Journal::open(&directory.0).unwrap();
        assert_eq!((opened.records, opened.damaged), (vec![record(0), record(2)], 1));
    }

    #[test]
    fn a_journal_that_begins_anew_leaves_the_old_one_aside() {
        let directory = Directory::new();
        let mut journal = written(&directory, 0..5);
        for _ in 0..2 {
            journal.begin_anew(&[record(9)]).unwrap();
        }
        journal.append(&record(10)).unwrap();
        assert_eq!(journal.records().unwrap(), [record(9), record(10)]);
        drop(journal);
        assert_eq!(Journal::open(&directory.0).unwrap().records, [record(9), record(10)]);
        assert!(directory.0.join(OLD).exists());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let lines = Lines::read(&bytes);
            prop_assert!(lines.whole <= bytes.len() && lines.records.is_empty());
        }
    }
}
