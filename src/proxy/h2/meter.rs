//! What a connection's frames cost, and what was answered to those that break the protocol. Pure: bytes and time come in.
//!
//! The `h2` crate bounds what a connection can make it remember, except for streams that it has to reset, which are bounded
//! here. This also bounds what one can make it do for nothing: frames that carry no request are answered or digested at the
//! connection's own expense, and a stream that is reset costs a master its work and the client nothing. All have a budget
//! here, and whoever spends it loses the connection.

use std::collections::VecDeque;

use crate::clock::Micros;

/// PING, SETTINGS, PRIORITY and frames of unknown kinds: a client that measures its bandwidth, as gRPC does, sends some
/// hundred pings a second.
const CONTROL: Rate = Rate { burst: 2_000, per_second: 1_000 };

/// WINDOW_UPDATE, beside those that answer data of ours: a client that takes small messages one by one.
const WINDOWS: Rate = Rate { burst: 8_000, per_second: 4_000 };

/// Window updates that a frame of data earns its client, and how large that frame has to be: clients open two windows for each
/// piece that they take, and one that opens them byte by byte makes the frames small (CVE-2019-9511).
const WINDOWS_FOR_DATA: u64 = 4;
const EARNING_DATA_BYTES: u32 = 256;

/// RST_STREAM: a page that is left cancels all that is under way once; nghttp2 allows the same rate.
const RESETS: Rate = Rate { burst: 200, per_second: 33 };

/// Streams that had to be reset because of what the client sent on them (CVE-2025-8671): one tenant of a gateway may send nothing
/// else for days, and whoever looks for what it costs sends all at once.
const FAULTS: Rate = Rate { burst: 100, per_second: 10 };

/// Header blocks read before all that there is to say has been written: as many as the streams that may be open have, with
/// their trailers, and room. The `h2` crate remembers each stream that it has to reset until the client has been told.
const BLOCKS_UNANSWERED_MAX: u32 = 512;

/// Trailers whose block is larger than this, as it comes, are noted: the crate leaves out of a header list what goes beyond its
/// limit, and says so for requests only. See [`super::body::TRAILERS_BYTES_MAX`].
pub const TRAILERS_BLOCK_MAX: u32 = 12 * 1024;

/// Streams with such trailers that are remembered, the newest ones. What they send is looked at as soon as it comes.
const LARGE_TRAILERS_MAX: usize = 64;

const PREFACE_BYTES: u32 = 24;
const HEADER_BYTES: usize = 9;

/// Longest beginning of a payload that is looked at: a GOAWAY's error code.
const PEEK_BYTES: usize = 8;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The highest bit is reserved.
const STREAM_MASK: u32 = 0x7fff_ffff;

const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes that say that the client broke the protocol (RFC 9113 section 7): PROTOCOL_ERROR, FLOW_CONTROL_ERROR,
/// STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR.
const VIOLATIONS: [u32; 5] = [1, 3, 5, 6, 9];
const ENHANCE_YOUR_CALM: u32 = 11;

/// What there is to count of one connection.
#[derive(Debug)]
pub struct Meter {
    incoming: Frames,
    outgoing: Frames,
    control: Bucket,
    windows: Bucket,
    resets: Bucket,
    faults: Bucket,
    blocks_unanswered: u32,
    /// The last stream that was taken from the crate.
    taken: u32,
    /// The last stream whose header was too large.
    oversized: u32,
    /// Between HEADERS without END_HEADERS and the CONTINUATION that has it.
    in_block: bool,
    /// Bytes of the header block at hand.
    block: u32,
    /// The last stream that the client opened.
    opened: u32,
    /// The header block at hand is one of trailers.
    is_trailers: bool,
    large_trailers: VecDeque<u32>,
    flooded: bool,
    told: Told,
}

/// What the client was told about frames of its own, since it was last asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Streams and connections ended because of a violation.
    pub violations: u32,
    /// Connections ended because there was too much of something.
    pub calmed: u32,
    /// Requests that the crate answered by itself, which it does when their header is too large.
    pub oversized: u32,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            incoming: Frames { left: PREFACE_BYTES, ..Frames::default() },
            outgoing: Frames::default(),
            control: Bucket::full(CONTROL),
            windows: Bucket::full(WINDOWS),
            resets: Bucket::full(RESETS),
            faults: Bucket::full(FAULTS),
            blocks_unanswered: 0,
            taken: 0,
            oversized: 0,
            in_block: false,
            block: 0,
            opened: 0,
            is_trailers: false,
            large_trailers: VecDeque::new(),
            flooded: false,
            told: Told::default(),
        }
    }
}

impl Meter {
    /// Counts bytes from the client. Once a budget is spent, [`Meter::is_flooded`].
    pub fn read(&mut self, bytes: &[u8], now: Micros) {
        let Self { incoming, control, windows, resets, in_block, blocks_unanswered, flooded, .. } = self;
        let Self { block, opened, is_trailers, large_trailers, .. } = self;
        incoming.feed(bytes, |frame| {
            let paid = match frame.kind {
                kind::HEADERS | kind::CONTINUATION => {
                    if frame.kind == kind::HEADERS {
                        (*block, *is_trailers) = (0, frame.stream <= *opened);
                        *opened = frame.stream.max(*opened);
                    }
                    *block = block.saturating_add(frame.length);
                    *in_block = frame.flags & END_HEADERS == 0;
                    *blocks_unanswered += u32::from(!*in_block);
                    if !*in_block && *is_trailers && *block > TRAILERS_BLOCK_MAX {
                        large_trailers.truncate(LARGE_TRAILERS_MAX - 1);
                        large_trailers.push_front(frame.stream);
                    }
                    true
                }
                kind::DATA => true,
                kind::WINDOW_UPDATE => windows.take(now),
                kind::RST_STREAM => resets.take(now),
                _ => frame.flags & ACK != 0 || control.take(now),
            };
            *flooded |= !paid;
        });
    }

    /// Counts bytes to the client.
    pub fn wrote(&mut self, bytes: &[u8], now: Micros) {
        let Self { outgoing, windows, faults, taken, oversized, flooded, told, .. } = self;
        outgoing.feed(bytes, |frame| match frame.kind {
            kind::DATA if frame.length >= EARNING_DATA_BYTES => windows.give(WINDOWS_FOR_DATA),
            // The crate answers at once and keeps the request to itself.
            kind::HEADERS if frame.stream > *taken => {
                *oversized = frame.stream;
                told.oversized += 1;
                *flooded |= !faults.take(now);
            }
            // What ends such a request belongs to its answer.
            kind::RST_STREAM if frame.stream != *oversized && VIOLATIONS.contains(&frame.word(0)) => {
                told.violations += 1;
                *flooded |= !faults.take(now);
            }
            kind::GOAWAY => {
                told.violations += u32::from(VIOLATIONS.contains(&frame.word(4)));
                told.calmed += u32::from(frame.word(4) == ENHANCE_YOUR_CALM);
            }
            _ => {}
        });
    }

    /// All that there was to say has been written.
    pub fn said_all(&mut self) {
        self.blocks_unanswered = 0;
    }

    /// Whether nothing more is to be read before that.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.blocks_unanswered >= BLOCKS_UNANSWERED_MAX
    }

    /// The request of this stream is Baton's to answer.
    pub fn took(&mut self, stream: u32) {
        self.taken = stream;
    }

    /// Whether the trailers of this stream may have been too large for the crate.
    #[must_use]
    pub fn has_large_trailers(&self, stream: u32) -> bool {
        self.large_trailers.contains(&stream)
    }

    /// Whether the client sent more than anybody has reason to.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.flooded
    }

    /// Whether a header block, or a frame of any kind, has begun and is not complete.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.in_block || self.incoming.have > 0 || self.incoming.left > 0
    }

    /// Takes what was told since the last call.
    pub fn take_told(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }
}

/// Finds frames in a stream of bytes.
#[derive(Debug, Default)]
struct Frames {
    /// The header of the frame at hand, and the beginning of its payload.
    bytes: [u8; HEADER_BYTES + PEEK_BYTES],
    have: usize,
    /// Payload bytes to skip.
    left: u32,
}

struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Of the payload.
    length: u32,
    peeked: &'a [u8],
}

impl Frame<'_> {
    fn word(&self, at: usize) -> u32 {
        let bytes = self.peeked.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    }
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(&Frame<'_>)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = bytes.len().min(self.left as usize);
                self.left -= skipped as u32;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = self.wanted();
            let taken = bytes.len().min(wanted - self.have);
            self.bytes[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.wanted() {
                let peeked = self.have - HEADER_BYTES;
                let [_, _, _, kind, flags, stream @ .., _, _, _, _, _, _, _, _] = self.bytes;
                seen(&Frame {
                    kind,
                    flags,
                    stream: u32::from_be_bytes(stream) & STREAM_MASK,
                    length: self.payload(),
                    peeked: &self.bytes[HEADER_BYTES..self.have],
                });
                self.left = self.payload() - peeked as u32;
                self.have = 0;
            }
        }
    }

    fn payload(&self) -> u32 {
        u32::from_be_bytes([0, self.bytes[0], self.bytes[1], self.bytes[2]])
    }

    /// Bytes to look at of the frame at hand, as far as is known yet.
    fn wanted(&self) -> usize {
        let peeks = self.have >= HEADER_BYTES && matches!(self.bytes[3], kind::RST_STREAM | kind::GOAWAY);
        HEADER_BYTES + if peeks { (self.payload() as usize).min(PEEK_BYTES) } else { 0 }
    }
}

/// So many at once, and so many a second for ever.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u64,
    per_second: u64,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: u64,
    filled: Micros,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, filled: 0 }
    }

    fn give(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.rate.burst);
    }

    fn take(&mut self, now: Micros) -> bool {
        let earned = now.saturating_sub(self.filled).saturating_mul(self.rate.per_second) / 1_000_000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(self.rate.burst);
            self.filled = now;
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PING: u8 = 6;
    const SECOND: Micros = 1_000_000;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn begun() -> Meter {
        let mut meter = Meter::default();
        meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0);
        meter
    }

    #[test]
    fn pings_at_a_sane_rate_are_free_for_ever_and_a_flood_is_seen() {
        let (mut meter, ping) = (begun(), frame(PING, 0, &[0; 8]));
        for number in 0..20_000 {
            meter.read(&ping, number * SECOND / CONTROL.per_second);
        }
        assert!(!meter.is_flooded());
        for _ in 0..=CONTROL.burst {
            meter.read(&ping, 20 * SECOND);
        }
        assert!(meter.is_flooded());
    }

    #[test]
    fn resets_have_a_budget_of_their_own() {
        let (mut meter, reset) = (begun(), frame(kind::RST_STREAM, 0, &[0, 0, 0, 8]));
        (0..RESETS.burst).for_each(|_| meter.read(&reset, SECOND));
        assert!(!meter.is_flooded());
        meter.read(&reset, SECOND);
        assert!(meter.is_flooded());
    }

    #[test]
    fn what_carries_a_request_or_acknowledges_costs_nothing() {
        let mut meter = begun();
        for _ in 0..10_000 {
            for (kind, flags) in [(kind::DATA, 0), (kind::HEADERS, 4), (PING, ACK), (4, ACK)] {
                meter.read(&frame(kind, flags, &[0; 8]), 0);
            }
        }
        assert!(!meter.is_flooded());
    }

    #[test]
    fn a_header_block_is_open_until_its_last_continuation() {
        let mut meter = begun();
        assert!(!meter.is_within());
        meter.read(&frame(kind::HEADERS, 1, b"abc"), 0);
        assert!(meter.is_within());
        meter.read(&frame(kind::CONTINUATION, 0, b""), 0);
        assert!(meter.is_within());
        meter.read(&frame(kind::CONTINUATION, END_HEADERS, b"d"), 0);
        assert!(!meter.is_within());
        meter.read(&[0, 0, 4], 0);
        assert!(meter.is_within());
    }

    #[test]
    fn windows_are_opened_for_what_was_sent_and_byte_by_byte_only_for_a_while() {
        let (mut meter, window) = (begun(), frame(kind::WINDOW_UPDATE, 0, &1u32.to_be_bytes()));
        for _ in 0..10 * WINDOWS.burst {
            meter.wrote(&frame(kind::DATA, 0, &[0; EARNING_DATA_BYTES as usize]), 0);
            (0..WINDOWS_FOR_DATA).for_each(|_| meter.read(&window, 0));
        }
        assert!(!meter.is_flooded());
        for _ in 0..=WINDOWS.burst {
            meter.wrote(&frame(kind::DATA, 0, &[0]), 0);
            meter.read(&window, 0);
        }
        assert!(meter.is_flooded());
    }

    #[test]
    fn faults_now_and_then_are_borne_for_ever_and_many_at_once_are_not() {
        let (mut meter, reset) = (begun(), frame(kind::RST_STREAM, 0, &3u32.to_be_bytes()));
        for number in 0..5_000 {
            meter.wrote(&reset, number * SECOND / FAULTS.per_second);
        }
        assert!(!meter.is_flooded());
        (0..=FAULTS.burst).for_each(|_| meter.wrote(&reset, 500 * SECOND));
        assert!(meter.is_flooded());
        let mut meter = begun();
        (0..=FAULTS.burst).for_each(|_| meter.wrote(&frame(kind::RST_STREAM, 0, &8u32.to_be_bytes()), 0));
        assert!(!meter.is_flooded(), "streams that are cancelled for other reasons");
    }

    #[test]
    fn nothing_is_read_while_too_much_of_it_is_unanswered() {
        let mut meter = begun();
        (1..BLOCKS_UNANSWERED_MAX).for_each(|_| meter.read(&frame(kind::HEADERS, END_HEADERS, b"a"), 0));
        meter.read(&frame(kind::HEADERS, 0, b"a"), 0);
        assert!(!meter.is_ahead());
        meter.read(&frame(kind::CONTINUATION, END_HEADERS, b"a"), 0);
        assert!(meter.is_ahead());
        meter.said_all();
        assert!(!meter.is_ahead());
    }

    #[test]
    fn an_answer_to_a_request_that_nobody_saw_tells_of_a_header_that_is_too_large() {
        let (mut meter, answer) = (begun(), frame(kind::HEADERS, END_HEADERS, b"a"));
        meter.took(1);
        meter.wrote(&answer, 0);
        assert_eq!(meter.take_told().oversized, 0);
        let mut meter = begun();
        meter.wrote(&answer, 0);
        meter.wrote(&frame(kind::RST_STREAM, 0, &1u32.to_be_bytes()), 0);
        assert_eq!(meter.take_told(), Told { oversized: 1, ..Told::default() });
    }

    #[test]
    fn a_large_block_is_noted_for_trailers_only() {
        let block = |stream: u8, flags: u8, kind: u8, bytes: usize| {
            let mut frame = frame(kind, flags, &vec![0; bytes]);
            frame[8] = stream;
            frame
        };
        let (mut meter, half) = (begun(), TRAILERS_BLOCK_MAX as usize / 2);
        meter.read(&block(1, END_HEADERS, kind::HEADERS, 2 * half + 1), 0);
        meter.read(&block(3, END_HEADERS, kind::HEADERS, 10), 0);
        meter.read(&block(3, END_HEADERS, kind::HEADERS, 2 * half), 0);
        assert!(!meter.has_large_trailers(1) && !meter.has_large_trailers(3));
        meter.read(&block(1, 0, kind::HEADERS, half), 0);
        meter.read(&block(1, END_HEADERS, kind::CONTINUATION, half + 1), 0);
        assert!(meter.has_large_trailers(1) && !meter.has_large_trailers(3));
    }

    #[test]
    fn codes_told_to_the_client_are_counted_once_each() {
        let mut meter = begun();
        meter.wrote(&frame(kind::RST_STREAM, 0, &1u32.to_be_bytes()), 0);
        meter.wrote(&frame(kind::RST_STREAM, 0, &8u32.to_be_bytes()), 0);
        meter.wrote(&frame(kind::GOAWAY, 0, &[0, 0, 0, 1, 0, 0, 0, 11, b'x']), 0);
        meter.wrote(&frame(kind::GOAWAY, 0, &[0; 8]), 0);
        assert_eq!(meter.take_told(), Told { violations: 1, calmed: 1, oversized: 0 });
        assert_eq!(meter.take_told(), Told::default());
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_bytes_are_cut(frames in prop::collection::vec((0u8..12, any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12), step in 1usize..30) {
            let wire: Vec<u8> = frames.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, payload)).collect();
            let (mut reader, mut found) = (Frames::default(), Vec::new());
            for piece in wire.chunks(step) {
                reader.feed(piece, |frame| found.push((frame.kind, frame.flags)));
            }
            prop_assert_eq!(found, frames.iter().map(|(kind, flags, _)| (*kind, *flags)).collect::<Vec<_>>());
            prop_assert_eq!((reader.have, reader.left), (0, 0));
        }
    }
}
