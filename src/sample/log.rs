//! A line for each message that a sample master has read, in a file that outlives it.
//!
//! What a master remembers goes with it when it is killed. The line is written before the message is answered, in one write and at the end
//! of the file, so several masters may share a file: its lines stand in the order in which all of them read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use hyper::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::sample::mark::Mark;

/// Request header in which the balancer numbers its attempts.
const ATTEMPT: &str = "baton-attempt";
/// Request header by which it says that some master may have had the message before.
const REDELIVERY: &str = "baton-redelivery";

/// One message as a master read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub master: String,
    /// As [`Mark`] is written.
    pub message: String,
    /// None where the balancer does not say.
    pub attempt: Option<u64>,
    /// The balancer says that some master may have had it before.
    pub repeat: bool,
    /// The status that it is answered with.
    pub status: u16,
}

impl Line {
    /// What is said of one message of a request with these headers.
    #[must_use]
    pub fn new(master: &str, mark: &Mark, headers: &HeaderMap, status: u16) -> Self {
        let attempt = headers.get(ATTEMPT).and_then(|value| value.to_str().ok()?.parse().ok());
        let repeat = headers.contains_key(REDELIVERY);
        Self { master: master.to_owned(), message: mark.to_string(), attempt, repeat, status }
    }
}

/// The file.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens it for adding to it, and makes it if there is none.
    ///
    /// # Errors
    /// One that names the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()));
        OpenOptions::new().append(true).create(true).open(path).map(Self).map_err(named)
    }

    /// Adds lines at once.
    ///
    /// # Errors
    /// What the disk says; then the messages must not be answered as read.
    pub fn add(&self, lines: &[Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        (&self.0).write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_share_a_file_add_to_each_others_lines() {
        let path = std::env::temp_dir().join(format!("baton-log-{:016x}", crate::ids::random_u64()));
        let mut headers = HeaderMap::new();
        headers.insert(ATTEMPT, "2".parse().unwrap());
        headers.insert(REDELIVERY, "possible".parse().unwrap());
        let mark = Mark { run: 10, conversation: 3, sequence: 7 };
        let lines = [Line::new("a", &mark, &HeaderMap::new(), 500), Line::new("b", &mark, &headers, 200)];
        let (one, other) = (Log::open(&path).unwrap(), Log::open(&path).unwrap());
        one.add(&lines[..1]).unwrap();
        other.add(&lines[1..]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let read: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, lines);
        assert_eq!((&*read[1].message, read[1].attempt, read[1].repeat), ("SAMPLE.a.3.7", Some(2), true));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Log::open(Path::new("/nowhere/log")).unwrap_err();
        assert!(error.to_string().starts_with("cannot write /nowhere/log: "), "{error}");
    }
}
