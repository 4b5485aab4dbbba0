//! Ended slots as bytes of a file that only grows: records, each whole or not there.
//!
//! ```text
//! record   length u32 | checksum u64 (xxh3 of the rest) | span u8 | number u64 | (length of the key u16 | key | slot)*
//! ```
//!
//! Numbers are little-endian. What does not fit its checksum ends the file for its reader.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::ledger::{Closed, Span};
use super::slot::{SLOT_BYTES, Slot};
use crate::monitor::series::Key;

/// First bytes of a file.
pub const MAGIC: &[u8; 8] = b"baton\x00s1";

/// Bytes of a record without its head; more than a slot of every series takes.
const RECORD_BYTES_MAX: usize = 4 << 20;

const HEAD: usize = 12;

/// Records for slots that ended together.
#[must_use]
pub fn write<'a>(closed: impl IntoIterator<Item = &'a Closed>) -> Vec<u8> {
    let mut bodies: BTreeMap<(Span, u64), Vec<u8>> = BTreeMap::new();
    for closed in closed {
        let body = bodies.entry((closed.span, closed.number)).or_insert_with(|| {
            let mut body = vec![closed.span as u8];
            body.extend(closed.number.to_le_bytes());
            body
        });
        let key = closed.key.to_string();
        // Names are far shorter.
        let Ok(length) = u16::try_from(key.len()) else { continue };
        body.extend(length.to_le_bytes());
        body.extend(key.bytes());
        body.extend(closed.slot.to_bytes());
    }
    let mut bytes = Vec::new();
    for body in bodies.into_values() {
        bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(xxh3_64(&body).to_le_bytes());
        bytes.extend(body);
    }
    bytes
}

/// Reads a file as far as it is whole.
pub fn read(bytes: &[u8], mut take: impl FnMut(Closed)) {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else { return };
    while let Some((body, after)) = next(rest) {
        rest = after;
        // What is whole and not understood is of another version; it is passed over.
        let _ = record(body, &mut take);
    }
}

fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let (length, checksum) = head.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= RECORD_BYTES_MAX)?;
    let (body, rest) = rest.split_at_checked(length)?;
    (checksum == xxh3_64(body).to_le_bytes()).then_some((body, rest))
}

fn record(body: &[u8], take: &mut impl FnMut(Closed)) -> Option<()> {
    let (span, rest) = body.split_first()?;
    let span = Span::ALL.into_iter().find(|it| *it as u8 == *span)?;
    let (number, mut rest) = rest.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (key, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
        let (slot, after) = after.split_first_chunk::<SLOT_BYTES>()?;
        rest = after;
        if let Some(key) = str::from_utf8(key).ok().and_then(Key::parse) {
            take(Closed { key, span, number, slot: Slot::from_bytes(slot) });
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Closed> {
        let mut all = Vec::new();
        read(bytes, |closed| all.push(closed));
        all
    }

    fn closed(span: Span, number: u64, name: &str) -> Closed {
        let slot = Slot { requests: number, failed: 1, up: 2, down: 3, excluded: 4 };
        Closed { key: Key::Master("bots".into(), name.into()), span, number, slot }
    }

    #[test]
    fn what_is_written_is_read_up_to_where_it_is_damaged() {
        let kept = [closed(Span::Minute, 7, "a"), closed(Span::Minute, 7, "b"), closed(Span::Day, 1, "a")];
        let bytes = [MAGIC.to_vec(), write(&kept)].concat();
        assert_eq!(all(&bytes), kept);
        assert_eq!(all(&bytes[..bytes.len() - 1]), kept[..2]);
        assert_eq!(all(&bytes[1..]), []);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = record(&bytes, &mut |_| {});
            all(&[MAGIC.to_vec(), bytes].concat());
        }
    }
}
