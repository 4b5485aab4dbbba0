//! The access log: one JSON line for each exchange, without ever holding one up.
//!
//! A worker formats lines into a buffer of its own and hands full buffers to one writer thread through a bounded queue.
//! When the queue is full, because the disk or the reader of a pipe is slow, the buffer's lines are dropped and
//! counted. A line is in memory for at most one tick of its worker, which must call [`WorkerLog::flush`].
//!
//! Lines are never torn: a batch holds whole ones, and what a failed write left behind is ended by a newline of its own.

pub mod entry;
mod writer;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use entry::Entry;

use crate::config::model;
use writer::{Target, Writer};

/// A worker's buffer is handed over at this size: some hundred lines for one wake-up of the writer.
const BATCH_BYTES: usize = 32 * 1024;

/// Batches waiting for the writer, over all workers: with 32 KiB each, 4 MiB at most, and about 10 000 lines of patience.
const QUEUE_BATCHES: usize = 128;

/// The log as the control plane sees it.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    sender: SyncSender<Batch>,
    ended: Mutex<Receiver<()>>,
}

/// One worker's end of the log. It belongs to one thread.
#[derive(Debug)]
pub struct WorkerLog {
    shared: Arc<Shared>,
    sender: SyncSender<Batch>,
    batch: RefCell<Batch>,
}

/// Whole lines and their number.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

#[derive(Debug)]
struct Shared {
    /// Whether workers format at all.
    on: AtomicBool,
    stop: AtomicBool,
    /// A target the writer has yet to take up.
    next: Mutex<Option<Target>>,
    /// The file in use, for [`AccessLog::reopen`].
    path: Mutex<Option<PathBuf>>,
    dropped_full: AtomicU64,
    dropped_error: AtomicU64,
}

/// Lines lost since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The queue was full.
    pub queue_full: u64,
    /// The target refused them.
    pub write_error: u64,
}

impl AccessLog {
    /// Opens the target and starts the writer thread. A file is created, or appended to, readable by owner and group.
    pub fn open(config: &model::AccessLog) -> io::Result<Self> {
        Self::start(Target::open(config)?, file(config))
    }

    fn start(target: Target, path: Option<PathBuf>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            on: AtomicBool::new(target.is_on()),
            stop: AtomicBool::new(false),
            next: Mutex::new(None),
            path: Mutex::new(path),
            dropped_full: AtomicU64::new(0),
            dropped_error: AtomicU64::new(0),
        });
        let (sender, batches) = sync_channel(QUEUE_BATCHES);
        let (end, ended) = sync_channel(1);
        let writer = Writer::new(target, batches, Arc::clone(&shared));
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run();
            // Nobody may be waiting for it.
            let _ = end.try_send(());
        })?;
        Ok(Self { shared, sender, ended: Mutex::new(ended) })
    }

    /// A new worker's end.
    #[must_use]
    pub fn worker(&self) -> WorkerLog {
        WorkerLog { shared: Arc::clone(&self.shared), sender: self.sender.clone(), batch: RefCell::default() }
    }

    /// Turns to another target. Lines that are queued already go to the old one or the new one; when the log is switched
    /// off, what the workers have not handed over yet is left out. On an error nothing changes.
    pub fn reconfigure(&self, config: &model::AccessLog) -> io::Result<()> {
        let target = Target::open(config)?;
        *lock(&self.shared.path) = file(config);
        let on = target.is_on();
        // Workers write only while there is a target: it comes before the first line and goes after the last.
        self.shared.on.fetch_and(on, Ordering::Release);
        self.turn_to(target);
        self.shared.on.store(on, Ordering::Release);
        Ok(())
    }

    /// Opens the file again under its name, after it was moved away by log rotation. On an error the old one stays in
    /// use. Without a file there is nothing to do.
    pub fn reopen(&self) -> io::Result<()> {
        let path = lock(&self.shared.path).clone();
        if let Some(path) = path {
            self.turn_to(Target::open(&model::AccessLog::File(path))?);
        }
        Ok(())
    }

    /// Lines lost so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped {
            queue_full: self.shared.dropped_full.load(Ordering::Relaxed),
            write_error: self.shared.dropped_error.load(Ordering::Relaxed),
        }
    }

    /// Writes what is queued and ends the writer. Call it when the workers have flushed. Says whether everything was
    /// written within the time; a target that blocks for longer is given up.
    #[must_use]
    pub fn close(&self, within: Duration) -> bool {
        self.end();
        lock(&self.ended).recv_timeout(within).is_ok()
    }

    fn turn_to(&self, target: Target) {
        *lock(&self.shared.next) = Some(target);
        self.wake();
    }

    fn end(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// The writer looks for orders after each batch. When the queue is full it is about to.
    fn wake(&self) {
        let _ = self.sender.try_send(Batch::default());
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.end();
    }
}

impl WorkerLog {
    /// Whether lines are wanted: lets a caller skip collecting what only the log needs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.on.load(Ordering::Relaxed)
    }

    /// Adds a line, if the log is on. Never waits.
    pub fn write(&self, entry: &Entry<'_>) {
        if !self.is_on() {
            return;
        }
        let mut batch = self.batch.borrow_mut();
        entry::format(&mut batch.bytes, entry);
        batch.lines += 1;
        if batch.bytes.len() >= BATCH_BYTES {
            self.hand_over(&mut batch);
        }
    }

    /// Hands over what is there. Call it every few hundred milliseconds and before the worker ends. Never waits.
    pub fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        if batch.lines > 0 {
            self.hand_over(&mut batch);
        }
    }

    fn hand_over(&self, batch: &mut Batch) {
        // One allocation for some hundred lines; the last line may reach over the mark.
        let empty = Batch { bytes: Vec::with_capacity(BATCH_BYTES + 1024), lines: 0 };
        let full = std::mem::replace(batch, empty);
        let lines = full.lines;
        if self.sender.try_send(full).is_err() {
            self.shared.dropped_full.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

/// A worker ends after its connections: what those said at their own end is in the buffer then.
impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.flush();
    }
}

fn file(config: &model::AccessLog) -> Option<PathBuf> {
    match config {
        model::AccessLog::File(path) => Some(path.clone()),
        model::AccessLog::Off | model::AccessLog::Stdout => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
