//! From a state directory to a running store.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, RwLock, mpsc};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use redb::{Builder, Database, DatabaseError, ReadableTable, ReadableTableMetadata, WriteTransaction};
use tokio::sync::mpsc::UnboundedSender;

use super::Store;
use super::api::{Event, OpenError, OpenErrorKind, Recovered};
use super::apply::{Image, Numbers};
use super::disk::Disk;
use super::lock::{Busy, Lock, SPOOL};
use super::seen::{Log, Seen};
use super::shared::{Clock, Shared, Totals};
use super::tables::{
    self, DAMAGED, DEAD_BY_TIME, ENTRIES, META, META_CLEAN, META_NEXT_SEQ, META_SCHEMA, NAMES, RECORDS, SCHEMA, SEEN,
};
use super::writer::{SEQ_BLOCK, Writer};
use crate::config::model::Spool;
use crate::spool::codec::{seal, unseal};
use crate::spool::record::{Entry, Record};

/// The database's name in the state directory.
pub const NAME: &str = "spool.redb";

/// Bytes of the file that are kept in memory.
const CACHE: usize = 32 << 20;

/// Pause between two tries of [`Store::open_waiting`].
const RETRY: Duration = Duration::from_millis(5);

/// Makes the database, or opens it.
pub(super) type Create = Box<dyn FnOnce(&Builder, &Path) -> Result<Database, DatabaseError>>;

/// What a store stands on; the program's is [`Ground::default`].
pub(super) struct Ground {
    pub create: Create,
    pub clock: Clock,
}

impl Default for Ground {
    fn default() -> Self {
        Self { create: Box::new(create_private), clock: Arc::new(crate::clock::unix_millis) }
    }
}

/// Opens the file, or makes it for this user alone: it holds what people wrote.
pub(super) fn create_private(builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    builder.create(path)
}

impl Store {
    /// Opens the store of a state directory, which is made when it is missing, and starts its thread. Blocks, for seconds
    /// with a million messages or after a crash. `events` is told of every commit from now on.
    ///
    /// # Errors
    ///
    /// Another process has the directory, the file is damaged or newer than this program, or the disk fails.
    pub fn open(
        state: &Path,
        settings: &Spool,
        events: UnboundedSender<Event>,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(state, settings, events, Ground::default())
    }

    /// The same, and waits for whoever has it to let go, as an old process does for the one that takes over.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; locked only after `patience`.
    pub fn open_waiting(
        state: &Path,
        settings: &Spool,
        events: &UnboundedSender<Event>,
        patience: Duration,
    ) -> Result<(Self, Recovered), OpenError> {
        let begun = Instant::now();
        loop {
            match Self::open(state, settings, events.clone()) {
                Err(error) if error.kind == OpenErrorKind::Locked && begun.elapsed() < patience => {
                    std::thread::sleep(RETRY);
                }
                other => return other,
            }
        }
    }

    pub(super) fn open_on(
        state: &Path,
        settings: &Spool,
        events: UnboundedSender<Event>,
        ground: Ground,
    ) -> Result<(Self, Recovered), OpenError> {
        let path = state.join(NAME);
        let failed = |kind, cause: String| OpenError { kind, path: path.clone(), cause };
        std::fs::create_dir_all(state).map_err(|error| failed(OpenErrorKind::Io, error.to_string()))?;
        let lock = Lock::take(state, SPOOL).map_err(|busy| match busy {
            Busy::Held(Some(pid)) => failed(OpenErrorKind::Locked, format!("process {pid} has it open")),
            Busy::Held(None) => failed(OpenErrorKind::Locked, "another process has it open".to_owned()),
            Busy::Io(error) => failed(OpenErrorKind::Io, error.to_string()),
        })?;
        let disk = Disk::new(state, &path).map_err(|error| failed(OpenErrorKind::Io, error.to_string()))?;
        let Ground { create, clock } = ground;
        // The library panics over some kinds of damage.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = create(Builder::new().set_cache_size(CACHE), &path)?;
            let found = prepare(&database)?;
            Ok::<_, Trouble>((database, found))
        }));
        let (database, found) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(Trouble(kind, cause))) => return Err(failed(kind, cause)),
            Err(_) => return Err(failed(OpenErrorKind::Damaged, "its pages contradict each other".to_owned())),
        };
        let Found { image, seen, names, next_seq, seq_limit, recovered } = found;
        let shared = Arc::new(Shared {
            settings: ArcSwap::from_pointee(*settings),
            clock,
            database: ArcSwapOption::from_pointee(database),
            seen,
            names: RwLock::new(names),
            next_seq: next_seq.into(),
            closed: false.into(),
            failed: std::sync::OnceLock::new(),
            queued_messages: 0.into(),
            queued_bytes: 0.into(),
            queued_lazy: 0.into(),
            dropped: 0.into(),
            copies: 0.into(),
            totals: Totals::default(),
            disk_full: false.into(),
            disk_bytes: 0.into(),
            bytes_full: false.into(),
        });
        shared.totals.publish(&image.sums, image.log.ids());
        let (sender, commands) = mpsc::channel();
        let writer = Writer {
            shared: Arc::clone(&shared),
            commands,
            events,
            image,
            disk: Some(disk),
            lock: Some(lock),
            jobs: VecDeque::new(),
            seq_limit,
        };
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| failed(OpenErrorKind::Io, format!("no thread for it: {error}")))?;
        Ok((Self { shared, commands: sender }, recovered))
    }
}

/// What went wrong, and its kind.
struct Trouble(OpenErrorKind, String);

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let error = error.into();
        let kind = match &error {
            redb::Error::DatabaseAlreadyOpen => OpenErrorKind::Locked,
            redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => OpenErrorKind::Damaged,
            redb::Error::Io(_) => OpenErrorKind::Io,
            redb::Error::UpgradeRequired(_) => OpenErrorKind::Newer,
            _ => OpenErrorKind::Damaged,
        };
        Self(kind, error.to_string())
    }
}

/// What a start finds in the tables.
struct Found {
    image: Image,
    seen: Seen,
    names: HashMap<u32, Arc<str>>,
    next_seq: u64,
    seq_limit: u64,
    recovered: Recovered,
}

/// Makes what is missing, puts aside what is damaged, notes that the store is open, and reads all but the messages.
fn prepare(database: &Database) -> Result<Found, Trouble> {
    let transaction = database.begin_write()?;
    tables::create(&transaction)?;
    let (clean, reserved) = {
        let mut meta = transaction.open_table(META)?;
        match tables::meta(&meta, META_SCHEMA)? {
            Some(SCHEMA) => {}
            Some(schema) => {
                let cause = format!("it has schema {schema}, this Baton knows {SCHEMA}");
                return Err(Trouble(OpenErrorKind::Newer, cause));
            }
            None => drop(meta.insert(META_SCHEMA, SCHEMA)?),
        }
        // A file that was never used was closed in order.
        let clean = tables::meta(&meta, META_CLEAN)?.unwrap_or(1) == 1;
        meta.insert(META_CLEAN, 0)?;
        (clean, tables::meta(&meta, META_NEXT_SEQ)?.unwrap_or(1))
    };
    let (mut numbers, mut names) = read_names(&transaction)?;
    let (entries, damaged) = read_entries(&transaction)?;
    for (seq, row) in damaged {
        put_aside(&transaction, seq, &row)?;
    }
    let used: HashSet<u32> = entries.iter().flat_map(|entry| [entry.upstream, entry.account]).collect();
    mend_names(&transaction, &entries, &mut numbers, &mut names)?;
    let mut image = Image { numbers, ..Image::default() };
    let names = forget_names(&transaction, names, &used, &mut image.numbers)?;
    entries.iter().for_each(|entry| image.sums.begin(entry));
    for row in transaction.open_table(DEAD_BY_TIME)?.iter()? {
        let (key, size) = row?;
        image.sums.bury(size.value(), key.value().0);
    }
    let orphans = transaction.open_table(RECORDS)?.len()?.saturating_sub(image.sums.pending + image.sums.dead);
    if orphans > 0 {
        tracing::error!(orphans, "stored messages have lost their entries and are not delivered");
    }
    image.sums.damaged = transaction.open_table(DAMAGED)?.len()? + orphans;
    let seen = Seen::default();
    image.log = Log::load(&transaction.open_table(SEEN)?, &seen)?;
    let last = transaction.open_table(RECORDS)?.last()?.map_or(0, |(seq, _)| seq.value());
    let next_seq = reserved.max(last.saturating_add(1));
    let seq_limit = next_seq.saturating_add(SEQ_BLOCK);
    transaction.open_table(META)?.insert(META_NEXT_SEQ, seq_limit)?;
    transaction.commit()?;
    let recovered = Recovered { entries, clean, damaged: image.sums.damaged };
    Ok(Found { image, seen, names, next_seq, seq_limit, recovered })
}

type Names = HashMap<u32, Arc<str>>;

fn read_names(transaction: &WriteTransaction) -> Result<(Numbers, Names), Trouble> {
    let (mut numbers, mut names) = (Numbers::default(), Names::new());
    for row in transaction.open_table(NAMES)?.iter()? {
        let (number, name) = row?;
        let number = number.value();
        numbers.next = number + 1;
        // The records have it too, see `mend_names`.
        let Some(name) = unseal(number.into(), name.value()).ok().and_then(|name| std::str::from_utf8(name).ok())
        else {
            continue;
        };
        let name = Arc::<str>::from(name);
        numbers.by_name.insert(Arc::clone(&name), number);
        names.insert(number, name);
    }
    Ok((numbers, names))
}

/// Finds names that could not be read in the records of the messages that have them.
fn mend_names(
    transaction: &WriteTransaction,
    entries: &[Entry],
    numbers: &mut Numbers,
    names: &mut Names,
) -> Result<(), Trouble> {
    let is_missing = |names: &Names, number: u32| number < Entry::ACCOUNT_IN_RECORD && !names.contains_key(&number);
    let (records, mut table) = (transaction.open_table(RECORDS)?, transaction.open_table(NAMES)?);
    for entry in entries {
        if !is_missing(names, entry.upstream) && !is_missing(names, entry.account) {
            continue;
        }
        let Some(row) = records.get(entry.seq)? else { continue };
        let Ok(Record { message, .. }) = Record::decode_without_content(entry.seq, row.value()) else { continue };
        let account = message.account.as_deref().map(Arc::from);
        for (number, name) in [(entry.upstream, Some(message.upstream)), (entry.account, account)] {
            let Some(name) = name.filter(|_| is_missing(names, number)) else { continue };
            table.insert(number, seal(number.into(), name.as_bytes()).as_slice())?;
            numbers.next = numbers.next.max(number + 1);
            numbers.by_name.insert(Arc::clone(&name), number);
            names.insert(number, name);
        }
    }
    Ok(())
}

/// Names that no pending message has are not needed any more.
fn forget_names(
    transaction: &WriteTransaction,
    names: Names,
    used: &HashSet<u32>,
    numbers: &mut Numbers,
) -> Result<Names, Trouble> {
    let mut table = transaction.open_table(NAMES)?;
    let (kept, gone): (Names, Names) = names.into_iter().partition(|(number, _)| used.contains(number));
    for (number, name) in gone {
        table.remove(number)?;
        numbers.by_name.remove(&name);
    }
    Ok(kept)
}

/// Rows of entries that cannot be read.
type Broken = Vec<(u64, [u8; Entry::ROW])>;

fn read_entries(transaction: &WriteTransaction) -> Result<(Vec<Entry>, Broken), Trouble> {
    let table = transaction.open_table(ENTRIES)?;
    let mut entries = Vec::with_capacity(usize::try_from(table.len()?).unwrap_or(0));
    let mut broken = Vec::new();
    for row in table.iter()? {
        let (seq, row) = row?;
        match Entry::decode(seq.value(), row.value()) {
            Ok(entry) => entries.push(entry),
            Err(_) => broken.push((seq.value(), *row.value())),
        }
    }
    let (named, found) = (table.len()?, entries.len() + broken.len());
    if named != found as u64 {
        return Err(Trouble(OpenErrorKind::Damaged, format!("it counts {named} messages and has {found}")));
    }
    Ok((entries, broken))
}

/// Moves a message whose entry cannot be read out of the way.
fn put_aside(transaction: &WriteTransaction, seq: u64, row: &[u8]) -> Result<(), Trouble> {
    transaction.open_table(ENTRIES)?.remove(seq)?;
    let record = transaction.open_table(RECORDS)?.remove(seq)?.map(|row| row.value().to_vec()).unwrap_or_default();
    transaction.open_table(DAMAGED)?.insert(seq, (row, record.as_slice()))?;
    tracing::error!(seq, "a stored message cannot be read; it was put aside and is not delivered");
    Ok(())
}
