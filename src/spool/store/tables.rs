//! The tables of `spool.redb`. Every row that is more than numbers has a checksum of its own, because the database checks its
//! pages only when it repairs.

use redb::{ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::spool::record::Entry;

/// What the tables mean; another number is another Baton's.
pub const SCHEMA: u64 = 1;

/// Sequence number -> what the schedule needs of a pending message.
pub const ENTRIES: TableDefinition<'_, u64, &[u8; Entry::ROW]> = TableDefinition::new("entries");
/// Sequence number -> a whole message, pending or dead.
pub const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// Sequence number -> attempts that a pending message has behind it.
pub const ATTEMPTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("attempts");
/// Sequence number -> why a message is dead; its record stays where it is.
pub const DEAD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead");
/// (When it died, sequence number) -> bytes of its record.
pub const DEAD_BY_TIME: TableDefinition<'_, (u64, u64), u32> = TableDefinition::new("dead_by_time");
/// Number of the commit -> time and ids of the messages that came with it.
pub const SEEN: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("seen");
/// Number -> the name of an upstream or an account.
pub const NAMES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("names");
/// Sequence number -> the bytes of an entry and of a record of which one cannot be read.
pub const DAMAGED: TableDefinition<'_, u64, (&[u8], &[u8])> = TableDefinition::new("damaged");
/// Key -> row, see [`super::Rows`].
pub const PINS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pins");
/// Key -> row, see [`super::Rows`].
pub const ALIASES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("aliases");
/// Facts about the whole, below.
pub const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// In [`META`]: [`SCHEMA`].
pub const META_SCHEMA: &str = "schema";
/// In [`META`]: no sequence number up to this one is given out again.
pub const META_NEXT_SEQ: &str = "next_seq";
/// In [`META`]: 1 when it was closed in order.
pub const META_CLEAN: &str = "clean";

/// Makes the tables that are missing.
pub fn create(transaction: &WriteTransaction) -> Result<(), TableError> {
    transaction.open_table(ENTRIES)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(ATTEMPTS)?;
    transaction.open_table(DEAD)?;
    transaction.open_table(DEAD_BY_TIME)?;
    transaction.open_table(SEEN)?;
    transaction.open_table(NAMES)?;
    transaction.open_table(DAMAGED)?;
    transaction.open_table(PINS)?;
    transaction.open_table(ALIASES)?;
    transaction.open_table(META)?;
    Ok(())
}

/// A fact about the whole.
pub fn meta(
    table: &impl ReadableTable<&'static str, u64>,
    fact: &'static str,
) -> Result<Option<u64>, redb::StorageError> {
    Ok(table.get(fact)?.map(|value| value.value()))
}
