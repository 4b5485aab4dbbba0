//! The chunked transfer coding (RFC 9112 section 7.1), read strictly and without I/O.
//!
//! The reader is handed whatever has arrived and answers with the next piece of data and how much it used. Sizes are
//! plain hexadecimal of at most sixteen digits, line ends are CR LF, extensions are skipped within a bound, and
//! anything else is an error: a chunk that two readers could end at different places never gets past here.

use super::fields;

/// Bytes of chunk extensions that one body may carry in all. Nobody sends them but attackers and test suites.
const EXTENSION_BYTES_MAX: usize = 4 * 1024;

/// Bytes of trailer fields that one body may end with.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Trailer fields that one body may end with.
const TRAILER_FIELDS_MAX: usize = 32;

/// Reads one chunked body.
#[derive(Debug, Default)]
pub struct ChunkedReader {
    state: State,
    extension_bytes: usize,
    trailer: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    SizeStart,
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    Trailer,
    Done,
}

/// What the next bytes of a chunked body are.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// `length` bytes of data follow the first `used` bytes of the input. Both are to be consumed.
    Data { used: usize, length: usize },
    /// The body ended after `used` bytes.
    End { used: usize },
    /// All `used` bytes, the whole input, were framing; more must be read.
    More { used: usize },
}

/// The chunked body is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunk;

impl ChunkedReader {
    /// Reads the next piece of `input`, which starts where the last piece ended.
    ///
    /// # Errors
    /// [`BadChunk`] at the first byte that is out of place; the reader must not be used after that.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, BadChunk> {
        let mut used = 0;
        while let Some(&byte) = input.get(used) {
            match self.state {
                State::SizeStart => {
                    self.state = State::Size { size: hex(byte).ok_or(BadChunk)?, digits: 1 };
                }
                State::Size { size, digits } => {
                    self.state = match (byte, hex(byte)) {
                        (_, Some(digit)) if digits < 16 => State::Size { size: size << 4 | digit, digits: digits + 1 },
                        (b';', _) => State::Extension { size },
                        (b'\r', _) => State::SizeLineFeed { size },
                        _ => return Err(BadChunk),
                    };
                }
                State::Extension { size } => {
                    self.extension_bytes += 1;
                    if self.extension_bytes > EXTENSION_BYTES_MAX || (byte < b' ' && byte != b'\t' && byte != b'\r') {
                        return Err(BadChunk);
                    }
                    if byte == b'\r' {
                        self.state = State::SizeLineFeed { size };
                    }
                }
                State::SizeLineFeed { size } => {
                    expect(byte, b'\n')?;
                    self.state = if size == 0 { State::Trailer } else { State::Data { left: size } };
                }
                State::Data { left } => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - used);
                    let left = left - length as u64;
                    self.state = if left == 0 { State::DataReturn } else { State::Data { left } };
                    return Ok(Piece::Data { used, length });
                }
                State::DataReturn => {
                    expect(byte, b'\r')?;
                    self.state = State::DataLineFeed;
                }
                State::DataLineFeed => {
                    expect(byte, b'\n')?;
                    self.state = State::SizeStart;
                }
                State::Trailer => {
                    if self.trailer.len() >= TRAILER_BYTES_MAX {
                        return Err(BadChunk);
                    }
                    self.trailer.push(byte);
                    if byte == b'\n' && self.trailer_ends()? {
                        self.state = State::Done;
                        return Ok(Piece::End { used: used + 1 });
                    }
                }
                State::Done => return Ok(Piece::End { used: 0 }),
            }
            used += 1;
        }
        if matches!(self.state, State::Done) { Ok(Piece::End { used }) } else { Ok(Piece::More { used }) }
    }

    /// Bytes of data that the present chunk has announced and not brought yet.
    #[must_use]
    pub fn announced(&self) -> u64 {
        match self.state {
            State::SizeLineFeed { size } | State::Extension { size } => size,
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Writes the trailer lines of a finished body, without fields that must not stand there.
    ///
    /// # Errors
    /// [`BadChunk`] when the fields are malformed or too many.
    pub fn write_trailers(&self, out: &mut Vec<u8>) -> Result<(), BadChunk> {
        let mut storage = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
        let parsed = httparse::parse_headers(&self.trailer, &mut storage).map_err(|_| BadChunk)?;
        if let httparse::Status::Complete((_, headers)) = parsed {
            for header in headers.iter().filter(|header| !fields::forbidden_in_trailers(header.name)) {
                out.extend_from_slice(header.name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(header.value);
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Whether the line feed just read ends the trailer section.
    fn trailer_ends(&self) -> Result<bool, BadChunk> {
        let Some(line) = self.trailer.strip_suffix(b"\r\n") else { return Err(BadChunk) };
        if line.is_empty() || line.ends_with(b"\r\n") {
            self.write_trailers(&mut Vec::new())?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Writes `data` as one chunk.
pub fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    write_chunk_size(data.len(), out);
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes the line that a chunk of `size` bytes begins with; 0 begins the end of the body.
pub fn write_chunk_size(size: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for position in (0..digits).rev() {
        out.push(DIGITS[size >> (position * 4) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

fn expect(byte: u8, wanted: u8) -> Result<(), BadChunk> {
    if byte == wanted { Ok(()) } else { Err(BadChunk) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data, the trailers as written on, and how many bytes are left over.
    type Whole = (Vec<u8>, Vec<u8>, usize);

    /// Reads `wire` in pieces of `step` bytes.
    fn read(wire: &[u8], step: usize) -> Result<Option<Whole>, BadChunk> {
        let (mut reader, mut data, mut at) = (ChunkedReader::default(), Vec::new(), 0);
        while at < wire.len() {
            let end = (at + step).min(wire.len());
            match reader.next(&wire[at..end])? {
                Piece::Data { used, length } => {
                    data.extend_from_slice(&wire[at + used..at + used + length]);
                    at += used + length;
                }
                Piece::End { used } => {
                    let mut trailers = Vec::new();
                    reader.write_trailers(&mut trailers)?;
                    return Ok(Some((data, trailers, wire.len() - at - used)));
                }
                Piece::More { used } => at += used,
            }
        }
        Ok(None)
    }

    #[test]
    fn data_extensions_and_trailers_are_told_apart() {
        let wire = b"4;a=\"b\"\r\nWiki\r\n05\r\npedia\r\n0\r\nX-Sum: 9\r\nHost: evil\r\n\r\nnext";
        for step in 1..=wire.len() {
            let (data, trailers, left) = read(wire, step).unwrap().unwrap();
            assert_eq!((&data[..], &trailers[..], left), (&b"Wikipedia"[..], &b"X-Sum: 9\r\n"[..], 4), "{step}");
        }
    }

    #[test]
    fn every_departure_from_the_grammar_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b" 4\r\nWiki\r\n",
            b"4 \r\nWiki\r\n",
            b"+4\r\nWiki\r\n",
            b"0x4\r\nWiki\r\n",
            b"4\nWiki\r\n",
            b"4\rWiki\r\n",
            b"4\r\nWikiX\r\n",
            b"4\r\nWiki\n",
            b"4\r\nWiki\rX",
            b"11112222333344445\r\n",
            b"4;a\nWiki\r\n",
            b"4;\0\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n A: b\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\n c\r\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(read(bad, bad.len()), Err(BadChunk), "{:?}", String::from_utf8_lossy(bad));
            assert_eq!(read(bad, 1), Err(BadChunk), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_chunk_announces_its_size_before_its_data() {
        let mut reader = ChunkedReader::default();
        assert_eq!(reader.next(b"1f;a\r\n"), Ok(Piece::More { used: 6 }));
        assert_eq!(reader.announced(), 31);
        assert_eq!(reader.next(b"abc"), Ok(Piece::Data { used: 0, length: 3 }));
        assert_eq!(reader.announced(), 28);
        assert_eq!(reader.next(&[b'a'; 28]), Ok(Piece::Data { used: 0, length: 28 }));
        assert_eq!(reader.announced(), 0);
    }

    #[test]
    fn endless_extensions_and_trailers_are_cut_off() {
        let mut wire = b"4;".to_vec();
        wire.resize(EXTENSION_BYTES_MAX + 10, b'a');
        assert_eq!(read(&wire, wire.len()), Err(BadChunk));
        let mut wire = b"0\r\nA: ".to_vec();
        wire.resize(TRAILER_BYTES_MAX + 10, b'a');
        assert_eq!(read(&wire, wire.len()), Err(BadChunk));
    }

    proptest! {
        #[test]
        fn what_is_written_in_chunks_is_read_back(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 0..6), step in 1usize..600) {
            let mut wire = Vec::new();
            for part in &parts {
                write_chunk(part, &mut wire);
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (data, trailers, left) = read(&wire, step).unwrap().unwrap();
            prop_assert_eq!(data, parts.concat());
            prop_assert_eq!((&trailers[..], left), (&b""[..], 0));
        }

        #[test]
        fn arbitrary_bytes_never_panic(wire in prop::collection::vec(any::<u8>(), 0..300), step in 1usize..40) {
            let _ = read(&wire, step);
        }
    }
}
