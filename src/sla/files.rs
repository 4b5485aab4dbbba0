//! The ledger on disk, so that a restart does not end it: files of records below `sla/` in the state directory, of which the old ones
//! are removed.
//!
//! Minutes are in a file for each hour, of which eight are kept; hours in one for each day, of which five are; days in one for 32 days,
//! of which fourteen are. A process writes files of its own, one write a minute, never synchronised: what a crash of
//! the machine takes is a few minutes. With two thousand masters that is 0.12 MB a minute.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ledger::{Closed, Span};
use super::log;
use crate::monitor::series::Key;

/// In the state directory.
const DIRECTORY: &str = "sla";
/// A file is read up to here; one of everything at the highest number of series stays below.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Files that processes may begin within one stretch of time: a program that is restarted every few seconds ends here.
const PARTS_MAX: u32 = 1000;

/// Where slots are kept.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    open: BTreeMap<Span, (u64, File)>,
    /// Whether the last write failed: that is told once.
    failing: bool,
}

/// Name, seconds that one file covers, and how many are kept.
fn stretch(span: Span) -> (&'static str, u64, u64) {
    match span {
        Span::Minute => ("minutes", 3600, 8),
        Span::Hour => ("hours", 86_400, 5),
        Span::Day => ("days", 32 * 86_400, 14),
    }
}

impl Files {
    /// Files below a state directory; nothing is made yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join(DIRECTORY), open: BTreeMap::new(), failing: false }
    }

    /// Reads what is there and as old as `now` (in seconds since 1970) allows: days, then hours, then minutes, each in order. A file that
    /// cannot be read is passed over; the others are good without it.
    pub fn load(&self, now: u64, mut take: impl FnMut(Closed)) {
        for span in Span::ALL.into_iter().rev() {
            let (_, seconds, kept) = stretch(span);
            let first = (now / seconds).saturating_sub(kept);
            let mut stretches: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
            for (number, _, path) in self.list(span).into_iter().filter(|(number, ..)| *number >= first) {
                stretches.entry(number).or_default().push(path);
            }
            for paths in stretches.into_values() {
                // Processes that overlap have kept the same slots.
                let mut slots: BTreeMap<(u64, Key), Closed> = BTreeMap::new();
                for path in paths {
                    match read(&path) {
                        Ok(bytes) => log::read(&bytes, |closed| {
                            // A clock that was ahead must not hide what comes now.
                            if closed.span == span && closed.number <= now / span.seconds() {
                                let known = slots.entry((closed.number, closed.key.clone()));
                                known.and_modify(|known| known.merge(&closed.slot)).or_insert(closed);
                            }
                        }),
                        Err(error) => tracing::warn!("cannot read {}: {error}", path.display()),
                    }
                }
                slots.into_values().for_each(&mut take);
            }
        }
    }

    /// Appends slots that ended. When that fails it is told, and tried anew with the next ones.
    pub fn keep(&mut self, closed: &[Closed]) {
        match Span::ALL.into_iter().try_for_each(|span| self.append(span, closed)) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!("availability is not kept: {}: {error}", self.directory.display());
            }
            Err(_) => {}
        }
    }

    fn append(&mut self, span: Span, closed: &[Closed]) -> io::Result<()> {
        let of_span = || closed.iter().filter(|closed| closed.span == span);
        let Some(last) = of_span().next_back() else { return Ok(()) };
        let wanted = last.number * span.seconds() / stretch(span).1;
        let (known, mut file) = match self.open.remove(&span) {
            Some(open) if open.0 == wanted => open,
            _ => {
                let file = self.begin(span, wanted)?;
                self.remove_old(span, wanted);
                (wanted, file)
            }
        };
        // Where that fails, half a record may be there, behind which nothing could be read: the next ones get a file of their own.
        file.write_all(&log::write(of_span()))?;
        self.open.insert(span, (known, file));
        Ok(())
    }

    fn begin(&self, span: Span, number: u64) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let path = |part: u32| self.directory.join(format!("{}-{number}-{part}", stretch(span).0));
        let part = (0..PARTS_MAX).find(|part| !path(*part).exists());
        let part = part.ok_or_else(|| io::Error::other("too many files"))?;
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path(part))?;
        file.write_all(log::MAGIC)?;
        Ok(file)
    }

    fn remove_old(&self, span: Span, number: u64) {
        for (old, _, path) in self.list(span) {
            if old + stretch(span).2 < number {
                // One that stays is removed the next time.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Files of a span by stretch and part.
    fn list(&self, span: Span) -> Vec<(u64, u32, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Vec::new() };
        let numbers = |name: &str| {
            let (number, part) = name.strip_prefix(stretch(span).0)?.strip_prefix('-')?.split_once('-')?;
            Some((number.parse::<u64>().ok()?, part.parse::<u32>().ok()?))
        };
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let (number, part) = numbers(name.to_str()?)?;
                Some((number, part, self.directory.join(name)))
            })
            .collect();
        files.sort();
        files
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sla::slot::Slot;

    const NOW: u64 = 20_782 * 86_400;

    fn state(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("baton-sla-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn closed(span: Span, second: u64, requests: u64) -> Closed {
        let slot = Slot { requests, up: 10, ..Slot::EMPTY };
        Closed { key: Key::System, span, number: second / span.seconds(), slot }
    }

    fn loaded(state: &Path, now: u64) -> Vec<(Span, u64, u64)> {
        let mut all = Vec::new();
        Files::new(state).load(now, |closed| all.push((closed.span, closed.number, closed.slot.requests)));
        all
    }

    #[test]
    fn what_processes_have_kept_of_a_minute_is_put_together_and_what_of_an_hour_is_not() {
        let state = state("merged");
        for requests in [1, 2] {
            let mut files = Files::new(&state);
            files.keep(&[closed(Span::Minute, NOW, requests), closed(Span::Minute, NOW + 60, requests)]);
            files.keep(&[closed(Span::Hour, NOW, requests), closed(Span::Day, NOW, requests)]);
        }
        let [day, hour, minute] = [NOW / 86_400, NOW / 3600, NOW / 60];
        let expected =
            [(Span::Day, day, 2), (Span::Hour, hour, 2), (Span::Minute, minute, 3), (Span::Minute, minute + 1, 3)];
        assert_eq!(loaded(&state, NOW + 7200), expected);
        // Of a clock that was ahead nothing is believed.
        assert_eq!(loaded(&state, NOW + 59), expected[..3]);
        let _ = std::fs::remove_dir_all(state);
    }

    #[test]
    fn old_files_are_removed_and_not_read() {
        let state = state("old");
        let mut files = Files::new(&state);
        (0..30).for_each(|hour| files.keep(&[closed(Span::Minute, NOW + hour * 3600, 1)]));
        assert_eq!(std::fs::read_dir(state.join(DIRECTORY)).unwrap().count(), 9);
        assert_eq!((loaded(&state, NOW + 29 * 3600).len(), loaded(&state, NOW + 99 * 3600).len()), (9, 0));
        let _ = std::fs::remove_dir_all(state);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_no_reason_to_stop() {
        let state = state("unwritable");
        std::fs::write(&state, "a file").unwrap();
        let mut files = Files::new(&state);
        files.keep(&[closed(Span::Minute, NOW, 1)]);
        assert!(files.failing && loaded(&state, NOW).is_empty());
        let _ = std::fs::remove_file(state);
    }
}
