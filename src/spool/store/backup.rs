//! Copies of the store: made while it runs, and put back.
//!
//! A copy is a database of its own with every row as of one moment. What is delivered after that moment is still pending in
//! the copy, and delivered again where the copy is put back.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value};

use super::Store;
use super::api::DeadLetter;
use super::dead::decode_history;
use super::lock::{Busy, Lock, SPOOL};
use super::open::{NAME, create_private};
use super::tables::{
    self, ALIASES, ATTEMPTS, DAMAGED, DEAD, DEAD_BY_TIME, ENTRIES, META, META_CLEAN, META_SCHEMA, NAMES, PINS, RECORDS,
    SCHEMA, SEEN,
};
use crate::spool::record::{Entry, Record};

/// Bytes that one commit of a copy has, which is what it takes of memory.
const CHUNK: usize = 8 << 20;

/// Cache of a copy while it is made or looked through.
const CACHE: usize = 8 << 20;

/// What a copy holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub pending: u64,
    pub dead: u64,
    /// Messages and dead letters that cannot be read; they are copied as they are.
    pub unreadable: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why there is no copy, or it was not put back.
#[derive(Debug, PartialEq, Eq)]
pub struct BackupError {
    /// The file that it is about.
    pub path: PathBuf,
    pub cause: String,
}

impl std::error::Error for BackupError {}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.cause)
    }
}

fn error(path: &Path, cause: impl fmt::Display) -> BackupError {
    BackupError { path: path.to_owned(), cause: cause.to_string() }
}

impl Store {
    /// Writes a copy of everything as of now, and replaces a file that has this name only when the copy is whole and on
    /// disk. Blocks for as long as it takes to write the file; meanwhile the store goes on, and its file may grow by what is
    /// stored in that time.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or the copy not be written; then there is no new file.
    pub fn backup(&self, path: &Path) -> Result<Summary, BackupError> {
        let unfinished = with_suffix(path, ".part");
        let copied = self.read(|transaction| Ok(write_copy(transaction, &unfinished)));
        let finished = copied.map_err(|cause| error(path, cause)).and_then(|copied| {
            let summary = copied.map_err(|cause| error(&unfinished, cause))?;
            put_in_place(&unfinished, path).map_err(|cause| error(path, cause))?;
            Ok(summary)
        });
        if finished.is_err() {
            // The error is what counts; the file may not even be there.
            let _ = fs::remove_file(&unfinished);
        }
        finished
    }
}

/// Puts a copy in the place of a state directory's store, which nobody may have open. A store that is there is in the way
/// unless `replace` says otherwise; then it is kept beside the new one as `spool.redb.replaced`.
///
/// # Errors
///
/// The file is no whole copy, there is a store already, somebody has it open, or the disk fails; then nothing has changed.
pub fn restore(file: &Path, state: &Path, replace: bool) -> Result<Summary, BackupError> {
    let target = state.join(NAME);
    fs::create_dir_all(state).map_err(|cause| error(state, cause))?;
    let _lock = Lock::take(state, SPOOL).map_err(|busy| match busy {
        Busy::Held(Some(pid)) => error(&target, format!("process {pid} has it open; stop it first")),
        Busy::Held(None) => error(&target, "another process has it open; stop it first"),
        Busy::Io(cause) => error(&target, cause),
    })?;
    let occupied = fs::metadata(&target).is_ok_and(|file| file.len() > 0);
    if occupied && !replace {
        let cause = "there is a spool already, whose messages would not be delivered; say that it may be replaced, or choose \
                     another state.path";
        return Err(error(&target, cause));
    }
    let copy = with_suffix(&target, ".restoring");
    let restored = bring(file, &copy).and_then(|summary| {
        if occupied {
            fs::rename(&target, with_suffix(&target, ".replaced")).map_err(|cause| error(&target, cause))?;
        }
        put_in_place(&copy, &target).map_err(|cause| error(&target, cause))?;
        Ok(summary)
    });
    if restored.is_err() {
        let _ = fs::remove_file(&copy);
    }
    restored
}

/// Copies a file and looks at everything in it.
fn bring(file: &Path, copy: &Path) -> Result<Summary, BackupError> {
    copy_file(file, copy).map_err(|cause| error(file, cause))?;
    catch_unwind(AssertUnwindSafe(|| {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let database = builder.open(copy)?;
        let summary = look_through(&database.begin_read()?)?;
        database.close()?;
        Ok::<_, redb::Error>(Summary { bytes: fs::metadata(copy)?.len(), ..summary })
    }))
    .unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".to_owned())))
    .map_err(|cause| error(file, format!("not a whole copy of a spool: {cause}")))
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    std::io::copy(&mut File::open(from)?, &mut target).map(drop)
}

/// Checks what the database itself cannot: every row's own checksum.
fn look_through(transaction: &ReadTransaction) -> Result<Summary, redb::Error> {
    let schema = tables::meta(&transaction.open_table(META)?, META_SCHEMA)?;
    if schema != Some(SCHEMA) {
        let found = schema.map_or_else(|| "none".to_owned(), |schema| schema.to_string());
        return Err(redb::Error::Corrupted(format!("its schema is {found}, this Baton knows {SCHEMA}")));
    }
    let mut summary = Summary::default();
    let records = transaction.open_table(RECORDS)?;
    let whole = |seq| {
        let row = records.get(seq)?;
        Ok::<_, redb::Error>(row.is_some_and(|row| Record::decode_without_content(seq, row.value()).is_ok()))
    };
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (seq, row) = row?;
        summary.pending += 1;
        let readable = Entry::decode(seq.value(), row.value()).is_ok() && whole(seq.value())?;
        summary.unreadable += u64::from(!readable);
    }
    for row in transaction.open_table(DEAD)?.iter()? {
        let (seq, row) = row?;
        summary.dead += 1;
        let readable = DeadLetter::decode(seq.value(), row.value()).is_ok() && whole(seq.value())?;
        summary.unreadable += u64::from(!readable);
    }
    for row in transaction.open_table(ATTEMPTS)?.iter()? {
        let (seq, row) = row?;
        summary.unreadable += u64::from(decode_history(seq.value(), row.value()).is_err());
    }
    Ok(summary)
}

/// Copies every table.
fn write_copy(from: &ReadTransaction, path: &Path) -> Result<Summary, redb::Error> {
    // What an earlier try has left.
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause.into()),
        _ => {}
    }
    let to = create_private(Builder::new().set_cache_size(CACHE), path)?;
    let pending = copy_table(from, &to, ENTRIES)?;
    copy_table(from, &to, RECORDS)?;
    copy_table(from, &to, ATTEMPTS)?;
    let dead = copy_table(from, &to, DEAD)?;
    copy_table(from, &to, DEAD_BY_TIME)?;
    copy_table(from, &to, SEEN)?;
    copy_table(from, &to, NAMES)?;
    copy_table(from, &to, DAMAGED)?;
    copy_table(from, &to, PINS)?;
    copy_table(from, &to, ALIASES)?;
    copy_table(from, &to, META)?;
    let last = to.begin_write()?;
    // What is in flight now may have been delivered when this is put back.
    last.open_table(META)?.insert(META_CLEAN, 0)?;
    last.commit()?;
    to.close()?;
    Ok(Summary { pending, dead, unreadable: 0, bytes: fs::metadata(path)?.len() })
}

/// Copies one table, a chunk in each commit; returns its rows.
fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &Database,
    definition: TableDefinition<'_, K, V>,
) -> Result<u64, redb::Error> {
    let source = from.open_table(definition)?;
    let mut rows = source.iter()?.peekable();
    let mut count = 0;
    loop {
        let transaction = to.begin_write()?;
        let mut target = transaction.open_table(definition)?;
        let mut bytes = 0;
        while bytes < CHUNK {
            let Some(row) = rows.next() else { break };
            let (key, value) = row?;
            let value = value.value();
            bytes += V::as_bytes(&value).as_ref().len();
            target.insert(key.value(), value)?;
            count += 1;
        }
        drop(target);
        transaction.commit()?;
        if rows.peek().is_none() {
            return Ok(count);
        }
    }
}

/// Gives a file that is whole its name, on disk.
fn put_in_place(from: &Path, to: &Path) -> std::io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
