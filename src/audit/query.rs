//! Reading the trail while it is written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::chain::{self, Record};
use super::files::{FILE_BYTES, files};
use crate::clock::UnixMillis;

/// Files that one page is looked for in; a page can be empty and not the last.
const FILES_PER_PAGE: usize = 4;
/// A file is larger than [`FILE_BYTES`] by what was written together at its end.
const READ_MAX: u64 = 4 * FILE_BYTES;

/// What is looked for; all of it has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub who: Option<String>,
    pub action: Option<String>,
    /// A part of the target.
    pub target: Option<String>,
    pub outcome: Option<String>,
    /// From this moment on.
    pub since: Option<UnixMillis>,
    /// Before this moment.
    pub until: Option<UnixMillis>,
}

impl Filter {
    fn accepts(&self, record: &Record) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        same(&self.who, &record.who)
            && same(&self.action, &record.action)
            && same(&self.outcome, &record.outcome)
            && self.target.as_ref().is_none_or(|part| record.target.contains(part.as_str()))
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
    }
}

/// Records with whether each is as it was written, the newest first, and where the next page begins.
pub type Found = (Vec<(Record, bool)>, Option<u64>);

/// At most `limit` of the records that are older than `before`, or of all.
///
/// # Errors
/// The trail cannot be read.
pub fn search(directory: &Path, filter: &Filter, before: Option<u64>, limit: usize) -> io::Result<Found> {
    let mut found = Vec::new();
    let files = files(directory)?;
    let older = files.iter().rev().filter(|path| before.is_none_or(|before| first(path) < before));
    for (index, path) in older.enumerate() {
        if index == FILES_PER_PAGE {
            return Ok((found, Some(before_file(path, &files))));
        }
        for record in records(path)?.into_iter().rev() {
            if before.is_none_or(|before| record.0.seq < before) && filter.accepts(&record.0) {
                if found.len() == limit {
                    return Ok((found, Some(record.0.seq + 1)));
                }
                found.push(record);
            }
        }
    }
    Ok((found, None))
}

/// The number that all records of a file are below.
fn before_file(path: &Path, files: &[PathBuf]) -> u64 {
    let after = files.iter().skip_while(|known| *known != path).nth(1);
    after.map_or(u64::MAX, |path| first(path))
}

/// Number of the first record of a file, by its name.
fn first(path: &Path) -> u64 {
    let name = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("audit-"));
    name.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn records(path: &Path) -> io::Result<Vec<(Record, bool)>> {
    let mut records = Vec::new();
    let mut reader = BufReader::new(File::open(path)?.take(READ_MAX));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        // The last one may be under way.
        if let Some(record) = std::str::from_utf8(line.trim_ascii_end()).ok().and_then(chain::parse) {
            records.push(record);
        }
        line.clear();
    }
    Ok(records)
}
