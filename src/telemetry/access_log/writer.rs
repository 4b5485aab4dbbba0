//! The thread that writes, and the only one that may wait for a disk or a pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::{Batch, Shared, lock};
use rustix::fs::OFlags;

use crate::clock::{self, Micros};
use crate::config::model;

/// Errors of the target are reported at most this often; the count of lost lines says the rest.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Where lines go. Files and standard output are both plain descriptors, written without a buffer in between.
#[derive(Debug)]
pub(super) enum Target {
    Off,
    Open(File),
}

impl Target {
    pub(super) fn open(config: &model::AccessLog) -> io::Result<Self> {
        match config {
            model::AccessLog::Off => Ok(Self::Off),
            model::AccessLog::Stdout => Ok(Self::Open(io::stdout().as_fd().try_clone_to_owned()?.into())),
            model::AccessLog::File(path) => {
                // A pipe without a reader is refused at once instead of holding up whoever opens it; written to, it may
                // hold up the writer thread like any other file.
                let waiting_not = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
                let opened =
                    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(waiting_not).open(path);
                let opened = opened.and_then(|file| {
                    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
                    Ok(file)
                });
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                opened.map(Self::Open).map_err(named)
            }
        }
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    batches: Receiver<Batch>,
    shared: Arc<Shared>,
    lines: Lines<Target>,
    /// Lines lost to errors and not reported yet.
    unreported: u64,
    reported: Option<Micros>,
}

impl Writer {
    pub(super) fn new(target: Target, batches: Receiver<Batch>, shared: Arc<Shared>) -> Self {
        Self { batches, shared, lines: Lines::new(target), unreported: 0, reported: None }
    }

    /// Writes until every sender is gone or it is told to stop, and then what is queued.
    pub(super) fn run(mut self) {
        while let Ok(batch) = self.batches.recv() {
            self.write(&batch);
            let next = lock(&self.shared.next).take();
            if let Some(next) = next {
                if !next.is_on() {
                    self.write_queued();
                }
                self.lines = Lines::new(next);
                self.reported = None;
            }
            if self.shared.stop.load(Ordering::Acquire) {
                self.write_queued();
                return;
            }
        }
    }

    fn write_queued(&mut self) {
        // Bounded by the queue: workers may go on, and what they add meanwhile can wait for the next round.
        for _ in 0..super::QUEUE_BATCHES {
            let Ok(batch) = self.batches.try_recv() else { return };
            self.write(&batch);
        }
    }

    fn write(&mut self, batch: &Batch) {
        // An order that came with no lines says nothing about the target.
        if batch.lines == 0 {
            return;
        }
        let result = self.lines.write(&batch.bytes);
        let now = clock::now();
        match result {
            Ok(()) if self.unreported == 0 => {}
            Ok(()) => {
                tracing::warn!(lines_lost = self.unreported, "the access log is being written again");
                self.unreported = 0;
                self.reported = None;
            }
            Err(failure) => {
                self.shared.dropped_error.fetch_add(failure.lost, Ordering::Relaxed);
                self.unreported += failure.lost;
                let due = self.reported.is_none_or(|last| now.saturating_sub(last) >= clock::micros(REPORT_EVERY));
                if due {
                    let error = failure.error;
                    tracing::error!(%error, lines_lost = self.unreported, "cannot write the access log");
                    self.reported = Some(now);
                }
            }
        }
    }
}

/// Writes whole lines and keeps them whole after an error.
#[derive(Debug)]
struct Lines<W> {
    out: W,
    /// The last write stopped in the middle of a line.
    torn: bool,
}

#[derive(Debug)]
struct Failure {
    error: io::Error,
    /// Lines that are not, or not wholly, in the target.
    lost: u64,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Failure> {
        let mut rest = lines;
        while !rest.is_empty() {
            let written = if self.torn { self.out.write(b"\n") } else { self.out.write(rest) };
            let error = match written {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(_) if self.torn => {
                    self.torn = false;
                    continue;
                }
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let written = lines.len() - rest.len();
            self.torn |= lines.get(..written).and_then(<[u8]>::last).is_some_and(|last| *last != b'\n');
            let lost = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
            return Err(Failure { error, lost });
        }
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Off => Ok(bytes.len()),
            Self::Open(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that takes so many bytes and is then full.
    struct Disk {
        room: usize,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.text.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_torn_by_a_full_disk_does_not_spoil_the_next_one() {
        let mut lines = Lines::new(Disk { room: 6, text: Vec::new() });
        assert_eq!(lines.write(b"one\ntwo\nthree\n").unwrap_err().lost, 2);
        assert_eq!(lines.write(b"four\n").unwrap_err().lost, 1);
        lines.out.room = 100;
        lines.write(b"five\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&lines.out.text), "one\ntw\nfive\n");
    }

    #[test]
    fn a_disk_that_fills_up_between_lines_leaves_no_empty_line() {
        let mut lines = Lines::new(Disk { room: 4, text: Vec::new() });
        assert_eq!(lines.write(b"one\ntwo\n").unwrap_err().lost, 1);
        lines.out.room = 100;
        lines.write(b"three\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&lines.out.text), "one\nthree\n");
    }
}
