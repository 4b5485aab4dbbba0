//! Samples on disk, so that a restart does not end them: files of records below `trends/` in the state directory, of which the old ones
//! are removed.
//!
//! Every pace has files of its own, each for a stretch of time: an hour of ten-second samples, a day of five-minute samples. A file is
//! only appended to, one write for everything that ended together, and never synchronised: what a crash of the machine
//! takes is a few points in a plot. Seven and thirty-one files are kept, up to 28 KB every ten seconds with two thousand masters.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record::{self, MAGIC, Writer};
use super::series::{Closed, Key, Pace};

/// In the state directory.
const DIRECTORY: &str = "trends";

/// A file is read up to here; a day of everything at the highest number of series stays below.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Where samples are kept.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    open: BTreeMap<Pace, Open>,
    /// Whether the last write failed: that is told once.
    failing: bool,
}

#[derive(Debug)]
struct Open {
    stretch: u64,
    file: File,
    writer: Writer,
}

/// Seconds that one file covers, and how many are kept.
fn stretch(pace: Pace) -> Option<(&'static str, u64, u64)> {
    match pace {
        Pace::Second => None,
        Pace::TenSeconds => Some(("10s", 3600, 7)),
        Pace::FiveMinutes => Some(("5m", 86_400, 31)),
    }
}

impl Files {
    /// Files below a state directory; nothing is made yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join(DIRECTORY), open: BTreeMap::new(), failing: false }
    }

    /// Reads what is there and as old as `now` (in seconds since 1970) allows, the oldest first. A file that cannot be read is passed
    /// over; the others are good without it.
    pub fn load(&self, now: u64, mut take: impl FnMut(&Key, &Closed)) {
        for (pace, stretch, path) in self.found(now) {
            let newest = now / pace.seconds();
            match read(&path) {
                Ok(bytes) => record::read(&bytes, |key, closed| {
                    // A clock that was ahead must not hide what comes now.
                    if closed.pace == pace && closed.interval <= newest {
                        take(key, closed);
                    }
                }),
                Err(error) => tracing::warn!(stretch, "cannot read {}: {error}", path.display()),
            }
        }
    }

    /// Appends intervals that ended. When that fails it is told, and tried anew with the next ones.
    pub fn keep(&mut self, closed: &[(Key, Closed)]) {
        let result = Pace::ALL.into_iter().try_for_each(|pace| {
            let of_pace: Vec<_> = closed.iter().filter(|(_, closed)| closed.pace == pace).cloned().collect();
            self.append(pace, &of_pace)
        });
        match result {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!("samples are not kept: {}: {error}", self.directory.display());
            }
            Err(_) => {}
        }
    }

    fn append(&mut self, pace: Pace, closed: &[(Key, Closed)]) -> io::Result<()> {
        let (Some((_, seconds, _)), Some((_, last))) = (stretch(pace), closed.last()) else { return Ok(()) };
        let wanted = last.interval * pace.seconds() / seconds;
        if self.open.get(&pace).is_none_or(|open| open.stretch != wanted) {
            self.open.remove(&pace);
            let open = self.begin(pace, wanted)?;
            self.open.insert(pace, open);
            self.remove_old(pace, wanted);
        }
        let Some(open) = self.open.get_mut(&pace) else { return Ok(()) };
        let bytes = open.writer.write(closed);
        let written = open.file.write_all(&bytes);
        if written.is_err() {
            // Half a record may be there: what follows it could not be read.
            self.open.remove(&pace);
        }
        written
    }

    /// Opens a file of this process' own: its numbers for series are no other's, and the end of what another has written may be torn.
    fn begin(&self, pace: Pace, stretch: u64) -> io::Result<Open> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let word = self::stretch(pace).map_or("", |(word, ..)| word);
        let taken = |part: &u32| self.directory.join(file_name(word, stretch, *part)).exists();
        let part = (0..PARTS_MAX).find(|part| !taken(part)).ok_or_else(|| io::Error::other("too many files"))?;
        let path = self.directory.join(file_name(word, stretch, part));
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(MAGIC)?;
        Ok(Open { stretch, file, writer: Writer::default() })
    }

    /// Files that are still of use, in the order in which they were begun.
    fn found(&self, now: u64) -> Vec<(Pace, u64, PathBuf)> {
        let mut found = Vec::new();
        for pace in Pace::ALL {
            let Some((_, seconds, kept)) = stretch(pace) else { continue };
            let files = self.list(pace).into_iter();
            let first = (now / seconds).saturating_sub(kept);
            found.extend(
                files.filter(|(stretch, ..)| *stretch >= first).map(|(stretch, _, path)| (pace, stretch, path)),
            );
        }
        found
    }

    fn remove_old(&self, pace: Pace, stretch: u64) {
        let Some((_, _, kept)) = self::stretch(pace) else { return };
        for (old, _, path) in self.list(pace) {
            if old + kept < stretch {
                // One that stays is removed the next time.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Files of a pace by stretch and part.
    fn list(&self, pace: Pace) -> Vec<(u64, u32, PathBuf)> {
        let Some((word, ..)) = stretch(pace) else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Vec::new() };
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let (stretch, part) = numbers(name.to_str()?, word)?;
                Some((stretch, part, self.directory.join(name)))
            })
            .collect();
        files.sort();
        files
    }
}

/// Files that processes may begin within one stretch of time: a program that is restarted every few seconds ends here.
const PARTS_MAX: u32 = 1000;

fn file_name(word: &str, stretch: u64, part: u32) -> String {
    format!("{word}-{stretch}-{part}")
}

fn numbers(name: &str, word: &str) -> Option<(u64, u32)> {
    let (stretch, part) = name.strip_prefix(word)?.strip_prefix('-')?.split_once('-')?;
    Some((stretch.parse().ok()?, part.parse().ok()?))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::sample::Sample;

    const NOW: u64 = 1_800_000_000;

    fn state(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("baton-trends-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn closed(pace: Pace, second: u64) -> (Key, Closed) {
        (Key::System, Closed { pace, interval: second / pace.seconds(), sample: Sample::ABSENT })
    }

    fn loaded(state: &Path, now: u64) -> Vec<(Key, Closed)> {
        let mut all = Vec::new();
        Files::new(state).load(now, |key, closed| all.push((key.clone(), *closed)));
        all
    }

    #[test]
    fn what_one_process_has_kept_the_next_ones_read_and_carry_on() {
        let state = state("carry-on");
        let kept: Vec<_> = (0..5).map(|step| closed(Pace::TenSeconds, NOW + step * 10)).collect();
        for part in [&kept[..2], &kept[2..3], &kept[3..]] {
            Files::new(&state).keep(part);
        }
        assert_eq!(loaded(&state, NOW + 60), kept);
        // Of a clock that was ahead nothing is believed.
        assert_eq!(loaded(&state, NOW + 20), kept[..3]);
        let _ = std::fs::remove_dir_all(state);
    }

    #[test]
    fn old_files_are_removed_and_not_read() {
        let state = state("old");
        let mut files = Files::new(&state);
        for hour in 0..20 {
            files.keep(&[closed(Pace::TenSeconds, NOW + hour * 3600)]);
        }
        assert_eq!(std::fs::read_dir(state.join(DIRECTORY)).unwrap().count(), 8);
        assert_eq!(loaded(&state, NOW + 19 * 3600).len(), 8);
        assert_eq!(loaded(&state, NOW + 40 * 3600).len(), 0);
        let _ = std::fs::remove_dir_all(state);
    }

    #[test]
    fn a_torn_end_costs_what_is_in_it_and_no_more() {
        let state = state("torn");
        let mut files = Files::new(&state);
        files.keep(&[closed(Pace::FiveMinutes, NOW)]);
        files.keep(&[closed(Pace::FiveMinutes, NOW + 300)]);
        let path = files.list(Pace::FiveMinutes).remove(0).2;
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        Files::new(&state).keep(&[closed(Pace::FiveMinutes, NOW + 600)]);
        let intervals: Vec<_> =
            loaded(&state, NOW + 900).iter().map(|(_, closed)| closed.interval * 300 - NOW).collect();
        assert_eq!(intervals, [0, 600]);
        let _ = std::fs::remove_dir_all(state);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_no_reason_to_stop() {
        let state = state("unwritable");
        std::fs::write(&state, "a file").unwrap();
        let mut files = Files::new(&state);
        files.keep(&[closed(Pace::TenSeconds, NOW)]);
        assert!(files.failing && loaded(&state, NOW).is_empty());
        let _ = std::fs::remove_file(state);
    }
}
