//! Pins of conversations and names of people, kept over a restart in the store of the spool.
//!
//! What changed is written about once a second, so a crash loses the last second or two: those conversations are pinned
//! anew, as after the time to live. Nothing here is needed to deliver a message.

use std::time::Duration;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::balance::affinity::Pins;
use crate::clock::{self, Micros, UnixMillis};
use crate::config::model::{self, AffinityKey};
use crate::lru::{Change, Lru};
use crate::snapshot::{Snapshot, Upstream};
use crate::spool::joins;
use crate::spool::store::{ReadError, RowChange, Rows, Store};

/// How often what changed is written.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Rows given to the store at once.
const CHUNK: usize = 8192;
/// Rows removed in one start because they say nothing any more; the next one finds the rest.
const REMOVED_MAX: usize = 32_768;

/// Whether an upstream's pins are kept: those whose keys are conversations, as their hashes mean the same after a restart.
#[must_use]
pub fn is_kept(upstream: &model::Upstream) -> bool {
    upstream.affinity.as_ref().is_some_and(|affinity| affinity.key == AffinityKey::Conversation)
}

/// Gives the store what changed since the last time. What it has no room for is told again when it has been used for
/// some time.
pub fn save(store: &Store, snapshot: &Snapshot) {
    let times = Times::now();
    for upstream in &snapshot.upstreams {
        let Some(pins) = conversations(upstream) else { continue };
        let name = upstream.settings.name.as_str();
        let master = |id| upstream.masters.iter().find(|master| master.id() == id);
        put(store, Rows::Pins, pins, &times, |change, used| RowChange {
            key: pin_key(name, change.hash),
            row: change.entry.and_then(|(id, _)| {
                let pin = Pin { used, hash: change.hash, upstream: name, master: &master(id)?.address().to_string() };
                Some(pin.row())
            }),
        });
    }
    put(store, Rows::Aliases, snapshot.aliases.table(), &times, |change, used| RowChange {
        key: change.hash,
        row: change.entry.map(|(parent, _)| joins::row(used, parent)),
    });
}

/// Takes in what was saved; what is there already stays as it is. Call it before the first request, and [`save`] from
/// then on.
///
/// # Errors
/// The store cannot be read; what was read until then is taken in.
pub fn load(store: &Store, snapshot: &Snapshot) -> Result<(), ReadError> {
    // From here on changes are noted, and what is restored is none.
    save(store, snapshot);
    let times = Times::now();
    let upstreams: Vec<_> = snapshot
        .upstreams
        .iter()
        .filter_map(|upstream| Some((upstream.settings.name.as_str(), conversations(upstream)?, addresses(upstream))))
        .collect();
    restore(store, Rows::Pins, &times, |_, row| {
        let pin = Pin::read(row)?;
        let (_, pins, masters) = upstreams.iter().find(|(name, ..)| *name == pin.upstream)?;
        let (_, id) = masters.iter().find(|(address, _)| *address == pin.master)?;
        Some((pin.used, *pins, pin.hash, *id))
    })?;
    let names = snapshot.aliases.table();
    restore(store, Rows::Aliases, &times, |key, row| {
        let (used, rest) = row.split_first_chunk()?;
        Some((u64::from_le_bytes(*used), names, key, u64::from_le_bytes(rest.try_into().ok()?)))
    })
}

fn conversations(upstream: &Upstream) -> Option<&Pins> {
    upstream.pins.as_deref().filter(|_| is_kept(&upstream.settings))
}

fn addresses(upstream: &Upstream) -> Vec<(String, u32)> {
    upstream.masters.iter().map(|master| (master.address().to_string(), master.id())).collect()
}

/// One moment by both clocks.
struct Times {
    now: Micros,
    today: UnixMillis,
}

impl Times {
    fn now() -> Self {
        Self { now: clock::now(), today: clock::unix_millis() }
    }

    fn age(&self, used: UnixMillis) -> Micros {
        self.today.saturating_sub(used).saturating_mul(1000)
    }
}

fn put<V: Copy>(
    store: &Store,
    rows: Rows,
    table: &Lru<V>,
    times: &Times,
    row: impl Fn(&Change<V>, UnixMillis) -> RowChange,
) {
    let mut changes = Vec::new();
    let give = |changes: &mut Vec<RowChange>| {
        if !changes.is_empty() {
            // It counts what it has no room for.
            let _ = store.put_rows(rows, std::mem::take(changes));
        }
    };
    table.changes(times.now, |change| {
        let age = change.entry.as_ref().map_or(0, |(_, age)| age / 1000);
        changes.push(row(&change, times.today.saturating_sub(age)));
        if changes.len() >= CHUNK {
            give(&mut changes);
        }
    });
    give(&mut changes);
}

/// Puts every row that `read` understands into its table, and removes those that say nothing any more.
fn restore<'t, V: Copy + 't>(
    store: &Store,
    rows: Rows,
    times: &Times,
    read: impl Fn(u64, &[u8]) -> Option<(UnixMillis, &'t Lru<V>, u64, V)>,
) -> Result<(), ReadError> {
    let (mut found, mut removed) = (Vec::new(), Vec::new());
    let end = store.each_row(rows, |key, row| match read(key, row) {
        Some(entry) if times.age(entry.0) < entry.1.ttl() => found.push(entry),
        _ if removed.len() < REMOVED_MAX => removed.push(RowChange { key, row: None }),
        _ => {}
    });
    found.sort_unstable_by_key(|(used, ..)| *used);
    for (used, table, hash, value) in found {
        table.restore(hash, value, times.age(used), times.now);
    }
    if !removed.is_empty() {
        let _ = store.put_rows(rows, removed);
    }
    end
}

fn pin_key(upstream: &str, hash: u64) -> u64 {
    xxh3_64_with_seed(&hash.to_le_bytes(), xxh3_64(upstream.as_bytes()))
}

/// A pin as it is stored: last use and hash, eight bytes each, little-endian, the length of the upstream's name in two,
/// the name, and the rest is the master's address.
#[derive(Debug, PartialEq)]
struct Pin<'a> {
    used: UnixMillis,
    hash: u64,
    upstream: &'a str,
    master: &'a str,
}

impl<'a> Pin<'a> {
    fn row(&self) -> Box<[u8]> {
        let length = u16::try_from(self.upstream.len()).unwrap_or(u16::MAX);
        let parts: [&[u8]; 5] = [
            &self.used.to_le_bytes(),
            &self.hash.to_le_bytes(),
            &length.to_le_bytes(),
            self.upstream.as_bytes(),
            self.master.as_bytes(),
        ];
        parts.concat().into()
    }

    fn read(row: &'a [u8]) -> Option<Self> {
        let (used, rest) = row.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (upstream, master) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        Some(Self {
            used: u64::from_le_bytes(*used),
            hash: u64::from_le_bytes(*hash),
            upstream: str::from_utf8(upstream).ok()?,
            master: str::from_utf8(master).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pin_is_read_as_it_was_written(used: u64, hash: u64, upstream in ".{0,20}", master in ".{0,20}") {
            let pin = Pin { used, hash, upstream: &upstream, master: &master };
            let row = pin.row();
            prop_assert_eq!(Pin::read(&row), Some(pin));
        }

        #[test]
        fn any_row_is_read_without_a_panic(row in prop::collection::vec(any::<u8>(), 0..60)) {
            Pin::read(&row);
        }
    }

    #[test]
    fn one_conversation_has_a_row_for_each_upstream() {
        assert_ne!(pin_key("a", 1), pin_key("b", 1));
        assert_ne!(pin_key("a", 1), pin_key("a", 2));
    }
}
