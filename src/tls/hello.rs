//! The name that a client asks for in its ClientHello (SNI, RFC 6066 section 3), read without taking part in the handshake.
//!
//! The bytes are looked at and left as they are: the master that the name leads to does the handshake. Records are put
//! together (RFC 8446 section 5.1) only as far as the ClientHello goes, and no byte is looked at twice, whatever pieces it
//! comes in. What is not a ClientHello is refused at its first byte that shows it; extensions that are not known, GREASE
//! (RFC 8701) among them, are passed over.

/// The longest ClientHello: ten times what browsers send with a post-quantum key share.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// With the headers of its records, of which there may be many small ones.
pub const RECORDS_BYTES_MAX: usize = 2 * HELLO_BYTES_MAX;

/// The longest host name (RFC 1035 section 3.1, as text).
const NAME_BYTES_MAX: usize = 253;

const RECORD_HEADER: usize = 5;
/// The most that a record of plain text holds (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;
const MESSAGE_HEADER: usize = 4;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// A host name as it was asked for, in lower case and without a dot at its end; `None` when the client names none.
pub type Name = Option<Box<str>>;

/// Not a ClientHello, or one that is larger than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAHello;

/// Reads a ClientHello as it arrives.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// Bytes that have been looked at.
    at: usize,
    /// What is to come of the present record.
    record_left: usize,
    /// The message so far, with its header.
    message: Vec<u8>,
}

impl HelloReader {
    /// Looks at `received`, which is everything since the first byte of the connection. `None` while there has to be more.
    ///
    /// # Errors
    /// [`NotAHello`].
    pub fn read(&mut self, received: &[u8]) -> Result<Option<Name>, NotAHello> {
        loop {
            if self.record_left == 0 {
                let Some(length) = record_length(&received[self.at..])? else { return Ok(None) };
                self.at += RECORD_HEADER;
                self.record_left = length;
            }
            let (here, wanted) = (&received[self.at..], self.wanted()?);
            let count = self.record_left.min(here.len()).min(wanted - self.message.len());
            self.message.extend_from_slice(&here[..count]);
            self.at += count;
            self.record_left -= count;
            if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
                return Err(NotAHello);
            }
            if self.message.len() == self.wanted()? && self.message.len() > MESSAGE_HEADER {
                return server_name(&self.message[MESSAGE_HEADER..]).map(Some);
            }
            if count == 0 {
                return Ok(None);
            }
        }
    }

    /// The length that the message has to have, as far as is known.
    fn wanted(&self) -> Result<usize, NotAHello> {
        let Some(&[_, high, middle, low]) = self.message.first_chunk::<MESSAGE_HEADER>() else {
            return Ok(MESSAGE_HEADER);
        };
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if (1..=HELLO_BYTES_MAX).contains(&length) { Ok(MESSAGE_HEADER + length) } else { Err(NotAHello) }
    }
}

/// The length that the header of a record tells; `None` while it has not arrived whole.
fn record_length(bytes: &[u8]) -> Result<Option<usize>, NotAHello> {
    let is_handshake = bytes.first().is_none_or(|kind| *kind == HANDSHAKE);
    // The versions of TLS that are in use, and their predecessor SSL 3, all have the major number 3.
    let is_tls = bytes.get(1).is_none_or(|major| *major == 3);
    if !is_handshake || !is_tls {
        return Err(NotAHello);
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<RECORD_HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // An empty record of a handshake is forbidden, and would be a way to send headers without end.
    if (1..=RECORD_BYTES_MAX).contains(&length) { Ok(Some(length)) } else { Err(NotAHello) }
}

/// Reads the body of a ClientHello (RFC 8446 section 4.1.2).
fn server_name(body: &[u8]) -> Result<Name, NotAHello> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    let mut rest = Fields(body);
    rest.take(VERSION_AND_RANDOM)?;
    rest.short_vector()?; // session id
    rest.vector()?; // cipher suites
    rest.short_vector()?; // compression methods
    if rest.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = Fields(rest.vector()?);
    if !rest.0.is_empty() {
        return Err(NotAHello);
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let (kind, data) = (extensions.number()?, extensions.vector()?);
        if kind == SERVER_NAME && name.replace(host_name(data)?).is_some() {
            return Err(NotAHello);
        }
    }
    Ok(name)
}

/// The one host name of the extension.
fn host_name(data: &[u8]) -> Result<Box<str>, NotAHello> {
    let mut data = Fields(data);
    let mut list = Fields(data.vector()?);
    let mut name = None;
    while !list.0.is_empty() {
        let (kind, text) = (list.take(1)?[0], list.vector()?);
        if kind == HOST_NAME && name.replace(text).is_some() {
            return Err(NotAHello);
        }
    }
    let name = name.filter(|_| data.0.is_empty()).ok_or(NotAHello)?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let text = std::str::from_utf8(name).map_err(|_| NotAHello)?;
    if is_name { Ok(text.to_ascii_lowercase().into()) } else { Err(NotAHello) }
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NotAHello> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(NotAHello)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, NotAHello> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// With its length in one byte before it.
    fn short_vector(&mut self) -> Result<&'a [u8], NotAHello> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    /// With its length in two bytes before it.
    fn vector(&mut self) -> Result<&'a [u8], NotAHello> {
        let length = self.number()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    use super::*;

    /// What a client of rustls sends first, with a name or an address to connect to.
    fn hello(to: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from(to.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// The same message in records of at most `size` bytes.
    fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8], part].concat();
        hello[RECORD_HEADER..].chunks(size).flat_map(record).collect()
    }

    fn read(bytes: &[u8]) -> Result<Option<Name>, NotAHello> {
        HelloReader::default().read(bytes)
    }

    /// A message of these extensions.
    fn with_extensions(extensions: &[u8]) -> Vec<u8> {
        let vector = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let body = [&[3; 34][..], &[0], &vector(&[0x13, 1]), &[1, 0], &vector(extensions)].concat();
        let message = [&[1, 0][..], &vector(&body)].concat();
        [&[22, 3, 1][..], &vector(&message)].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        let (length, list) = (name.len() as u16, name.len() as u16 + 3);
        [&[0, 0][..], &(list + 2).to_be_bytes(), &list.to_be_bytes(), &[0], &length.to_be_bytes(), name].concat()
    }

    #[test]
    fn the_name_that_a_client_asks_for_is_read_and_there_may_be_none() {
        assert_eq!(read(&hello("a.bot.example")), Ok(Some(Some("a.bot.example".into()))));
        assert_eq!(read(&hello("127.0.0.1")), Ok(Some(None)));
        assert_eq!(read(&with_extensions(&named(b"A.Bot.Example."))), Ok(Some(Some("a.bot.example".into()))));
        assert_eq!(read(&with_extensions(&[])), Ok(Some(None)));
        // GREASE before it, and another extension behind it.
        let between = [&[0x7a, 0x7a, 0, 1, 0][..], &named(b"a.example"), &[0, 23, 0, 0]].concat();
        assert_eq!(read(&with_extensions(&between)), Ok(Some(Some("a.example".into()))));
    }

    #[test]
    fn what_is_no_hello_is_refused_at_the_byte_that_shows_it() {
        for wrong in [&b"GET / HTTP/1.1\r\n"[..], b"\x15\x03\x01", b"\x16\x02", b"\x16\x03\x01\0\0", b"\x80\x2e\x01"] {
            assert_eq!(read(wrong), Err(NotAHello), "{wrong:?}");
        }
        assert_eq!(read(b"\x16\x03\x01\0\x04\x02"), Err(NotAHello), "a ServerHello");
        assert_eq!(read(b"\x16\x03\x01\0\x04\x01\x01\0\0"), Err(NotAHello), "larger than is taken");
        for extensions in
            [named(b""), named(b"a b"), named(b"a\0b"), named(&[b'a'; 254]), [named(b"a"), named(b"b")].concat()]
        {
            assert_eq!(read(&with_extensions(&extensions)), Err(NotAHello), "{extensions:?}");
        }
        let two_names = [&[0, 0, 0, 10, 0, 8][..], b"\0\0\x01a\0\0\x01b"].concat();
        assert_eq!(read(&with_extensions(&two_names)), Err(NotAHello));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn however_a_hello_is_cut_into_records_and_pieces_it_names_the_same(
            size in 1..600_usize, cuts in proptest::collection::vec(1..400_usize, 1..30),
        ) {
            let bytes = fragmented(&hello("a.bot.example"), size);
            let mut reader = HelloReader::default();
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            let found = loop {
                at = (at + cuts.next().unwrap()).min(bytes.len());
                match reader.read(&bytes[..at]) {
                    Ok(None) => prop_assert!(at < bytes.len()),
                    found => break found,
                }
            };
            prop_assert_eq!(found, Ok(Some(Some("a.bot.example".into()))));
        }

        #[test]
        fn any_bytes_are_read_the_same_in_one_piece_and_in_many_and_never_panic(
            noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0..500_usize, byte in any::<u8>(),
            cut in 1..50_usize, begun in 0..3,
        ) {
            let mut bytes = match begun {
                0 => Vec::new(),
                1 => b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03".to_vec(),
                _ => with_extensions(&named(b"a.example")),
            };
            bytes.extend_from_slice(&noise);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let whole = read(&bytes);
            let mut reader = HelloReader::default();
            let mut pieces = Ok(None);
            for end in (0..bytes.len()).step_by(cut).chain([bytes.len()]) {
                pieces = reader.read(&bytes[..end]);
                if pieces != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
