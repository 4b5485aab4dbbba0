//! Closed intervals as bytes of a file that only grows: records, each whole or not there.
//!
//! ```text
//! record   length u32 | checksum u64 (xxh3 of the rest) | kind u8 | ...
//! name     number u32 | key                       gives a series a number, for the records that follow in this file
//! interval pace u8 | interval u64 | (number u32 | sample)*
//! ```
//!
//! Numbers are little-endian. What does not fit its checksum ends the file for its reader: it was being written when the process
//! ended, or something else has damaged it, and what follows cannot be told apart.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::sample::{SAMPLE_BYTES, Sample};
use super::series::{Closed, Key, Pace};

/// First bytes of a file.
pub const MAGIC: &[u8; 8] = b"baton\x00t1";

/// Bytes of a record without its head; more than an interval of every series takes.
const RECORD_BYTES_MAX: usize = 1 << 20;

const HEAD: usize = 12;
const NAME: u8 = 1;
const INTERVAL: u8 = 2;

/// Writes records, and knows the numbers it has given.
#[derive(Debug, Default)]
pub struct Writer {
    numbers: BTreeMap<Key, u32>,
}

impl Writer {
    /// The records for intervals that ended together. Series that have no number in this file are named first.
    #[must_use]
    pub fn write(&mut self, closed: &[(Key, Closed)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut intervals: BTreeMap<(Pace, u64), Vec<u8>> = BTreeMap::new();
        for (key, closed) in closed {
            let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            let number = *self.numbers.entry(key.clone()).or_insert_with(|| {
                let mut named = vec![NAME];
                named.extend(next.to_le_bytes());
                named.extend(key.to_string().bytes());
                record(&mut bytes, &named);
                next
            });
            let samples = intervals.entry((closed.pace, closed.interval)).or_default();
            samples.extend(number.to_le_bytes());
            samples.extend(closed.sample.to_bytes());
        }
        for ((pace, interval), samples) in intervals {
            let mut body = vec![INTERVAL, code(pace)];
            body.extend(interval.to_le_bytes());
            body.extend(samples);
            record(&mut bytes, &body);
        }
        bytes
    }
}

fn record(bytes: &mut Vec<u8>, body: &[u8]) {
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(xxh3_64(body).to_le_bytes());
    bytes.extend(body);
}

/// Reads a file as far as it is whole.
pub fn read(bytes: &[u8], mut take: impl FnMut(&Key, &Closed)) {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else { return };
    let mut names: BTreeMap<u32, Key> = BTreeMap::new();
    while let Some((body, after)) = next(rest) {
        rest = after;
        // What is whole and not understood is of another version; it is passed over.
        match body.split_first() {
            Some((&NAME, named)) => {
                if let Some((number, key)) = name(named) {
                    names.insert(number, key);
                }
            }
            Some((&INTERVAL, interval)) => {
                for (number, closed) in samples(interval) {
                    if let Some(key) = names.get(&number) {
                        take(key, &closed);
                    }
                }
            }
            _ => {}
        }
    }
}

fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let (length, checksum) = head.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= RECORD_BYTES_MAX)?;
    let (body, rest) = rest.split_at_checked(length)?;
    (checksum == xxh3_64(body).to_le_bytes()).then_some((body, rest))
}

fn name(bytes: &[u8]) -> Option<(u32, Key)> {
    let (number, key) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), Key::parse(str::from_utf8(key).ok()?)?))
}

fn samples(bytes: &[u8]) -> Vec<(u32, Closed)> {
    let head = bytes.split_first().and_then(|(pace, rest)| {
        let (interval, samples) = rest.split_first_chunk::<8>()?;
        Some((pace_of(*pace)?, u64::from_le_bytes(*interval), samples))
    });
    let Some((pace, interval, samples)) = head else { return Vec::new() };
    let sample = |entry: &[u8]| {
        let (number, sample) = entry.split_first_chunk::<4>()?;
        let sample = Sample::from_bytes(*sample.first_chunk::<SAMPLE_BYTES>()?);
        Some((u32::from_le_bytes(*number), Closed { pace, interval, sample }))
    };
    samples.chunks_exact(4 + SAMPLE_BYTES).filter_map(sample).collect()
}

fn code(pace: Pace) -> u8 {
    match pace {
        Pace::Second => 0,
        Pace::TenSeconds => 1,
        Pace::FiveMinutes => 2,
    }
}

fn pace_of(code: u8) -> Option<Pace> {
    Pace::ALL.into_iter().find(|pace| self::code(*pace) == code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<(Key, Closed)> {
        let mut found = Vec::new();
        read(bytes, |key, closed| found.push((key.clone(), *closed)));
        found
    }

    fn closed() -> impl Strategy<Value = (Key, Closed)> {
        let key = prop::sample::select(vec!["system", "upstream/bots", "master/bots/a", "route/webhooks"]);
        (key, any::<u64>(), any::<[u8; SAMPLE_BYTES]>(), any::<bool>()).prop_map(|(key, interval, sample, long)| {
            let pace = if long { Pace::FiveMinutes } else { Pace::TenSeconds };
            (Key::parse(key).unwrap(), Closed { pace, interval, sample: Sample::from_bytes(sample) })
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_up_to_where_it_was_cut(
            batches in prop::collection::vec(prop::collection::vec(closed(), 0..8), 0..6), cut in 0usize..4000,
        ) {
            let (mut writer, mut bytes, mut ends) = (Writer::default(), MAGIC.to_vec(), Vec::new());
            for batch in &batches {
                bytes.extend(writer.write(batch));
                ends.push(bytes.len());
            }
            let by_place = |(key, closed): &(Key, Closed)| (closed.pace, closed.interval, key.clone(), closed.sample.to_bytes());
            let sorted = |mut all: Vec<(Key, Closed)>| { all.sort_by_key(by_place); all };
            prop_assert_eq!(sorted(all(&bytes)), sorted(batches.concat()));
            let cut = cut.min(bytes.len());
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let found = sorted(all(&bytes[..cut]));
            prop_assert!(sorted(batches[..whole].concat()).iter().all(|entry| found.contains(entry)));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..200, bit in 0u8..8) {
            all(&bytes);
            let (mut writer, mut file) = (Writer::default(), MAGIC.to_vec());
            file.extend(writer.write(&[(Key::System, Closed { pace: Pace::TenSeconds, interval: 7, sample: Sample::ABSENT })]));
            let at = at.min(file.len() - 1);
            file[at] ^= 1 << bit;
            // Damage is noticed: nothing is read that was not written.
            prop_assert!(all(&file).is_empty());
        }
    }
}
