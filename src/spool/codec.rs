//! How rows are written: a version, a checksum over key and content, then fields one after another.
//!
//! Numbers are little-endian or LEB128, texts and bytes carry their length. The checksum is XXH3 seeded with the row's key
//! and version, so that a row under another row's key is as wrong as a changed one.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Version of rows that are nothing but bytes.
const SEALED: u8 = 1;

/// Bytes before the fields.
const ENVELOPE: usize = 1 + 8;

/// Why a row cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Its checksum is wrong, or its fields do not fit.
    Damaged,
    /// A newer Baton wrote it, in this version of the encoding.
    Newer(u8),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => f.write_str("its checksum is wrong"),
            Self::Newer(version) => write!(f, "it has version {version} of the encoding, which a newer Baton wrote"),
        }
    }
}

fn check(version: u8, key: u64, fields: &[u8]) -> [u8; 8] {
    xxh3_64_with_seed(fields, key ^ u64::from(version) << 56).to_le_bytes()
}

/// Writes one row.
#[derive(Debug)]
pub struct Writer {
    row: Vec<u8>,
    key: u64,
}

impl Writer {
    /// A row with room for `fields` bytes.
    #[must_use]
    pub fn new(version: u8, key: u64, fields: usize) -> Self {
        let mut row = Vec::with_capacity(ENVELOPE + fields);
        row.push(version);
        row.extend_from_slice(&[0; 8]);
        Self { row, key }
    }

    pub fn u8(&mut self, value: u8) {
        self.row.push(value);
    }

    pub fn u64(&mut self, value: u64) {
        self.row.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u128(&mut self, value: u128) {
        self.row.extend_from_slice(&value.to_le_bytes());
    }

    /// A number that is usually small.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.row.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.row.push(value as u8);
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.row.extend_from_slice(value);
    }

    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub fn optional_text(&mut self, value: Option<&str>) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            self.text(value);
        }
    }

    /// The whole row.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let check = check(self.row[0], self.key, &self.row[ENVELOPE..]);
        self.row[1..ENVELOPE].copy_from_slice(&check);
        self.row
    }
}

/// Reads one row; every method fails where the fields end too early.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the row as a whole.
    pub fn new(version: u8, key: u64, row: &'a [u8]) -> Result<Self, Unreadable> {
        let (envelope, fields) = row.split_at_checked(ENVELOPE).ok_or(Unreadable::Damaged)?;
        if envelope[1..] != check(envelope[0], key, fields) {
            return Err(Unreadable::Damaged);
        }
        if envelope[0] != version {
            return Err(Unreadable::Newer(envelope[0]));
        }
        Ok(Self { rest: fields })
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Unreadable::Damaged)?;
        self.rest = rest;
        Ok(*array)
    }

    pub fn u8(&mut self) -> Result<u8, Unreadable> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u64(&mut self) -> Result<u64, Unreadable> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn u128(&mut self) -> Result<u128, Unreadable> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable::Damaged)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = usize::try_from(self.number()?).map_err(|_| Unreadable::Damaged)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Unreadable::Damaged)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub fn text(&mut self) -> Result<&'a str, Unreadable> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Unreadable::Damaged)
    }

    pub fn optional_text(&mut self) -> Result<Option<&'a str>, Unreadable> {
        if self.u8()? == 0 { Ok(None) } else { self.text().map(Some) }
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), Unreadable> {
        if self.rest.is_empty() { Ok(()) } else { Err(Unreadable::Damaged) }
    }
}

/// A row that is nothing but bytes.
#[must_use]
pub fn seal(key: u64, content: &[u8]) -> Vec<u8> {
    let mut row = Writer::new(SEALED, key, content.len());
    row.row.extend_from_slice(content);
    row.finish()
}

/// Reads what [`seal`] wrote.
pub fn unseal(key: u64, row: &[u8]) -> Result<&[u8], Unreadable> {
    Reader::new(SEALED, key, row).map(|row| row.rest)
}
