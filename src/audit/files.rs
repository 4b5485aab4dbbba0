//! The trail on disk: a directory of files that are only ever appended to, the newest of which is written.
//!
//! A file is named after the first record in it and left when it is large enough; the chain goes on in the next one. The
//! oldest go when there are too many. After a crash the newest file can end within a line: that piece was never
//! acknowledged, and is cut off.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::chain::{Fault, GENESIS, Record, Walk, seal};

/// Name of the directory below `state.path`.
pub const DIRECTORY: &str = "audit";
/// A file is left when it has so many bytes.
pub const FILE_BYTES: u64 = 4 << 20;
/// Files that are kept: some 150 000 records.
pub const FILES_MAX: usize = 16;
/// Longest line that is read; those written are far below.
const LINE_BYTES_MAX: u64 = 256 << 10;
const LOCK: &str = "lock";
/// Faults that a look at the whole trail lists.
const FAULTS_MAX: usize = 100;

/// Something in the trail is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    /// From 1.
    pub line: u64,
    pub fault: Fault,
}

/// What a look at the whole trail found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    pub walk: Walk,
    /// At most [`FAULTS_MAX`] of them.
    pub findings: Vec<Finding>,
    /// Bytes at the end of the newest file that are no whole line.
    pub torn: u64,
}

/// The files of a trail, the oldest first. Empty where there is none.
///
/// # Errors
/// The directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("audit-") && name.ends_with(".ndjson") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Goes through a trail, or one file of it, from the oldest record to the newest.
///
/// # Errors
/// A file cannot be read.
pub fn survey(files: &[PathBuf]) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for (index, path) in files.iter().enumerate() {
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let whole = line.pop_if(|byte| *byte == b'\n').is_some();
            if !whole && index + 1 == files.len() && reader.fill_buf()?.is_empty() {
                survey.torn = line.len() as u64;
                break;
            }
            let text = std::str::from_utf8(&line).map_err(|_| Fault::Unreadable);
            let step = text.and_then(|text| survey.walk.step(text));
            if let Err(fault) = step
                && survey.findings.len() < FAULTS_MAX
            {
                let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                survey.findings.push(Finding { file, line: number, fault });
            }
        }
    }
    Ok(survey)
}

/// The trail, open for writing by this process alone.
#[derive(Debug)]
pub struct Trail {
    directory: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// When a file is left.
    full: u64,
    next: u64,
    prev: String,
    _lock: File,
}

impl Trail {
    /// Opens the trail below a state directory, looks through all of it, and cuts off what a crash left unfinished.
    ///
    /// # Errors
    /// Another process has it, or it cannot be read or written.
    pub fn open(state: &Path) -> io::Result<(Self, Survey)> {
        let directory = state.join(DIRECTORY);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process writes the audit trail"))?;
        let files = files(&directory)?;
        let survey = survey(&files)?;
        let (next, prev) = match &survey.walk.last {
            Some((seq, hash)) => (seq + 1, hash.clone()),
            None => (1, GENESIS.to_owned()),
        };
        let mut this = Self { directory, file: None, bytes: 0, full: FILE_BYTES, next, prev, _lock: lock };
        if let Some(newest) = files.last() {
            let mut file = OpenOptions::new().write(true).open(newest)?;
            let length = file.metadata()?.len() - survey.torn;
            if survey.torn > 0 {
                file.set_len(length)?;
                file.sync_all()?;
            }
            file.seek(SeekFrom::End(0))?;
            (this.file, this.bytes) = (Some(file), length);
        }
        Ok((this, survey))
    }

    /// Appends records, which get their numbers, and waits until they are on disk.
    ///
    /// # Errors
    /// They may be there or not. The trail is to be opened anew then, which finds out.
    pub fn append(&mut self, records: &mut [Record]) -> io::Result<()> {
        let mut text = String::new();
        for record in records {
            if self.file.is_none() || self.bytes + text.len() as u64 >= self.full {
                self.write(&std::mem::take(&mut text))?;
                self.begin()?;
            }
            (record.seq, record.prev) = (self.next, std::mem::take(&mut self.prev));
            text.push_str(&seal(record));
            self.next += 1;
            self.prev.clone_from(&record.hash);
        }
        self.write(&text)?;
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Number and hash of the newest record.
    #[must_use]
    pub fn newest(&self) -> (u64, &str) {
        (self.next - 1, &self.prev)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.bytes += text.len() as u64;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(text.as_bytes()))
    }

    /// Leaves the file and begins the next one.
    fn begin(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            file.sync_data()?;
        }
        let path = self.directory.join(format!("audit-{:016}.ndjson", self.next));
        self.file = Some(OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?);
        self.bytes = 0;
        let files = files(&self.directory)?;
        for old in files.iter().take(files.len().saturating_sub(FILES_MAX)) {
            std::fs::remove_file(old)?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct State(PathBuf);

    impl State {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("baton-audit-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }

        fn files(&self) -> Vec<PathBuf> {
            files(&self.0.join(DIRECTORY)).unwrap()
        }

        /// Opens, appends so many, closes.
        fn append(&self, count: usize) -> Survey {
            let (mut trail, survey) = Trail::open(&self.0).unwrap();
            let mut records: Vec<_> = (0..count).map(|_| Record::sample(0, "")).collect();
            trail.append(&mut records).unwrap();
            survey
        }
    }

    impl Drop for State {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_trail_goes_on_over_restarts() {
        let state = State::new("goes-on");
        assert_eq!(state.append(3), Survey::default());
        state.append(0);
        state.append(2);
        let survey = survey(&state.files()).unwrap();
        assert_eq!((survey.walk.records, survey.walk.first, survey.findings.len()), (5, Some(1), 0));
        assert_eq!(state.files().len(), 1);
    }

    #[test]
    fn only_one_process_writes_it() {
        let state = State::new("one");
        let open = Trail::open(&state.0).unwrap();
        assert_eq!(Trail::open(&state.0).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(open);
        Trail::open(&state.0).unwrap();
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_cut_off_wherever_it_ends_and_the_chain_goes_on() {
        let state = State::new("torn");
        state.append(3);
        let path = state.files().pop().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let two = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
        for cut in (two + 1..whole.len()).step_by(37).chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let survey = state.append(1);
            assert_eq!((survey.torn, survey.walk.records), ((cut - two) as u64, 2), "cut at {cut}");
            let after = self::survey(&state.files()).unwrap();
            assert_eq!((after.walk.records, after.findings.len(), after.torn), (3, 0, 0), "cut at {cut}");
        }
    }

    #[test]
    fn what_somebody_changed_is_told_with_its_place_and_later_records_are_kept() {
        let state = State::new("changed");
        state.append(4);
        let path = state.files().pop().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"ann\"", "\"eve\"", 1)).unwrap();
        let survey = state.append(1);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(survey.findings, [Finding { file: name, line: 1, fault: Fault::Changed }]);
        let after = self::survey(&state.files()).unwrap();
        assert_eq!(after.walk.last.unwrap().0, 5);
    }

    #[test]
    fn files_are_left_when_they_are_large_and_the_oldest_go() {
        let state = State::new("rotated");
        let (mut trail, _) = Trail::open(&state.0).unwrap();
        trail.full = 4000;
        for _ in 0..20 {
            let mut records: Vec<_> = (0..9).map(|_| Record::sample(0, "")).collect();
            trail.append(&mut records).unwrap();
        }
        let files = state.files();
        assert_eq!(files.len(), FILES_MAX);
        let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
        assert!(files.iter().all(|path| size(path) < 4600), "{files:?}");
        let survey = survey(&files).unwrap();
        assert!(survey.findings.is_empty() && survey.walk.first > Some(1), "{survey:?}");
        assert_eq!(survey.walk.last.unwrap().0, 180);
    }
}
