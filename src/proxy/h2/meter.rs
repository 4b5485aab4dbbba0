//! What a connection's frames cost, and what was answered to those that break the protocol. Pure: bytes and time come in.
//!
//! The `h2` crate bounds what a connection can make it remember. This bounds what one can make it do for nothing: frames
//! that carry no request are answered or digested at the connection's own expense, and a stream that is reset costs a master
//! its work and the client nothing. Both have a budget here, and whoever spends it loses the connection.

use crate::clock::Micros;

/// PING, SETTINGS, PRIORITY and frames of unknown kinds: a client that measures its bandwidth, as gRPC does, sends some
/// hundred pings a second.
const CONTROL: Rate = Rate { burst: 2_000, per_second: 1_000 };

/// RST_STREAM: a page that is left cancels all that is under way once; nghttp2 allows the same rate.
const RESETS: Rate = Rate { burst: 200, per_second: 33 };

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

const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes that say that the client broke the protocol (RFC 9113 section 7): PROTOCOL_ERROR, FLOW_CONTROL_ERROR,
/// FRAME_SIZE_ERROR, COMPRESSION_ERROR.
const VIOLATIONS: [u32; 4] = [1, 3, 6, 9];
const ENHANCE_YOUR_CALM: u32 = 11;

/// What there is to count of one connection.
#[derive(Debug)]
pub struct Meter {
    incoming: Frames,
    outgoing: Frames,
    control: Bucket,
    resets: Bucket,
    /// Between HEADERS without END_HEADERS and the CONTINUATION that has it.
    in_block: bool,
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
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            incoming: Frames { left: PREFACE_BYTES, ..Frames::default() },
            outgoing: Frames::default(),
            control: Bucket::full(CONTROL),
            resets: Bucket::full(RESETS),
            in_block: false,
            flooded: false,
            told: Told::default(),
        }
    }
}

impl Meter {
    /// Counts bytes from the client. Once a budget is spent, [`Meter::is_flooded`].
    pub fn read(&mut self, bytes: &[u8], now: Micros) {
        let Self { incoming, control, resets, in_block, flooded, .. } = self;
        incoming.feed(bytes, |frame| {
            let paid = match frame.kind {
                kind::HEADERS | kind::CONTINUATION => {
                    *in_block = frame.flags & END_HEADERS == 0;
                    true
                }
                kind::DATA | kind::WINDOW_UPDATE => true,
                kind::RST_STREAM => resets.take(now),
                _ => frame.flags & ACK != 0 || control.take(now),
            };
            *flooded |= !paid;
        });
    }

    /// Counts bytes to the client.
    pub fn wrote(&mut self, bytes: &[u8]) {
        let told = &mut self.told;
        self.outgoing.feed(bytes, |frame| {
            let code = match frame.kind {
                kind::RST_STREAM => frame.word(0),
                kind::GOAWAY => frame.word(4),
                _ => return,
            };
            told.violations += u32::from(VIOLATIONS.contains(&code));
            told.calmed += u32::from(code == ENHANCE_YOUR_CALM);
        });
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
                seen(&Frame {
                    kind: self.bytes[3],
                    flags: self.bytes[4],
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
            for (kind, flags) in [(kind::DATA, 0), (kind::HEADERS, 4), (kind::WINDOW_UPDATE, 0), (PING, ACK), (4, ACK)]
            {
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
    fn codes_told_to_the_client_are_counted_once_each() {
        let mut meter = begun();
        meter.wrote(&frame(kind::RST_STREAM, 0, &1u32.to_be_bytes()));
        meter.wrote(&frame(kind::RST_STREAM, 0, &8u32.to_be_bytes()));
        meter.wrote(&frame(kind::GOAWAY, 0, &[0, 0, 0, 1, 0, 0, 0, 11, b'x']));
        meter.wrote(&frame(kind::GOAWAY, 0, &[0; 8]));
        assert_eq!(meter.take_told(), Told { violations: 1, calmed: 1 });
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
